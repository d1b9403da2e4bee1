package faultgrpc_test

import (
	"context"
	"fmt"
	"time"

	"github.com/trivet-ha/trivet/fault"
	"github.com/trivet-ha/trivet/fault/breaker"
	"github.com/trivet-ha/trivet/fault/faultgrpc"
	"github.com/trivet-ha/trivet/fault/retry"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// An interceptor for grpc.WithUnaryInterceptor, here around a service that is
// restarting.
func ExampleUnaryClient() {
	intercept := faultgrpc.UnaryClient(faultgrpc.ClientConfig{
		Stack: fault.Must(fault.New(
			fault.Timeout(2*time.Second),
			fault.Retry(retry.Policy{Attempts: 3}, nil),
			fault.Breaker(breaker.New(breaker.Config{})),
		)),
		Safe: func(method string) bool { return method == "/shop.Shop/Price" },
	})
	attempts := 0
	err := intercept(context.Background(), "/shop.Shop/Price", nil, nil, nil,
		func(context.Context, string, any, any, *grpc.ClientConn, ...grpc.CallOption) error {
			if attempts++; attempts < 3 {
				return status.Error(codes.Unavailable, "restarting")
			}
			return nil
		})
	fmt.Println(attempts, err)
	// Output: 3 <nil>
}
