package stream

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/trivet-ha/trivet/events"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// run lets a stream work until the test ends.
func run(t *testing.T, cfg Config) (s *Stream, end func()) {
	t.Helper()
	s = New(cfg)
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	var once sync.Once
	end = func() {
		once.Do(func() {
			stop()
			if err := <-ended; err != nil {
				t.Error(err)
			}
		})
	}
	t.Cleanup(end)
	return s, end
}

func down(endpoint string) events.Event {
	return events.Event{Kind: events.EndpointDown, Where: events.Where{Pool: "site", Endpoint: endpoint}, Evidence: "refused", Action: "out"}
}

func up(endpoint string) events.Event {
	return events.Event{Kind: events.EndpointUp, Where: events.Where{Pool: "site", Endpoint: endpoint}}
}

// read takes n events from a cursor.
func read(t *testing.T, c *Cursor, n int) []events.Event {
	t.Helper()
	var all []events.Event
	for len(all) < n {
		batch, lost, err := c.Next(t.Context())
		if err != nil || lost > 0 {
			t.Fatalf("%d lost, %v", lost, err)
		}
		all = append(all, batch...)
	}
	return all
}

func TestEventsAreNumberedGroupedAndPassedOnInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var sunk []events.Event
		s, end := run(t, Config{Sink: func(e events.Event) { sunk = append(sunk, e) }})
		c := s.Live()
		s.Publish(down("a"))
		first := read(t, c, 1)[0]
		time.Sleep(3 * time.Second)
		s.Publish(up("a"))
		second := read(t, c, 1)[0]
		if first.Level != events.Warn || first.Incident != first.ID || first.At.IsZero() || first.ID != first.At.UnixMicro() {
			t.Errorf("first is %+v", first)
		}
		if second.ID <= first.ID || second.Incident != first.ID || second.Took.Duration() != 3*time.Second {
			t.Errorf("second is %+v", second)
		}
		if i, ok := s.Incident(first.ID); !ok || i.State != events.Recovered || len(s.Incidents()) != 1 {
			t.Errorf("incident %+v, %v", i, ok)
		}
		end()
		if len(sunk) != 2 || sunk[1] != second {
			t.Errorf("the sink got %v", sunk)
		}
		if st := s.Stats(); st.Events[events.EndpointDown] != 1 || st.Open != 0 || st.Dropped != 0 {
			t.Errorf("stats %+v", st)
		}
	})
}

func TestACursorResumesAfterAnEvent(t *testing.T) {
	s, _ := run(t, Config{})
	c := s.Live()
	for i := range 5 {
		s.Publish(down(fmt.Sprint(i)))
	}
	all := read(t, c, 5)
	if got := read(t, s.After(all[2].ID), 2); got[0].ID != all[3].ID || got[1].ID != all[4].ID {
		t.Errorf("after the third come %v", got)
	}
	if got := read(t, s.After(0), 5); got[0].ID != all[0].ID {
		t.Errorf("from the beginning come %v", got)
	}
	if got := s.List(events.Filter{Endpoint: "3"}); len(got) != 1 || got[0].ID != all[3].ID {
		t.Errorf("listed %v", got)
	}
	if got := s.List(events.Filter{Limit: 2}); len(got) != 2 || got[0].ID != all[3].ID {
		t.Errorf("the newest two are %v", got)
	}
}

func TestASlowCursorLosesTheOldestAndIsTold(t *testing.T) {
	s, _ := run(t, Config{Size: 4})
	slow, quick := s.Live(), s.Live()
	for i := range 10 {
		s.Publish(down(fmt.Sprint(i)))
		read(t, quick, 1)
	}
	batch, lost, err := slow.Next(t.Context())
	if err != nil || lost != 6 || len(batch) != 4 || batch[0].Endpoint != "6" || s.Stats().Lost != 6 {
		t.Errorf("%d lost, %d events, %v; %d counted", lost, len(batch), err, s.Stats().Lost)
	}
	if got := read(t, s.After(0), 4); got[0].Endpoint != "6" {
		t.Errorf("in memory are %v", got)
	}
}

func TestPublishNeverBlocksAndALossIsAnEvent(t *testing.T) {
	s := New(Config{Queue: 3})
	for i := range 10 {
		s.Publish(down(fmt.Sprint(i)))
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	got := read(t, s.After(0), 4)
	if got[3].Kind != events.EventsLost || got[3].Evidence != "7 events came faster than they could be taken" || s.Stats().Dropped != 7 {
		t.Errorf("the last is %+v", got[3])
	}
	stop()
	<-ended
}

func TestWhatWasPublishedIsReadBeforeTheEnd(t *testing.T) {
	s := New(Config{})
	ctx, stop := context.WithCancel(context.Background())
	stop()
	for i := range 600 {
		s.Publish(down(fmt.Sprint(i)))
	}
	c := s.Live()
	if err := s.Run(ctx); err != nil {
		t.Fatal(err)
	}
	if got := read(t, c, 600); len(got) != 600 {
		t.Errorf("%d are read", len(got))
	}
	if _, _, err := c.Next(t.Context()); !errors.Is(err, ErrEnded) {
		t.Errorf("then comes %v", err)
	}
}

func TestWaitingEndsWithItsContext(t *testing.T) {
	s, _ := run(t, Config{})
	ctx, stop := context.WithCancel(t.Context())
	time.AfterFunc(time.Millisecond, stop)
	if _, _, err := s.Live().Next(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("it ended with %v", err)
	}
}

func TestThePastIsKnownAndNumbersGoOnFromIt(t *testing.T) {
	future := time.Now().Add(time.Hour).UnixMicro() // a clock that was set back since
	past := []events.Event{
		{ID: 1, At: time.Unix(1, 0), Kind: events.EndpointDown, Where: events.Where{Endpoint: "a"}},
		{ID: future, At: time.Unix(2, 0), Kind: events.EndpointDown, Where: events.Where{Endpoint: "b"}},
	}
	s, _ := run(t, Config{Past: past})
	c := s.Live()
	s.Publish(events.Event{Kind: events.EndpointUp, Where: events.Where{Endpoint: "a"}})
	if got := read(t, c, 1)[0]; got.ID != future+1 || got.Incident != 1 {
		t.Errorf("after the past comes %+v", got)
	}
	if st := s.Stats(); st.Open != 1 || st.Events[events.EndpointDown] != 0 {
		t.Errorf("stats %+v", st)
	}
	if _, ok := s.Incident(7); ok {
		t.Error("an incident is made up")
	}
}

func TestManyPublishersAndReadersLoseNothing(t *testing.T) {
	const each, writers, readers = 500, 4, 4
	s, end := run(t, Config{Queue: each * writers})
	var wg sync.WaitGroup
	for range readers {
		c := s.Live()
		wg.Go(func() {
			last := int64(0)
			for n := 0; n < each*writers; {
				batch, lost, err := c.Next(t.Context())
				if err != nil || lost > 0 {
					t.Errorf("%d lost, %v", lost, err)
					return
				}
				for _, e := range batch {
					if e.ID <= last {
						t.Errorf("%d comes after %d", e.ID, last)
					}
					last = e.ID
				}
				n += len(batch)
			}
		})
	}
	for range writers {
		wg.Go(func() {
			for i := range each {
				s.Publish(down(fmt.Sprint(i)))
			}
		})
	}
	wg.Wait()
	end()
}

func BenchmarkPublish(b *testing.B) {
	s := New(Config{Queue: 1 << 16})
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	e := down("a")
	e.At = time.Now()
	b.ReportAllocs()
	for b.Loop() {
		s.Publish(e)
	}
	stop()
	<-ended
}
