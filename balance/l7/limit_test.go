package l7_test

import (
	"strings"
	"testing"
	"time"

	"github.com/trivet-ha/trivet/balance"
	"github.com/trivet-ha/trivet/balance/l7"
)

// short is a limit that a test waits for.
const short = 40 * time.Millisecond

// took checks that something ended at its limit.
func took(t *testing.T, since time.Time, limit time.Duration) {
	t.Helper()
	if d := time.Since(since); d < limit-time.Millisecond || d > limit+5*time.Second {
		t.Errorf("it took %v, the limit is %v", d, limit)
	}
}

func limits(change func(*l7.Timeouts)) func(*setup) {
	return func(s *setup) { change(&s.listener.Timeouts) }
}

func TestSlowHeadIs408(t *testing.T) {
	for _, pieces := range [][]string{
		{"GET / HTTP/1.1\r\n"},
		{"G", "E", "T"},
		{"\r\n"},
		{"GET / HTTP/1.1\r\nHost: a", ".example\r\n", "X: y"},
	} {
		st := serve(t, nil, limits(func(l *l7.Timeouts) { l.Header = short }))
		client := st.dial()
		since := time.Now()
		for _, p := range pieces {
			client.say(p)
		}
		if got := client.rest(); !strings.HasPrefix(got, "HTTP/1.1 408 Request Timeout\r\n") || !strings.Contains(got, "Connection: close\r\n") {
			t.Errorf("after %q the client got %q", pieces, got)
		}
		took(t, since, short)
	}
}

// TestTrickledHeadIs408 sends a byte again and again: the limit is for the whole head.
func TestTrickledHeadIs408(t *testing.T) {
	st := serve(t, nil, limits(func(l *l7.Timeouts) { l.Header = 2 * short }))
	client := st.dial()
	client.say("GET / HTTP/1.1\r\nX: ")
	tick := time.NewTicker(short / 8)
	defer tick.Stop()
	stop := make(chan struct{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-tick.C:
				client.say("y")
			case <-stop:
				return
			}
		}
	}()
	if got, _ := client.broken(); !strings.HasPrefix(got, "HTTP/1.1 408 ") {
		t.Errorf("the client got %q", got)
	}
	close(stop)
	<-done
}

func TestSecondHeadHasItsOwnTime(t *testing.T) {
	st := serve(t, nil, limits(func(l *l7.Timeouts) { l.Header = short }))
	client := st.dial()
	client.synced()
	client.say(syncRequest + "GET /") // part of the next comes along
	client.until(syncStatus)
	if got := client.rest(); !strings.Contains(got, "HTTP/1.1 408 ") {
		t.Errorf("the client got %q", got)
	}
}

// TestPipelinedHeadIsNotLateForWaiting: a head that comes while the request before it takes long has its time
// from when it can be looked at.
func TestPipelinedHeadIsNotLateForWaiting(t *testing.T) {
	e := newEndpoint(t)
	st := serve(t, []string{e.addr()}, limits(func(l *l7.Timeouts) { l.Header = 15 * short }))
	client := st.dial()
	client.say(get() + "GET / HTTP/1.1\r\n")
	server := e.accept()
	server.expect(get())
	<-time.After(18 * short)
	server.say(ok("", "Content-Length: 0"))
	client.expect(ok("", "Content-Length: 0"))
	client.say("Host: a.example\r\n\r\n")
	server.expect(get())
	server.say(ok("", "Content-Length: 0"))
	client.expect(ok("", "Content-Length: 0"))
}

func TestIdleConnectionIsClosed(t *testing.T) {
	st := serve(t, nil, limits(func(l *l7.Timeouts) { l.Idle = short }))
	for _, first := range []bool{false, true} {
		client := st.dial()
		if first {
			client.synced()
		}
		since := time.Now()
		client.ended()
		if first { // before the first byte the kernel keeps the connection to itself for a while
			took(t, since, short)
		}
	}
}

