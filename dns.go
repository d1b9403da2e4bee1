package trivet

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"github.com/trivet-ha/trivet/balance"
	"github.com/trivet-ha/trivet/balance/gslb"
	"github.com/trivet-ha/trivet/balance/gslb/answer"
	"github.com/trivet-ha/trivet/balance/gslb/geo"
	"github.com/trivet-ha/trivet/balance/gslb/guard"
	"github.com/trivet-ha/trivet/balance/gslb/steer"
	"github.com/trivet-ha/trivet/config"
)

// names is all that a node has for DNS. What a reload replaces is guarded by the node's mu.
type names struct {
	server *gslb.Server
	secret guard.Secret // of cookies, if the file has none
	times  probeTimes

	places   *geo.Database
	limits   answer.Limits
	limitsOf config.DNSLimits // what limits was made from
	endLog   func()           // ends the query log in force
}

// dnsKeepalive is how long TCP clients are told that they may stay without a query.
const dnsKeepalive = 10 * time.Second

func newNames(n *Node, cfg *Config) *names {
	d := &names{endLog: func() {}}
	_, _ = rand.Read(d.secret[:]) // which does not fail (crypto/rand)
	d.server = gslb.New(gslb.Options{
		Workers: len(n.edge.Workers()), Origin: n.origin, Log: n.log, Inherited: cfg.Inherit.nameSockets(),
	})
	return d
}

// nameBuild is what a configuration's dns section has become.
type nameBuild struct {
	cfg    gslb.Config
	change *gslb.Change
	places *geo.Database
	limits answer.Limits
	log    io.Closer // the query log's file, or nil
}

// buildNames makes all of the file's dns section that may fail.
func (b *build) buildNames() error {
	nb := &nameBuild{}
	if spec := b.file.DNS; spec != nil {
		if err := b.fillNames(nb, spec); err != nil {
			nb.discard()
			return fmt.Errorf("dns: %w", err)
		}
	}
	change, err := b.n.names.server.Prepare(nb.cfg)
	if err != nil {
		nb.discard()
		return err
	}
	nb.change, b.names = change, nb
	return nil
}

// discard gives back what was opened for a configuration that will not be in force.
func (nb *nameBuild) discard() {
	if nb == nil {
		return
	}
	if nb.change != nil {
		nb.change.Discard()
	}
	if nb.log != nil {
		nb.log.Close()
	}
}

func (b *build) fillNames(nb *nameBuild, spec *config.DNS) (err error) {
	for _, a := range spec.Address {
		nb.cfg.Addresses = append(nb.cfg.Addresses, a.String())
	}
	nb.limits = b.n.names.limitsFor(&spec.Limits)
	nb.cfg.FirstProbe = spec.FirstProbe
	nb.cfg.Limits = gslb.Limits{Connections: spec.Limits.Connections, PerSource: spec.Limits.ConnectionsPerSource}
	nb.cfg.World = answer.World{
		UDPSize: spec.UDPSize, Keepalive: dnsKeepalive, Believed: spec.ClientSubnet, Limits: nb.limits, Cookies: b.n.names.cookies(&spec.Cookies),
	}
	if spec.NSID != "" {
		nb.cfg.World.NSID = []byte(spec.NSID)
	}
	if spec.Places != "" {
		if nb.places, err = b.n.names.placesFrom(string(spec.Places)); err != nil {
			return err
		}
		nb.cfg.World.Where = nb.places
	}
	if err := b.queryLog(nb, spec.QueryLog); err != nil {
		return err
	}
	nb.cfg.Pools = map[string]gslb.Pool{}
	for name, p := range b.pools {
		if spec.Uses(name) {
			nb.cfg.Pools[string(name)] = &namedPool{pool: p.balance, settings: p, probed: b.isProbed(name), times: &b.n.names.times}
		}
	}
	return b.buildZones(nb, spec)
}

// isProbed reports whether the file has a pool's endpoints probed.
func (b *build) isProbed(name config.Name) bool {
	spec := b.file.Pool(name)
	return spec != nil && !spec.Health.Off
}

// placesFrom opens a file of places, or returns the one that is open if that is still it.
func (d *names) placesFrom(path string) (*geo.Database, error) {
	if d.places != nil && d.places.IsCurrent(path) {
		return d.places, nil
	}
	return geo.Open(path)
}

