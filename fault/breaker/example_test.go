package breaker_test

import (
	"fmt"
	"time"

	"github.com/trivet-ha/trivet/fault/breaker"
)

func Example() {
	b := breaker.New(breaker.Config{Consecutive: 3, OpenFor: 5 * time.Second, Probes: 1})
	for now := time.Duration(0); now < 9*time.Second; now += time.Second {
		ticket, ok := b.Allow(now)
		if !ok {
			fmt.Printf("%v: refused, try again in %v\n", now, b.Wait(now))
			continue
		}
		outcome := breaker.Failed // until the service is back
		if now >= 6*time.Second {
			outcome = breaker.OK
		}
		b.Done(ticket, outcome, now)
		fmt.Printf("%v: %v, now %v\n", now, outcome, b.Status(now).State)
	}
	// Output:
	// 0s: failed, now closed
	// 1s: failed, now closed
	// 2s: failed, now open
	// 3s: refused, try again in 4s
	// 4s: refused, try again in 3s
	// 5s: refused, try again in 2s
	// 6s: refused, try again in 1s
	// 7s: ok, now closed
	// 8s: ok, now closed
}