func TestSilentBodyIs408(t *testing.T) {
	e := newEndpoint(t)
	st := serve(t, []string{e.addr()}, limits(func(l *l7.Timeouts) { l.BodyIdle = short }))
	client := st.dial()
	since := time.Now()
	client.say(lines("POST / HTTP/1.1", "Host: a.example", "Content-Length: 10") + "abc")
	server := e.accept()
	server.expect(lines("POST / HTTP/1.1", "Host: a.example", "Content-Length: 10") + "abc")
	if got := client.rest(); !strings.HasPrefix(got, "HTTP/1.1 408 ") {
		t.Errorf("the client got %q", got)
	}
	took(t, since, short)
	server.broken()
	if st.failures("timeout") != 0 {
		t.Error("the endpoint is blamed for a slow client")
	}
}

// TestSlowEndpointIsNotASlowClient: while the endpoint takes nothing, the client is not waited for.
func TestSlowEndpointIsNotASlowClient(t *testing.T) {
	e := newEndpoint(t)
	st := serve(t, []string{e.addr()}, limits(func(l *l7.Timeouts) { l.BodyIdle = 25 * short })) // even a busy machine sends in time
	client := st.dial()
	body := strings.Repeat("0123456789abcdef", 1<<20) // more than all buffers on the way
	done := make(chan struct{})
	go func() { client.say(post(body)); close(done) }()
	server := e.accept()
	<-time.After(30 * short)
	server.expect(post(body))
	<-done
	server.say(ok("", "Content-Length: 0"))
	client.expect(ok("", "Content-Length: 0"))
}

// TestFirstByteIsDueFromTheWholeRequest: an upload may take longer than an endpoint may to begin its answer.
func TestFirstByteIsDueFromTheWholeRequest(t *testing.T) {
	e := newEndpoint(t)
	st := serve(t, []string{e.addr()}, noOutliers, func(s *setup) {
		s.upstream.FirstByte = 2 * short
		s.route.Retry.Attempts = 1
	})
	client := st.dial()
	request := post(strings.Repeat("x", 10))
	client.say(request[:len(request)-1])
	server := e.accept()
	server.expect(request[:len(request)-1])
	<-time.After(3 * short)
	since := time.Now()
	client.say("x")
	server.expect("x")
	client.expectOwn(ownAnswer("504 Gateway Timeout", "the endpoint did not answer in time"))
	took(t, since, 2*short)
	if st.failures("timeout") != 1 {
		t.Error("the endpoint is not blamed")
	}
}

// TestEndpointThatTakesNothingIsLate: it neither reads the request nor answers.
func TestEndpointThatTakesNothingIsLate(t *testing.T) {
	e := newEndpoint(t)
	st := serve(t, []string{e.addr()}, noOutliers, func(s *setup) { s.upstream.IdleIO = 2 * short })
	client := st.dial()
	since := time.Now()
	done := make(chan struct{})
	go func() { client.say(post(strings.Repeat("x", 16<<20))); close(done) }()
	if got, _ := client.broken(); !strings.HasPrefix(got, "HTTP/1.1 504 ") {
		t.Errorf("the client got %q", got)
	}
	took(t, since, 2*short)
	<-done
	if st.failures("timeout") != 1 {
		t.Error("the endpoint is not blamed")
	}
}

func TestTryAndRouteLimits(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*setup)
	}{
		{"first byte, of the pool", func(s *setup) { s.upstream.FirstByte = short }},
		{"first byte, of the route", func(s *setup) { s.route.FirstByte = short }},
		{"per try", func(s *setup) { s.route.PerTry = short }},
		{"whole request", func(s *setup) { s.route.Timeout = short }},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := newEndpoint(t)
			st := serve(t, []string{e.addr()}, noOutliers, c.change)
			client := st.dial()
			since := time.Now()
			client.say(get())
			server := e.accept()
			if got := client.head(); !strings.HasPrefix(got, "HTTP/1.1 504 Gateway Timeout\r\n") || strings.Contains(got, "Connection: close") {
				t.Errorf("the client got %q", got)
			}
			took(t, since, short)
			server.broken()
			if st.failures("timeout") != 1 {
				t.Error("the endpoint is not blamed")
			}
		})
	}
}

