package l7_test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/trivet-ha/trivet/balance"
	"github.com/trivet-ha/trivet/balance/l7"
	"github.com/trivet-ha/trivet/fault/retry"
)

// parrot answers every head with the same bytes and allocates nothing while it does.
func parrot(t testing.TB, answer string) string {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	parrotOn(t, ln, answer)
	return ln.Addr().String()
}

func parrotOn(t testing.TB, ln net.Listener, answer string) {
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { defer c.Close(); repeat(c, []byte(answer)) })
		}
	})
	t.Cleanup(func() { ln.Close(); wg.Wait() })
}

func repeat(c net.Conn, answer []byte) {
	buf := make([]byte, 64<<10)
	have := 0
	for {
		n, err := c.Read(buf[have:])
		if err != nil {
			return
		}
		have += n
		heads := bytes.Count(buf[:have], []byte(" HTTP/1.1\r\n"))
		if !bytes.HasSuffix(buf[:have], []byte("\r\n\r\n")) && !bytes.HasSuffix(buf[:have], []byte("bbb")) {
			continue
		}
		for range heads {
			if _, err := c.Write(answer); err != nil {
				return
			}
		}
		if heads > 0 {
			have = 0
		}
	}
}

// caller sends one request after another and allocates nothing while it does.
type caller struct {
	conn    net.Conn
	request []byte
	buf     []byte
	length  int // of the answer; 0 before the first
}

func (st *stage) caller(request string) *caller {
	c, err := net.Dial("tcp", st.address)
	if err != nil {
		st.t.Fatal(err)
	}
	st.t.Cleanup(func() { c.Close() })
	k := &caller{conn: c, request: []byte(request), buf: make([]byte, 2<<20)}
	if _, err := c.Write(k.request); err != nil {
		st.t.Fatal(err)
	}
	p := &peer{t: st.t, conn: c}
	head := p.head()
	if !strings.HasPrefix(head, "HTTP/1.1 200 OK\r\n") {
		st.t.Fatalf("the answer is\n%s", quoted(head))
	}
	_, after, _ := strings.Cut(head, "Content-Length: ")
	n := 0
	_, _ = fmt.Sscanf(after, "%d", &n)
	p.take(n)
	k.length = len(head) + n
	return k
}

func (k *caller) call() error {
	if _, err := k.conn.Write(k.request); err != nil {
		return err
	}
	_, err := io.ReadFull(k.conn, k.buf[:k.length])
	return err
}

// everything turns on what costs something.
func everything(t testing.TB) func(*setup) {
	return func(s *setup) {
		log, err := l7.NewAccessLog(io.Discard, l7.FormatJSON, 1)
		if err != nil {
			t.Fatal(err)
		}
		tmpl, err := l7.ParseTemplate("{path} by {client_ip}")
		if err != nil {
			t.Fatal(err)
		}
		s.listener.Log = log
		s.listener.Forward = l7.Forward{RFC7239: true}
		s.listener.Trusted = prefixes("10.0.0.0/8", "127.0.0.0/8")
		s.listener.RequestID = l7.RequestID{Header: "X-Request-Id", Trust: true}
		s.listener.Access = l7.Access{Deny: prefixes("192.0.2.0/24")}
		s.listener.BodyMax = 1 << 30
		s.listener.MaxConns, s.listener.MaxPerSource = 10_000, 10_000
		s.listener.Timeouts.MinRate = 100
		s.route.Timeout, s.route.PerTry = time.Minute, 10*time.Second
		s.route.RequestHeaders.Set = []l7.HeaderOp{{Name: "X-Seen", Value: tmpl}}
		s.route.ResponseHeaders = l7.HeaderOps{Remove: []string{"Server"}, Set: []l7.HeaderOp{{Name: "X-Seen", Value: tmpl}}}
		s.route.Retry = retry.Policy{Statuses: retry.Statuses(502, 503)}
		s.budget = retry.NewBudget(retry.BudgetConfig{})
		s.upstream.Stall = true
		s.upstream.Hash = l7.Hash{Key: l7.HashHeader, Name: "X-User"}
		s.upstream.Affinity = l7.Affinity{Cookie: "srv"}
		s.pool.Algorithm = balance.LeastRequest
	}
}

