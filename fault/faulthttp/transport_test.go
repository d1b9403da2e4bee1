package faulthttp

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/trivet-ha/trivet/fault"
	"github.com/trivet-ha/trivet/fault/breaker"
	"github.com/trivet-ha/trivet/fault/hedge"
	"github.com/trivet-ha/trivet/fault/retry"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const ms = time.Millisecond

// site is a server that counts its requests and connections.
type site struct {
	*httptest.Server
	requests, conns atomic.Int64
	bodies          sync.Map // request number → body
}

func newSite(t *testing.T, h func(n int64, w http.ResponseWriter, r *http.Request)) *site {
	s := &site{}
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n := s.requests.Add(1)
		body, _ := io.ReadAll(r.Body)
		s.bodies.Store(n, string(body))
		h(n, w, r)
	}))
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			s.conns.Add(1)
		}
	}
	s.Start()
	t.Cleanup(s.Close)
	return s
}

// newClient makes a client with a connection pool of its own.
func newClient(t *testing.T, c TransportConfig) *http.Client {
	t.Helper()
	if c.Base == nil {
		base := &http.Transport{}
		t.Cleanup(base.CloseIdleConnections)
		c.Base = base
	}
	tr, err := NewTransport(c)
	if err != nil {
		t.Fatal(err)
	}
	return &http.Client{Transport: tr}
}

// answer returns status and body of a request.
func answer(t *testing.T, c *http.Client, req *http.Request) (int, string, error) {
	t.Helper()
	resp, err := c.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(body), err
}

func request(t *testing.T, method, url string, body io.Reader) *http.Request {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, body)
	if err != nil {
		t.Fatal(err)
	}
	return req
}

