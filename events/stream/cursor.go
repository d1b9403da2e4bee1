package stream

import (
	"context"
	"errors"
	"sort"

	"github.com/trivet-ha/trivet/events"
)

// ErrEnded says that the stream has ended and the cursor has read all of it.
var ErrEnded = errors.New("the stream of events has ended")

// Cursor reads the events of a stream in order. It holds nothing in memory, so
// one that nobody reads from costs nothing. It belongs to one goroutine at a time.
type Cursor struct {
	stream *Stream
	next   uint64 // the number of the event to be read next
}

// After returns a cursor that reads what came after the event with that ID, as
// far as it is in memory. After 0 it reads all that is.
func (s *Stream) After(id int64) *Cursor {
	s.mu.Lock()
	defer s.mu.Unlock()
	first := s.first()
	n := sort.Search(int(s.next-first), func(i int) bool { return s.ring[(first+uint64(i))%uint64(len(s.ring))].ID > id })
	return &Cursor{stream: s, next: first + uint64(n)}
}

// Live returns a cursor that reads what happens from now on.
func (s *Stream) Live() *Cursor {
	s.mu.Lock()
	defer s.mu.Unlock()
	return &Cursor{stream: s, next: s.next}
}

// maxBatch bounds what one call of Next copies.
const maxBatch = 512

// Next waits for events and returns them, and how many came before them that the
// cursor was too slow for. The error is ErrEnded, or that of ctx.
func (c *Cursor) Next(ctx context.Context) (batch []events.Event, lost uint64, err error) {
	for {
		batch, lost, woken, ended := c.read()
		if len(batch) > 0 || lost > 0 {
			return batch, lost, nil
		}
		if ended {
			return nil, 0, ErrEnded
		}
		select {
		case <-woken:
		case <-ctx.Done():
			return nil, 0, ctx.Err()
		}
	}
}

func (c *Cursor) read() (batch []events.Event, lost uint64, woken <-chan struct{}, ended bool) {
	s := c.stream
	s.mu.Lock()
	defer s.mu.Unlock()
	if first := s.first(); c.next < first {
		lost = first - c.next
		c.next = first
		s.lost.Add(lost)
	}
	for ; c.next < s.next && len(batch) < maxBatch; c.next++ {
		batch = append(batch, s.ring[c.next%uint64(len(s.ring))])
	}
	return batch, lost, s.woken, s.ended
}
