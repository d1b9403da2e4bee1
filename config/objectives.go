package config

import (
	"fmt"
	"net/netip"
	"time"
)

// Objectives is what the service promises. `trivet plan` says whether the design can keep it, `trivet report` whether it was
// kept, and events tell when it is about to be broken.
type Objectives struct {
	// The share of requests that are answered, and of time that every pool is there. The default 0% promises nothing.
	Availability Percent `yaml:"availability" default:"0%" min:"0%" max:"99.9999999%" aka:"slo uptime target availability_target"`
	// The time over which that is counted. 30 days are usual: long enough for a quiet week not to count twice, short enough to
	// be felt.
	Window time.Duration `yaml:"window" default:"30d" min:"1h" max:"395d" aka:"period"`
	// What 99 of 100 requests take at most. The default 0 promises nothing.
	LatencyP99 time.Duration `yaml:"latency_p99" default:"0" max:"1h" aka:"latency p99 response_time"`
	// How long a fault may last, and a restore may take. The default 0 promises nothing.
	RecoveryTime time.Duration `yaml:"recovery_time" default:"0" max:"30d" aka:"rto mttr recovery_time_objective"`
	// How much of what was last written a recovery may lose. The default 0 promises nothing.
	RecoveryPoint time.Duration `yaml:"recovery_point" default:"0" max:"30d" aka:"rpo recovery_point_objective"`
	// Fewer requests than this in a window raise no alert: of ten, one failed is no 10%.
	MinRequests int `yaml:"min_requests" default:"100" min:"1" max:"1000000000" aka:"min_volume"`

	// Places whose machines fail together: a data centre, a rack. What is in none is in a place of its own.
	Zones []ZoneOfMachines `yaml:"zones" aka:"zone racks datacenters availability_zones"`
	// What `trivet plan` and `trivet check` take for granted where nothing was measured.
	Assume Assumptions `yaml:"assume" aka:"assumptions figures plan"`
}

// ZoneOfMachines is a place whose machines fail together.
type ZoneOfMachines struct {
	// The zone's name.
	Name Name `yaml:",name"`
	// The networks of its machines, by the addresses of endpoints.
	Networks []netip.Prefix `yaml:"networks,required" scalar:"*" aka:"network cidr addresses"`
}

// Assumptions is how often things fail and how long that lasts. Better than these defaults are your own records, and best
// what Trivet measures: `trivet plan --measured`.
type Assumptions struct {
	// The machines on which Trivet itself runs, behind one name or address. One is a single point of failure.
	Nodes int `yaml:"nodes" default:"1" min:"1" max:"1000" aka:"balancers"`
	// An endpoint apart from its machine: a crash, a release that has to be taken back. The default is a bad release or crash a
	// month that takes ten minutes.
	Endpoint Failures `yaml:"endpoint" aka:"process service"`
	// A machine: hardware, kernel, its network. The default is one in a year that takes four hours.
	Machine MachineFailures `yaml:"machine" aka:"server host node"`
	// A zone: power, cooling, a switch. The default is one in three years that takes four hours.
	Zone ZoneFailures `yaml:"zone" aka:"site rack datacenter"`
	// The share of failures that are handled with nobody doing anything. Without drills it is a belief.
	Coverage Percent `yaml:"coverage" default:"99%" min:"0%" max:"100%" aka:"failover_coverage"`
	// How long one lasts that is not handled: until somebody has noticed, come and acted.
	ByHand time.Duration `yaml:"by_hand" default:"30m" min:"1s" max:"30d" aka:"manual manual_recovery"`
	// The share of an endpoint's failures whose cause takes all of its pool: a release, a certificate, a full disk. 2% to 10% are
	// usual (IEC 61508-6, annex D).
	CommonCause Percent `yaml:"common_cause" default:"2%" min:"0%" max:"100%" aka:"beta"`
	// What pools have to carry.
	Pools []PoolLoad `yaml:"pools" aka:"pool load"`
	// What changes cost, in whatever you count, by the month.
	Costs Costs `yaml:"costs" aka:"cost prices price"`
}

// Failures is how often an endpoint fails and how long that lasts.
type Failures struct {
	// Mean time between failures: how long it works.
	MTBF time.Duration `yaml:"mtbf" default:"30d" min:"1s" max:"36500d" aka:"mttf"`
	// Mean time to repair: how long it then does not.
	MTTR time.Duration `yaml:"mttr" default:"10m" min:"1ms" max:"3650d"`
}

// MachineFailures is how often a machine fails and how long that lasts.
type MachineFailures struct {
	// Mean time between failures: how long it works.
	MTBF time.Duration `yaml:"mtbf" default:"365d" min:"1s" max:"36500d" aka:"mttf"`
	// Mean time to repair: how long it then does not.
	MTTR time.Duration `yaml:"mttr" default:"4h" min:"1ms" max:"3650d"`
}

