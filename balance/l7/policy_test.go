package l7_test

import (
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/trivet-ha/trivet/balance"
	"github.com/trivet-ha/trivet/balance/l7"
	"github.com/trivet-ha/trivet/fault/breaker"
	"github.com/trivet-ha/trivet/fault/hedge"
	"github.com/trivet-ha/trivet/fault/limit"
	"github.com/trivet-ha/trivet/fault/limit/adaptive"
	"github.com/trivet-ha/trivet/fault/retry"
)

const emptyOK = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"

// says answers each request on a connection with the same bytes.
func says(answer string) func(*peer) {
	return func(p *peer) {
		for p.tryHead() != "" {
			p.say(answer)
		}
	}
}

// did returns how often policies have done something on the stage's route.
func (st *stage) did(what string) (n uint64) {
	_, routes := st.srv.Stats()
	for _, r := range routes {
		n += r.Policies[what]
	}
	return n
}

// status reads an answer and returns its status and its head.
func (p *peer) status() (string, string) {
	p.t.Helper()
	head := p.head()
	if _, rest, ok := strings.Cut(head, "Content-Length: "); ok {
		n := 0
		fmt.Sscanf(rest, "%d", &n)
		p.take(n)
	}
	return head[len("HTTP/1.1 "):][:3], head
}

func TestWhoIsAboveTheRateIsToldWhenToComeBack(t *testing.T) {
	e := newEndpoint(t)
	e.play(says(emptyOK))
	st := serve(t, []string{e.addr()}, func(s *setup) {
		s.route.Limits = []l7.RateLimit{{
			Hash:    l7.Hash{Key: l7.HashHeader, Name: "X-User"},
			Limiter: limit.NewKeyed(limit.KeyedConfig{Config: limit.Config{Tokens: 2, Per: time.Hour}}),
		}}
	})
	client := st.dial()
	ask := func(user string) (string, string) { client.say(get("X-User: " + user)); return client.status() }
	for range 2 {
		if got, _ := ask("anna"); got != "200" {
			t.Fatalf("anna got %s within her rate", got)
		}
	}
	got, head := ask("anna")
	if got != "429" || !strings.Contains(head, "\r\nRetry-After: 1800\r\n") {
		t.Errorf("above the rate: %s\n%s", got, head)
	}
	if got, _ := ask("bert"); got != "200" {
		t.Errorf("bert pays for anna: %s", got)
	}
	if n := st.did("rate_limited"); n != 1 {
		t.Errorf("%d requests are counted as limited", n)
	}
}

// TestStalledRequestGoesOnWithItsRival: the second attempt is under way when the first one's endpoint is found to
// have stopped answering; a third would be one too many.
func TestStalledRequestGoesOnWithItsRival(t *testing.T) {
	a, b := newEndpoint(t), newEndpoint(t)
	st := serve(t, []string{a.addr(), b.addr()}, oneLoop, func(s *setup) {
		s.upstream.Stall = true
		s.pool.Stall = balance.StallConfig{Requests: 1, Min: 2 * short, Max: 2 * short}
		s.route.Hedge = hedge.New(hedge.Config{Delay: short / 2})
	})
	client := st.dial()
	client.say(get())
	first, second := either(t, a, b)
	first.accept().expect(get())
	rival := second.accept()
	rival.expect(get())
	st.until("the first has stalled", func() bool { return st.failures("stall") == 1 })
	rival.say(emptyOK)
	if got, _ := client.status(); got != "200" {
		t.Errorf("the answer is %s", got)
	}
	first.untouched()
	second.untouched()
	if st.did("hedged") != 1 || st.retries() != 0 {
		t.Errorf("%d hedges, %d retries", st.did("hedged"), st.retries())
	}
}

// TestNothingIsHedgedInBackoff: the time for a second attempt that was set for the first does not outlast it.
func TestNothingIsHedgedInBackoff(t *testing.T) {
	st := serve(t, []string{gone(t), gone(t)}, noOutliers, func(s *setup) {
		s.route.Retry = retry.Policy{Attempts: 3, BackoffBase: 4 * short}
		s.route.Hedge = hedge.New(hedge.Config{Delay: time.Millisecond, Budget: retry.BudgetConfig{Ratio: 10}})
	})
	e := newEndpoint(t)
	if _, err := st.pool.Add(balance.EndpointConfig{Address: e.addr(), Weight: 1000}, st.now()); err != nil {
		t.Fatal(err)
	}
	e.play(func(p *peer) { p.tryHead() }) // closes without a word
	for range 3 {
		client := st.dial()
		client.say(get())
		if got, _ := client.status(); got != "502" {
			t.Errorf("the answer is %s", got)
		}
	}
}

