package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/trivet-ha/trivet/balance"
	"github.com/trivet-ha/trivet/fault"
	"github.com/trivet-ha/trivet/fault/breaker"
	"github.com/trivet-ha/trivet/fault/faulthttp"
	"github.com/trivet-ha/trivet/fault/health"
	"github.com/trivet-ha/trivet/fault/hedge"
	"github.com/trivet-ha/trivet/fault/probe"
	"github.com/trivet-ha/trivet/fault/retry"
	"github.com/trivet-ha/trivet/fault/run"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const ms = time.Millisecond

// shop is a server that says who it is.
type shop struct {
	*httptest.Server
	name     string
	requests atomic.Int64
	serve    atomic.Pointer[http.HandlerFunc] // nil says who it is
}

func newShop(t *testing.T, name string) *shop {
	s := &shop{name: name}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.requests.Add(1)
		if h := s.serve.Load(); h != nil {
			(*h)(w, r)
			return
		}
		fmt.Fprint(w, s.name)
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *shop) do(h http.HandlerFunc) { s.serve.Store(&h) }

// silent answers nothing until its client has gone.
func silent(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }

func status(code int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
}

// open makes a client of the shops and checks at the end that nothing is in
// flight.
func open(t *testing.T, cfg Config, shops ...*shop) *Client {
	t.Helper()
	for _, s := range shops {
		cfg.Servers = append(cfg.Servers, Server{URL: s.URL})
	}
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.CloseIdleConnections()
		if n, pending := c.Pool().InFlight(), c.Pool().Pending(); n != 0 || pending != 0 {
			t.Errorf("%d requests are in flight and %d wait at the end", n, pending)
		}
	})
	return c
}

func get(t *testing.T, c *Client, path string) (string, error) {
	t.Helper()
	return send(t, c, t.Context(), http.MethodGet, path, nil)
}

func send(t *testing.T, c *Client, ctx context.Context, method, path string, body io.Reader) (string, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(ctx, method, path, body)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := (&http.Client{Transport: c}).Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if resp.StatusCode != 200 {
		text = fmt.Append(text, resp.StatusCode)
	}
	return string(text), err
}

func TestRequestsAreSpread(t *testing.T) {
	a, b := newShop(t, "a"), newShop(t, "b")
	c, err := LoadBalance(a.URL, b.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer c.CloseIdleConnections()
	for range 200 {
		resp, err := c.Get("/items")
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
	}
	if x, y := a.requests.Load(), b.requests.Load(); x+y != 200 || x == 0 || y == 0 {
		t.Errorf("%d and %d requests", x, y)
	}
	if _, err := LoadBalance(); err == nil || !strings.Contains(err.Error(), "no server") {
		t.Errorf("of nothing: %v", err)
	}
}

// TestNoRequestFailsWhileOneServerIsWell whatever happens to the other.
func TestNoRequestFailsWhileOneServerIsWell(t *testing.T) {
	for name, breakIt := range map[string]func(*shop){
		"killed":       func(s *shop) { s.Listener.Close(); s.CloseClientConnections() },
		"503":          func(s *shop) { s.do(status(503)) },
		"cuts off":     func(s *shop) { s.do(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }) },
		"says nothing": func(s *shop) { s.do(silent) },
	} {
		t.Run(name, func(t *testing.T) {
			a, b := newShop(t, "a"), newShop(t, "b")
			c := open(t, Config{
				Pool: balance.Config{
					Algorithm: balance.RoundRobin,
					// On a busy machine a server that is well may be silent for a while, too.
					Stall: balance.StallConfig{Max: time.Second, Disabled: name != "says nothing"},
				},
				Stack: fault.Must(fault.New(fault.Retry(faulthttp.Retry(), nil), fault.Timeout(2*time.Second))),
			}, a, b)
			var wg sync.WaitGroup
			for i := range 8 {
				wg.Go(func() {
					for j := range 25 {
						if i == 0 && j == 5 {
							breakIt(a)
						}
						if text, err := get(t, c, "http://shop/"); err != nil || text != "a" && text != "b" {
							t.Errorf("%q, %v", text, err)
						}
					}
				})
			}
			wg.Wait()
			ejections := func() int { return int(c.Pool().ByAddress(a.URL).Status(run.Now()).Outlier.Ejections) }
			// The others may have been through before it broke.
			for i := 0; i < 100 && ejections() == 0 && name != "says nothing"; i++ {
				if text, err := get(t, c, "http://shop/"); err != nil || text != "a" && text != "b" {
					t.Errorf("%q, %v", text, err)
				}
			}
			if ejections() == 0 && name != "says nothing" {
				t.Error("it was never ejected")
			}
		})
	}
}

