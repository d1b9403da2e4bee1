package trivet

import (
	"context"
	"fmt"
	"time"

	"github.com/trivet-ha/trivet/events"
	"github.com/trivet-ha/trivet/internal/edge"
)

const (
	// pressureEvery is how often counters of what was turned away are looked at.
	pressureEvery = time.Second
	// pressureEnds is how long nothing must have been turned away for it to be over: a burst that ebbs and
	// flows is one.
	pressureEnds = 10 * time.Second
)

// episode is a time in which something was turned away again and again. It reads no clock.
type episode struct {
	count uint64 // of all that was ever turned away
	began uint64 // the count before the first of the episode
	last  time.Time
	on    bool
}

// observe takes the count as it is now. It reports whether an episode begins or ends with it, and how many it
// had.
func (e *episode) observe(now time.Time, count uint64) (begins, ends bool, turnedAway uint64) {
	before := e.count
	e.count = count
	if count > before {
		e.last = now
		if !e.on {
			e.on, e.began = true, before
			begins = true
		}
		return begins, false, count - e.began
	}
	if e.on && now.Sub(e.last) >= pressureEnds {
		e.on = false
		return false, true, count - e.began
	}
	return false, false, 0
}

// watchPressure makes events of requests and connections that are turned away.
func (n *Node) watchPressure(ctx context.Context) error {
	t := time.NewTicker(pressureEvery)
	defer t.Stop()
	seen := map[events.Where]*episode{}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
		now := time.Now()
		there := map[events.Where]bool{}
		look := func(w events.Where, count uint64, begins, ends events.Kind, what, action string) {
			there[w] = true
			e := seen[w]
			if e == nil {
				e = &episode{count: count} // what was before is not news
				seen[w] = e
			}
			began, ended, turnedAway := e.observe(now, count)
			switch {
			case began:
				n.history.publish(events.Event{Kind: begins, Where: w, Evidence: fmt.Sprintf("%d %s within a second", turnedAway, what), Action: action})
			case ended:
				n.history.publish(events.Event{Kind: ends, Where: w, Evidence: fmt.Sprintf("%d %s in all", turnedAway, what)})
			}
		}
		n.pressures(look)
		for w := range seen {
			if !there[w] {
				delete(seen, w)
			}
		}
	}
}

// pressures shows every counter of what is turned away.
func (n *Node) pressures(look func(w events.Where, count uint64, begins, ends events.Kind, what, action string)) {
	for _, p := range n.poolList() {
		s, _ := p.upstream.Stats()
		t, _ := p.sessions.Stats()
		count := s.QueueFull + s.QueueTimeout + s.None + t.QueueFull + t.QueueTimeout + t.None
		look(events.Where{Pool: p.name}, count, events.PoolFull, events.PoolEased,
			"requests or connections found no place", "answers with 503, or closes")
	}
	for name, b := range n.edge.Bindings() {
		count := b.Stats.Full.Load()
		for _, why := range edge.Refusals() {
			count += b.Stats.Refused[why].Load()
		}
		look(events.Where{Listener: name}, count, events.ListenerFull, events.ListenerEased,
			"connections met a limit", "lets them wait, or closes them")
	}
	look(events.Where{}, n.edge.Exhausted(), events.FilesExhausted, events.FilesFreed,
		"times no descriptor was free for a connection", "accepts again when one is")
}