func TestConnectHasItsLimit(t *testing.T) {
	st := serve(t, []string{"192.0.2.1:81"}, noOutliers, func(s *setup) { // TEST-NET-1: nobody answers
		s.upstream.Connect = short
		s.route.Retry.Attempts = 1
	})
	client := st.dial()
	since := time.Now()
	client.say(get())
	if got := client.head(); !strings.HasPrefix(got, badGateway) {
		t.Errorf("the client got %q", got)
	}
	if st.failures("connect") != 1 {
		t.Error("it is not counted")
	}
	if d := time.Since(since); d > 5*time.Second {
		t.Errorf("it took %v", d)
	}
}

// TestAnswerThatStopsIsCutOff: the client must see that it is not whole.
func TestAnswerThatStopsIsCutOff(t *testing.T) {
	for _, c := range []struct {
		name, request, answer string
		reset                 bool
	}{
		{"of known length", get(), ok("abc", "Content-Length: 100000"), false}, // too long to be kept back until it is whole
		{"in chunks", get(), ok("3\r\nabc\r\n", "Transfer-Encoding: chunked"), false},
		{"until the end, to HTTP/1.0", lines("GET / HTTP/1.0"), ok("3\r\nabc\r\n", "Transfer-Encoding: chunked"), true},
	} {
		for _, how := range []string{"silence", "end", "reset", "route"} {
			t.Run(c.name+", "+how, func(t *testing.T) {
				e := newEndpoint(t)
				st := serve(t, []string{e.addr()}, noOutliers, func(s *setup) {
					if how == "silence" {
						s.upstream.IdleIO = short
					}
					if how == "route" {
						s.route.Timeout = 2 * short
					}
				})
				client := st.dial()
				client.say(c.request)
				server := e.accept()
				server.head()
				server.say(c.answer)
				client.head()
				switch how {
				case "end":
					server.close()
				case "reset":
					client.until("abc")
					server.reset()
				}
				if _, reset := client.broken(); reset != c.reset {
					t.Errorf("the client's connection was reset: %v", reset)
				}
				client.close()
			})
		}
	}
}

// TestClientThatTakesNothingIsCutOff: the limit counts from the last byte that it took.
func TestClientThatTakesNothingIsCutOff(t *testing.T) {
	e := newEndpoint(t)
	big := strings.Repeat("x", 32<<20)
	e.play(func(p *peer) {
		for p.tryHead() != "" {
			p.say(ok(big, "Content-Length: "+itoa(len(big))))
		}
	})
	st := serve(t, []string{e.addr()}, limits(func(l *l7.Timeouts) { l.WriteIdle = short }), func(s *setup) {
		s.before = []*l7.Route{{Name: "own", Match: l7.Match{Path: "/own"}, Respond: &l7.Respond{Status: 200, Body: []byte(big)}}}
	})
	for _, path := range []string{"/", "/own"} {
		client := st.dial()
		client.say(lines("GET "+path+" HTTP/1.1", "Host: a.example"))
		st.until("the client is cut off", func() bool { return st.srv.Connections() == 0 })
		client.close()
	}
}

