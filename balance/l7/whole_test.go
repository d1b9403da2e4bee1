package l7_test

import (
	"strings"
	"testing"
	"time"
)

// half is the beginning of an answer of ten bytes.
var half = strings.TrimSuffix(ok("helloworld", "Content-Length: 10"), "world")

// TestRequestIsRepeatedIfASmallAnswerBreaksOff: the client has seen nothing of it, whether the endpoint closes or
// resets, and whether it came in one part or more.
func TestRequestIsRepeatedIfASmallAnswerBreaksOff(t *testing.T) {
	for name, parts := range map[string][]string{
		"in one": {half}, "in two": {half[:20], half[20:]}, "in three": {half[:len(half)-5], "hel", "lo"},
		"after an early hint": {lines("HTTP/1.1 103 Early Hints", "Link: </a.css>") + half},
	} {
		for _, end := range []func(*peer){(*peer).close, (*peer).reset} {
			t.Run(name, func(t *testing.T) {
				e := newEndpoint(t)
				st := serve(t, []string{e.addr()}, oneLoop, noOutliers)
				client := st.dial()
				client.say(get())
				server := e.accept()
				server.expect(get())
				for _, part := range parts {
					server.say(part)
					st.srv.Hold()() // a turn of the loop, in which it may be read
				}
				end(server)
				server = e.accept()
				server.expect(get())
				server.say(ok("well", "Content-Length: 4"))
				if strings.HasPrefix(name, "after") {
					client.expect(lines("HTTP/1.1 103 Early Hints", "Link: </a.css>"))
				}
				client.expect(ok("well", "Content-Length: 4"))
				if st.retries() != 1 || st.failures("reset") != 1 {
					t.Errorf("%d retries, %d resets", st.retries(), st.failures("reset"))
				}
			})
		}
	}
}

// TestAnswerIsPassedOnInPartsIfThatIsNoUse: a request that may not be made again, an answer that is large or without
// a length, and a route without retries.
func TestAnswerIsPassedOnInPartsIfThatIsNoUse(t *testing.T) {
	large := ok(strings.Repeat("x", 10), "Content-Length: 16385")
	chunked := ok("5\r\nhello\r\n", "Transfer-Encoding: chunked")
	for name, c := range map[string]struct {
		request, part string
		attempts      int
	}{
		"unsafe":  {post("x"), half, 3},
		"large":   {get(), large, 3},
		"chunked": {get(), chunked, 3},
		"once":    {get(), half, 1},
	} {
		t.Run(name, func(t *testing.T) {
			e := newEndpoint(t)
			st := serve(t, []string{e.addr()}, oneLoop, noOutliers, func(s *setup) { s.route.Retry.Attempts = c.attempts })
			client := st.dial()
			client.say(c.request)
			server := e.accept()
			server.expect(c.request)
			server.say(c.part)
			client.expect(c.part)
			server.close()
			client.broken()
			if st.retries() != 0 {
				t.Error("it was repeated")
			}
		})
	}
}

// TestSmallAnswerThatTakesItsTimeIsPassedOnInParts: it is not kept back for long, and what comes later follows.
func TestSmallAnswerThatTakesItsTimeIsPassedOnInParts(t *testing.T) {
	e := newEndpoint(t)
	st := serve(t, []string{e.addr()}, oneLoop, noOutliers, func(s *setup) { s.pool.Stall.Disabled = true })
	client := st.dial()
	client.say(get())
	server := e.accept()
	server.expect(get())
	server.say(half)
	client.expect(half)
	server.say("world")
	client.expect("world")
	client.say(get())
	server.expect(get())
	server.say(half)
	client.expect(half)
	server.close()
	client.broken()
}

// TestSmallAnswerThatIsCutShortByTheRoutesTimeIsAnError: the client gets a whole answer that says so.
func TestSmallAnswerThatIsCutShortByTheRoutesTimeIsAnError(t *testing.T) {
	e := newEndpoint(t)
	st := serve(t, []string{e.addr()}, oneLoop, noOutliers, func(s *setup) { s.route.Timeout = 50 * time.Millisecond })
	client := st.dial()
	client.say(get())
	server := e.accept()
	server.expect(get())
	server.say(half)
	if got := client.head(); !strings.HasPrefix(got, "HTTP/1.1 504 ") {
		t.Errorf("the client got %q", got)
	}
}
