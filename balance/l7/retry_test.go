package l7_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/trivet-ha/trivet/balance"
	"github.com/trivet-ha/trivet/balance/l7"
	"github.com/trivet-ha/trivet/fault/outlier"
	"github.com/trivet-ha/trivet/fault/retry"
)

// oneLoop makes which connection is used again predictable.
func oneLoop(s *setup) { s.server.Loops = 1 }

// noOutliers keeps endpoints in the pool whatever they do.
func noOutliers(s *setup) {
	s.pool.Outlier = outlier.Config{Disabled: true}
	s.pool.Stall.Disabled = true
}

// post is a request that must not be sent twice.
func post(body string) string {
	return lines("POST / HTTP/1.1", "Host: a.example", "Content-Length: "+itoa(len(body))) + body
}

func put(body string) string { return strings.Replace(post(body), "POST", "PUT", 1) }

const badGateway = "HTTP/1.1 502 Bad Gateway\r\n"

func (st *stage) failures(kind string) (n uint64) {
	_, all := st.up.Stats()
	for _, e := range all {
		n += e.Failures[kind]
	}
	return n
}

func (st *stage) retries() (n uint64) {
	_, routes := st.srv.Stats()
	for _, r := range routes {
		n += r.Retries
	}
	return n
}

func TestRequestGoesElsewhereWhenNobodyListens(t *testing.T) {
	e := newEndpoint(t)
	st := serve(t, []string{gone(t), e.addr(), gone(t)}, oneLoop, noOutliers)
	client := st.dial()
	server := (*peer)(nil)
	for range 6 {
		client.say(post("x")) // nothing was sent, so that even this may be repeated
		if server == nil {
			server = e.accept()
		}
		server.expect(post("x"))
		server.say(ok("", "Content-Length: 0"))
		client.expect(ok("", "Content-Length: 0"))
	}
	if st.failures("connect") == 0 || st.retries() != st.failures("connect") {
		t.Errorf("%d failures to connect, %d retries", st.failures("connect"), st.retries())
	}
}

func TestAttemptsAreLimited(t *testing.T) {
	st := serve(t, []string{gone(t), gone(t), gone(t), gone(t), gone(t)}, noOutliers, func(s *setup) { s.route.Retry.Attempts = 4 })
	client := st.dial()
	client.say(get())
	if got := client.head(); !strings.HasPrefix(got, badGateway) {
		t.Errorf("the client got %q", got)
	}
	if n := st.failures("connect"); n != 4 {
		t.Errorf("%d attempts were made", n)
	}
}

func TestBudgetEndsRetries(t *testing.T) {
	st := serve(t, []string{gone(t), gone(t)}, noOutliers, func(s *setup) {
		s.budget = retry.NewBudget(retry.BudgetConfig{Ratio: -1, MinPerSecond: 0.2}) // two in ten seconds
		s.route.Retry.Attempts = 2
	})
	client := st.dial()
	for range 5 {
		client.say(get())
		client.head()
		client.take(len("the endpoint could not be reached\n"))
	}
	pool, _ := st.up.Stats()
	if st.retries() != 2 || pool.NoBudget != 3 {
		t.Errorf("%d retries were made and %d were not, want 2 and 3", st.retries(), pool.NoBudget)
	}
}

// TestRequestThatMetADeadConnectionIsSentAgain: the endpoint closes an idle connection just as a request is sent
// on it. A request without consequence goes out again on a new one, and that is not held against the endpoint.
func TestRequestThatMetADeadConnectionIsSentAgain(t *testing.T) {
	for _, c := range []struct{ name, request string }{
		{"GET", get("X-N: 2")},
		{"PUT", put("hello")},
		{"POST", post("hello")}, // looks before it leaps
	} {
		for _, reset := range []bool{false, true} {
			for _, closedFirst := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s reset=%v closed first=%v", c.name, reset, closedFirst), func(t *testing.T) {
					meetDeadConnection(t, c.request, reset, closedFirst)
				})
			}
		}
	}
}