func TestQueueIsInOrderAndHasALimit(t *testing.T) {
	e := newEndpoint(t)
	st := serve(t, []string{e.addr()}, oneLoop, func(s *setup) {
		s.pool.Endpoints[0].MaxRequests = 1
		s.pool.MaxPending = 2
	})
	var clients []*peer
	for i := range 4 {
		c := st.dial()
		c.say(get("X-N: " + itoa(i)))
		clients = append(clients, c)
		switch {
		case i == 0:
			st.until("the first is in flight", func() bool { return st.pool.InFlight() == 1 })
		case i < 3:
			st.until("it waits", func() bool { return st.pool.Pending() == i })
		}
	}
	clients[3].expectOwn(ownAnswer("503 Service Unavailable", "too many requests are waiting", "Retry-After: 1"))
	server := e.accept()
	for i := range 3 {
		server.expect(get("X-N: " + itoa(i)))
		server.say(ok(itoa(i), "Content-Length: 1"))
		clients[i].expect(ok(itoa(i), "Content-Length: 1"))
	}
	e.untouched() // all came over one connection
	pool, _ := st.up.Stats()
	if pool.Queued != 2 || pool.QueueFull != 1 {
		t.Errorf("%+v", pool)
	}
}

func TestQueueEndsInTime(t *testing.T) {
	for _, route := range []bool{false, true} {
		e := newEndpoint(t)
		st := serve(t, []string{e.addr()}, func(s *setup) {
			s.pool.Endpoints[0].MaxRequests = 1
			if route {
				s.before = []*l7.Route{{Name: "quick", Match: l7.Match{Path: "/quick"}, Timeout: short}}
			} else {
				s.upstream.Queue = short
			}
		})
		first, second := st.dial(), st.dial()
		first.say(get())
		server := e.accept()
		server.expect(get())
		since := time.Now()
		second.say(lines("GET /quick HTTP/1.1", "Host: a.example"))
		if route {
			second.expectOwn(ownAnswer("504 Gateway Timeout", "the request took too long"))
		} else {
			second.expectOwn(ownAnswer("503 Service Unavailable", "no endpoint became free in time", "Retry-After: 1"))
		}
		took(t, since, short)
		server.say(ok("", "Content-Length: 0"))
		first.expect(ok("", "Content-Length: 0"))
		second.synced()
		if st.pool.Pending() != 0 || st.failures("timeout") != 0 {
			t.Errorf("%d wait, %d time-outs of the endpoint", st.pool.Pending(), st.failures("timeout"))
		}
	}
}

// TestClientsMayLeaveTheQueue: those who are gone take no place, also if theirs is just being given to them.
func TestClientsMayLeaveTheQueue(t *testing.T) {
	e := newEndpoint(t)
	st := serve(t, []string{e.addr()}, oneLoop, func(s *setup) {
		s.pool.Endpoints[0].MaxRequests = 1
		s.upstream.Queue = 0
	})
	first := st.dial()
	first.say(get("X-N: first"))
	server := e.accept()
	server.expect(get("X-N: first"))
	for range 20 {
		gone := st.dial()
		gone.say(get("X-N: gone"))
		st.until("it waits", func() bool { return st.pool.Pending() == 1 })
		gone.reset()
		st.until("it does not wait any more", func() bool { return st.pool.Pending() == 0 })
	}
	// Now the place becomes free in the same batch of events in which the one who waits for it leaves.
	gone := st.dial()
	gone.say(get("X-N: gone"))
	st.until("it waits", func() bool { return st.pool.Pending() == 1 })
	release := st.srv.Hold()
	server.say(ok("", "Content-Length: 0"))
	gone.reset()
	release()
	first.expect(ok("", "Content-Length: 0"))
	st.until("the place is free", func() bool { return st.pool.InFlight() == 0 })
}

func TestQueuedRequestsOfAllLoopsAreServed(t *testing.T) {
	e := newEndpoint(t)
	e.play(func(p *peer) {
		for p.tryHead() != "" {
			p.say(ok("x", "Content-Length: 1"))
		}
	})
	st := serve(t, []string{e.addr()}, func(s *setup) {
		s.server.Loops = 4
		s.pool.Endpoints[0].MaxRequests = 2
		s.pool.MaxPending = 1000
	})
	done := make(chan bool)
	for range 16 {
		go func() {
			client := st.dial()
			fine := true
			for range 100 {
				client.say(get())
				fine = fine && client.tryHead() != "" && string(client.take(1)) == "x"
			}
			done <- fine
		}()
	}
	for range 16 {
		if !<-done {
			t.Error("a client got no answer")
		}
	}
	if pool, _ := st.up.Stats(); pool.Queued == 0 || pool.QueueTimeout+pool.QueueFull != 0 {
		t.Errorf("%+v", pool)
	}
}

