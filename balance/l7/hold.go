package l7

import (
	"time"

	"github.com/trivet-ha/trivet/internal/loop"
)

// A holding keeps the requests of one pool in one worker that found nobody to connect to, in the order in which
// they came. From time to time the first of them tries again; once an endpoint answers, all go out.
type holding struct {
	w     *worker
	up    *Upstream
	queue []*exchange
	bytes int // that they keep
	timer loop.Timer
}

// scoutEvery is how often the first of the held requests tries again.
const scoutEvery = 25 * time.Millisecond

// What one worker holds for one pool at most. Each request keeps its head and up to retainMax of its body.
const (
	holdMax      = 10_000
	holdBytesMax = 64 << 20
)

// holdOn makes a request wait that could not be sent to anybody, if its pool wants that.
func (x *exchange) holdOn(f failure) bool {
	unsent := f == failedConnect || f == failedLocal
	if x.set.Hold <= 0 || !unsent || !x.retained || x.lost {
		return false
	}
	now := x.w.Loop.Now()
	if x.heldBy == 0 {
		x.heldBy = now + x.set.Hold
		x.did(deedHeld)
	}
	if now >= x.heldBy || !x.c.watch() {
		return false
	}
	h := x.w.holdings[x.up]
	if h == nil {
		h = &holding{w: x.w, up: x.up}
		x.w.holdings[x.up] = h
	}
	if len(h.queue) >= holdMax || h.bytes+len(x.req) > holdBytesMax {
		h.tidy()
		return false
	}
	h.put(x)
	x.attempts, x.tried, x.reqAt = 0, x.tried[:0], 0
	x.enter(phaseHeld, x.heldBy-now)
	return true
}

// put queues a request by its age: one that has tried in vain comes back to its place.
func (h *holding) put(x *exchange) {
	i := len(h.queue)
	for i > 0 && h.queue[i-1].start > x.start {
		i--
	}
	h.queue = append(h.queue, nil)
	copy(h.queue[i+1:], h.queue[i:])
	h.queue[i] = x
	x.heldBytes = len(x.req)
	h.bytes += x.heldBytes
	if !h.timer.Armed() {
		h.w.Loop.Arm(&h.timer, h, h.w.Loop.Now()+scoutEvery)
	}
}

// take takes a request out of the queue.
func (h *holding) take(x *exchange) {
	for i, y := range h.queue {
		if y == x {
			h.queue = append(h.queue[:i], h.queue[i+1:]...)
			h.bytes -= x.heldBytes
			break
		}
	}
	h.tidy()
}

func (h *holding) tidy() {
	if len(h.queue) == 0 && h.w.holdings[h.up] == h {
		h.w.Loop.Disarm(&h.timer)
		delete(h.w.holdings, h.up)
	}
}

// Expire implements loop.Expirer: the first one tries again.
func (h *holding) Expire(now time.Duration) {
	if len(h.queue) == 0 {
		h.tidy()
		return
	}
	x := h.queue[0]
	h.queue = append(h.queue[:0], h.queue[1:]...)
	h.bytes -= x.heldBytes
	if len(h.queue) > 0 {
		h.w.Loop.Arm(&h.timer, h, now+scoutEvery)
	} else {
		h.tidy()
	}
	x.repick()
}

// release lets all requests go: their pool has an endpoint again.
func (h *holding) release() {
	queue := h.queue
	h.queue, h.bytes = nil, 0
	h.tidy()
	for _, x := range queue {
		x.repick()
	}
}

// letGo takes the request out of the holding that it is in, if any.
func (x *exchange) letGo() {
	if x.phase == phaseHeld {
		x.phase = phaseNone
		x.w.holdings[x.up].take(x)
	}
}
