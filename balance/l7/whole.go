package l7

import (
	"time"

	"github.com/trivet-ha/trivet/balance/l7/http1"
	"github.com/trivet-ha/trivet/fault/retry"
)

// A small answer that comes in parts is passed on once it is whole: if its endpoint breaks off in the middle, the
// client has seen nothing yet, and the request can be made again elsewhere. Large ones and those whose length is
// not known are passed on as they come, and so is what takes its time.
const (
	wholeMax    = 16 << 10 // of the body, in bytes: what most servers send at once
	wholeWithin = 100 * time.Millisecond
)

// awaitsWhole reports whether an answer of whose body so many bytes have come is to be kept back for the rest.
func (x *exchange) awaitsWhole(resp *http1.Response, have int) bool {
	if resp.Framing != http1.FramingLength || int64(have) >= resp.Length || resp.Length > wholeMax {
		return false
	}
	if x.sent == 0 || !x.retained || !x.method.Idempotent() || !x.route.Retry.Wants(x.attempts, retry.Reset, 0) {
		return false // it could not be made again anyway
	}
	now := x.w.Loop.Now()
	if x.wholeBy == 0 {
		x.wholeBy = now + wholeWithin
		x.rearm()
	}
	return now < x.wholeBy
}

// passOn lets go of an answer whose rest takes too long.
func (x *exchange) passOn() {
	n := copy(x.w.buf[headroom:], x.u.in)
	x.take(headroom, headroom+n)
}