// failingTwice answers 503, 503, 200.
func failingTwice(n int64, w http.ResponseWriter, _ *http.Request) {
	if n <= 2 {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	fmt.Fprintf(w, "answer %d", n)
}

func TestRepeatsWhatCanDoNoHarm(t *testing.T) {
	anonymous := func(s string) io.Reader { return struct{ io.Reader }{strings.NewReader(s)} } // no GetBody
	for _, x := range []struct {
		name    string
		method  string
		body    io.Reader
		length  int64
		headers []string
		limit   int64
		status  int
		times   int64
	}{
		{name: "GET", method: "GET", status: 200, times: 3},
		{name: "no method is GET", method: "", status: 200, times: 3},
		{name: "PUT", method: "PUT", body: strings.NewReader("body"), status: 200, times: 3},
		{name: "POST", method: "POST", body: strings.NewReader("body"), status: 503, times: 1},
		{name: "POST with a key", method: "POST", body: strings.NewReader("body"), headers: []string{"Idempotency-Key", "1"}, status: 200, times: 3},
		{name: "POST with another key", method: "POST", body: strings.NewReader("body"), headers: []string{"X-Idempotency-Key", "1"}, status: 200, times: 3},
		{name: "a body that is kept", method: "PUT", body: anonymous("body"), length: 4, status: 200, times: 3},
		{name: "a body that is too large", method: "PUT", body: anonymous("body"), length: 4, limit: 3, status: 503, times: 1},
		{name: "a body of unknown length", method: "PUT", body: anonymous("body"), length: -1, status: 503, times: 1},
	} {
		t.Run(x.name, func(t *testing.T) {
			s := newSite(t, failingTwice)
			req := request(t, x.method, s.URL, x.body)
			req.Method = x.method
			if x.length != 0 {
				req.ContentLength = x.length
			}
			if x.headers != nil {
				req.Header.Set(x.headers[0], x.headers[1])
			}
			status, body, err := answer(t, newClient(t, TransportConfig{BodyLimit: x.limit}), req)
			if err != nil || status != x.status || body != fmt.Sprintf("answer %d", x.times) || s.requests.Load() != x.times {
				t.Errorf("%d %q, %v after %d requests, want %d after %d", status, body, err, s.requests.Load(), x.status, x.times)
			}
			for n := range x.times {
				if sent, _ := s.bodies.Load(n + 1); x.body != nil && sent != "body" {
					t.Errorf("request %d had the body %q", n+1, sent)
				}
			}
			if n := s.conns.Load(); n != 1 {
				t.Errorf("%d connections: answers that were not used were not read to their ends", n)
			}
		})
	}
}

// roundTripper is a function as a transport.
type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestWhatDidNotLeaveIsRepeatedEvenIfUnsafe(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close() // nobody listens there now
	base := &http.Transport{}
	attempts := 0
	c := newClient(t, TransportConfig{Base: roundTripper(func(r *http.Request) (*http.Response, error) {
		attempts++
		return base.RoundTrip(r)
	})})
	_, _, err = answer(t, c, request(t, "POST", "http://"+l.Addr().String(), strings.NewReader("body")))
	if op, ok := errors.AsType[*net.OpError](err); !ok || op.Op != "dial" || attempts != 3 {
		t.Errorf("%v after %d attempts", err, attempts)
	}
}

// closing is a body that knows whether it was closed.
type closing struct {
	io.Reader
	closed atomic.Bool
}

func (c *closing) Close() error { c.closed.Store(true); return nil }

func TestBodyIsClosedAlways(t *testing.T) {
	open := breaker.New(breaker.Config{})
	open.Force(breaker.ForcedOpen, "", 0)
	refusing := fault.Must(fault.New(fault.Breaker(open)))
	s := newSite(t, func(_ int64, w http.ResponseWriter, _ *http.Request) {})
	for _, x := range []struct {
		name   string
		stack  *fault.Stack
		length int64
		body   io.Reader
		err    string
	}{
		{"kept", nil, 4, strings.NewReader("body"), ""},
		{"sent once", nil, -1, strings.NewReader("body"), ""},
		{"kept, refused", refusing, 4, strings.NewReader("body"), "the breaker is open"},
		{"sent once, refused", refusing, -1, strings.NewReader("body"), "the breaker is open"},
		{"can't be read", nil, 4, io.MultiReader(strings.NewReader("b"), errReader{}), "read the request's body: no more"},
	} {
		b := &closing{Reader: x.body}
		req := request(t, "PUT", s.URL, b)
		req.ContentLength = x.length
		_, _, err := answer(t, newClient(t, TransportConfig{Stack: x.stack}), req)
		if (err == nil) != (x.err == "") || err != nil && !strings.Contains(err.Error(), x.err) {
			t.Errorf("%s: %v", x.name, err)
		}
		if !b.closed.Load() {
			t.Errorf("%s: the body is open", x.name)
		}
	}
	if n := s.requests.Load(); n != 2 {
		t.Errorf("%d requests", n)
	}
	req := request(t, "PUT", s.URL, strings.NewReader("body"))
	req.GetBody = func() (io.ReadCloser, error) { return nil, io.ErrClosedPipe }
	if _, _, err := answer(t, newClient(t, TransportConfig{}), req); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("a body that can't be made anew: %v", err)
	}
}

type errReader struct{}

func (errReader) Read([]byte) (int, error) { return 0, errors.New("no more") }

// TestAnswersOutliveTheirAttempt: a limit for the head of an answer does not cut
// its body off.
func TestAnswersOutliveTheirAttempt(t *testing.T) {
	s := newSite(t, func(_ int64, w http.ResponseWriter, _ *http.Request) {
		for range 5 {
			fmt.Fprint(w, "part ")
			w.(http.Flusher).Flush()
			<-time.After(30 * ms)
		}
	})
	c := newClient(t, TransportConfig{Stack: fault.Must(fault.New(fault.Timeout(100 * ms))), Idle: 10 * time.Second})
	status, body, err := answer(t, c, request(t, "GET", s.URL, nil))
	if err != nil || status != 200 || body != "part part part part part " {
		t.Errorf("%d %q, %v", status, body, err)
	}
}

func TestSilenceEndsAnAnswer(t *testing.T) {
	s := newSite(t, func(_ int64, w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, "part")
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	})
	c := newClient(t, TransportConfig{Idle: 50 * ms})
	_, body, err := answer(t, c, request(t, "GET", s.URL, nil))
	if late, ok := errors.AsType[*fault.TimeoutError](err); !ok || late.Limit != 50*ms || body != "part" {
		t.Errorf("%q, %v", body, err)
	}
}

