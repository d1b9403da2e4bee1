package fault_test

import (
	"fmt"
	"time"

	"github.com/trivet-ha/trivet/fault"
	"github.com/trivet-ha/trivet/fault/breaker"
	"github.com/trivet-ha/trivet/fault/retry"
)

func ExampleNew() {
	stack, err := fault.New(
		fault.Timeout(2*time.Second),
		fault.Retry(retry.Policy{Attempts: 3}, nil),
		fault.Breaker(breaker.New(breaker.Config{})),
	)
	fmt.Println(stack, err)
	_, err = fault.New(
		fault.Retry(retry.Policy{}, nil),
		fault.Timeout(-time.Second),
		fault.Retry(retry.Policy{}, nil),
	)
	fmt.Println(err)
	// Output:
	// timeout 2s(retry 3(breaker(f))) <nil>
	// policy 2 of 3: timeout: -1s is not positive
	// policy 3 of 3: a retry inside a retry multiplies the attempts: three times three are nine
}