// TestFallbackLeavesNoRivalBehind: the whole request is late while two attempts are under way, and another pool is
// asked; the places on the first are given back to the first.
func TestFallbackLeavesNoRivalBehind(t *testing.T) {
	a, b, other := newEndpoint(t), newEndpoint(t), newEndpoint(t)
	pool, err := balance.New(balance.Config{Name: "other", Endpoints: []balance.EndpointConfig{{Address: other.addr()}}}, 0)
	if err != nil {
		t.Fatal(err)
	}
	st := serve(t, []string{a.addr(), b.addr()}, oneLoop, noOutliers, func(s *setup) {
		s.route.Hedge = hedge.New(hedge.Config{Delay: short / 4})
		s.route.Timeout = 2 * short
		s.route.Fallback = &l7.Fallback{
			When: retry.Statuses(504), Upstream: l7.NewUpstream("other", pool, nil, l7.UpstreamSettings{}),
		}
	})
	client := st.dial()
	client.say(get())
	first, second := either(t, a, b)
	first.accept().expect(get())
	second.accept().expect(get())
	server := other.accept()
	server.head()
	client.status()
	until(t, "no place is taken", func() bool { return pool.InFlight() == 0 && st.pool.InFlight() == 0 })
}

func TestRequestsAreHeldUntilAnEndpointIsBack(t *testing.T) {
	e := newEndpoint(t)
	order := make(chan string, 10)
	e.play(func(p *peer) {
		for {
			head := p.tryHead()
			if head == "" {
				return
			}
			order <- strings.Fields(head)[1]
			p.say(emptyOK)
		}
	})
	st := serve(t, []string{e.addr()}, oneLoop, func(s *setup) {
		s.upstream.Hold = patient
		s.pool.PanicThreshold = -1
		s.pool.Endpoints[0].MaxRequests = 1
	})
	ep := st.pool.Endpoints()[0]
	st.pool.SetHealth(ep, balance.Down, "test", st.now())
	var clients []*peer
	for i := range 5 {
		c := st.dial()
		c.say(fmt.Sprintf("GET /%d HTTP/1.1\r\nHost: a\r\n\r\n", i))
		st.until("it waits", func() bool { return st.pool.Pending() == i+1 })
		clients = append(clients, c)
	}
	clients[2].reset() // one gives up
	st.until("four wait", func() bool { return st.pool.Pending() == 4 })
	st.pool.SetHealth(ep, balance.Up, "test", st.now())
	for _, i := range []int{0, 1, 3, 4} {
		if got, _ := clients[i].status(); got != "200" {
			t.Errorf("request %d got %s", i, got)
		}
		if got, want := <-order, fmt.Sprintf("/%d", i); got != want {
			t.Errorf("%s went out when it was %s's turn", got, want)
		}
	}
	if n := st.did("held"); n != 5 {
		t.Errorf("%d requests are counted as held", n)
	}
}

func TestAHeldRequestIsAnsweredInTheEnd(t *testing.T) {
	st := serve(t, []string{gone(t)}, func(s *setup) {
		s.upstream.Hold = 50 * time.Millisecond
		s.pool.PanicThreshold = -1
	})
	st.pool.SetHealth(st.pool.Endpoints()[0], balance.Down, "test", st.now())
	client := st.dial()
	client.say(get())
	if got, _ := client.status(); got != "503" {
		t.Errorf("got %s", got)
	}
}

