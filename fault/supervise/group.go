package supervise

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/trivet-ha/trivet/events"
	"github.com/trivet-ha/trivet/fault/probe"
	"github.com/trivet-ha/trivet/fault/supervise/life"
)

// Group keeps the processes of one pool running. It is made by New or Adopt; its
// methods may be called by any goroutine.
//
// The goroutine in Run carries out what package life decides, and holds turn while
// it does. Goroutines of instances report what happens to them. mu guards what
// they share.
type Group struct {
	origin time.Time
	wake   chan struct{} // holds one token when Run has to look again
	turn   sync.Mutex    // held while something is carried out, and while frozen
	asker  *probe.Prober // asks those that are ready whether they are alive

	mu        sync.Mutex
	cfg       Config // what Update does not change may be read without mu
	life      *life.Group
	specs     map[int]*Spec // by generation
	instances map[life.ID]*instance
	seats     map[int]seat         // by slot
	traces    map[life.ID]trace    // of processes that are gone, until that is told
	watched   map[string]bool      // addresses that are asked whether they are alive
	silent    map[string]time.Time // since when one of them does not answer
	frozen    bool
	detached  bool // another process has taken over
}

// trace is what is left of a process that is gone.
type trace struct {
	address string
	died    time.Time
}

// New returns a group that starts its processes when it runs.
func New(cfg Config) (*Group, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	g := newGroup(cfg)
	g.life = life.New(g.cfg.Policy)
	g.specs[0] = &g.cfg.Spec
	return g, nil
}

func newGroup(cfg Config) *Group {
	return &Group{
		origin: time.Now(), wake: make(chan struct{}, 1), cfg: cfg.withDefaults(), specs: map[int]*Spec{},
		instances: map[life.ID]*instance{}, seats: map[int]seat{}, traces: map[life.ID]trace{}, silent: map[string]time.Time{},
	}
}

func (g *Group) now() time.Duration { return time.Since(g.origin) }

// Run keeps the processes running until ctx ends. Then it drains and stops all of
// them and returns nil; or, once Detach was called, leaves them as they are.
func (g *Group) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	asking, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	if err := g.newAsker(); err != nil {
		return err
	}
	wg.Go(func() { _ = g.asker.Run(asking) })
	g.turn.Lock()
	for _, in := range g.list() { // those that were adopted
		g.begin(in)
	}
	g.turn.Unlock()
	timer := time.NewTimer(0)
	defer timer.Stop()
	done := ctx.Done()
	for {
		select {
		case <-done:
			done = nil
			g.locked(func() { g.life.Close() })
			continue
		case <-g.wake:
		case <-timer.C:
		}
		next, over := g.work(done == nil)
		if over {
			return nil
		}
		timer.Reset(next)
	}
}

// work carries out what there is to do now. It returns how long there will be
// nothing, and whether that is for ever.
func (g *Group) work(closing bool) (next time.Duration, over bool) {
	g.turn.Lock() // waits while the group is frozen
	defer g.turn.Unlock()
	g.mu.Lock()
	if g.detached {
		g.mu.Unlock()
		return 0, true
	}
	actions, wake := g.life.Next(g.now())
	buried := g.forget()
	// As it stands now, and not after what follows: an end that is reported meanwhile has yet to be told.
	over = closing && g.life.Empty() && len(g.instances) == 0
	g.mu.Unlock()
	for _, a := range actions {
		g.carryOut(a)
	}
	g.leaveSeats()
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, id := range buried {
		delete(g.traces, id) // what there was to tell has been told
	}
	if wake == life.Never {
		return time.Hour, over
	}
	return max(0, wake-g.now()), over
}

// forget drops the specs that nothing is of any more, and returns the processes
// that life does not know any more. The caller holds mu.
func (g *Group) forget() (buried []life.ID) {
	for id := range g.traces {
		if _, there := g.life.Process(id); !there {
			buried = append(buried, id)
		}
	}
	used := g.life.Generations()
	for n := range g.specs {
		if !used[n] {
			delete(g.specs, n)
		}
	}
	return buried
}

// carryOut does what was decided, or tells of it.
func (g *Group) carryOut(a life.Action) {
	switch a.Do {
	case life.Start:
		g.start(a.Process)
	case life.Drain:
		g.drain(a.Process)
	case life.Stop:
		g.stop(a.Process, a.Why)
	default:
		g.announce(a)
	}
}

