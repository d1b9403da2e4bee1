package l7_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/trivet-ha/trivet/balance/l7"
)

// page collects what a log writes.
type page struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (p *page) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.text.Write(b)
}

func (p *page) String() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.text.String()
}

// keepLog runs a log until the test ends, or until the returned function is called.
func keepLog(t *testing.T, format string, sample float64) (*l7.AccessLog, *page, func()) {
	t.Helper()
	p := new(page)
	log, err := l7.NewAccessLog(p, format, sample)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- log.Run(ctx) }()
	stop := sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return log, p, stop
}

func TestLogLineTellsOfTheRequest(t *testing.T) {
	e := newEndpoint(t)
	log, page, _ := keepLog(t, l7.FormatJSON, 0)
	st := serve(t, []string{e.addr()}, func(s *setup) {
		s.listener.Log = log
		s.listener.RequestID = l7.RequestID{Header: "X-Request-Id", Trust: true}
	})
	client := st.dial()
	client.say(lines("POST /a?b=\"c\" HTTP/1.1", "Host: a.example", "X-Request-Id: 7", "User-Agent: me \"and\" \xff you", "Referer: r", "Content-Length: 2") + "hi")
	server := e.accept()
	server.head()
	server.expect("hi")
	server.say(ok("hello", "Content-Length: 5"))
	client.head()
	client.expect("hello")
	st.until("a line is written", func() bool { return strings.HasSuffix(page.String(), "}\n") })
	var line map[string]any
	if err := json.Unmarshal([]byte(page.String()), &line); err != nil {
		t.Fatalf("%v: %s", err, page)
	}
	for k, want := range map[string]any{
		"listener": "web", "client": "127.0.0.1", "method": "POST", "host": "a.example", "uri": `/a?b="c"`, "user_agent": "me \"and\" \uFFFD you", "referer": "r",
		"status": 200.0, "bytes_in": 2.0, "bytes_out": 5.0, "route": "all", "pool": "site", "endpoint": e.addr(), "request_id": "7",
	} {
		if line[k] != want {
			t.Errorf("%s is %v, want %v", k, line[k], want)
		}
	}
	if d, ok := line["duration_ms"].(float64); !ok || d < 0 || d > 10_000 {
		t.Errorf("duration_ms is %v", line["duration_ms"])
	}
}

func TestCombinedLogCannotBeForged(t *testing.T) {
	e := newEndpoint(t)
	log, page, _ := keepLog(t, l7.FormatCombined, 0)
	st := serve(t, []string{e.addr()}, func(s *setup) { s.listener.Log = log })
	client := st.dial()
	st.exchange(client, e, lines("GET / HTTP/1.1", "Host: a.example", `User-Agent: x" 200 1 "`, "Referer: \\\x80"), ok("", "Content-Length: 0"))
	st.until("a line is written", func() bool { return strings.HasSuffix(page.String(), "\n") })
	if line := page.String(); !strings.HasPrefix(line, "127.0.0.1 - - [") || !strings.HasSuffix(line, `] "GET / HTTP/1.1" 200 0 "\x5C\x80" "x\x22 200 1 \x22"`+"\n") {
		t.Errorf("the line is %s", line)
	}
}

// TestLogOfARefusedHeadShowsNobodyElsesRequest: the head was refused, and what the worker has parsed before is
// another client's.
func TestLogOfARefusedHeadShowsNobodyElsesRequest(t *testing.T) {
	e := newEndpoint(t)
	log, page, _ := keepLog(t, "{status} {method} {uri}", 0)
	st := serve(t, []string{e.addr()}, oneLoop, func(s *setup) { s.listener.Log = log })
	st.exchange(st.dial(), e, lines("GET /private HTTP/1.1", "Host: a.example"), ok("", "Content-Length: 0"))
	bad := st.dial()
	bad.say("what?\r\n\r\n")
	bad.rest()
	out := st.dial()
	out.say(lines("GET /../x HTTP/1.1", "Host: a.example", "Connection: close"))
	out.rest()
	st.until("the lines are written", func() bool { return strings.Count(page.String(), "\n") == 3 })
	if want := "200 GET /private\n400  \n400 GET /../x\n"; page.String() != want {
		t.Errorf("the log is %q, want %q", page, want)
	}
}

func TestSampledLogKeepsFailures(t *testing.T) {
	log, page, stop := keepLog(t, "{status}", 1e-9)
	st := serve(t, nil, func(s *setup) { s.listener.Log = log })
	client := st.dial()
	for range 20 {
		client.synced()
	}
	client.say(get())
	client.expectOwn(ownAnswer("503 Service Unavailable", "no endpoint is available", "Retry-After: 1"))
	client.synced() // the line is made behind the answer
	stop()
	if page.String() != "503\n" {
		t.Errorf("the log is %q", page)
	}
}

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, errors.New("disk full") }

func TestLogReportsThatItCannotBeWritten(t *testing.T) {
	log, err := l7.NewAccessLog(brokenWriter{}, "{status}", 1)
	if err != nil {
		t.Fatal(err)
	}
	st := serve(t, nil, func(s *setup) { s.listener.Log = log })
	st.dial().synced()
	if err := log.Run(context.Background()); err == nil || !strings.Contains(err.Error(), "disk full") {
		t.Errorf("Run returned %v", err)
	}
}

// TestLogThatNobodyWritesLosesLinesAndCountsThem fills what may wait.
func TestLogThatNobodyWritesLosesLinesAndCountsThem(t *testing.T) {
	log, err := l7.NewAccessLog(new(page), strings.Repeat("x", 1<<20), 1)
	if err != nil {
		t.Fatal(err)
	}
	st := serve(t, nil, func(s *setup) { s.listener.Log = log })
	client := st.dial()
	for range 12 {
		client.synced()
	}
	st.until("five lines are lost", func() bool { return log.Dropped() == 5 }) // seven fit below 8 MiB
}

func TestLogSettingsAreChecked(t *testing.T) {
	for _, sample := range []float64{-1, 1.1} {
		if _, err := l7.NewAccessLog(new(page), "", sample); err == nil {
			t.Errorf("a sample of %v is taken", sample)
		}
	}
	if _, err := l7.NewAccessLog(new(page), "{x}", 1); err == nil {
		t.Error("an unknown variable is taken")
	}
}
