package life

import (
	"maps"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func policy(replicas int) Policy {
	return Policy{
		Replicas: replicas, StartTimeout: 10 * time.Second, DrainTimeout: 5 * time.Second,
		Restart: Restart{Backoff: time.Second, BackoffMax: 8 * time.Second, Limit: 5, Within: time.Minute},
	}
}

func TestAPauseIsWithinATenthOfWhatItShouldBe(t *testing.T) {
	for _, random := range []uint64{0, 1 << 63, ^uint64(0)} {
		g := New(policy(1))
		g.Next(0)
		g.Exited(1, "x", 0, random)
		actions, wake := g.Next(0)
		if d := actions[0].Delay; d < time.Second || d > 1100*time.Millisecond || wake != d {
			t.Errorf("random %x: the pause is %v, and it asks again at %v", random, d, wake)
		}
	}
	g := New(policy(1))
	g.slots[0].Level = 500
	if d := g.pause(g.slots[0], 0, 0); d != 8*time.Second {
		t.Errorf("after 500 ends the pause is %v", d)
	}
}

func TestAGroupTellsWhatItIs(t *testing.T) {
	p := policy(2)
	p.Restart.Off = true
	g := New(p)
	if !g.Empty() {
		t.Error("a new group has processes")
	}
	g.Next(0)
	g.Ready(1, 0)
	g.Exited(2, "exit status 1", time.Second, 0)
	g.Roll()
	g.Next(time.Second)
	if p, ok := g.Process(1); !ok || p.Phase != Ready {
		t.Errorf("process 1 is %+v", p)
	}
	number, rolling := g.Generation()
	if number != 1 || !rolling || len(g.Generations()) != 2 || g.Failed() != 0 || g.Empty() {
		t.Errorf("generation %d, rolling %v, of %v, %d failed", number, rolling, g.Generations(), g.Failed())
	}
	g.Exited(3, "exit status 1", 2*time.Second, 0)
	g.Exited(1, "exit status 7", 3*time.Second, 0)
	slots := g.Slots()
	if p, ok := g.Process(1); ok || p.ID != 0 || g.Closing() {
		t.Errorf("a process that is gone is %+v", p)
	}
	g.Next(4 * time.Second)
	g.Close()
	if !g.Closing() || g.Failed() != 1 || len(slots) != 2 || slots[0].LastExit != "exit status 7" {
		t.Errorf("%d failed, %+v", g.Failed(), slots[0])
	}
	slots[0].LastExit = "changed"
	if g.Slots()[0].LastExit == "changed" {
		t.Error("what is handed out is not a copy")
	}
}

// world carries out what a group decides, in its own way.
type world struct {
	t      *rapid.T
	group  *Group
	now    time.Duration
	alive  map[ID]*Process
	seen   map[ID]bool
	policy Policy
}

// decide carries out the group's actions, and checks each against what there is.
func (w *world) decide() {
	actions, wake := w.group.Next(w.now)
	if wake <= w.now {
		w.t.Fatalf("at %v it asks again at %v", w.now, wake)
	}
	for _, a := range actions {
		p := a.Process
		switch a.Do {
		case Start:
			if w.seen[p.ID] {
				w.t.Fatalf("process %d is started twice", p.ID)
			}
			w.seen[p.ID] = true
			w.alive[p.ID] = &p
		case Drain:
			q := w.alive[p.ID]
			if q == nil || q.Phase != Ready {
				w.t.Fatalf("drains %d, which is %+v", p.ID, q)
			}
			q.Phase = Draining
		case Stop:
			q := w.alive[p.ID]
			if q == nil || q.Phase == Stopping {
				w.t.Fatalf("stops %d, which is %+v", p.ID, q)
			}
			if q.Phase == Ready && a.Why == "" {
				w.t.Fatalf("stops %d, which is well and not drained", p.ID)
			}
			q.Phase = Stopping
		}
	}
	w.check()
}

// check looks at what must always be so.
func (w *world) check() {
	disturbed := 0
	for _, s := range w.group.Slots() {
		if s.Coming != nil || s.Leaving != nil || s.Renewing {
			disturbed++
		}
		if len(s.History) > w.policy.Restart.Limit {
			w.t.Fatalf("place %d had %d restarts", s.Index, len(s.History))
		}
		n := 0
		for _, p := range []*Process{s.Current, s.Coming, s.Leaving} {
			if p == nil {
				continue
			}
			n++
			if q := w.alive[p.ID]; q == nil || q.Phase != p.Phase {
				w.t.Fatalf("process %+v is really %+v", p, q)
			}
		}
		if n > 2 {
			w.t.Fatalf("place %d has %d processes", s.Index, n)
		}
	}
	if disturbed > 1 {
		w.t.Fatalf("%d places are being replaced at once", disturbed)
	}
}

// ids lists the living processes in order.
func (w *world) ids() []ID { return slices.Sorted(maps.Keys(w.alive)) }

// choose picks a living process.
func (w *world) choose() *Process {
	if len(w.alive) == 0 {
		return nil
	}
	return w.alive[rapid.SampledFrom(w.ids()).Draw(w.t, "id")]
}

// Whatever happens in what order: what is decided fits what there is, at most one place is replaced at a time, nobody who is
// well is stopped without being drained, and in the end all come up or all are gone.
func TestAGroupNeverLosesItsWay(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := &world{t: t, policy: policy(rapid.IntRange(1, 4).Draw(t, "replicas")), alive: map[ID]*Process{}, seen: map[ID]bool{}}
		w.group = New(w.policy)
		w.decide()
		for range rapid.IntRange(1, 80).Draw(t, "steps") {
			w.now += time.Duration(rapid.IntRange(0, 3000).Draw(t, "pause")) * time.Millisecond
			w.step(rapid.IntRange(0, 13).Draw(t, "what"))
			w.decide()
		}
		if rapid.Bool().Draw(t, "end") {
			w.end()
		} else {
			w.settle()
		}
	})
}

