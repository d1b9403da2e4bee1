package faultgrpc

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/trivet-ha/trivet/fault"
	"github.com/trivet-ha/trivet/fault/breaker"
	"github.com/trivet-ha/trivet/fault/bulkhead"
	"github.com/trivet-ha/trivet/fault/fallback"
	"github.com/trivet-ha/trivet/fault/hedge"
	"github.com/trivet-ha/trivet/fault/limit"
	"github.com/trivet-ha/trivet/fault/panics"
	"github.com/trivet-ha/trivet/fault/retry"
	"go.uber.org/goleak"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	health "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/known/durationpb"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const ms = time.Millisecond

// server is a health server that does as it is told.
type server struct {
	health.UnimplementedHealthServer
	calls atomic.Int64
	check func(n int64, ctx context.Context) (health.HealthCheckResponse_ServingStatus, error)
	watch func(n int64, s health.Health_WatchServer) error
}

func (s *server) Check(ctx context.Context, _ *health.HealthCheckRequest) (*health.HealthCheckResponse, error) {
	st, err := s.check(s.calls.Add(1), ctx)
	return &health.HealthCheckResponse{Status: st}, err
}

func (s *server) Watch(_ *health.HealthCheckRequest, w health.Health_WatchServer) error {
	return s.watch(s.calls.Add(1), w)
}

// connect serves s and returns a client of it.
func connect(t *testing.T, s *server, client []grpc.DialOption, options ...grpc.ServerOption) health.HealthClient {
	t.Helper()
	l := bufconn.Listen(1 << 16)
	srv := grpc.NewServer(options...)
	health.RegisterHealthServer(srv, s)
	done := make(chan error, 1)
	go func() { done <- srv.Serve(l) }()
	conn, err := grpc.NewClient("passthrough:///test", append(client,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return l.DialContext(ctx) }))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		conn.Close()
		srv.Stop()
		<-done
	})
	return health.NewHealthClient(conn)
}

func always(string) bool { return true }

func unary(c ClientConfig) []grpc.DialOption {
	return []grpc.DialOption{grpc.WithUnaryInterceptor(UnaryClient(c)), grpc.WithStreamInterceptor(StreamClient(c))}
}

// check calls and returns status and code.
func check(t *testing.T, c health.HealthClient) (health.HealthCheckResponse_ServingStatus, error) {
	t.Helper()
	r, err := c.Check(t.Context(), &health.HealthCheckRequest{})
	return r.GetStatus(), err
}

// unavailable fails the first n calls.
func unavailable(n int64) func(int64, context.Context) (health.HealthCheckResponse_ServingStatus, error) {
	return func(call int64, _ context.Context) (health.HealthCheckResponse_ServingStatus, error) {
		if call <= n {
			return 0, status.Error(codes.Unavailable, "restarting")
		}
		return health.HealthCheckResponse_SERVING, nil
	}
}

func TestSafeCallsAreRepeated(t *testing.T) {
	s := &server{check: unavailable(2)}
	st, err := check(t, connect(t, s, unary(ClientConfig{Safe: always})))
	if err != nil || st != health.HealthCheckResponse_SERVING || s.calls.Load() != 3 {
		t.Errorf("%v, %v after %d calls", st, err, s.calls.Load())
	}
	s = &server{check: unavailable(2)}
	_, err = check(t, connect(t, s, unary(ClientConfig{})))
	if status.Code(err) != codes.Unavailable || s.calls.Load() != 1 {
		t.Errorf("of a method that declares nothing: %v after %d calls", err, s.calls.Load())
	}
	s = &server{check: func(int64, context.Context) (health.HealthCheckResponse_ServingStatus, error) {
		return 0, status.Error(codes.NotFound, "no such service")
	}}
	_, err = check(t, connect(t, s, unary(ClientConfig{Safe: always})))
	if status.Code(err) != codes.NotFound || s.calls.Load() != 1 {
		t.Errorf("an answer: %v after %d calls", err, s.calls.Load())
	}
}