// meetDeadConnection holds the loop while a request comes in and the idle connection that it will be sent on is
// closed, so that the loop finds both in one batch of events, in either order.
func meetDeadConnection(t *testing.T, request string, reset, closedFirst bool) {
	e := newEndpoint(t)
	st := serve(t, []string{e.addr()}, oneLoop, func(s *setup) { s.route.Retry.Attempts = 1 })
	client := st.dial()
	client.say(get())
	server := e.accept()
	server.expect(get())
	server.say(ok("", "Content-Length: 0"))
	client.expect(ok("", "Content-Length: 0"))
	if st.srv.IdleConns() != 1 {
		t.Fatal("the connection is not kept")
	}
	release := st.srv.Hold()
	if !closedFirst {
		client.say(request)
	}
	if reset {
		server.reset()
	} else {
		server.close()
	}
	if closedFirst {
		client.say(request)
	}
	release()
	server = e.accept()
	server.expect(request)
	server.say(ok("again", "Content-Length: 5"))
	client.expect(ok("again", "Content-Length: 5"))
	if n := st.retries(); n != 0 {
		t.Errorf("%d retries are counted", n)
	}
	for _, kind := range []string{"reset", "connect", "timeout"} {
		if n := st.failures(kind); n != 0 {
			t.Errorf("%d failures (%s) are held against the endpoint", n, kind)
		}
	}
}

// TestPostIsNotSentTwice lets the endpoint take a request and close without a word.
func TestPostIsNotSentTwice(t *testing.T) {
	for _, reused := range []bool{false, true} {
		e := newEndpoint(t)
		st := serve(t, []string{e.addr()}, oneLoop, noOutliers)
		client := st.dial()
		client.say(post("first"))
		server := e.accept()
		server.expect(post("first"))
		if reused {
			server.say(ok("", "Content-Length: 0"))
			client.expect(ok("", "Content-Length: 0"))
			client.say(post("second"))
			server.expect(post("second"))
		}
		server.close()
		if got := client.head(); !strings.HasPrefix(got, badGateway) {
			t.Errorf("the client got %q", got)
		}
		client.take(len("the endpoint did not answer\n"))
		client.synced()
		e.untouched()
	}
}

// TestGetIsSentAgainElsewhere lets the first endpoint close without a word on a connection of its own.
func TestGetIsSentAgainElsewhere(t *testing.T) {
	for _, reset := range []bool{false, true} {
		a, b := newEndpoint(t), newEndpoint(t)
		st := serve(t, []string{a.addr(), b.addr()}, oneLoop, noOutliers)
		client := st.dial()
		client.say(get())
		first, second := either(t, a, b)
		server := first.accept()
		server.expect(get())
		if reset {
			server.reset()
		} else {
			server.close()
		}
		server = second.accept()
		server.expect(get())
		server.say(ok("hi", "Content-Length: 2"))
		client.expect(ok("hi", "Content-Length: 2"))
		if st.retries() != 1 || st.failures("reset") != 1 {
			t.Errorf("%d retries, %d resets", st.retries(), st.failures("reset"))
		}
	}
}

// either returns the endpoint that has got a connection first.
func either(t *testing.T, a, b *endpoint) (first, second *endpoint) {
	t.Helper()
	select {
	case c := <-a.conns:
		a.conns <- c
		return a, b
	case c := <-b.conns:
		b.conns <- c
		return b, a
	case <-time.After(patient):
		t.Fatal("neither endpoint got a connection")
		return nil, nil
	}
}

// TestRequestIsRepeatedWhole resets a connection on which only a part of the request could be written yet.
func TestRequestIsRepeatedWhole(t *testing.T) {
	a, b := newEndpoint(t), newEndpoint(t)
	st := serve(t, []string{a.addr(), b.addr()}, oneLoop, noOutliers)
	client := st.dial()
	body := strings.Repeat("0123456789abcdef", 3<<10) // 48 KiB, within what is kept
	request := put(body)
	client.say(request[:len(request)-10])
	first, second := either(t, a, b)
	server := first.accept()
	server.take(1000)
	server.reset()
	server = second.accept() // by now the rest is still to come
	server.expect(request[:len(request)-10])
	client.say(request[len(request)-10:])
	server.expect(request[len(request)-10:])
	server.say(ok("", "Content-Length: 0"))
	client.expect(ok("", "Content-Length: 0"))
}