func TestFallbackStandsInForFailures(t *testing.T) {
	sick, well := newEndpoint(t), newEndpoint(t)
	sick.play(says("HTTP/1.1 500 Oh\r\nContent-Length: 2\r\n\r\nno"))
	well.play(says(ok("other", "Content-Length: 5")))
	spare, err := balance.New(balance.Config{Name: "spare", Endpoints: []balance.EndpointConfig{{Address: well.addr()}}}, 0)
	if err != nil {
		t.Fatal(err)
	}
	other := l7.NewUpstream("spare", spare, nil, l7.UpstreamSettings{Connect: patient, FirstByte: patient})
	static := &l7.Fallback{When: retry.Statuses(500, 502, 503), Respond: &l7.Respond{Status: 200, Body: []byte("sorry")}}
	second := &l7.Fallback{When: retry.Statuses(500, 502, 503), Upstream: other}
	for _, c := range []struct {
		name, endpoint, request, want string
		fallback                      *l7.Fallback
	}{
		{"a status becomes a text", sick.addr(), get(), "sorry", static},
		{"nobody there becomes a text", gone(t), get(), "sorry", static},
		{"a status goes to another pool", sick.addr(), get(), "other", second},
		{"nobody there goes to another pool", gone(t), get(), "other", second},
		{"a request that may have had an effect does not go out again", sick.addr(), post("x"), "no", second},
		{"one that was not sent does", gone(t), post("x"), "other", second},
	} {
		t.Run(c.name, func(t *testing.T) {
			st := serve(t, []string{c.endpoint}, noOutliers, func(s *setup) { s.route.Fallback = c.fallback })
			client := st.dial()
			client.say(c.request)
			client.head()
			if got := client.take(len(c.want)); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
			client.say(get())
			client.head()
		})
	}
	if n := spare.InFlight(); n != 0 {
		t.Errorf("%d places of the spare pool are lost", n)
	}
}

func TestFaultsAreInjectedOnPurpose(t *testing.T) {
	e := newEndpoint(t)
	e.play(says(ok(strings.Repeat("a", 100_000), "Content-Length: 100000")))
	run := func(in l7.Inject) *stage {
		return serve(t, []string{e.addr()}, func(s *setup) { s.route.Inject = &in })
	}
	t.Run("abort", func(t *testing.T) {
		client := run(l7.Inject{Abort: 1, AbortStatus: 418}).dial()
		client.say(get())
		if got, _ := client.status(); got != "418" {
			t.Errorf("got %s", got)
		}
	})
	t.Run("reset", func(t *testing.T) {
		client := run(l7.Inject{Reset: 1}).dial()
		client.say(get())
		if before, reset := client.broken(); before != "" || !reset {
			t.Errorf("got %q, reset %v", before, reset)
		}
	})
	t.Run("delay", func(t *testing.T) {
		client := run(l7.Inject{Delay: 1, DelayFor: 80 * time.Millisecond}).dial()
		began := time.Now()
		client.say(get())
		client.head()
		if took := time.Since(began); took < 80*time.Millisecond {
			t.Errorf("took %v", took)
		}
		client.take(100_000)
	})
	t.Run("bandwidth", func(t *testing.T) {
		client := run(l7.Inject{Bandwidth: 400_000}).dial()
		began := time.Now()
		client.say(get())
		client.head()
		if got := client.take(100_000); got != strings.Repeat("a", 100_000) {
			t.Error("the body is another")
		}
		if took := time.Since(began); took < 150*time.Millisecond {
			t.Errorf("100 kB at 400 kB/s took %v", took)
		}
	})
	t.Run("half", func(t *testing.T) {
		st := run(l7.Inject{Abort: 0.5, AbortStatus: 500})
		client := st.dial()
		for range 100 {
			client.say(get())
			client.status()
		}
		if n := st.did("fault_injected"); n < 25 || n > 75 {
			t.Errorf("%d of 100 requests were aborted", n)
		}
	})
}

func TestASecondAttemptOvertakesASlowFirst(t *testing.T) {
	slow, fast := newEndpoint(t), newEndpoint(t)
	fast.play(says(emptyOK))
	st := serve(t, []string{slow.addr(), fast.addr()}, oneLoop, func(s *setup) {
		s.route.Hedge = hedge.New(hedge.Config{Delay: 20 * time.Millisecond, Budget: retry.BudgetConfig{MinPerSecond: 1000}})
	})
	client := st.dial()
	for range 20 {
		client.say(get())
		client.expect(emptyOK)
	}
	if n := st.did("hedge_won"); n == 0 {
		t.Error("no second attempt has won")
	}
	st.until("the slow ones are given up", func() bool { return st.pool.InFlight() == 0 })
}

