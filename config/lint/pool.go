package lint

import (
	"fmt"
	"time"

	"github.com/trivet-ha/trivet/config"
)

func poolRules() []rule {
	return []rule{
		{"single-endpoint", Warning, "when that one server stops, for an update too, the service stops", singleEndpoint},
		{"one-machine", Warning, "all endpoints are on one machine: when it stops, or its cable is pulled, the service stops", oneMachine},
		{"no-first-tier", Warning, "priority 0 is used first; without any there, every request counts as overflow", noFirstTier},
		{"thin-backup", Note, "when the first tier is gone, all its traffic comes to what stands behind", thinBackup},
		{"no-probe", Error, "an endpoint that is down is found out by requests that fail, one by one", noProbe},
		{"shallow-probe", Warning, "the kernel accepts connections for a process that hangs, or that has lost its database: only an answer of the application says that it works", shallowProbe},
		{"slow-detection", Warning, "until probes have taken it out, a dead endpoint gets its share of the requests", slowDetection},
		{"blind", Error, "a server that hangs accepts requests and never answers: with stall and outlier both off, nothing takes it out", blind},
		{"queue-without-timeout", Error, "requests that wait without an end fill the queue with clients that have long gone, and the service does not come back by itself", queueWithoutTimeout},
		{"no-queue", Note, "a burst above endpoint_max_requests is answered with 503 where a short wait would do", noQueue},
		{"no-limit", Note, "a pool that gets stuck then takes as many requests as clients send, and the memory they need", noLimit},
		{"connect-without-timeout", Warning, "the kernel gives up on a machine that is gone after two minutes: until then, requests hang", connectWithoutTimeout},
		{"keepalive-too-long", Note, "a server that closes kept connections earlier (Node.js, Apache and uvicorn do after 5s) meets requests that are just being sent", keepaliveTooLong},
		{"panic-too-early", Warning, "requests then go to endpoints that are known to be down", panicTooEarly},
		{"unverified-endpoints", Error, "whoever gets between can read every request and answer in the endpoint's name: it is hardly better than plain text", unverifiedEndpoints},
		{"unused-pool", Warning, "no route leads there: a name is wrong, or it can go", unusedPool},
	}
}

func each(c *config.Config, visit func(p *config.Pool, path string)) {
	for i := range c.Pools {
		visit(&c.Pools[i], "pools."+string(c.Pools[i].Name))
	}
}

func singleEndpoint(c *config.Config, report report) {
	each(c, func(p *config.Pool, path string) {
		switch {
		case p.Servers() != 1:
		case p.Run() != nil:
			report(path+".endpoints", fmt.Sprintf("pool %s has one process", p.Name), "replicas: 2, or more")
		default:
			report(path+".endpoints", fmt.Sprintf("pool %s has one endpoint", p.Name), fmt.Sprintf("endpoints: [%s, another:%d]", p.Endpoints[0].Address, max(p.Endpoints[0].Address.Port, 1)))
		}
	})
}

func oneMachine(c *config.Config, report report) {
	each(c, func(p *config.Pool, path string) {
		if p.Servers() < 2 {
			return
		}
		for _, e := range p.Endpoints {
			if e.Address.Unix == "" && e.Address.Host != p.Endpoints[0].Address.Host {
				return
			}
		}
		report(path+".endpoints", fmt.Sprintf("all %d endpoints of pool %s are on %s", p.Servers(), p.Name, machine(p.Endpoints[0].Address)), "an endpoint on a second machine")
	})
}

func machine(a config.Address) string {
	if a.Unix != "" || a.IsZero() { // a zero one is a command's
		return "this machine"
	}
	return a.Host
}

func noFirstTier(c *config.Config, report report) {
	each(c, func(p *config.Pool, path string) {
		for _, e := range p.Endpoints {
			if e.Priority == 0 {
				return
			}
		}
		report(path+".endpoints", fmt.Sprintf("no endpoint of pool %s has priority 0", p.Name), "priority: 0 for those that are used first")
	})
}

func thinBackup(c *config.Config, report report) {
	each(c, func(p *config.Pool, path string) {
		first, behind := 0, 0
		for _, e := range p.Endpoints {
			weight := e.Weight
			if e.Run != nil {
				weight *= e.Run.Replicas
			}
			if e.Priority == 0 {
				first += weight
			} else {
				behind += weight
			}
		}
		if behind > 0 && behind*2 < first {
			report(path+".endpoints", fmt.Sprintf("the backup endpoints of pool %s have %d%% of the weight of those they stand in for", p.Name, behind*100/first),
				"more of them, or breaker: {max_requests: ...} for what they can bear")
		}
	})
}

func noProbe(c *config.Config, report report) {
	each(c, func(p *config.Pool, path string) {
		if p.Health.Off {
			report(path+".health", fmt.Sprintf("endpoints of pool %s are not probed", p.Name), "health: {probe: {http: /healthz}}")
		}
	})
}