func (d *names) cookies(spec *config.DNSCookies) *guard.Cookies {
	if spec.Off {
		return nil
	}
	secrets := []guard.Secret{d.secret}
	if !spec.Secret.IsZero() {
		first, _ := guard.ParseSecret(spec.Secret.Reveal()) // the file is valid
		secrets = []guard.Secret{first}
	}
	if !spec.OldSecret.IsZero() {
		old, _ := guard.ParseSecret(spec.OldSecret.Reveal())
		secrets = append(secrets, old)
	}
	return guard.NewCookies(secrets...)
}

// limitEntries is how many networks, or addresses, are remembered: 512 KiB of them.
const limitEntries = 1 << 16

// limitsFor returns limits for the file's settings. Those that are unchanged remember what they knew.
func (d *names) limitsFor(spec *config.DNSLimits) answer.Limits {
	l := answer.Limits{Slip: spec.Slip, Prefix4: spec.Prefix4, Prefix6: spec.Prefix6, Exempt: spec.Exempt}
	if spec.Off {
		return l
	}
	if old := &d.limitsOf; d.limits.Answers != nil && old.Answers == spec.Answers && old.Queries == spec.Queries {
		l.Answers, l.Questions = d.limits.Answers, d.limits.Questions
		return l
	}
	l.Answers = guard.NewLimiter(guard.Rate{PerSecond: float64(spec.Answers)}, limitEntries)
	l.Questions = guard.NewLimiter(guard.Rate{PerSecond: float64(spec.Queries)}, limitEntries)
	return l
}

// queryLog opens the log that the file asks for.
func (b *build) queryLog(nb *nameBuild, spec *config.QueryLog) error {
	if spec == nil {
		return nil
	}
	var w io.Writer
	switch output := string(spec.Output); output {
	case "stdout":
		w = os.Stdout
	case "stderr":
		w = os.Stderr
	default:
		// Opened anew by every reload, so that it can be rotated.
		f, err := os.OpenFile(output, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o640)
		if err != nil {
			return fmt.Errorf("open query log: %w", err)
		}
		w, nb.log = f, f
	}
	nb.cfg.QueryLog = gslb.NewQueryLog(w, spec.Sample.Fraction())
	return nil
}

// adoptNames puts the dns section of a configuration in force whose pools already are.
func (n *Node) adoptNames(file *config.Config, nb *nameBuild) {
	d := n.names
	endOld := d.endLog
	d.endLog = func() {}
	if l := nb.cfg.QueryLog; l != nil {
		d.endLog = n.parts.add(func(ctx context.Context) {
			if err := l.Run(ctx, n.origin); err != nil {
				n.log.Error("query log ended", "error", err)
			}
			if nb.log != nil {
				nb.log.Close()
			}
		})
	}
	d.places, d.limits = nb.places, nb.limits
	if file.DNS != nil {
		d.limitsOf = file.DNS.Limits
	}
	d.times.keep(nb.cfg.Pools)
	nb.change.Commit()
	endOld()
}

// namedPool shows a pool to the names that follow it.
type namedPool struct {
	pool     *balance.Pool
	settings *pool
	probed   bool
	times    *probeTimes
}

// State implements gslb.Pool.
func (p *namedPool) State(now time.Duration) (*steer.State, time.Duration) {
	next := p.pool.Tick(now)
	st := &steer.State{Panic: p.pool.Panicking(now)}
	moved := p.settings.upstream.Settings().Addresses
	for _, e := range p.pool.Endpoints() {
		s := e.Status(now)
		latency := s.Latency
		if latency == 0 {
			latency = p.times.of(p.settings.upstream.Name, s.Address)
		}
		st.Endpoints = append(st.Endpoints, steer.Endpoint{
			Address: s.Address, Hosts: hostsOf(s.Address, moved), Weight: max(1, s.Weight*s.RampTenths), Priority: s.Priority,
			Standing: p.standing(&s), Reason: s.Reason, Latency: latency, Requests: s.InFlight,
		})
	}
	return st, next
}

// rampSteps is what weights are multiplied by, so that the steps of a slow start are whole numbers.
const rampSteps = 10