func TestConnectionsAreLimited(t *testing.T) {
	st := serve(t, nil, oneLoop, func(s *setup) { s.listener.MaxConns = 2 })
	a, b := st.dial(), st.dial()
	a.synced()
	b.synced()
	c := st.dial()
	c.say(syncRequest)
	st.until("the limit is met", func() bool {
		l, _ := st.srv.Stats()
		return l[0].Full > 0
	})
	if n := st.srv.Connections(); n != 2 {
		t.Errorf("%d connections are open", n)
	}
	a.close() // makes room for the one that waits in the kernel's queue
	c.until(syncStatus)
}

func TestConnectionsOfOneSourceAreLimited(t *testing.T) {
	st := serve(t, nil, func(s *setup) { s.listener.MaxPerSource = 2 })
	a, b := st.dial(), st.dial()
	a.synced()
	b.synced()
	c := st.dial()
	c.say(syncRequest)
	if got, _ := c.broken(); got != "" {
		t.Errorf("the third got %q", got)
	}
	c.close()
	a.close()
	st.until("its place is free", func() bool { return st.srv.Connections() == 1 })
	st.dial().synced()

	// The limit may come and go with a reload while connections from before it are open.
	st.setup.listener.MaxPerSource = 0
	if err := st.srv.Apply([]*l7.Listener{st.makeListener()}); err != nil {
		t.Fatal(err)
	}
	uncounted := st.dial()
	uncounted.synced()
	st.setup.listener.MaxPerSource = 2
	if err := st.srv.Apply([]*l7.Listener{st.makeListener()}); err != nil {
		t.Fatal(err)
	}
	uncounted.close()
	st.until("it is gone", func() bool { return st.srv.Connections() == 2 })
	d := st.dial() // two counted ones are still there
	d.say(syncRequest)
	if got, _ := d.broken(); got != "" {
		t.Errorf("one too many got %q", got)
	}
}

func TestAccessIsDecidedByAddress(t *testing.T) {
	st := serve(t, nil, func(s *setup) { s.listener.Access = l7.Access{Deny: prefixes("127.0.0.0/8")} })
	client := st.dial()
	client.say(syncRequest)
	if got, _ := client.broken(); got != "" {
		t.Errorf("the client got %q", got)
	}
	l, _ := st.srv.Stats()
	if l[0].Refused["access"] != 1 {
		t.Errorf("%+v", l[0])
	}

	// Behind a proxy only the request tells who it is.
	st = serve(t, nil, func(s *setup) {
		s.listener.Trusted = prefixes("127.0.0.0/8")
		s.listener.Access = l7.Access{Allow: prefixes("10.0.0.0/8"), Deny: prefixes("10.6.6.0/24")}
	})
	client = st.dial()
	for from, status := range map[string]string{"10.1.1.1": "299", "10.6.6.6": "403", "192.0.2.1": "403"} {
		client.say(lines("GET /.sync HTTP/1.1", "Host: a", "X-Forwarded-For: "+from))
		got := client.head()
		if !strings.HasPrefix(got, "HTTP/1.1 "+status) {
			t.Errorf("%s got %q", from, got)
		}
		if status == "403" {
			client.take(len("this address may not\n"))
		}
	}
}