func shallowProbe(c *config.Config, report report) {
	each(c, func(p *config.Pool, path string) {
		tcp := p.Health.Probe.TCP
		if p.Health.Off || tcp == nil || tcp.Send != "" || !tcp.Expect.IsZero() || !servesHTTP(c, p.Name) {
			return
		}
		report(path+".health", fmt.Sprintf("pool %s serves HTTP, but is probed by a TCP connection alone", p.Name), "health: {probe: {http: /healthz}}")
	})
}

// servesHTTP tells whether a listener that speaks HTTP leads to the pool.
func servesHTTP(c *config.Config, pool config.Name) bool {
	for _, l := range c.Listeners {
		if l.Protocol == config.ProtocolHTTP && leadsTo(&l, pool) {
			return true
		}
	}
	return false
}

func leadsTo(l *config.Listener, pool config.Name) bool {
	if l.Protocol.ByAddress() {
		return l.Pool == pool
	}
	for _, r := range l.Routes {
		for _, name := range r.Pools() {
			if name == pool {
				return true
			}
		}
		if r.Fallback != nil && r.Fallback.Pool == pool {
			return true
		}
	}
	return false
}

func slowDetection(c *config.Config, report report) {
	const tooSlow = 30 * time.Second // half of what people wait for a page
	each(c, func(p *config.Pool, path string) {
		h := &p.Health
		takes := h.Interval + time.Duration(h.Fall-1)*h.FastInterval + h.Timeout
		if !h.Off && takes > tooSlow {
			report(path+".health", fmt.Sprintf("pool %s needs up to %s to see that an endpoint is down", p.Name, takes), "interval: 2s, fast_interval: 500ms, timeout: 1s")
		}
	})
}

func blind(c *config.Config, report report) {
	each(c, func(p *config.Pool, path string) {
		if p.Stall.Off && p.Outlier.Off {
			report(path+".stall", fmt.Sprintf("pool %s does not look at how requests fare", p.Name), "neither stall: off nor outlier: off")
		}
	})
}

// limited tells whether requests can ever have to wait for an endpoint.
func limited(p *config.Pool) bool {
	for _, e := range p.Endpoints {
		if e.MaxRequests == 0 {
			return false
		}
	}
	return true
}

func queueWithoutTimeout(c *config.Config, report report) {
	each(c, func(p *config.Pool, path string) {
		if p.Queue.Timeout == 0 && p.MaxPending() > 0 {
			report(path+".queue.timeout", fmt.Sprintf("the queue of pool %s has no timeout", p.Name), "queue: {timeout: 5s}")
		}
	})
}

func noQueue(c *config.Config, report report) {
	each(c, func(p *config.Pool, path string) {
		if p.MaxPending() == 0 && limited(p) {
			report(path+".queue", fmt.Sprintf("pool %s has a limit for each endpoint, but no queue", p.Name), "queue: {limit: 1000, timeout: 5s}")
		}
	})
}

func noLimit(c *config.Config, report report) {
	each(c, func(p *config.Pool, path string) {
		if p.Breaker.MaxRequests == 0 && !limited(p) {
			report(path+".breaker.max_requests", fmt.Sprintf("pool %s takes on any number of requests", p.Name), "breaker: {max_requests: 10000}")
		}
	})
}

func connectWithoutTimeout(c *config.Config, report report) {
	each(c, func(p *config.Pool, path string) {
		if p.Timeouts.Connect == 0 {
			report(path+".timeouts.connect", fmt.Sprintf("connecting to endpoints of pool %s has no timeout", p.Name), "timeouts: {connect: 2s}")
		}
	})
}

func keepaliveTooLong(c *config.Config, report report) {
	const shortest = 5 * time.Second // of the servers in wide use
	each(c, func(p *config.Pool, path string) {
		if p.Timeouts.Keepalive >= shortest {
			report(path+".timeouts.keepalive", fmt.Sprintf("pool %s keeps connections without a request for %s", p.Name, p.Timeouts.Keepalive), "less than what your server keeps; 4s if you do not know")
		}
	})
}

func panicTooEarly(c *config.Config, report report) {
	each(c, func(p *config.Pool, path string) {
		n := float64(p.Servers())
		if n > 1 && (n-1)/n < p.PanicThreshold.Fraction() {
			report(path+".panic_threshold", fmt.Sprintf("with one of its %d endpoints down, pool %s uses all of them", p.Servers(), p.Name), "panic_threshold: 0%")
		}
	})
}

func unusedPool(c *config.Config, report report) {
	each(c, func(p *config.Pool, path string) {
		for i := range c.Listeners {
			if leadsTo(&c.Listeners[i], p.Name) {
				return
			}
		}
		if c.DNS.Uses(p.Name) {
			return
		}
		report(path, fmt.Sprintf("pool %s is used by no route", p.Name), "a route with pool: "+string(p.Name)+", or nothing")
	})
}

func unverifiedEndpoints(c *config.Config, report report) {
	each(c, func(p *config.Pool, path string) {
		if p.TLS != nil && !p.TLS.Verify {
			report(path+".tls.verify", fmt.Sprintf("certificates of the endpoints of pool %s are not verified", p.Name), "ca: with the file of the authority that signed them, and server_name: if it is not their host")
		}
	})
}