// TestRequestTooLargeToKeepIsNotRepeated sends more than is kept for another attempt.
func TestRequestTooLargeToKeepIsNotRepeated(t *testing.T) {
	e := newEndpoint(t)
	st := serve(t, []string{e.addr()}, noOutliers)
	client := st.dial()
	request := put(strings.Repeat("x", 300<<10))
	client.say(request)
	server := e.accept()
	server.expect(request)
	server.close()
	if got := client.head(); !strings.HasPrefix(got, badGateway) {
		t.Errorf("the client got %q", got)
	}
	e.untouched()
}

func TestStatusIsRetriedElsewhere(t *testing.T) {
	a, b := newEndpoint(t), newEndpoint(t)
	st := serve(t, []string{a.addr(), b.addr()}, oneLoop, noOutliers, func(s *setup) {
		s.route.Retry.Statuses = retry.Statuses(503)
	})
	client := st.dial()
	client.say(get())
	first, second := either(t, a, b)
	server := first.accept()
	server.expect(get())
	server.say(lines("HTTP/1.1 503 Service Unavailable", "Content-Length: 4") + "busy")
	other := second.accept()
	other.expect(get())
	other.say(ok("hi", "Content-Length: 2"))
	client.expect(ok("hi", "Content-Length: 2"))
	if st.srv.IdleConns() != 2 {
		t.Error("the connection of the first answer is not used again")
	}
	client.say(post("x"))    // has consequences: the status is the client's to see
	server.expect(post("x")) // round robin: the first one's turn again
	server.say(lines("HTTP/1.1 503 Service Unavailable", "Content-Length: 4") + "busy")
	client.expect(lines("HTTP/1.1 503 Service Unavailable", "Content-Length: 4") + "busy")
}

func TestInterimAnswerMakesAConnectionAlive(t *testing.T) {
	e := newEndpoint(t)
	st := serve(t, []string{e.addr()}, oneLoop, noOutliers, func(s *setup) { s.route.Retry.Attempts = 1 })
	client := st.dial()
	client.say(get())
	server := e.accept()
	server.expect(get())
	server.say(ok("", "Content-Length: 0"))
	client.expect(ok("", "Content-Length: 0"))
	client.say(get()) // on the same connection, which is not stale: it says something before it dies
	server.expect(get())
	server.say(lines("HTTP/1.1 103 Early Hints"))
	client.expect(lines("HTTP/1.1 103 Early Hints"))
	server.close()
	if got := client.head(); !strings.HasPrefix(got, badGateway) {
		t.Errorf("the client got %q", got)
	}
	e.untouched()
	if st.failures("reset") != 1 {
		t.Error("the reset is not held against the endpoint")
	}
}

// TestThirdAttemptIsMadeAfterABackoff: the first retry goes at once, the second after a wait, by a timer.
func TestThirdAttemptIsMadeAfterABackoff(t *testing.T) {
	e := newEndpoint(t)
	st := serve(t, []string{gone(t), gone(t), e.addr()}, oneLoop, noOutliers, func(s *setup) {
		s.route.Retry = retry.Policy{Attempts: 3, BackoffBase: 20 * time.Millisecond}
		s.pool.Algorithm = balance.RoundRobin
	})
	for range 3 {
		client := st.dial()
		client.say(get("Connection: close"))
		server := e.accept()
		server.expect(get())
		server.say(ok("", "Content-Length: 0", "Connection: close"))
		client.rest()
	}
}

