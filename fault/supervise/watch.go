package supervise

import (
	"context"
	"time"

	"github.com/trivet-ha/trivet/events"
	"github.com/trivet-ha/trivet/fault/health"
	"github.com/trivet-ha/trivet/fault/probe"
	"github.com/trivet-ha/trivet/fault/supervise/life"
)

// Pauses between the questions to a process that starts: most are ready within
// milliseconds or within seconds.
const (
	askFirst = 5 * time.Millisecond
	askLast  = 200 * time.Millisecond
)

// awaitReady asks a process that starts until it is ready, or gone.
func (g *Group) awaitReady(in *instance) {
	for pause := askFirst; ; pause = min(pause*3/2, askLast) {
		g.mu.Lock()
		check, timeout := g.cfg.Ready, g.cfg.ReadyTimeout
		g.mu.Unlock()
		ctx, cancel := context.WithTimeout(in.ctx, timeout)
		_, err := check.Do(ctx, probe.Target{Address: in.address()})
		cancel()
		// Something else may answer at the port of a process that is not there (yet).
		if err == nil && in.ctx.Err() == nil && in.last().PID != 0 {
			g.ready(in)
			return
		}
		select {
		case <-in.ctx.Done():
			return
		case <-time.After(pause):
		}
	}
}

// ready goes on when a process is ready: requests first, so that whoever it
// replaces is not drained before.
func (g *Group) ready(in *instance) {
	g.put(in, Serving, "the process is ready")
	g.cfg.Event(events.Event{Kind: events.ProcessReady, Where: g.where(in), Took: events.Span(time.Since(in.started))})
	g.locked(func() {
		g.life.Ready(in.id, g.now())
		if p, ok := g.life.Process(in.id); ok && p.Phase == life.Ready {
			g.prove(in)
		}
		g.rewatch()
	})
}

// Idle is believed after it was seen a few times in a row: a request may have
// chosen its endpoint and not yet be counted.
const (
	idleEvery = 10 * time.Millisecond
	idleTimes = 3
)

// drain sends a process no more, and waits until nothing is in flight there.
func (g *Group) drain(p life.Process) {
	in := g.instance(p.ID)
	if in == nil {
		return
	}
	g.put(in, Leaving, "the process is to be stopped")
	g.mu.Lock()
	g.rewatch()
	g.mu.Unlock()
	in.wg.Go(func() { g.awaitIdle(in) })
}

func (g *Group) awaitIdle(in *instance) {
	tick := time.NewTicker(idleEvery)
	defer tick.Stop()
	for seen := 0; seen < idleTimes; {
		select {
		case <-in.ctx.Done():
			return
		case <-tick.C:
		}
		seen++
		if g.cfg.Traffic.InFlight(in.address()) > 0 {
			seen = 0
		}
	}
	g.locked(func() { g.life.Idle(in.id, g.now()) })
}

// stop asks a process to end; its keeper kills it when it does not.
func (g *Group) stop(p life.Process, why string) {
	in := g.instance(p.ID)
	if in == nil {
		return
	}
	if why != "" && p.WasReady {
		e := events.Event{Kind: events.ProcessHung, Where: g.where(in), Evidence: why, Action: "ends it"}
		g.mu.Lock()
		e.Since = g.silent[in.address()]
		g.mu.Unlock()
		g.cfg.Event(e)
	}
	if why != "" {
		g.dies(in, why)
	} else {
		g.leaves(in)
	}
	g.mu.Lock()
	o := order{Do: "stop", Signal: int(g.cfg.Spec.StopSignal), Grace: g.cfg.Spec.StopTimeout}
	g.mu.Unlock()
	_ = send(in.conn, o) // a keeper that is gone has ended it
}

// leaves notes that an instance ends as it was wished.
func (g *Group) leaves(in *instance) {
	in.placing.Lock()
	defer in.placing.Unlock()
	in.wished = true
}

// newAsker makes the prober that asks whether processes are alive. Without a
// question it asks nobody.
func (g *Group) newAsker() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	var err error
	g.asker, err = probe.New(g.questions())
	g.rewatch()
	return err
}

// questions is whom to ask what. The caller holds mu.
func (g *Group) questions() probe.Config {
	c := probe.Config{Check: &probe.TCP{}, Report: g.answered, Now: g.now}
	if a := g.cfg.Alive; a != nil {
		c.Check, c.Policy = a.Check, a.Policy
	}
	return c
}

// rewatch makes the asker ask those that are ready, who are alive to begin with.
// The caller holds mu.
func (g *Group) rewatch() {
	if g.asker == nil {
		return
	}
	c := g.questions()
	known, fresh := map[string]bool{}, map[string]health.State{}
	for id, in := range g.instances {
		if p, ok := g.life.Process(id); !ok || p.Phase != life.Ready || g.cfg.Alive == nil {
			continue
		}
		c.Targets = append(c.Targets, probe.Target{Address: in.address()})
		known[in.address()] = true
		if !g.watched[in.address()] {
			fresh[in.address()] = health.State{Verdict: health.Up}
		}
	}
	g.asker.Restore(fresh)
	if err := g.asker.Update(c); err != nil {
		g.cfg.Log.Error("processes are not asked whether they are alive", "pool", g.cfg.Pool, "error", err)
	}
	g.watched = known
	for address := range g.silent {
		if !known[address] {
			delete(g.silent, address)
		}
	}
}

// answered takes the answer of a process that was ready.
func (g *Group) answered(r probe.Report) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if r.OK {
		delete(g.silent, r.Address)
		return
	}
	if _, known := g.silent[r.Address]; !known && g.watched[r.Address] {
		g.silent[r.Address] = time.Now().Add(-r.Took)
	}
	if r.Verdict != health.Down || !r.Changed || g.frozen {
		return
	}
	for id, in := range g.instances {
		if in.address() == r.Address {
			g.life.Hung(id, "does not answer: "+r.Reason, g.now())
		}
	}
	g.nudge()
}
