package adaptive_test

import (
	"fmt"
	"time"

	"github.com/trivet-ha/trivet/fault/limit/adaptive"
)

func Example() {
	l := adaptive.New(adaptive.Config{Initial: 10})
	now := time.Duration(0)
	// round makes ten calls at a time, each of which takes a while.
	round := func(takes time.Duration) {
		var tickets []adaptive.Ticket
		for range 10 {
			if t, ok := l.Acquire(now); ok {
				tickets = append(tickets, t)
			}
		}
		now += takes
		for _, t := range tickets {
			l.Done(t, adaptive.OK, now)
		}
	}
	for range 100 {
		round(20 * time.Millisecond)
	}
	usual := l.Limit()
	for range 100 {
		round(80 * time.Millisecond) // the service has become slow
	}
	fmt.Println(usual > 10, l.Limit() < usual)
	// Output: true true
}