func TestHedgedCallUsesTheFirstAnswer(t *testing.T) {
	stack := func() *fault.Stack {
		return fault.Must(fault.New(fault.Hedge(hedge.New(hedge.Config{Delay: 20 * ms, Budget: retry.BudgetConfig{Ratio: 1}}))))
	}
	s := &server{check: func(n int64, ctx context.Context) (health.HealthCheckResponse_ServingStatus, error) {
		if n == 1 {
			<-ctx.Done()
			return 0, ctx.Err()
		}
		return health.HealthCheckResponse_SERVING, nil
	}}
	st, err := check(t, connect(t, s, unary(ClientConfig{Stack: stack(), Safe: always})))
	if err != nil || st != health.HealthCheckResponse_SERVING {
		t.Errorf("%v, %v", st, err)
	}
	calls := 0
	intercept := UnaryClient(ClientConfig{Stack: stack(), Safe: always})
	reply := new(string) // no protocol buffer: two attempts can't share it
	err = intercept(t.Context(), "/p.S/M", nil, reply, nil, func(_ context.Context, _ string, _, reply any, _ *grpc.ClientConn, _ ...grpc.CallOption) error {
		calls++
		<-time.After(40 * ms)
		*reply.(*string) = "answer"
		return nil
	})
	if err != nil || calls != 1 || *reply != "answer" {
		t.Errorf("%q, %v after %d calls", *reply, err, calls)
	}
}

func TestRefusalsHaveACode(t *testing.T) {
	open := breaker.New(breaker.Config{})
	open.Force(breaker.ForcedOpen, "", 0)
	used := limit.New(limit.Config{Tokens: 1, Per: time.Hour})
	used.Take(0, 1)
	full := bulkhead.New(bulkhead.Config{Limit: 1, Queue: -1})
	full.Acquire()
	for _, x := range []struct {
		policy fault.Policy
		code   codes.Code
		is     error
	}{
		{fault.Breaker(open), codes.Unavailable, fault.ErrOpen},
		{fault.Bulkhead(full), codes.Unavailable, fault.ErrFull},
		{fault.Limit(used, 0), codes.ResourceExhausted, fault.ErrLimited},
		{fault.Timeout(20 * ms), codes.DeadlineExceeded, nil},
		{fault.Fallback(fallback.New(fallback.Config[int]{Static: new(1)})), codes.Unknown, nil},
	} {
		s := &server{check: func(_ int64, ctx context.Context) (health.HealthCheckResponse_ServingStatus, error) {
			<-ctx.Done()
			return 0, ctx.Err()
		}}
		_, err := check(t, connect(t, s, unary(ClientConfig{Stack: fault.Must(fault.New(x.policy))})))
		if status.Code(err) != x.code || x.is != nil && !errors.Is(err, x.is) {
			t.Errorf("client, %v: %v, want %v", x.policy.Kind, err, x.code)
		}
		if x.policy.Kind == fault.KindFallback {
			continue
		}
		intercept, err := UnaryServer(ServerConfig{Stack: fault.Must(fault.New(x.policy))})
		if err != nil {
			t.Fatal(err)
		}
		_, err = check(t, connect(t, s, nil, grpc.UnaryInterceptor(intercept)))
		if status.Code(err) != x.code {
			t.Errorf("server, %v: %v, want %v", x.policy.Kind, err, x.code)
		}
	}
}