func TestUnsafeRequestsAreRepeatedOnlyIfTheyDidNotLeave(t *testing.T) {
	a, b := newShop(t, "a"), newShop(t, "b")
	a.do(status(503))
	b.do(status(503))
	c := open(t, Config{}, a, b)
	if text, err := send(t, c, t.Context(), "POST", "/", strings.NewReader("order")); err != nil || text != "503" || a.requests.Load()+b.requests.Load() != 1 {
		t.Errorf("%q, %v after %d requests", text, err, a.requests.Load()+b.requests.Load())
	}
	gone := newShop(t, "gone")
	gone.Listener.Close()
	b.serve.Store(nil)
	c = open(t, Config{Pool: balance.Config{Algorithm: balance.RoundRobin}}, gone, b)
	for range 4 {
		if text, err := send(t, c, t.Context(), "POST", "/", strings.NewReader("order")); err != nil || text != "b" {
			t.Errorf("%q, %v", text, err)
		}
	}
}

func TestRetriesGoToAnotherServer(t *testing.T) {
	shops := []*shop{newShop(t, "a"), newShop(t, "b"), newShop(t, "c")}
	for _, s := range shops {
		s.do(status(502))
	}
	c := open(t, Config{}, shops...)
	if text, err := get(t, c, "/"); err != nil || text != "502" {
		t.Errorf("%q, %v", text, err)
	}
	for _, s := range shops {
		if n := s.requests.Load(); n != 1 {
			t.Errorf("%s had %d requests", s.name, n)
		}
	}
}

func TestHedgesGoToAnotherServer(t *testing.T) {
	a, b := newShop(t, "a"), newShop(t, "b")
	a.do(silent)
	h := hedge.New(hedge.Config{Delay: 20 * ms, Budget: retry.BudgetConfig{Ratio: 1}})
	c := open(t, Config{Stack: fault.Must(fault.New(fault.Hedge(h))), Pool: balance.Config{Algorithm: balance.RoundRobin}}, a, b)
	for range 4 {
		if text, err := get(t, c, "/"); err != nil || text != "b" {
			t.Errorf("%q, %v", text, err)
		}
	}
	if s := c.Pool().ByAddress(a.URL).Status(run.Now()); s.Outlier.Run != 0 {
		t.Errorf("being second counts as a failure: %+v", s.Outlier)
	}
}

func TestRequestsWaitForAPlace(t *testing.T) {
	a := newShop(t, "a")
	release := make(chan bool)
	a.do(func(w http.ResponseWriter, _ *http.Request) { <-release; fmt.Fprint(w, "a") })
	c := open(t, Config{Pool: balance.Config{MaxRequests: 1, MaxPending: 1, Stall: balance.StallConfig{Disabled: true}}}, a)
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			if text, err := get(t, c, "/"); err != nil || text != "a" {
				t.Errorf("%q, %v", text, err)
			}
		})
	}
	for c.Pool().Pending() == 0 || c.Pool().InFlight() == 0 {
		<-time.After(ms)
	}
	if _, err := get(t, c, "/"); !errors.Is(err, balance.ErrQueueFull) {
		t.Errorf("the third: %v", err)
	}
	release <- true
	release <- true
	wg.Wait()
}

