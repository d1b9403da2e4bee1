package faultgrpc

import (
	"context"
	"fmt"
	"hash/maphash"
	"slices"

	"github.com/trivet-ha/trivet/fault"
	"github.com/trivet-ha/trivet/fault/faulthttp"
	"github.com/trivet-ha/trivet/fault/run"
	"google.golang.org/grpc"
	"google.golang.org/grpc/peer"
)

// ServerConfig says how calls are served. Only Stack has no useful zero.
type ServerConfig struct {
	// Stack is the policies around each call. As an answer can't be taken back, a
	// policy that would make another has no place in it.
	Stack *fault.Stack
	// About says what policies want to know about a call. By default that is its
	// client's address as the key of a limit for each; see [ByClient].
	About func(ctx context.Context, method string) fault.Call
}

// WithDefaults returns c with the default in place of each zero.
func (c ServerConfig) WithDefaults() ServerConfig {
	if c.About == nil {
		c.About = func(context.Context, string) fault.Call { return fault.Call{} }
		if slices.ContainsFunc(c.Stack.Policies(), func(p fault.Policy) bool { return p.Kind == fault.KindLimitEach }) {
			c.About = ByClient()
		}
	}
	return c
}

// Check reports the first value of c that makes no sense.
func (c ServerConfig) Check() error {
	for _, p := range c.Stack.Policies() {
		switch p.Kind {
		case fault.KindRetry, fault.KindHedge, fault.KindFallback, fault.KindElse:
			return fmt.Errorf("faultgrpc: a handler's answer can't be taken back for a %v", p.Kind)
		}
	}
	return nil
}

// ByClient returns a function that makes the client's address the key of a rate
// limit, as faulthttp.ByClient does.
func ByClient() func(context.Context, string) fault.Call {
	seed := maphash.MakeSeed()
	return func(ctx context.Context, _ string) fault.Call {
		remote := ""
		if p, ok := peer.FromContext(ctx); ok && p.Addr != nil {
			remote = p.Addr.String()
		}
		return fault.Call{Key: maphash.Comparable(seed, faulthttp.Client(remote))}
	}
}

// UnaryServer returns an interceptor that serves calls under policies. The error
// says what is wrong with c.
func UnaryServer(c ServerConfig) (grpc.UnaryServerInterceptor, error) {
	if err := c.Check(); err != nil {
		return nil, err
	}
	c = c.WithDefaults()
	runner := run.Runner[any]{Stack: c.Stack, Judge: func(_ any, err error) fault.Verdict { return Judge(err) }}
	return func(ctx context.Context, req any, info *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
		reply, err := runner.Do(ctx, c.About(ctx, info.FullMethod), func(ctx context.Context) (any, error) {
			return handle(ctx, req)
		})
		return reply, withStatus(err)
	}, nil
}

// StreamServer returns an interceptor that serves streams under policies, each from
// its beginning to its end. The error says what is wrong with c.
func StreamServer(c ServerConfig) (grpc.StreamServerInterceptor, error) {
	if err := c.Check(); err != nil {
		return nil, err
	}
	c = c.WithDefaults()
	runner := run.Runner[struct{}]{Stack: c.Stack, Judge: func(_ struct{}, err error) fault.Verdict { return Judge(err) }}
	return func(srv any, s grpc.ServerStream, info *grpc.StreamServerInfo, handle grpc.StreamHandler) error {
		_, err := runner.Do(s.Context(), c.About(s.Context(), info.FullMethod), func(ctx context.Context) (struct{}, error) {
			return struct{}{}, handle(srv, &served{s, ctx})
		})
		return withStatus(err)
	}, nil
}

// served is a stream with the context of its policies.
type served struct {
	grpc.ServerStream
	ctx context.Context
}

func (s *served) Context() context.Context { return s.ctx }
