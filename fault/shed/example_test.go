package shed_test

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/trivet-ha/trivet/fault/shed"
)

func Example() {
	s := shed.New(shed.Config{})
	rng := rand.New(rand.NewPCG(1, 2))
	refused := map[shed.Priority]int{}
	accepted := 0
	for i := range 20_000 { // a thousand requests a second
		now := time.Duration(i) * time.Millisecond
		p := shed.Critical
		if i%2 == 0 {
			p = shed.Sheddable
		}
		switch {
		case !s.Admit(now, p, rng.Uint64()):
			refused[p]++
		case accepted < i*3/10: // the service can take three hundred
			accepted++
			s.Done(now, shed.Accepted)
		default:
			s.Done(now, shed.Refused)
		}
	}
	fmt.Println("batches are refused:", refused[shed.Sheddable] > 1000)
	fmt.Println("users are refused:", refused[shed.Critical] > 1000)
	// Output:
	// batches are refused: true
	// users are refused: false
}