// ZoneFailures is how often a zone fails and how long that lasts.
type ZoneFailures struct {
	// Mean time between failures: how long it works.
	MTBF time.Duration `yaml:"mtbf" default:"1095d" min:"1s" max:"36500d" aka:"mttf"`
	// Mean time to repair: how long it then does not.
	MTTR time.Duration `yaml:"mttr" default:"4h" min:"1ms" max:"3650d"`
}

// PoolLoad is what a pool has to carry: so many endpoints, or so much load.
type PoolLoad struct {
	// The pool.
	Pool Name `yaml:",name"`
	// Endpoints that are needed. The default 0 is what the load takes, and one if none is known.
	Needed int `yaml:"needed" default:"0" min:"0" max:"100000" aka:"min required"`
	// Requests at the busiest time.
	Rate Rate `yaml:"rate" default:"0/s" aka:"arrival_rate load requests"`
	// What one takes an endpoint's worker.
	ServiceTime time.Duration `yaml:"service_time" default:"0" max:"1d" aka:"time duration"`
	// Requests that an endpoint works on at a time: its workers or threads.
	Workers int `yaml:"workers" default:"1" min:"1" max:"1000000" aka:"threads concurrency slots"`
	// How much the times vary: the variance by the square of the mean. 1 is usual, 0 is all alike.
	Variation float64 `yaml:"variation" default:"1" min:"0" max:"1000" aka:"scv"`
	// How long all but one of 100 requests may wait for a worker.
	Wait time.Duration `yaml:"wait" default:"100ms" max:"1h" aka:"queue_time"`
}

// Costs is what changes cost by the month.
type Costs struct {
	// Another server.
	Server float64 `yaml:"server" default:"1" min:"0" max:"1000000000" aka:"machine"`
	// Repairs twice as fast: somebody on call, spares.
	FasterRepair float64 `yaml:"faster_repair" default:"4" min:"0" max:"1000000000" aka:"repair on_call"`
	// Drills, after which ten times fewer failures are not handled.
	Drills float64 `yaml:"drills" default:"1" min:"0" max:"1000000000" aka:"drill tests"`
}

func (o *Objectives) validate(c *checker, path string) {
	for i, z := range o.Zones {
		if len(z.Networks) == 0 {
			c.fail(join(path, "zones."+string(z.Name)), "has no network", "write networks: [10.0.1.0/24]")
		}
		for _, other := range o.Zones[:i] {
			for _, a := range z.Networks {
				for _, b := range other.Networks {
					if a == b {
						c.fail(join(path, "zones."+string(z.Name)), fmt.Sprintf("has %s, which zone %s has too", a, other.Name), "give each network to one zone; the narrower one counts where they overlap")
					}
				}
			}
		}
	}
}

func (l *PoolLoad) validate(c *checker, path string) {
	c.poolExists(path, l.Pool)
	if (l.Rate > 0) != (l.ServiceTime > 0) {
		key, lacks := "rate", "service_time"
		if l.Rate == 0 {
			key, lacks = lacks, key
		}
		c.failKey(join(path, key), "says nothing about the load without "+lacks, "write both rate: 200/s and service_time: 50ms")
	}
	if l.Rate > 0 && l.Needed > 0 {
		c.failKey(join(path, "needed"), "needed and rate exclude each other", "keep needed if you know it, or rate and service_time")
	}
	if pool := c.config.Pool(l.Pool); pool != nil && l.Needed > pool.Servers() {
		c.fail(join(path, "needed"), fmt.Sprintf("pool %s has %d endpoints", l.Pool, pool.Servers()), "write at most that many")
	}
}

// ZoneOf is the zone whose network holds an address, the narrowest one; "" is none.
func (o *Objectives) ZoneOf(host string) Name {
	address, err := netip.ParseAddr(host)
	if err != nil {
		return ""
	}
	best, name := -1, Name("")
	for _, z := range o.Zones {
		for _, p := range z.Networks {
			if p.Contains(address) && p.Bits() > best {
				best, name = p.Bits(), z.Name
			}
		}
	}
	return name
}

// LoadOf is what a pool has to carry, by default nothing.
func (a *Assumptions) LoadOf(pool Name) PoolLoad {
	for _, l := range a.Pools {
		if l.Pool == pool {
			return l
		}
	}
	return PoolLoad{Pool: pool, Workers: 1, Variation: 1, Wait: 100 * time.Millisecond}
}

// Promised tells whether anything is.
func (o *Objectives) Promised() bool {
	return o.Availability > 0 || o.LatencyP99 > 0 || o.RecoveryTime > 0 || o.RecoveryPoint > 0
}
