package hedge_test

import (
	"fmt"
	"time"

	"github.com/trivet-ha/trivet/fault/hedge"
)

func Example() {
	h := hedge.New(hedge.Config{})
	for i := range 1000 { // most calls take 10 ms
		h.Observe(time.Duration(i)*time.Millisecond, 10*time.Millisecond)
	}
	now := time.Second
	after, ok := h.Begin(now)
	fmt.Println(ok, after.Round(time.Millisecond))
	// No answer by then:
	now += after
	fmt.Println("once more:", h.Take(now, 0))
	fmt.Println("and again:", h.Take(now, 1))
	// Output:
	// true 10ms
	// once more: true
	// and again: false
}