// standing is what names may use an endpoint for. One that was never probed waits, though requests would not.
func (p *namedPool) standing(s *balance.Status) steer.Standing {
	switch {
	case s.Admin == balance.Maintenance:
		return steer.Maintained
	case s.Admin == balance.Drain:
		return steer.Draining
	case s.Awaited || p.probed && s.Health == balance.HealthUnknown:
		return steer.Awaited
	case !s.Available:
		return steer.Out
	}
	return steer.In
}

// hostsOf returns the IP address of an endpoint, or none. moved has those of endpoints that are names.
func hostsOf(address string, moved map[string]string) []netip.Addr {
	if to, ok := moved[address]; ok {
		address = to
	}
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil
	}
	a, err := netip.ParseAddr(host)
	if err != nil {
		return nil
	}
	return []netip.Addr{a.Unmap().WithZone("")}
}

// probeTimes remembers how long endpoints take to answer probes, where no request tells.
type probeTimes struct {
	mu    sync.Mutex
	pools map[string]map[string]time.Duration // by pool and address; of pools that names follow
}

// note takes the time that a probe took. Failures are no measure.
func (t *probeTimes) note(poolName, address string, took time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	known := t.pools[poolName]
	if known == nil {
		return
	}
	const weight = 4 // of what was known, against the new
	if was := known[address]; was > 0 {
		took = (was*(weight-1) + took) / weight
	}
	known[address] = took
}

func (t *probeTimes) of(poolName, address string) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.pools[poolName][address]
}

// keep forgets all but the pools that names follow.
func (t *probeTimes) keep(pools map[string]gslb.Pool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	kept := make(map[string]map[string]time.Duration, len(pools))
	for name := range pools {
		if kept[name] = t.pools[name]; kept[name] == nil {
			kept[name] = map[string]time.Duration{}
		}
	}
	t.pools = kept
}

// nameSockets returns the DNS sockets that the old process hands over.
func (h *Inheritance) nameSockets() map[string][]int {
	if h == nil {
		return nil
	}
	all := map[string][]int{}
	for _, s := range h.state.Sockets {
		if gslb.IsSocket(s.Address) {
			all[s.Address] = s.FDs
		}
	}
	return all
}

// stamp is what shows that a file has changed.
type stamp struct {
	path string
	size int64
	time time.Time
}

// zoneStamps looks at the zone files and the file of places of a configuration.
func zoneStamps(spec *config.DNS) (all []stamp) {
	if spec == nil {
		return nil
	}
	paths := []string{string(spec.Places)}
	for i := range spec.Zones {
		paths = append(paths, string(spec.Zones[i].File))
	}
	for _, path := range paths {
		if info, err := os.Stat(path); path != "" && err == nil {
			all = append(all, stamp{path, info.Size(), info.ModTime()})
		}
	}
	return all
}

// watchZones reloads the configuration when a file that its dns section names changes, if it says so.
func (n *Node) watchZones(ctx context.Context) error {
	t := time.NewTicker(watchEvery)
	defer t.Stop()
	var seen []stamp
	var of *config.Config // whose files seen are
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
		file := n.File()
		now := zoneStamps(file.DNS)
		changed := file == of && !equalStamps(seen, now)
		seen, of = now, file
		if !changed || !file.Watch {
			continue
		}
		if err := n.Reload(file); err != nil {
			n.noteReloadError(err)
			n.log.Error("zones not reloaded; the old ones stay", "error", err)
			continue
		}
		n.log.Info("zones reloaded")
	}
}

func equalStamps(a, b []stamp) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i].path != b[i].path || a[i].size != b[i].size || !a[i].time.Equal(b[i].time) {
			return false
		}
	}
	return true
}

// noteReloadError has the status say why the last attempt to load something failed.
func (n *Node) noteReloadError(err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.loaded.Error, n.loaded.ErrorAt = err.Error(), time.Now()
}

// zoneSerial is when the newest of a zone's files was changed, in seconds since 1970.
func zoneSerial(paths ...string) uint32 {
	newest := int64(1)
	for _, path := range paths {
		if info, err := os.Stat(path); path != "" && err == nil {
			newest = max(newest, info.ModTime().Unix())
		}
	}
	return uint32(newest)
}
