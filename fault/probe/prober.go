package probe

import (
	"container/heap"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/trivet-ha/trivet/fault/health"
)

// DefaultConcurrency is how many probes are under way at a time, unless the
// configuration says otherwise.
const DefaultConcurrency = 256

// Config says whom a [Prober] asks, how and how often.
type Config struct {
	// Check is how to ask.
	Check Check
	// Policy is how often, and how many results decide.
	Policy health.Policy
	// Targets are the endpoints, with addresses of their own.
	Targets []Target
	// Port, if not 0, is connected to in place of the endpoints' own; not on
	// Unix sockets.
	Port int
	// Concurrency limits the probes under way; 0 is DefaultConcurrency. Those
	// that are due wait for their turn, the longest due first.
	Concurrency int
	// Report is called with every result, one at a time, by the goroutine that is
	// in Run. Update must not be called from it.
	Report func(Report)
	// Now is the clock of the reports and states: the time since an origin of
	// the caller's choice. Default: since New.
	Now func() time.Duration
}

func (c *Config) check() error {
	if c.Check == nil {
		return errors.New("probe: no check")
	}
	if c.Report == nil {
		return errors.New("probe: nobody to report to")
	}
	if c.Port < 0 || c.Port > 65535 {
		return fmt.Errorf("probe: port %d is not between 0 and 65535", c.Port)
	}
	if c.Concurrency < 0 {
		return fmt.Errorf("probe: concurrency %d is negative", c.Concurrency)
	}
	if err := c.Policy.Check(); err != nil {
		return fmt.Errorf("probe: %w", err)
	}
	seen := map[string]bool{}
	for _, t := range c.Targets {
		if t.Address == "" || seen[t.Address] {
			return fmt.Errorf("probe: endpoint %q is listed twice or has no address", t.Address)
		}
		seen[t.Address] = true
	}
	return nil
}

// Report is the result of one probe.
type Report struct {
	Address string
	// OK: the endpoint is well. Reason says how it answered, or what is wrong.
	OK     bool
	Reason string
	// Verdict is what the endpoint's results say together, and Changed whether
	// this one has changed it.
	Verdict health.Verdict
	Changed bool
	// Role and Term are what a [Ranker] has learned: RoleUnknown if the check is
	// none, or the probe failed.
	Role Role
	Term uint64
	// Took is how long the probe took, and At when it ended.
	Took time.Duration
	At   time.Duration
}

// Prober sends probes to endpoints. Its methods may be called concurrently.
//
// The goroutine in Run starts every probe and takes every result; mu guards what
// it shares with Update and State. A probe runs on a goroutine of its own that
// touches nothing but its Check and the channel of results.
type Prober struct {
	results chan result
	wake    chan struct{} // holds one token when Run has to look again

	mu      sync.Mutex
	cfg     Config
	entries map[string]*entry
	due     dueHeap // entries that are not being probed
	running int
	kept    map[string]health.State // restored for endpoints that are not here yet
}

// entry is an endpoint that is probed.
type entry struct {
	target  Target
	tracker *health.Tracker
	at      time.Duration // when the next probe is due
	index   int           // in the heap; negative if not in it
	gone    bool
}

type result struct {
	entry  *entry
	answer Answer
	err    error
	took   time.Duration
}

// New returns a prober that knows nothing about its endpoints yet.
func New(cfg Config) (*Prober, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	if cfg.Now == nil {
		origin := time.Now()
		cfg.Now = func() time.Duration { return time.Since(origin) }
	}
	p := &Prober{results: make(chan result), wake: make(chan struct{}, 1), entries: map[string]*entry{}}
	p.adopt(cfg)
	return p, nil
}

// Update takes a new configuration over. An endpoint whose address stays keeps
// its verdict and count; one that is new is probed at once. Report and Now stay
// if the new configuration has none. On an error nothing has changed.
func (p *Prober) Update(cfg Config) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if cfg.Report == nil {
		cfg.Report = p.cfg.Report
	}
	if cfg.Now == nil {
		cfg.Now = p.cfg.Now
	}
	if err := cfg.check(); err != nil {
		return err
	}
	p.adopt(cfg)
	p.nudge()
	return nil
}

// adopt makes cfg's targets the entries. The caller holds mu, or p is not shared.
func (p *Prober) adopt(cfg Config) {
	if cfg.Concurrency == 0 {
		cfg.Concurrency = DefaultConcurrency
	}
	cfg.Policy = cfg.Policy.WithDefaults()
	faster := cfg.Policy.Interval < p.cfg.Policy.Interval
	p.cfg = cfg
	old := p.entries
	p.entries = make(map[string]*entry, len(cfg.Targets))
	now := cfg.Now()
	for _, t := range cfg.Targets {
		e := old[t.Address]
		if e == nil {
			e = p.add(t, now)
		}
		delete(old, t.Address)
		e.target = t
		e.tracker.SetPolicy(cfg.Policy)
		if next := e.tracker.Next(now, rand.Uint64()); faster && e.index >= 0 && next < e.at {
			e.at = next
			heap.Fix(&p.due, e.index)
		}
		p.entries[t.Address] = e
	}
	for _, e := range old {
		e.gone = true
		if e.index >= 0 {
			heap.Remove(&p.due, e.index)
		}
	}
}

