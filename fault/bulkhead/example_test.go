package bulkhead_test

import (
	"fmt"
	"time"

	"github.com/trivet-ha/trivet/fault/bulkhead"
)

func Example() {
	b := bulkhead.New(bulkhead.Config{Limit: 1, Queue: 1})
	for _, name := range []string{"first", "second", "third"} {
		if b.Acquire() {
			fmt.Println(name, "runs")
			continue
		}
		w := &bulkhead.Waiter{Wake: func(admitted bool) { fmt.Println(name, "is admitted:", admitted) }}
		if until, ok := b.Wait(w, 0); ok {
			fmt.Println(name, "waits until", until)
		} else {
			fmt.Println(name, "is refused")
		}
	}
	b.Release(20 * time.Millisecond)
	// Output:
	// first runs
	// second waits until 100ms
	// third is refused
	// second is admitted: true
}
