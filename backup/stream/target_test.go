package stream

import (
	"context"
	"errors"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/trivet-ha/trivet/backup/store/storetest"
)

func testContext(t *testing.T) (context.Context, context.CancelFunc) {
	return context.WithCancel(t.Context())
}

// oracle finds a target by looking at every commit.
func oracle(commits []Commit, from Position, over func(last, c Commit) bool) (last, next Commit) {
	for _, c := range commits {
		if c.Position <= from {
			continue
		}
		if over(last, c) {
			return last, c
		}
		last = c
	}
	return last, Commit{}
}

func same(a, b Commit) bool { return a.Position == b.Position && a.ID == b.ID && a.Time.Equal(b.Time) }

func TestFindAgreesWithLookingAtEveryCommit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		random := rand.New(rand.NewPCG(20, 1))
		l := newLog(t, storetest.NewMemory())
		w, stop := running(t, l, 0, Options{FlushBytes: 20_000})
		begin := time.Now()
		all := history(14, 300, 0, begin)
		var commits []Commit
		for i := range all {
			for j := range all[i].Commits { // clocks are not perfect
				c := &all[i].Commits[j]
				c.Time = c.Time.Add(time.Duration(random.IntN(3000)-1500) * time.Millisecond)
				if c.Time.Before(begin) {
					c.Time = begin
				}
				commits = append(commits, *c)
			}
			appendAll(t, w, all[i:i+1])
			if i%100 == 0 {
				time.Sleep(time.Minute)
			}
		}
		w.Idle()
		stop()
		v := view(t, l)
		end := all[299].To
		for range 500 {
			from := all[random.IntN(len(all)-1)].To
			pick := commits[random.IntN(len(commits))]
			at := pick.Time.Add(time.Duration(random.IntN(3)-1) * time.Nanosecond)
			position := pick.Position + Position(random.IntN(3)) - 1
			for _, c := range []struct {
				target Target
				over   func(last, c Commit) bool
			}{
				{At(at), func(_, c Commit) bool { return c.Time.After(at) }},
				{AtPosition(min(position, end)), func(_, c Commit) bool { return c.Position > position }},
				{AtCommit(pick.ID), func(last, _ Commit) bool { return last.ID == pick.ID && !last.IsZero() }},
				{BeforeCommit(pick.ID), func(_, c Commit) bool { return c.ID == pick.ID }},
			} {
				last, next := oracle(commits, from, c.over)
				p, err := v.Find(t.Context(), w.Line().id, from, c.target)
				if c.target.kind == atCommit && pick.Position <= from {
					if !errors.Is(err, ErrNoCommit) {
						t.Fatalf("%v from %d: %v", c.target, from, err)
					}
					continue
				}
				if errors.Is(err, ErrBeyond) && next.IsZero() {
					continue
				}
				if err != nil || !same(p.Last, last) || !same(p.Next, next) {
					t.Fatalf("%v from %d: last %+v, next %+v, %v; want %+v and %+v", c.target, from, p.Last, p.Next, err, last, next)
				}
				if !last.IsZero() && p.Position != last.Position || last.IsZero() && p.Position != from {
					t.Fatalf("%v from %d: position %d, the last transaction's is %d", c.target, from, p.Position, last.Position)
				}
			}
		}
		if p, err := v.Find(t.Context(), w.Line().id, 0, Latest()); err != nil || p.Position != end || p.Last.ID != commits[len(commits)-1].ID {
			t.Errorf("latest: %+v, %v", p, err)
		}
	})
}

func TestTargetsAreReadAsTheyArePrinted(t *testing.T) {
	for _, want := range []Target{Latest(), At(time.Date(2026, 11, 23, 10, 31, 59, 0, time.Local)), At(time.Date(2026, 11, 23, 10, 31, 59, 125e6, time.Local)),
		AtPosition(77), AtCommit(1 << 60), BeforeCommit(9)} {
		got, err := ParseTarget(want.String())
		if err != nil || got.String() != want.String() || got.kind != want.kind {
			t.Errorf("%q is read as %v, %v", want, got, err)
		}
	}
	at, err := ParseTarget("2026-11-23T10:31:59+02:00")
	if err != nil || !at.Time().Equal(time.Date(2026, 11, 23, 8, 31, 59, 0, time.UTC)) {
		t.Errorf("%v, %v", at, err)
	}
	for _, text := range []string{"yesterday", "transaction", "before x", "position -1", "2026-13-01", "17"} {
		if got, err := ParseTarget(text); err == nil {
			t.Errorf("%q is read as %v", text, got)
		}
	}
}
