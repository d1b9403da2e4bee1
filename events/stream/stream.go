// Package stream carries events from whoever notices them to whoever listens.
//
// [Stream.Publish] never blocks, so an event loop may call it. One goroutine
// numbers the events, groups them into incidents and keeps the latest in memory.
// Every listener reads them at its own pace through a [Cursor]; one that is too
// slow loses the oldest and is told how many. Nothing is written to disk here.
package stream

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/trivet-ha/trivet/events"
)

// Limits of a stream.
const (
	// DefaultSize is how many events are kept in memory: some megabytes at most.
	DefaultSize = 10_000
	// DefaultQueue is how many events may wait to be numbered. More are dropped
	// and counted: that many at once say nothing that fewer would not.
	DefaultQueue = 4096
)

// Config describes a stream. The zero Config works.
type Config struct {
	// Size is how many events are kept; 0 is DefaultSize.
	Size int
	// Queue is how many may wait; 0 is DefaultQueue.
	Queue int
	// Past is what happened before this stream, in order: read from a journal, or
	// handed over by another process.
	Past []events.Event
	// Sink, if set, gets every event, in order, by the goroutine in Run.
	Sink func(events.Event)
}

// Stream is made by New. Its methods may be called by any goroutine.
type Stream struct {
	queue   chan events.Event
	dropped atomic.Uint64
	lost    atomic.Uint64 // by cursors
	sink    func(events.Event)

	mu      sync.Mutex
	ring    []events.Event
	next    uint64 // the number of events ever put into the ring
	lastID  int64
	counts  map[events.Kind]uint64
	tracker events.Tracker
	woken   chan struct{} // closed, and made anew, with each event
	ended   bool
}

// New returns a stream that knows the past.
func New(cfg Config) *Stream {
	if cfg.Size == 0 {
		cfg.Size = DefaultSize
	}
	if cfg.Queue == 0 {
		cfg.Queue = DefaultQueue
	}
	if cfg.Sink == nil {
		cfg.Sink = func(events.Event) {}
	}
	s := &Stream{
		queue: make(chan events.Event, cfg.Queue), sink: cfg.Sink, ring: make([]events.Event, cfg.Size),
		counts: map[events.Kind]uint64{}, woken: make(chan struct{}),
	}
	for _, e := range cfg.Past {
		e, _ = s.tracker.Observe(e)
		s.keep(e)
	}
	return s
}

// Publish adds an event, of which the caller has set all but ID, Level and
// Incident. Without At it is of now. It never blocks: when too many wait, the
// event is dropped and counted.
func (s *Stream) Publish(e events.Event) {
	if e.At.IsZero() {
		e.At = time.Now()
	}
	select {
	case s.queue <- e:
	default:
		s.dropped.Add(1)
	}
}

// Run takes events in until ctx ends, and then those that still wait. Cursors end
// with it. It returns nil and may be called once.
func (s *Stream) Run(ctx context.Context) error {
	told := uint64(0)
	for {
		select {
		case e := <-s.queue:
			s.take(e)
		case <-ctx.Done():
			s.finish()
			return nil
		}
		if dropped := s.dropped.Load(); dropped != told && len(s.queue) == 0 {
			s.take(events.Event{
				Kind: events.EventsLost, At: time.Now(), Action: "dropped them",
				Evidence: fmt.Sprintf("%d events came faster than they could be taken", dropped-told),
			})
			told = dropped
		}
	}
}

// finish takes what waits and ends the cursors.
func (s *Stream) finish() {
	for {
		select {
		case e := <-s.queue:
			s.take(e)
			continue
		default:
		}
		s.mu.Lock()
		s.ended = true
		close(s.woken)
		s.mu.Unlock()
		return
	}
}

// take numbers an event, keeps it and passes it on.
func (s *Stream) take(e events.Event) {
	s.mu.Lock()
	e.ID = max(s.lastID+1, time.Now().UnixMicro())
	e, _ = s.tracker.Observe(e)
	s.keep(e)
	s.counts[e.Kind]++
	woken := s.woken
	s.woken = make(chan struct{})
	s.mu.Unlock()
	close(woken)
	s.sink(e)
}

// keep puts an event into the ring. The caller holds mu, or s is not shared.
func (s *Stream) keep(e events.Event) {
	s.ring[s.next%uint64(len(s.ring))] = e
	s.next++
	s.lastID = max(s.lastID, e.ID)
}

// first is the number of the oldest event in the ring.
func (s *Stream) first() uint64 {
	if size := uint64(len(s.ring)); s.next > size {
		return s.next - size
	}
	return 0
}

// List returns the events in memory that f chooses, the oldest first.
func (s *Stream) List(f events.Filter) []events.Event {
	s.mu.Lock()
	defer s.mu.Unlock()
	var found []events.Event
	for i := s.next; i > s.first() && (f.Limit == 0 || len(found) < f.Limit); i-- {
		if e := &s.ring[(i-1)%uint64(len(s.ring))]; f.Match(e) {
			found = append(found, *e)
		}
	}
	slices.Reverse(found)
	return found
}

// Incidents returns those that are open and the latest that are over, in order.
func (s *Stream) Incidents() []events.Incident {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tracker.Incidents()
}

// Incident returns the incident with that ID, if it is remembered.
func (s *Stream) Incident(id int64) (events.Incident, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tracker.Find(id)
}

// Stats are a stream's counters.
type Stats struct {
	Events    map[events.Kind]uint64 // since New, without the past
	Dropped   uint64                 // found the queue full
	Lost      uint64                 // by cursors that were too slow
	Open      int                    // incidents
	Untracked uint64                 // faults beyond events.MaxOpen
}

// Stats returns the counters.
func (s *Stream) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	return Stats{
		Events: maps.Clone(s.counts), Dropped: s.dropped.Load(), Lost: s.lost.Load(),
		Open: s.tracker.OpenCount(), Untracked: s.tracker.Untracked(),
	}
}