func TestCallerWhoGivesUp(t *testing.T) {
	s := &server{check: func(_ int64, ctx context.Context) (health.HealthCheckResponse_ServingStatus, error) {
		<-ctx.Done()
		return 0, ctx.Err()
	}}
	b := breaker.New(breaker.Config{Consecutive: 1})
	c := connect(t, s, unary(ClientConfig{Stack: fault.Must(fault.New(fault.Breaker(b)))}))
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(20*ms, cancel)
	_, err := c.Check(ctx, &health.HealthCheckRequest{})
	if status.Code(err) != codes.Canceled || b.Status(0).State != breaker.Closed {
		t.Errorf("%v, the breaker is %v", err, b.Status(0).State)
	}
	if err := withStatus(context.Canceled); status.Code(err) != codes.Canceled || !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

// TestStreamsAreOpenedUnderPolicies, and outlive the opening.
func TestStreamsAreOpenedUnderPolicies(t *testing.T) {
	s := &server{watch: func(_ int64, w health.Health_WatchServer) error {
		for range 3 {
			if err := w.Send(&health.HealthCheckResponse{Status: health.HealthCheckResponse_SERVING}); err != nil {
				return err
			}
			<-time.After(20 * ms)
		}
		return nil
	}}
	c := connect(t, s, unary(ClientConfig{Stack: fault.Must(fault.New(fault.Timeout(30 * ms)))}))
	w, err := c.Watch(t.Context(), &health.HealthCheckRequest{})
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for {
		if _, err = w.Recv(); err != nil {
			break
		}
		n++
	}
	if n != 3 || err != io.EOF {
		t.Errorf("%d messages, then %v", n, err)
	}
	open := breaker.New(breaker.Config{})
	open.Force(breaker.ForcedOpen, "", 0)
	c = connect(t, s, unary(ClientConfig{Stack: fault.Must(fault.New(fault.Breaker(open)))}))
	if _, err := c.Watch(t.Context(), &health.HealthCheckRequest{}); status.Code(err) != codes.Unavailable {
		t.Errorf("%v", err)
	}
}

// opened is a stream that knows nothing but its context.
type opened struct {
	grpc.ClientStream
	ctx context.Context
}

func (opened) RecvMsg(any) error { return nil }

func TestStreamOfAnAttemptThatEnded(t *testing.T) {
	intercept := StreamClient(ClientConfig{Stack: fault.Must(fault.New(fault.Timeout(10 * ms)))})
	var late *opened
	_, err := intercept(t.Context(), &grpc.StreamDesc{}, nil, "/p.S/M", func(ctx context.Context, _ *grpc.StreamDesc, _ *grpc.ClientConn, _ string, _ ...grpc.CallOption) (grpc.ClientStream, error) {
		<-ctx.Done()
		late = &opened{ctx: ctx}
		return late, nil
	})
	if status.Code(err) != codes.DeadlineExceeded || late.ctx.Err() == nil {
		t.Errorf("%v, and the stream's context: %v", err, late.ctx.Err())
	}
	var only *opened
	s, err := intercept(t.Context(), &grpc.StreamDesc{}, nil, "/p.S/M", func(ctx context.Context, _ *grpc.StreamDesc, _ *grpc.ClientConn, _ string, _ ...grpc.CallOption) (grpc.ClientStream, error) {
		only = &opened{ctx: ctx}
		return only, nil
	})
	if err != nil || only.ctx.Err() != nil {
		t.Fatalf("%v, %v", err, only.ctx.Err())
	}
	if err := s.RecvMsg(nil); err != nil || only.ctx.Err() == nil {
		t.Errorf("after the only message: %v, %v", err, only.ctx.Err())
	}
	(*stream)(nil).discard()
	ctx, cancel := context.WithCancel(t.Context())
	if (&stream{cancel: cancel}).discard(); ctx.Err() == nil {
		t.Error("a stream that is not used stays open")
	}
}

func TestServerServesUnderPolicies(t *testing.T) {
	rec := panics.New(panics.Config{})
	stack := fault.Must(fault.New(fault.Timeout(10*time.Second), fault.Panics(rec)))
	one, err := UnaryServer(ServerConfig{Stack: stack})
	if err != nil {
		t.Fatal(err)
	}
	many, err := StreamServer(ServerConfig{Stack: stack})
	if err != nil {
		t.Fatal(err)
	}
	s := &server{
		check: func(n int64, ctx context.Context) (health.HealthCheckResponse_ServingStatus, error) {
			if n == 1 {
				panic("out of tea")
			}
			return health.HealthCheckResponse_SERVING, nil
		},
		watch: func(_ int64, w health.Health_WatchServer) error {
			if _, ok := w.Context().Deadline(); !ok {
				panic("the stream has no limit")
			}
			panic("out of milk")
		},
	}
	c := connect(t, s, nil, grpc.UnaryInterceptor(one), grpc.StreamInterceptor(many))
	if _, err := check(t, c); status.Code(err) != codes.Internal || strings.Contains(err.Error(), "tea") {
		t.Errorf("%v", err)
	}
	if st, err := check(t, c); err != nil || st != health.HealthCheckResponse_SERVING {
		t.Errorf("%v, %v", st, err)
	}
	w, err := c.Watch(t.Context(), &health.HealthCheckRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Recv(); status.Code(err) != codes.Internal {
		t.Errorf("%v", err)
	}
	if rec.Total() != 2 || rec.Places()[0].Value != "out of milk" {
		t.Errorf("%d panics: %+v", rec.Total(), rec.Places())
	}
}

func TestServersRefuseWhatWouldAnswerTwice(t *testing.T) {
	for _, p := range []fault.Policy{
		fault.Retry(retry.Policy{}, nil),
		fault.Hedge(hedge.New(hedge.Config{})),
		fault.Fallback(fallback.New(fallback.Config[int]{Static: new(1)})),
		fault.Else(func(context.Context, error) (int, error) { return 0, nil }),
	} {
		c := ServerConfig{Stack: fault.Must(fault.New(p))}
		if _, err := UnaryServer(c); err == nil || !strings.Contains(err.Error(), p.Kind.String()) {
			t.Errorf("%v: %v", p.Kind, err)
		}
		if _, err := StreamServer(c); err == nil {
			t.Errorf("%v in front of streams", p.Kind)
		}
	}
}

func TestEachClientHasItsOwnLimit(t *testing.T) {
	k := limit.NewKeyed(limit.KeyedConfig{Config: limit.Config{Tokens: 1, Per: time.Hour}})
	intercept, err := UnaryServer(ServerConfig{Stack: fault.Must(fault.New(fault.LimitEach(k, 0)))})
	if err != nil {
		t.Fatal(err)
	}
	from := func(address string) context.Context {
		if address == "" {
			return t.Context()
		}
		return peer.NewContext(t.Context(), &peer.Peer{Addr: net.TCPAddrFromAddrPort(netip.MustParseAddrPort(address))})
	}
	for _, x := range []struct {
		address string
		code    codes.Code
	}{
		{"192.0.2.1:1", codes.OK}, {"192.0.2.1:2", codes.ResourceExhausted}, {"192.0.2.2:1", codes.OK}, {"", codes.OK}, {"", codes.ResourceExhausted},
	} {
		_, err := intercept(from(x.address), nil, &grpc.UnaryServerInfo{}, func(context.Context, any) (any, error) { return nil, nil })
		if status.Code(err) != x.code {
			t.Errorf("%q: %v, want %v", x.address, err, x.code)
		}
	}
}

func TestJudge(t *testing.T) {
	busy, err := status.New(codes.ResourceExhausted, "busy").WithDetails(&errdetails.ErrorInfo{}, &errdetails.RetryInfo{RetryDelay: durationpb.New(3 * time.Second)})
	if err != nil {
		t.Fatal(err)
	}
	failed, load, answer := fault.Verdict{Outcome: fault.Failed}, fault.Verdict{Outcome: fault.Failed, Overload: true}, fault.Verdict{Final: true}
	ignored := fault.Verdict{Outcome: fault.Ignored, Final: true}
	later := load
	later.After = 3 * time.Second
	refused := ignored
	refused.Unsent = true
	for _, x := range []struct {
		err  error
		want fault.Verdict
	}{
		{nil, fault.Verdict{}},
		{status.Error(codes.NotFound, ""), answer},
		{status.Error(codes.Unimplemented, ""), answer},
		{status.Error(codes.Aborted, ""), answer},
		{status.Error(codes.Canceled, ""), ignored},
		{status.Error(codes.Unavailable, ""), load},
		{status.Error(codes.DeadlineExceeded, ""), load},
		{busy.Err(), later},
		{status.Error(codes.Unknown, ""), failed},
		{status.Error(codes.Internal, ""), failed},
		{status.Error(codes.DataLoss, ""), failed},
		{errors.New("any"), failed},
		{context.Canceled, ignored},
		{context.DeadlineExceeded, load},
		{&fault.TimeoutError{}, load},
		{&fault.Refusal{Err: fault.ErrOpen}, refused},
	} {
		if got := Judge(x.err); got != x.want {
			t.Errorf("%v: %+v, want %+v", x.err, got, x.want)
		}
	}
}

// TestDescriptorsSayWhatIsSafe with a file that was made for it.
func TestDescriptorsSayWhatIsSafe(t *testing.T) {
	method := func(name string, level descriptorpb.MethodOptions_IdempotencyLevel) *descriptorpb.MethodDescriptorProto {
		return &descriptorpb.MethodDescriptorProto{
			Name: proto.String(name), InputType: proto.String(".shop.Empty"), OutputType: proto.String(".shop.Empty"),
			Options: &descriptorpb.MethodOptions{IdempotencyLevel: level.Enum()},
		}
	}
	file, err := protodesc.NewFile(&descriptorpb.FileDescriptorProto{
		Name: proto.String("shop.proto"), Package: proto.String("shop"), Syntax: proto.String("proto3"),
		MessageType: []*descriptorpb.DescriptorProto{{Name: proto.String("Empty")}},
		Service: []*descriptorpb.ServiceDescriptorProto{{Name: proto.String("Shop"), Method: []*descriptorpb.MethodDescriptorProto{
			method("Look", descriptorpb.MethodOptions_NO_SIDE_EFFECTS),
			method("Put", descriptorpb.MethodOptions_IDEMPOTENT),
			method("Order", descriptorpb.MethodOptions_IDEMPOTENCY_UNKNOWN),
		}}},
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	files := &protoregistry.Files{}
	if err := files.RegisterFile(file); err != nil {
		t.Fatal(err)
	}
	for method, want := range map[string]bool{
		"/shop.Shop/Look": true, "/shop.Shop/Put": true, "/shop.Shop/Order": false, "/shop.Shop/Steal": false, "/shop.Empty": false, "": false,
	} {
		if got := declaredSafe(files, method); got != want {
			t.Errorf("%s: %v", method, got)
		}
	}
}