func TestWaitingEnds(t *testing.T) {
	a := newShop(t, "a")
	c := open(t, Config{Hold: 30 * ms}, a)
	e := c.Pool().ByAddress(a.URL)
	c.Pool().SetHealth(e, balance.Down, "", run.Now())
	if text, err := get(t, c, "/"); err != nil || text != "a" {
		t.Errorf("if all are down, all are used: %q, %v", text, err)
	}
	c.Pool().SetAdmin(e, balance.Maintenance, run.Now())
	if _, err := get(t, c, "/"); !errors.Is(err, balance.ErrNone) {
		t.Errorf("%v", err)
	}
	if _, err := send(t, c, t.Context(), "POST", "/", strings.NewReader("order")); !errors.Is(err, balance.ErrNone) {
		t.Errorf("%v", err)
	}
	patient := open(t, Config{Hold: time.Hour}, a)
	patient.Pool().SetAdmin(patient.Pool().ByAddress(a.URL), balance.Maintenance, run.Now())
	ctx, cancel := context.WithTimeout(t.Context(), 10*ms)
	defer cancel()
	if _, err := send(t, patient, ctx, "GET", "/", nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
	never := open(t, Config{Hold: -1}, a)
	never.Pool().SetAdmin(never.Pool().ByAddress(a.URL), balance.Maintenance, run.Now())
	if _, err := get(t, never, "/"); !errors.Is(err, balance.ErrNone) {
		t.Errorf("%v", err)
	}
	if a.requests.Load() != 1 {
		t.Errorf("%d requests", a.requests.Load())
	}
}

// TestRequestsAreHeldUntilAServerIsBack: a probe takes both down and brings one
// up again, and in between nothing fails.
func TestRequestsAreHeldUntilAServerIsBack(t *testing.T) {
	a, b := newShop(t, "a"), newShop(t, "b")
	var well atomic.Bool
	well.Store(true)
	handle := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !well.Load() {
			w.WriteHeader(503)
		}
	})
	a.do(handle)
	b.do(handle)
	c := open(t, Config{
		Probe:  &probe.HTTP{Path: "/healthz"},
		Health: health.Policy{Interval: 10 * ms, Fall: 1, Rise: 1},
		Pool:   balance.Config{PanicThreshold: -1},
	}, a, b)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := c.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	defer wg.Wait()
	defer cancel()
	available := func(n int) {
		for c.Pool().Available(run.Now()) != n {
			<-time.After(ms)
		}
	}
	available(2)
	if text, err := get(t, c, "/"); err != nil || text != "" {
		t.Errorf("%q, %v", text, err)
	}
	well.Store(false)
	available(0)
	var held sync.WaitGroup
	defer held.Wait()
	for range 5 {
		held.Go(func() {
			if text, err := get(t, c, "/"); err != nil || text != "" {
				t.Errorf("held: %q, %v", text, err)
			}
		})
	}
	for c.Pool().Pending() < 5 {
		<-time.After(ms)
	}
	well.Store(true)
}

func TestRunWithoutProbesWaits(t *testing.T) {
	c := open(t, Config{}, newShop(t, "a"))
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(ms, cancel)
	if err := c.Run(ctx); err != nil {
		t.Error(err)
	}
	c.report(probe.Report{Address: "http://unknown"})
	c.report(probe.Report{Address: c.config.Servers[0].URL})
	if s := c.Pool().Endpoints()[0].Status(run.Now()); s.Health != balance.HealthUnknown {
		t.Errorf("a probe that says nothing makes it %v", s.Health)
	}
}

func TestUpdateChangesTheServers(t *testing.T) {
	a, b := newShop(t, "a"), newShop(t, "b")
	for _, p := range []probe.Check{nil, &probe.TCP{}} {
		c := open(t, Config{Probe: p, Hold: -1}, a)
		if text, err := get(t, c, "/"); err != nil || text != "a" {
			t.Errorf("%q, %v", text, err)
		}
		if err := c.Update([]Server{{URL: b.URL}}); err != nil {
			t.Fatal(err)
		}
		e := c.Pool().ByAddress(b.URL)
		c.Pool().SetHealth(e, balance.Up, "", run.Now())
		if text, err := get(t, c, "/"); err != nil || text != "b" {
			t.Errorf("%q, %v", text, err)
		}
		if err := c.Update([]Server{{URL: "ftp://b"}}); err == nil || c.Pool().ByAddress(b.URL) != e {
			t.Errorf("%v", err)
		}
	}
}

func TestServersAddedToThePoolAreUsed(t *testing.T) {
	a, b := newShop(t, "a"), newShop(t, "b")
	c := open(t, Config{}, a)
	if _, err := c.Pool().Add(balance.EndpointConfig{Address: b.URL}, run.Now()); err != nil {
		t.Fatal(err)
	}
	c.Pool().SetAdmin(c.Pool().ByAddress(a.URL), balance.Drain, run.Now())
	if text, err := get(t, c, "/"); err != nil || text != "b" {
		t.Errorf("%q, %v", text, err)
	}
	if _, err := c.Pool().Add(balance.EndpointConfig{Address: "b:80"}, run.Now()); err != nil {
		t.Fatal(err)
	}
	if err := c.Pool().Remove(b.URL, run.Now()); err != nil {
		t.Fatal(err)
	}
	if _, err := get(t, c, "/"); err == nil || !strings.Contains(err.Error(), "scheme") {
		t.Errorf("%v", err)
	}
}