func TestASecondAttemptThatIsLateOrFailsChangesNothing(t *testing.T) {
	first := newEndpoint(t)
	st := serve(t, []string{first.addr(), gone(t)}, oneLoop, noOutliers, func(s *setup) {
		s.route.Hedge = hedge.New(hedge.Config{Delay: 10 * time.Millisecond, Budget: retry.BudgetConfig{MinPerSecond: 1000}})
	})
	client := st.dial()
	server := (*peer)(nil)
	for range 4 {
		client.say(get())
		if server == nil {
			server = first.accept()
		}
		server.head()
		hedged := st.did("hedged")
		st.until("a second attempt was made or refused", func() bool { return st.did("hedged") > hedged || st.failures("connect") > 0 })
		server.say(emptyOK)
		client.expect(emptyOK)
	}
}

func TestBreakerSparesAPoolThatFails(t *testing.T) {
	sick := newEndpoint(t)
	sick.play(says("HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n"))
	b := breaker.New(breaker.Config{Consecutive: 3, OpenFor: time.Hour})
	st := serve(t, []string{sick.addr()}, noOutliers, func(s *setup) { s.upstream.Guards.Breaker = b })
	client := st.dial()
	var got []string
	for range 5 {
		client.say(get())
		status, _ := client.status()
		got = append(got, status)
	}
	if want := "[500 500 500 503 503]"; fmt.Sprint(got) != want {
		t.Errorf("got %v, want %s", got, want)
	}
	if n := st.did("breaker_open"); n != 2 {
		t.Errorf("%d requests are counted as refused", n)
	}
}

func TestConcurrencyIsLimitedAndGivenBack(t *testing.T) {
	e := newEndpoint(t)
	limiter := adaptive.New(adaptive.Config{Initial: 2, Min: 2, Max: 2})
	st := serve(t, []string{e.addr()}, func(s *setup) { s.upstream.Guards.Concurrency = limiter })
	a, b, c := st.dial(), st.dial(), st.dial()
	a.say(get())
	first := e.accept()
	first.head()
	b.say(get())
	second := e.accept()
	second.head()
	c.say(get())
	if got, _ := c.status(); got != "503" {
		t.Errorf("the third got %s", got)
	}
	b.reset() // who leaves gives the place back too
	st.until("a place is free", func() bool { return limiter.Gate().Running() == 1 })
	first.say(emptyOK)
	a.expect(emptyOK)
	st.until("all places are free", func() bool { return limiter.Gate().Running() == 0 })
	second.close()
}

func TestRequestsAreHeldWhileNobodyListens(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := ln.Addr().String()
	ln.Close() // the server is restarting
	st := serve(t, []string{address}, oneLoop, func(s *setup) { s.upstream.Hold = patient })
	var clients []*peer
	for i := range 5 {
		c := st.dial()
		c.say(strings.Replace(post("x"), "POST /", fmt.Sprintf("POST /%d", i), 1))
		st.until("it is held", func() bool { return st.did("held") == uint64(i+1) })
		clients = append(clients, c)
	}
	clients[3].reset() // one gives up
	st.until("its connection is gone", func() bool { return st.srv.Connections() == 4 })
	back, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	order := make(chan string, 10)
	srv := &http.Server{Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { order <- r.URL.Path })}
	go srv.Serve(back)
	defer srv.Close()
	for _, i := range []int{0, 1, 2, 4} {
		if got, _ := clients[i].status(); got != "200" {
			t.Errorf("request %d got %s", i, got)
		}
	}
	if got := <-order; got != "/0" {
		t.Errorf("%s went first", got)
	}
	if n := len(order); n != 3 {
		t.Errorf("%d more requests came, want 3", n)
	}
}

func TestARequestIsHeldNoLongerThanItsPoolSays(t *testing.T) {
	st := serve(t, []string{gone(t)}, func(s *setup) { s.upstream.Hold = 80 * time.Millisecond })
	client := st.dial()
	began := time.Now()
	client.say(get())
	if got, _ := client.status(); got != "503" && got != "502" {
		t.Errorf("got %s", got)
	}
	if took := time.Since(began); took < 80*time.Millisecond {
		t.Errorf("given up after %v", took)
	}
}