func TestSlowAttemptIsMadeAgain(t *testing.T) {
	s := newSite(t, func(n int64, w http.ResponseWriter, r *http.Request) {
		if n == 1 {
			<-r.Context().Done()
		}
		fmt.Fprintf(w, "answer %d", n)
	})
	stack := fault.Must(fault.New(fault.Timeout(10*time.Second), fault.Retry(Retry(), nil), fault.Timeout(50*ms)))
	status, body, err := answer(t, newClient(t, TransportConfig{Stack: stack}), request(t, "GET", s.URL, nil))
	if err != nil || status != 200 || body != "answer 2" {
		t.Errorf("%d %q, %v", status, body, err)
	}
	_, _, err = answer(t, newClient(t, TransportConfig{Stack: fault.Must(fault.New(fault.Timeout(50 * ms)))}), request(t, "GET", newSite(t, func(_ int64, _ http.ResponseWriter, r *http.Request) {
		<-r.Context().Done()
	}).URL, nil))
	if !errors.Is(err, fault.ErrTimeout) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
}

func TestHedgedRequestUsesTheFirstAnswer(t *testing.T) {
	cancelled := make(chan bool, 1)
	s := newSite(t, func(n int64, w http.ResponseWriter, r *http.Request) {
		if n == 1 {
			<-r.Context().Done()
			cancelled <- true
			return
		}
		fmt.Fprint(w, strings.Repeat("long ", 10_000))
	})
	h := hedge.New(hedge.Config{Delay: 20 * ms, Budget: retry.BudgetConfig{Ratio: 1}})
	c := newClient(t, TransportConfig{Stack: fault.Must(fault.New(fault.Hedge(h)))})
	status, body, err := answer(t, c, request(t, "GET", s.URL, nil))
	if err != nil || status != 200 || len(body) != 50_000 {
		t.Errorf("%d, %d bytes, %v", status, len(body), err)
	}
	<-cancelled
}

