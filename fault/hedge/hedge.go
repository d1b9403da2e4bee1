// Package hedge answers when a call that takes unusually long is made a second
// time, so that the first answer of the two can be used: a server that hiccups
// then costs its clients a little more than the usual time and not the hiccup.
//
// "Unusually long" is a quantile of the latencies of late, so about one call in
// twenty is hedged whatever the service; and a budget bounds the hedges when
// everything has become slow, for which more load is no cure.
//
// Source: J. Dean, L. A. Barroso, "The Tail at Scale", CACM 56 (2013), "hedged
// requests".
//
// A call may be hedged only if it does no harm that its effect happens twice;
// whether that is so the caller must know (for HTTP, see [retry.Safe]). The
// package makes no call, starts no goroutine and reads no clock.
package hedge

import (
	"time"

	"github.com/trivet-ha/trivet/fault/internal/quantile"
	"github.com/trivet-ha/trivet/fault/retry"
)

// Hedge learns how long calls take and says when to make them again. Its methods
// may be called concurrently, block nobody and allocate nothing.
type Hedge struct {
	config Config
	usual  *quantile.Estimator
	budget *retry.Budget
}

// New returns a hedge that knows nothing yet. The caller has checked c.
func New(c Config) *Hedge {
	c = c.WithDefaults()
	return &Hedge{
		config: c,
		usual:  quantile.New(c.Quantile, c.Window, c.Samples),
		budget: retry.NewBudget(c.Budget),
	}
}

// Config returns the rules, defaults filled in.
func (h *Hedge) Config() Config { return h.config }

// Delay returns how long a call may take before it is made again. It reports
// false as long as too little is known.
func (h *Hedge) Delay() (d time.Duration, known bool) {
	if h.config.Delay > 0 {
		return h.config.Delay, true
	}
	d, known = h.usual.Value()
	return max(d, h.config.Min), known
}

// Begin counts a call and returns after how long to ask [Hedge.Take] about it. It
// reports false if the call is not to be hedged.
func (h *Hedge) Begin(now time.Duration) (after time.Duration, ok bool) {
	h.budget.Request(now)
	return h.Delay()
}

// Take reports whether a call that has been made again the given number of
// times, and for which the delay has passed since, is made once more.
func (h *Hedge) Take(now time.Duration, hedges int) bool {
	return hedges < h.config.Hedges && h.budget.Take(now)
}

// Return gives a hedge back to the budget that was taken and not made.
func (h *Hedge) Return(now time.Duration) { h.budget.Return(now) }

// Observe takes the latency of an attempt, be it the first or a hedge. That of
// one cancelled because another answered counts as well: it would have been
// longer still, and longer than the delay already, which is all that matters to a
// quantile.
func (h *Hedge) Observe(now, latency time.Duration) {
	if h.config.Delay == 0 {
		h.usual.Observe(now, latency)
	}
}

// Remaining returns how many hedges the budget allows for at once.
func (h *Hedge) Remaining(now time.Duration) int { return h.budget.Remaining(now) }