var small = ok(strings.Repeat("a", 128), "Content-Length: 128", "Server: parrot", "Content-Type: text/plain")

// TestRequestAllocatesNothing counts what the whole process allocates while requests pass.
func TestRequestAllocatesNothing(t *testing.T) {
	for _, c := range []struct {
		name, request, answer string
		change                []func(*setup)
	}{
		{"plain", get(), small, nil},
		{"with everything", get("X-User: me", "Cookie: a=b", "X-Forwarded-For: 198.51.100.7"), small, []func(*setup){everything(t)}},
		{"with a body", post(strings.Repeat("b", 3000)), small, nil},
		{"with chunks", lines("PUT / HTTP/1.1", "Host: a.example", "Transfer-Encoding: chunked") + "3\r\nabc\r\n0\r\n\r\n", small, nil},
		{"large answer", get(), ok(strings.Repeat("a", 1<<20), fmt.Sprintf("Content-Length: %d", 1<<20)), nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			st := serve(t, []string{parrot(t, c.answer)}, append(c.change, oneLoop)...)
			k := st.caller(c.request)
			for range 50 {
				if err := k.call(); err != nil {
					t.Fatal(err)
				}
			}
			rounds := 2000
			if len(c.answer) > 1<<16 {
				rounds = 200
			}
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			for range rounds {
				if err := k.call(); err != nil {
					t.Fatal(err)
				}
			}
			runtime.ReadMemStats(&after)
			if n := float64(after.Mallocs-before.Mallocs) / float64(rounds); n > 0.05 { // timers of the runtime's and the like
				t.Errorf("a request allocates %.2f times", n)
			}
		})
	}
}

// BenchmarkRequest is a GET of 128 bytes over loopback, through the server to an endpoint and back.
func BenchmarkRequest(b *testing.B) {
	for _, c := range []struct {
		name   string
		change []func(*setup)
	}{{"plain", nil}, {"everything", []func(*setup){everything(b)}}} {
		b.Run(c.name, func(b *testing.B) {
			st := serve(b, []string{parrot(b, small)}, append(c.change, oneLoop)...)
			k := st.caller(get("User-Agent: bench", "Accept: */*", "X-User: me"))
			b.ReportAllocs()
			b.ResetTimer()
			for range b.N {
				if err := k.call(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkConcurrent is the same by 32 clients.
func BenchmarkConcurrent(b *testing.B) {
	st := serve(b, []string{parrot(b, small)})
	var callers []*caller
	for range 32 {
		callers = append(callers, st.caller(get("User-Agent: bench", "Accept: */*")))
	}
	b.ReportAllocs()
	b.ResetTimer()
	var wg sync.WaitGroup
	for _, k := range callers {
		wg.Go(func() {
			for range (b.N + 31) / 32 {
				if err := k.call(); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}

// BenchmarkPipeline sends 16 requests at once: what is measured is less the kernel and more the server.
func BenchmarkPipeline(b *testing.B) {
	st := serve(b, nil, oneLoop, func(s *setup) {
		s.route = l7.Route{Name: "own", Respond: &l7.Respond{Status: 200, Body: []byte("x")}}
	})
	k := st.caller(get("User-Agent: bench", "Accept: */*"))
	k.request = bytes.Repeat(k.request, 16)
	k.length *= 16
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N/16 + 1 {
		if err := k.call(); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkLargeAnswer passes 1 MiB.
func BenchmarkLargeAnswer(b *testing.B) {
	st := serve(b, []string{parrot(b, ok(strings.Repeat("a", 1<<20), fmt.Sprintf("Content-Length: %d", 1<<20)))}, oneLoop)
	k := st.caller(get())
	b.SetBytes(1 << 20)
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		if err := k.call(); err != nil {
			b.Fatal(err)
		}
	}
}