// TestIdleConnectionsToEndpointsAreGivenUp: because they are old, because there are enough, because the endpoint
// is gone from the pool, because its name means another server now.
func TestIdleConnectionsToEndpointsAreGivenUp(t *testing.T) {
	prepare := func(t *testing.T, change ...func(*setup)) (*stage, *endpoint, *peer, *peer) {
		e := newEndpoint(t)
		st := serve(t, []string{e.addr()}, append(change, oneLoop)...)
		client := st.dial()
		client.say(get())
		server := e.accept()
		server.expect(get())
		server.say(ok("", "Content-Length: 0"))
		client.expect(ok("", "Content-Length: 0"))
		return st, e, client, server
	}
	t.Run("old", func(t *testing.T) {
		st, _, _, server := prepare(t)
		st.srv.Sweep(time.Second)
		if st.srv.IdleConns() != 1 {
			t.Error("it was given up too early")
		}
		st.srv.Sweep(time.Hour)
		server.ended()
	})
	t.Run("old at the next request", func(t *testing.T) {
		st, e, client, server := prepare(t, func(s *setup) { s.upstream.KeepAlive = short })
		<-time.After(2 * short)
		client.say(get())
		e.accept().expect(get())
		server.ended()
		client.reset()
		_ = st
	})
	t.Run("enough", func(t *testing.T) {
		st, e, client, server := prepare(t, func(s *setup) { s.upstream.MaxIdle = 1 })
		client.say(get())
		server.expect(get())
		other := st.dial()
		other.say(get())
		second := e.accept()
		second.expect(get())
		second.say(ok("", "Content-Length: 0"))
		other.expect(ok("", "Content-Length: 0"))
		server.say(ok("", "Content-Length: 0"))
		client.expect(ok("", "Content-Length: 0"))
		server.ended()
	})
	t.Run("removed", func(t *testing.T) {
		st, e, _, server := prepare(t)
		if err := st.pool.Remove(e.addr(), st.now()); err != nil {
			t.Fatal(err)
		}
		st.srv.Sweep(time.Second)
		server.ended()
		st.until("its figures are dropped", func() bool { _, all := st.up.Stats(); return len(all) == 0 })
	})
	t.Run("moved", func(t *testing.T) {
		to := newEndpoint(t)
		st, e, client, server := prepare(t)
		set := st.up.Settings()
		set.Addresses = map[string]string{e.addr(): to.addr()}
		st.up.Configure(set)
		client.say(get())
		next := to.accept()
		next.expect(get())
		server.ended()
		next.say(ok("", "Content-Length: 0"))
		client.expect(ok("", "Content-Length: 0"))
	})
}

// TestStalledEndpointLosesItsRequests: one endpoint stops answering, as a hung process does; what waits for it is
// sent elsewhere after its usual time, not after a time-out.
func TestStalledEndpointLosesItsRequests(t *testing.T) {
	a := newEndpoint(t)
	hang := make(chan struct{})
	a.play(func(p *peer) {
		for n := 0; p.tryHead() != ""; n++ {
			select {
			case <-hang:
				<-p.gone()
				return
			default:
				p.say(ok("a", "Content-Length: 1"))
			}
		}
	})
	b := echoer(t, "b")
	st := serve(t, []string{a.addr(), b.addr()}, func(s *setup) {
		s.upstream.Stall = true
		s.pool.Stall = balance.StallConfig{Requests: 2, Min: short}
		s.upstream.FirstByte = time.Minute
	})
	var clients []*peer
	for range 8 {
		clients = append(clients, st.dial())
	}
	for range 5 {
		for _, c := range clients {
			c.ask(get())
		}
	}
	close(hang)
	since := time.Now()
	for _, c := range clients {
		c.say(get())
	}
	for _, c := range clients {
		c.head()
		if got := c.take(1); got != "b" {
			t.Errorf("the answer is from %s", got)
		}
	}
	if d := time.Since(since); d > 5*time.Second {
		t.Errorf("it took %v", d)
	}
	if st.failures("stall") == 0 {
		t.Error("no stall is counted")
	}
}
