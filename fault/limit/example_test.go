package limit_test

import (
	"fmt"
	"hash/maphash"
	"time"

	"github.com/trivet-ha/trivet/fault/limit"
)

func Example() {
	l := limit.New(limit.Config{Tokens: 10, Burst: 2}) // ten a second, two at once
	for range 3 {
		if wait, ok := l.Take(0, 1); ok {
			fmt.Println("go")
		} else {
			fmt.Println("come back in", wait)
		}
	}
	// Output:
	// go
	// go
	// come back in 100ms
}

// Each client has a limit of its own, in 1 MiB for all of them.
func ExampleKeyed() {
	seed := maphash.MakeSeed()
	perClient := limit.NewKeyed(limit.KeyedConfig{
		Config: limit.Config{Tokens: 100, Per: time.Minute, Algorithm: limit.SlidingWindow},
		Seed:   maphash.String(seed, "limit"),
	})
	for _, client := range []string{"192.0.2.1", "192.0.2.2", "192.0.2.1"} {
		_, ok := perClient.Take(0, maphash.String(seed, client), 60)
		fmt.Println(client, ok)
	}
	// Output:
	// 192.0.2.1 true
	// 192.0.2.2 true
	// 192.0.2.1 false
}