func TestEqualKeysGoToTheSameServer(t *testing.T) {
	shops := []*shop{newShop(t, "a"), newShop(t, "b"), newShop(t, "c")}
	c := open(t, Config{
		Pool: balance.Config{Algorithm: balance.Maglev},
		Key:  func(r *http.Request) uint64 { return balance.HashBytes([]byte(r.URL.Path)) },
	}, shops...)
	seen := map[string]string{}
	for i := range 60 {
		path := fmt.Sprintf("/%d", i%20)
		text, err := get(t, c, path)
		if err != nil || seen[path] != "" && seen[path] != text {
			t.Errorf("%s: %q, before %q, %v", path, text, seen[path], err)
		}
		seen[path] = text
	}
	if n := len(slices.Compact(slices.Sorted(maps.Values(seen)))); n != 3 {
		t.Errorf("%d servers are used", n)
	}
}

// TestOutcomesAreTold: what became of a request is what its server is judged by.
func TestOutcomesAreTold(t *testing.T) {
	for _, x := range []struct {
		name   string
		serve  http.HandlerFunc
		read   func(*testing.T, *http.Response)
		cancel bool
		failed int
	}{
		{"all is well", nil, nil, false, 0},
		{"not found", status(404), nil, false, 0},
		{"server error", status(500), nil, false, 1},
		{"its reader had enough", func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprint(w, strings.Repeat("long ", 1<<20))
		}, func(_ *testing.T, r *http.Response) {}, false, 0},
		{"cut off in mid-answer", func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprint(w, "half")
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		}, nil, false, 1},
		{"silence in mid-answer", func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprint(w, "half")
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		}, nil, false, 1},
		{"its caller gave up", silent, nil, true, 0},
	} {
		a := newShop(t, "a")
		if x.serve != nil {
			a.do(x.serve)
		}
		c := open(t, Config{Stack: fault.Must(fault.New()), Idle: 200 * ms}, a)
		ctx, cancel := context.WithCancel(t.Context())
		if x.cancel {
			time.AfterFunc(20*ms, cancel)
		}
		req, err := http.NewRequestWithContext(ctx, "GET", "/", nil)
		if err != nil {
			t.Fatal(err)
		}
		if resp, err := c.RoundTrip(req); err == nil {
			if x.read == nil {
				_, _ = io.Copy(io.Discard, resp.Body)
			}
			resp.Body.Close()
		}
		cancel()
		if s := c.Pool().ByAddress(a.URL).Status(run.Now()); s.Outlier.Run != x.failed {
			t.Errorf("%s: %d failures, want %d", x.name, s.Outlier.Run, x.failed)
		}
	}
}

func TestResultsOfErrors(t *testing.T) {
	ended := func(cause error) *http.Request {
		ctx, cancel := context.WithCancelCause(t.Context())
		if cause != nil {
			cancel(cause)
		}
		t.Cleanup(func() { cancel(nil) })
		return httptest.NewRequest("GET", "/", nil).WithContext(ctx)
	}
	for _, x := range []struct {
		err   error
		cause error
		want  balance.Result
	}{
		{fmt.Errorf("%w: %w", errStalled, context.Canceled), nil, balance.Stalled},
		{&net.OpError{Op: "dial", Err: io.EOF}, nil, balance.ConnectFailed},
		{io.EOF, nil, balance.Reset},
		{&net.DNSError{IsTimeout: true}, nil, balance.Timeout},
		{context.Canceled, context.Canceled, balance.Canceled},
		{context.Canceled, fault.ErrTimeout, balance.Timeout},
		{context.DeadlineExceeded, context.DeadlineExceeded, balance.Timeout},
	} {
		if got := resultOf(x.err, ended(x.cause)); got != x.want {
			t.Errorf("%v, cause %v: %v, want %v", x.err, x.cause, got, x.want)
		}
	}
}