// TestClientMayLeaveDuringBackoff must not leave a timer behind that wakes somebody else's request.
func TestClientMayLeaveDuringBackoff(t *testing.T) {
	st := serve(t, []string{gone(t), gone(t), gone(t)}, noOutliers, func(s *setup) {
		s.route.Retry = retry.Policy{Attempts: 10, BackoffBase: 5 * time.Millisecond, BackoffMax: 20 * time.Millisecond}
	})
	for range 20 {
		client := st.dial()
		client.say(get())
		client.reset()
	}
	st.until("all clients are gone", func() bool { return st.srv.Connections() == 0 })
}

func TestNoEndpointIsQuick503(t *testing.T) {
	st := serve(t, nil)
	client := st.dial()
	client.say(get())
	client.expectOwn(ownAnswer("503 Service Unavailable", "no endpoint is available", "Retry-After: 1"))
	pool, _ := st.up.Stats()
	if pool.None != 1 {
		t.Errorf("%d such requests are counted", pool.None)
	}
}

// TestConnectionIsClearBeforeItIsUsedAgain: the endpoint answers before it has read the request, and its connection
// may be used again only if the request got through to its end.
func TestConnectionIsClearBeforeItIsUsedAgain(t *testing.T) {
	e := newEndpoint(t)
	st := serve(t, []string{e.addr()}, oneLoop, noOutliers)
	for size := 100 << 10; size < 7<<20; size += 170 << 10 {
		body := strings.Repeat("0123456789abcdef", size/16)
		client := st.dial()
		done := make(chan struct{})
		go func() { client.say(post(body)); close(done) }()
		server := e.accept()
		server.head()
		server.say(ok("", "Content-Length: 0"))
		client.until("Content-Length: 0\r\n")
		next := st.dial()
		next.say(get("X-N: next"))
		by := server
		select {
		case c := <-e.conns:
			by = newPeer(t, c)
		case <-server.holds(len(body)):
			server.expect(body)
		}
		by.expect(get("X-N: next"))
		by.say(ok("", "Content-Length: 0", "Connection: close"))
		next.expect(ok("", "Content-Length: 0"))
		server.reset()
		next.close()
		client.reset()
		<-done
		st.until("both are over", func() bool { return st.srv.Connections() == 0 && st.srv.IdleConns() == 0 })
	}
}

// holds is closed once that many bytes and the beginning of something behind them have come.
func (p *peer) holds(n int) <-chan struct{} {
	c := make(chan struct{})
	go func() {
		for len(p.got) <= n {
			if p.more() != nil {
				return
			}
		}
		close(c)
	}()
	return c
}

// TestWhatFollowsAnAnswerIsNobodysAnswer: the answer ends where a read ends, so that what follows it is not seen
// together with it.
func TestWhatFollowsAnAnswerIsNobodysAnswer(t *testing.T) {
	const evil = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"
	for _, more := range []string{evil, ""} {
		e := newEndpoint(t)
		st := serve(t, []string{e.addr()}, oneLoop)
		client := st.dial()
		client.say(get())
		server := e.accept()
		server.expect(get())
		head := lines("HTTP/1.1 200 OK", "Content-Length: 60000", "X-Fill: "+strings.Repeat("x", 5400))
		fill := l7.FirstRead - len(head) - 60000
		answer := lines("HTTP/1.1 200 OK", "Content-Length: 60000", "X-Fill: "+strings.Repeat("x", 5400+fill)) + strings.Repeat("y", 60000)
		if len(answer) != l7.FirstRead {
			t.Fatalf("the answer has %d bytes", len(answer))
		}
		release := st.srv.Hold() // so that it is read at once
		server.say(answer + more)
		release()
		client.expect(answer)
		st.until("the answer is dealt with", func() bool { return st.pool.InFlight() == 0 })
		if kept := st.srv.IdleConns(); more == "" && kept != 1 || more != "" && kept != 0 {
			t.Errorf("%d connections are kept", kept)
		}
		client.say(get())
		if more != "" {
			server = e.accept()
		}
		server.expect(get())
		server.say(ok("good", "Content-Length: 4"))
		client.expect(ok("good", "Content-Length: 4"))
	}
}