func (p *Prober) add(t Target, now time.Duration) *entry {
	e := &entry{target: t, tracker: health.New(p.cfg.Policy), at: now}
	if s, ok := p.kept[t.Address]; ok {
		e.tracker.Restore(s)
		delete(p.kept, t.Address)
	}
	heap.Push(&p.due, e)
	return e
}

// State returns what is known about each endpoint, to be kept over a restart.
func (p *Prober) State() map[string]health.State {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := make(map[string]health.State, len(p.entries))
	for address, e := range p.entries {
		all[address] = e.tracker.State()
	}
	return all
}

// Restore makes known what was known before, also about endpoints that only come
// with the next Update. It is called before Run; the restored verdicts are not
// reported, but probed at once.
func (p *Prober) Restore(all map[string]health.State) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.kept = map[string]health.State{}
	for address, s := range all {
		if e := p.entries[address]; e != nil {
			e.tracker.Restore(s)
		} else {
			p.kept[address] = s
		}
	}
}

// Hurry asks for a probe of an endpoint at once, whenever its next would have
// been due. It reports false if the prober does not have the endpoint.
func (p *Prober) Hurry(address string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	e := p.entries[address]
	if e == nil {
		return false
	}
	if e.index >= 0 {
		e.at = min(e.at, p.cfg.Now())
		heap.Fix(&p.due, e.index)
		p.nudge()
	}
	return true
}

// nudge makes Run look again.
func (p *Prober) nudge() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// Run sends probes until ctx ends, and returns when the last of them has. A
// probe that is cut short by this is not reported. It returns nil and may not be
// called twice at a time.
func (p *Prober) Run(ctx context.Context) error {
	var probes sync.WaitGroup
	defer probes.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			p.reset()
			return nil
		case <-timer.C:
		case <-p.wake:
		case r := <-p.results:
			p.finish(ctx, r)
		}
		for _, start := range p.startable() {
			probes.Go(func() { start.run(ctx, p.results) })
		}
		timer.Reset(p.untilNext())
	}
}

// job is a probe that is about to run.
type job struct {
	entry   *entry
	check   Check
	target  Target
	timeout time.Duration
}

// startable takes from the heap what is due, as far as there is room.
func (p *Prober) startable() (jobs []job) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.cfg.Now()
	for p.running < p.cfg.Concurrency && len(p.due) > 0 && p.due[0].at <= now {
		e := heap.Pop(&p.due).(*entry)
		p.running++
		jobs = append(jobs, job{e, p.cfg.Check, withPort(e.target, p.cfg.Port), p.cfg.Policy.Timeout})
	}
	return jobs
}

func withPort(t Target, port int) Target {
	network, address := t.dial()
	if port == 0 || network == "unix" {
		return t
	}
	if host, _, err := net.SplitHostPort(address); err == nil {
		t.Dial = net.JoinHostPort(host, strconv.Itoa(port))
	}
	return t
}

func (j job) run(ctx context.Context, results chan<- result) {
	limited, cancel := context.WithTimeout(ctx, j.timeout)
	defer cancel()
	start := time.Now()
	answer, err := j.ask(limited)
	select {
	case results <- result{j.entry, answer, err, time.Since(start)}:
	case <-ctx.Done():
	}
}

// ask asks for the role too, if the check can.
func (j job) ask(ctx context.Context) (Answer, error) {
	if r, ok := j.check.(Ranker); ok {
		return r.Rank(ctx, j.target)
	}
	detail, err := j.check.Do(ctx, j.target)
	return Answer{Detail: detail}, err
}

// untilNext is how long Run may sleep: until a result if there is no room.
func (p *Prober) untilNext() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.due) == 0 || p.running >= p.cfg.Concurrency {
		return time.Hour
	}
	return max(0, p.due[0].at-p.cfg.Now())
}

// finish takes a result and reports it, unless the endpoint is gone or the
// probe was cut short.
func (p *Prober) finish(ctx context.Context, r result) {
	p.mu.Lock()
	p.running--
	if r.entry.gone || ctx.Err() != nil {
		p.mu.Unlock()
		return
	}
	now := p.cfg.Now()
	changed := r.entry.tracker.Observe(now, r.err == nil)
	out := Report{
		Address: r.entry.target.Address, OK: r.err == nil, Reason: r.answer.Detail,
		Verdict: r.entry.tracker.Verdict(), Changed: changed, Took: r.took, At: now,
		Role: r.answer.Role, Term: r.answer.Term,
	}
	r.entry.at = r.entry.tracker.Next(now, rand.Uint64())
	heap.Push(&p.due, r.entry)
	report := p.cfg.Report
	p.mu.Unlock()
	if r.err != nil {
		out.Reason, out.Role, out.Term = r.err.Error(), RoleUnknown, 0
	}
	report(out)
}

// reset makes the prober fit for another Run: what was under way is due again.
func (p *Prober) reset() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.running = 0
	for _, e := range p.entries {
		if e.index < 0 {
			e.at = p.cfg.Now()
			heap.Push(&p.due, e)
		}
	}
}

// dueHeap has the entry that is due first on top.
type dueHeap []*entry

func (h dueHeap) Len() int           { return len(h) }
func (h dueHeap) Less(i, j int) bool { return h[i].at < h[j].at }
func (h dueHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}
func (h *dueHeap) Push(x any) {
	e := x.(*entry)
	e.index = len(*h)
	*h = append(*h, e)
}
func (h *dueHeap) Pop() any {
	e := (*h)[len(*h)-1]
	*h = (*h)[:len(*h)-1]
	e.index = -1
	return e
}