func TestTargets(t *testing.T) {
	for _, x := range []struct{ server, request, host, url, wantHost string }{
		{"http://10.0.0.1:80", "/items?q=1", "", "http://10.0.0.1:80/items?q=1", ""},
		{"http://10.0.0.1:80", "http://shop/items", "", "http://10.0.0.1:80/items", "shop"},
		{"https://10.0.0.1", "http://shop/items", "store", "https://10.0.0.1/items", "store"},
		{"http://10.0.0.1/v1/", "/items", "", "http://10.0.0.1/v1/items", ""},
		{"http://10.0.0.1/v1", "/a%2Fb", "", "http://10.0.0.1/v1/a%2Fb", ""},
		{"http://10.0.0.1/v1", "", "", "http://10.0.0.1/v1/", ""},
	} {
		server, err := parseServer(x.server)
		if err != nil {
			t.Fatal(err)
		}
		u, err := url.Parse(x.request)
		if err != nil {
			t.Fatal(err)
		}
		got, host := target(server, &http.Request{URL: u, Host: x.host})
		if got.String() != x.url || host != x.wantHost {
			t.Errorf("%s at %s: %s, host %q, want %s, host %q", x.request, x.server, got, host, x.url, x.wantHost)
		}
	}
	for server, want := range map[string]string{
		"http://a": "a:80", "https://a": "a:443", "http://a:8080/v1": "a:8080", "http://[::1]": "[::1]:80",
	} {
		u, _ := url.Parse(server)
		if got := hostPort(u); got != want {
			t.Errorf("%s is at %s, want %s", server, got, want)
		}
	}
}

// readWriteCloser is the connection of an answer that has changed the protocol.
type readWriteCloser struct {
	io.Reader
	strings.Builder
}

func (*readWriteCloser) Close() error { return nil }

func TestUpgradedConnectionHoldsItsPlace(t *testing.T) {
	conn := &readWriteCloser{Reader: strings.NewReader("hello")}
	c, err := New(Config{
		Servers: []Server{{URL: "http://a"}},
		Base:    roundTripper(func(*http.Request) (*http.Response, error) { return &http.Response{StatusCode: 101, Body: conn}, nil }),
	})
	if err != nil {
		t.Fatal(err)
	}
	c.CloseIdleConnections() // it has none
	resp, err := c.RoundTrip(httptest.NewRequest("GET", "/", nil))
	if err != nil {
		t.Fatal(err)
	}
	if fmt.Fprint(resp.Body.(io.Writer), "hi"); conn.String() != "hi" || c.Pool().InFlight() != 1 {
		t.Errorf("written %q, %d in flight", conn.String(), c.Pool().InFlight())
	}
	if resp.Body.Close(); c.Pool().InFlight() != 0 {
		t.Errorf("%d in flight", c.Pool().InFlight())
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestCheckRefusesNonsense(t *testing.T) {
	one := func(u string) Config { return Config{Servers: []Server{{URL: u}}} }
	rules, pool, probed := one("http://a"), one("http://a"), one("http://a")
	rules.Health.Fall = -1
	pool.Pool.Algorithm = "best"
	probed.Probe, probed.Health.Interval = &probe.TCP{}, time.Second
	for want, c := range map[string]Config{
		"no server":         {},
		"scheme is neither": one("ftp://a"),
		"has no host":       one("http://:80"),
		"more than scheme":  one("http://a/?q=1"),
		"missing protocol":  one("://a"),
		"fall -1":           rules,
		"algorithm":         pool,
		"listed twice":      {Servers: []Server{{URL: "http://a"}, {URL: "http://a"}}},
	} {
		if _, err := New(c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want something about %q", c, err, want)
		}
	}
	if _, err := New(probed); err != nil {
		t.Error(err)
	}
	breakers := one("http://a")
	breakers.Stack = fault.Must(fault.New(fault.Retry(faulthttp.Retry(), nil), fault.Breaker(breaker.New(breaker.Config{}))))
	if err := breakers.Check(); err != nil {
		t.Error(err)
	}
}

func BenchmarkRoundTrip(b *testing.B) {
	resp := &http.Response{StatusCode: 200, Body: http.NoBody}
	c, err := New(Config{
		Servers: []Server{{URL: "http://a"}, {URL: "http://b"}},
		Base:    roundTripper(func(*http.Request) (*http.Response, error) { return resp, nil }),
	})
	if err != nil {
		b.Fatal(err)
	}
	req := httptest.NewRequest("GET", "/", nil)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.RoundTrip(req); err != nil {
			b.Fatal(err)
		}
	}
}