// announce makes an event of a decision.
func (g *Group) announce(a life.Action) {
	e := events.Event{Where: events.Where{Pool: g.cfg.Pool}, Evidence: a.Why}
	if a.Process.ID > 0 {
		e.Process = g.name(a.Process.Slot)
		e.Endpoint, e.Since = g.traceOf(a.Process.ID)
	}
	switch a.Do {
	case life.Late:
		e.Kind, e.Action, e.Since = events.ProcessLate, "ends it", g.origin.Add(a.Process.Started)
	case life.Restarts:
		e.Kind, e.Action = events.ProcessExited, fmt.Sprintf("starts again in %v", a.Delay.Round(time.Millisecond))
	case life.GaveUp:
		e.Kind = events.ProcessGaveUp
		e.Action = fmt.Sprintf("marks pool %s as failed and starts it no more, until trivet process restart", g.cfg.Pool)
	case life.Stopped:
		e.Kind = events.ProcessStopped
	case life.Rolling:
		e.Kind, e.Evidence = events.ProcessRolling, fmt.Sprintf("version %d", a.Process.Generation+1)
	case life.Rolled:
		e.Kind, e.Evidence = events.ProcessRolled, fmt.Sprintf("version %d", a.Process.Generation+1)
	case life.RollFailed:
		e.Kind, e.Action = events.ProcessRollFailed, "the old version stays"
		e.Evidence = fmt.Sprintf("version %d did not come up: %s", a.Process.Generation+1, a.Why)
	}
	g.cfg.Event(e)
}

// traceOf is where a process is or was, and when it died.
func (g *Group) traceOf(id life.ID) (address string, died time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if in := g.instances[id]; in != nil {
		return in.address(), time.Time{}
	}
	t := g.traces[id]
	return t.address, t.died
}

// name is what the process of a slot is called.
func (g *Group) name(slot int) string { return fmt.Sprintf("%s/%d", g.cfg.Pool, slot) }

// nudge makes Run look again.
func (g *Group) nudge() {
	select {
	case g.wake <- struct{}{}:
	default:
	}
}

// locked runs f under mu and makes Run look again.
func (g *Group) locked(f func()) {
	g.mu.Lock()
	f()
	g.mu.Unlock()
	g.nudge()
}

// exited tells life that a process is gone for good.
func (g *Group) exited(in *instance, why string) {
	g.locked(func() { g.life.Exited(in.id, why, g.now(), rand.Uint64()) })
}

// Update changes the configuration. Another command, or another environment of
// it, is rolled out. Pool, Keeper, Ports, Traffic, Event and Log stay. On an error
// nothing has changed.
func (g *Group) Update(cfg Config) error {
	cfg.Pool, cfg.Keeper, cfg.Ports, cfg.Traffic = g.cfg.Pool, g.cfg.Keeper, g.cfg.Ports, g.cfg.Traffic
	cfg.Event, cfg.Log = g.cfg.Event, g.cfg.Log
	if err := cfg.check(); err != nil {
		return err
	}
	cfg = cfg.withDefaults()
	g.locked(func() {
		wanted, _ := g.life.Generation()
		changed := !g.specs[wanted].same(&cfg.Spec)
		g.cfg.Spec, g.cfg.Policy, g.cfg.Ready, g.cfg.ReadyTimeout = cfg.Spec, cfg.Policy, cfg.Ready, cfg.ReadyTimeout
		g.cfg.Alive, g.cfg.Output = cfg.Alive, cfg.Output
		g.life.Configure(cfg.Policy)
		if changed {
			wanted = g.life.Roll()
		}
		g.specs[wanted] = &cfg.Spec
		g.rewatch()
	})
	return nil
}

// Roll replaces every process by a new one of the same command, one after the
// other, each new one ready before its old one goes.
func (g *Group) Roll() {
	g.locked(func() {
		wanted, _ := g.life.Generation()
		spec := g.specs[wanted]
		g.specs[g.life.Roll()] = spec
	})
}

// Restart ends a process and starts it again; with life.All one after the other.
// What was given up or stopped is started. The error says that there is no such
// process.
func (g *Group) Restart(slot int) (err error) {
	g.locked(func() { err = g.life.Restart(slot, g.now()) })
	return err
}

// Stop ends a process, or all, until Start or Restart. The error says that there
// is no such process.
func (g *Group) Stop(slot int) (err error) {
	g.locked(func() { err = g.life.Stop(slot) })
	return err
}

// Start undoes Stop, and resumes what was given up. The error says that there is
// no such process.
func (g *Group) Start(slot int) (err error) {
	g.locked(func() { err = g.life.Start(slot) })
	return err
}

// Hold says whether processes that are well are to be left alone for now: while
// somebody whose requests this process can not see still sends some.
func (g *Group) Hold(on bool) { g.locked(func() { g.life.Hold(on) }) }