func TestCallerWhoGivesUpIsNotAFailure(t *testing.T) {
	s := newSite(t, func(_ int64, _ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	b := breaker.New(breaker.Config{Consecutive: 1})
	c := newClient(t, TransportConfig{Stack: fault.Must(fault.New(fault.Timeout(time.Minute), fault.Breaker(b)))})
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(20*ms, cancel)
	_, _, err := answer(t, c, request(t, "GET", s.URL, nil).WithContext(ctx))
	if !errors.Is(err, context.Canceled) || b.Status(0).State != breaker.Closed {
		t.Errorf("%v, the breaker is %v", err, b.Status(0).State)
	}
}

// TestAnswerThatComesTooLate: as the attempt ends the base transport returns an
// answer all the same.
func TestAnswerThatComesTooLate(t *testing.T) {
	b := &closing{Reader: strings.NewReader("late")}
	c := newClient(t, TransportConfig{
		Stack: fault.Must(fault.New(fault.Timeout(10 * ms))),
		Base: roundTripper(func(r *http.Request) (*http.Response, error) {
			<-r.Context().Done()
			return &http.Response{StatusCode: 200, Body: b, Request: r}, nil
		}),
	})
	_, _, err := answer(t, c, request(t, "GET", "http://site", nil))
	if !errors.Is(err, fault.ErrTimeout) || !b.closed.Load() {
		t.Errorf("%v, body closed: %v", err, b.closed.Load())
	}
}

// readWriteCloser is the connection of an answer that has changed the protocol.
type readWriteCloser struct {
	closing
	bytes.Buffer
}

func (r *readWriteCloser) Read(p []byte) (int, error) { return r.closing.Read(p) }

func TestUpgradedConnectionCanBeWrittenTo(t *testing.T) {
	conn := &readWriteCloser{closing: closing{Reader: strings.NewReader("hello")}}
	tr, err := NewTransport(TransportConfig{Idle: time.Minute, Base: roundTripper(func(r *http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: 101, Body: conn, Request: r}, nil
	})})
	if err != nil {
		t.Fatal(err)
	}
	resp, err := tr.RoundTrip(request(t, "GET", "http://site", nil))
	if err != nil {
		t.Fatal(err)
	}
	w, ok := resp.Body.(io.ReadWriteCloser)
	if !ok {
		t.Fatalf("body is a %T", resp.Body)
	}
	fmt.Fprint(w, "hi")
	got, _ := io.ReadAll(w)
	if w.Close(); string(got) != "hello" || conn.String() != "hi" || !conn.closed.Load() {
		t.Errorf("read %q, written %q", got, conn.String())
	}
}

func TestJudge(t *testing.T) {
	resp := func(status int, after string) *http.Response {
		r := &http.Response{StatusCode: status, Header: http.Header{}}
		if after != "" {
			r.Header.Set("Retry-After", after)
		}
		return r
	}
	dial := fmt.Errorf("get: %w", &net.OpError{Op: "dial", Err: errors.New("refused")})
	for _, x := range []struct {
		name string
		resp *http.Response
		err  error
		want fault.Verdict
	}{
		{"200", resp(200, ""), nil, fault.Verdict{}},
		{"404", resp(404, ""), nil, fault.Verdict{}},
		{"429", resp(429, "3"), nil, fault.Verdict{Outcome: fault.Failed, Reason: retry.Status, Status: 429, Overload: true, After: 3 * time.Second}},
		{"500", resp(500, "3"), nil, fault.Verdict{Outcome: fault.Failed, Reason: retry.Status, Status: 500}},
		{"503", resp(503, ""), nil, fault.Verdict{Outcome: fault.Failed, Reason: retry.Status, Status: 503, Overload: true}},
		{"no connection", nil, dial, fault.Verdict{Outcome: fault.Failed, Reason: retry.Connect, Unsent: true}},
		{"connection ended", nil, io.ErrUnexpectedEOF, fault.Verdict{Outcome: fault.Failed, Reason: retry.Reset}},
		{"too slow", nil, context.DeadlineExceeded, fault.Verdict{Outcome: fault.Failed, Overload: true}},
		{"too slow for the transport", nil, &net.OpError{Op: "read", Err: timeoutError{}}, fault.Verdict{Outcome: fault.Failed, Overload: true}},
		{"caller gave up", nil, context.Canceled, fault.Verdict{Outcome: fault.Ignored, Final: true}},
	} {
		if got := Judge(x.resp, x.err); got != x.want {
			t.Errorf("%s: %+v, want %+v", x.name, got, x.want)
		}
	}
}

type timeoutError struct{}

func (timeoutError) Error() string   { return "i/o timeout" }
func (timeoutError) Timeout() bool   { return true }
func (timeoutError) Temporary() bool { return true }

func TestRetryAfterIsSecondsOrADate(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for field, want := range map[string]time.Duration{
		"": 0, "120": 2 * time.Minute, "0": 0, "-1": 0, "1.5": 0, "soon": 0, "99999999999999999999": 0,
		"Fri, 02 Jan 2026 03:05:05 GMT": time.Minute, "Fri, 02 Jan 2026 03:00:00 GMT": 0,
	} {
		h := http.Header{}
		if field != "" {
			h.Set("Retry-After", field)
		}
		if got := retryAfter(h, now); got != want {
			t.Errorf("%q: %v, want %v", field, got, want)
		}
	}
}

func TestDiscardTakesAnything(t *testing.T) {
	discard(nil)
	discard(&http.Response{})
	endless := &closing{Reader: endlessReader{}}
	discard(&http.Response{Body: endless})
	if !endless.closed.Load() {
		t.Error("not closed")
	}
}

type endlessReader struct{}

func (endlessReader) Read(p []byte) (int, error) { return len(p), nil }

func TestNewTransportRefusesNonsense(t *testing.T) {
	if _, err := NewTransport(TransportConfig{Idle: -1}); err == nil || !strings.Contains(err.Error(), "idle") {
		t.Errorf("%v", err)
	}
	if c := (TransportConfig{}).WithDefaults(); c.Base != http.DefaultTransport || c.BodyLimit != 65536 || c.Stack.String() != "retry 3(f)" {
		t.Errorf("%+v", c)
	}
}

func BenchmarkRoundTrip(b *testing.B) {
	resp := &http.Response{StatusCode: 200, Body: http.NoBody}
	tr, err := NewTransport(TransportConfig{Base: roundTripper(func(*http.Request) (*http.Response, error) { return resp, nil })})
	if err != nil {
		b.Fatal(err)
	}
	req := httptest.NewRequest("GET", "http://site", nil)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := tr.RoundTrip(req); err != nil {
			b.Fatal(err)
		}
	}
}