func (w *world) step(what int) {
	p := w.choose()
	switch {
	case what <= 3 && p != nil:
		w.ready(p)
	case what <= 5 && p != nil:
		w.exit(p)
	case what == 6 && p != nil:
		if p.Phase == Ready {
			w.group.Hung(p.ID, "no answer", w.now)
		}
	case what == 7 && p != nil:
		w.group.Idle(p.ID, w.now)
	case what == 8:
		w.group.Roll()
	case what == 9:
		_ = w.group.Restart(rapid.IntRange(-1, 4).Draw(w.t, "slot"), w.now)
	case what == 10:
		_ = w.group.Stop(rapid.IntRange(-1, 4).Draw(w.t, "slot"))
	case what == 11:
		_ = w.group.Start(rapid.IntRange(-1, 4).Draw(w.t, "slot"))
	case what == 12:
		w.policy.Replicas = rapid.IntRange(1, 4).Draw(w.t, "replicas")
		w.group.Configure(w.policy)
		w.group.Hold(rapid.Bool().Draw(w.t, "hold"))
	case what == 13:
		w.group = Restore(w.policy, w.group.State(w.now), w.now)
	}
}

func (w *world) ready(p *Process) {
	w.group.Ready(p.ID, w.now)
	if p.Phase == Starting {
		p.Phase = Ready
	}
}

func (w *world) exit(p *Process) {
	delete(w.alive, p.ID)
	w.group.Exited(p.ID, "exit status 1", w.now, 0)
}

// settle lets every process do what is asked of it, and wants all to be up in the end.
func (w *world) settle() {
	w.group.Hold(false)
	_ = w.group.Start(All)
	_ = w.group.Restart(All, w.now)
	for range 200 {
		w.decide()
		w.now += time.Second
		for _, id := range w.ids() {
			switch p := w.alive[id]; p.Phase {
			case Starting:
				w.ready(p)
			case Draining:
				w.group.Idle(p.ID, w.now)
			case Stopping:
				w.exit(p)
			}
		}
	}
	if len(w.alive) != w.policy.Replicas {
		w.t.Fatalf("%d processes are there, want %d", len(w.alive), w.policy.Replicas)
	}
	for _, s := range w.group.Slots() {
		if s.Current == nil || s.Current.Phase != Ready || s.Again || s.Renewing {
			w.t.Fatalf("place %+v, %+v", s, s.Current)
		}
	}
	if _, rolling := w.group.Generation(); rolling {
		w.t.Fatal("the roll does not end")
	}
}

// end closes the group, and wants all to be gone.
func (w *world) end() {
	w.group.Close()
	for range 100 {
		w.decide()
		w.now += 6 * time.Second
		for _, id := range w.ids() {
			if p := w.alive[id]; p.Phase == Stopping {
				w.exit(p)
			}
		}
	}
	if len(w.alive) > 0 || !w.group.Empty() {
		w.t.Fatalf("%d are left", len(w.alive))
	}
}
