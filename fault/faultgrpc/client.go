package faultgrpc

import (
	"context"
	"slices"
	"strings"

	"github.com/trivet-ha/trivet/fault"
	"github.com/trivet-ha/trivet/fault/retry"
	"github.com/trivet-ha/trivet/fault/run"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
)

// ClientConfig says how calls are made. The zero ClientConfig means the defaults.
type ClientConfig struct {
	// Stack is the policies around each call. By default it is tried three times at
	// most, within a budget.
	Stack *fault.Stack
	// Safe reports whether the effect of a method ("/package.Service/Method") may
	// happen twice. By default that is what its descriptor declares, if the program
	// has it.
	Safe func(method string) bool
	// About says what policies want to know about a call.
	About func(ctx context.Context, method string) fault.Call
	// Judge says what the end of an attempt means. Default [Judge].
	Judge func(error) fault.Verdict
}

// WithDefaults returns c with the default in place of each zero.
func (c ClientConfig) WithDefaults() ClientConfig {
	if c.Stack == nil {
		c.Stack = fault.Must(fault.New(fault.Retry(retry.Policy{}, nil)))
	}
	if c.Safe == nil {
		c.Safe = func(method string) bool { return declaredSafe(protoregistry.GlobalFiles, method) }
	}
	if c.About == nil {
		c.About = func(context.Context, string) fault.Call { return fault.Call{} }
	}
	if c.Judge == nil {
		c.Judge = Judge
	}
	return c
}

// declaredSafe reports whether the descriptor of the method says that its effect
// may happen twice.
func declaredSafe(files *protoregistry.Files, method string) bool {
	name := strings.ReplaceAll(strings.TrimPrefix(method, "/"), "/", ".")
	d, err := files.FindDescriptorByName(protoreflect.FullName(name))
	if err != nil {
		return false
	}
	options, ok := d.Options().(*descriptorpb.MethodOptions)
	return ok && options.GetIdempotencyLevel() != descriptorpb.MethodOptions_IDEMPOTENCY_UNKNOWN
}

// about is what policies are told about a call.
func (c *ClientConfig) about(ctx context.Context, method string) fault.Call {
	call := c.About(ctx, method)
	call.Unsafe = call.Unsafe || !c.Safe(method)
	return call
}

// UnaryClient returns an interceptor that makes calls under policies. If they are
// hedged, their replies must be protocol buffers, and what call options have
// written to, like grpc.Header, may come from either attempt.
func UnaryClient(c ClientConfig) grpc.UnaryClientInterceptor {
	c = c.WithDefaults()
	hedged := slices.ContainsFunc(c.Stack.Policies(), func(p fault.Policy) bool { return p.Kind == fault.KindHedge })
	runner := run.Runner[any]{Stack: c.Stack, Judge: func(_ any, err error) fault.Verdict { return c.Judge(err) }}
	return func(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
		about := c.about(ctx, method)
		message, isProto := reply.(proto.Message)
		apart := hedged && !about.Unsafe && isProto // each attempt has a reply of its own
		if hedged && !isProto {
			about.Unsafe = true
		}
		got, err := runner.Do(ctx, about, func(ctx context.Context) (any, error) {
			into := reply
			if apart {
				into = message.ProtoReflect().New().Interface()
			}
			return into, invoke(ctx, method, req, into, cc, opts...)
		})
		if apart && err == nil {
			proto.Reset(message)
			proto.Merge(message, got.(proto.Message))
		}
		return withStatus(err)
	}
}

// StreamClient returns an interceptor that opens streams under policies. Their
// time-outs are for the opening.
func StreamClient(c ClientConfig) grpc.StreamClientInterceptor {
	c = c.WithDefaults()
	runner := run.Runner[*stream]{
		Stack:   c.Stack,
		Judge:   func(_ *stream, err error) fault.Verdict { return c.Judge(err) },
		Discard: (*stream).discard,
	}
	return func(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, open grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
		s, err := runner.Do(ctx, c.about(ctx, method), func(attempt context.Context) (*stream, error) {
			// The attempt's context ends with it; the stream lives by the caller's.
			inner, cancel := context.WithCancel(ctx)
			unlink := context.AfterFunc(attempt, cancel)
			s, err := open(inner, desc, cc, method, opts...)
			if linked := unlink(); err == nil && linked {
				return &stream{s, cancel, desc.ServerStreams}, nil
			}
			cancel()
			if err == nil {
				err = attempt.Err()
			}
			return nil, err
		})
		if err != nil {
			return nil, withStatus(err)
		}
		return s, nil
	}
}

// stream is a stream whose context ends with it.
type stream struct {
	grpc.ClientStream
	cancel context.CancelFunc
	many   bool // messages from the server
}

// RecvMsg receives a message; after an error, or the only message, the stream has
// ended.
func (s *stream) RecvMsg(m any) error {
	err := s.ClientStream.RecvMsg(m)
	if err != nil || !s.many {
		s.cancel()
	}
	return err
}

func (s *stream) discard() {
	if s != nil {
		s.cancel()
	}
}
