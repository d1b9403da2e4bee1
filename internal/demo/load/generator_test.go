package load

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var get = []byte("GET / HTTP/1.1\r\nHost: shop\r\n\r\n")

// serve runs handle for each connection of a listener on loopback, until the test ends.
func serve(t *testing.T, handle func(nc net.Conn)) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { defer nc.Close(); handle(nc) })
		}
	})
	t.Cleanup(func() { l.Close(); wg.Wait() })
	return l.Addr().String()
}

// answering answers every request on a connection with the given bytes; close ends the connection after n answers.
func answering(answer string, n int) func(net.Conn) {
	return func(nc net.Conn) {
		r := bufio.NewReader(nc)
		for range n {
			if _, err := http.ReadRequest(r); err != nil {
				return
			}
			if _, err := nc.Write([]byte(answer)); err != nil {
				return
			}
		}
	}
}

// silent reads and never answers.
func silent(nc net.Conn) { io.Copy(io.Discard, nc) }

// run sends requests until count results are in, and returns the recorder's single phase.
func run(t *testing.T, cfg Config, count int) Summary {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	rec := NewRecorder(time.Second)
	rec.Phase("all")
	var seen atomic.Int64
	cfg.Next = func(uint64) []byte { return get }
	cfg.Observe = func(r Result) {
		rec.Observe(r)
		if seen.Add(1) == int64(count) {
			stop()
		}
	}
	g, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Run(ctx); err != nil {
		t.Fatal(err)
	}
	return rec.Summaries()[0]
}

const okAnswer = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"

func TestCountsGoodAnswersAndReusesConnections(t *testing.T) {
	var connections atomic.Int64
	address := serve(t, func(nc net.Conn) {
		connections.Add(1)
		answering(okAnswer, 1<<20)(nc)
	})
	s := run(t, Config{Address: address, Rate: 500}, 200)
	if s.Requests < 200 || s.Failures() != 0 {
		t.Errorf("%d requests, failed: %s; want at least 200 and no failure", s.Requests, s.Why())
	}
	if n := connections.Load(); uint64(n) == s.Requests {
		t.Errorf("opened %d connections for %d requests in turn", n, s.Requests)
	}
}

func TestNamesEveryFailure(t *testing.T) {
	nobody := func() string {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		return l.Addr().String()
	}()
	for _, tt := range []struct {
		want   Failure
		handle func(net.Conn)
		cfg    Config
	}{
		{want: Connect},
		{want: Closed, handle: func(nc net.Conn) { http.ReadRequest(bufio.NewReader(nc)) }},
		{want: Closed, handle: answering("HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhello", 1)},
		{want: Reset, handle: func(nc net.Conn) {
			bufio.NewReader(nc).ReadByte()
			nc.(*net.TCPConn).SetLinger(0)
		}},
		{want: Timeout, handle: silent, cfg: Config{Timeout: 30 * time.Millisecond}},
		{want: Malformed, handle: answering("SSH-2.0-OpenSSH_9.2\r\n", 1)},
		{want: "status 503", handle: answering("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n", 99)},
		{want: Wrong, handle: answering(okAnswer, 99), cfg: Config{Check: func(_ uint64, _ int, body []byte) bool { return string(body) == "bye" }}},
	} {
		t.Run(string(tt.want), func(t *testing.T) {
			cfg := tt.cfg
			cfg.Address, cfg.Rate = nobody, 500
			if tt.handle != nil {
				cfg.Address = serve(t, tt.handle)
			}
			s := run(t, cfg, 5)
			if s.Failed[tt.want] != s.Requests || s.Requests < 5 {
				t.Errorf("of %d requests: %s; want all %q", s.Requests, s.Why(), tt.want)
			}
			if s.LastFailure.IsZero() {
				t.Error("the time of the last failure was not kept")
			}
		})
	}
}

// A closed loop would send one request and wait; the open loop has sent fifty before the first answer, and each has
// waited since it was due.
func TestAStallDelaysEveryRequestThatWasDueInIt(t *testing.T) {
	const n = 50
	var arrived atomic.Int64
	release := make(chan struct{})
	address := serve(t, func(nc net.Conn) {
		r := bufio.NewReader(nc)
		for {
			if _, err := http.ReadRequest(r); err != nil {
				return
			}
			if arrived.Add(1) == n {
				close(release)
			}
			<-release
			fmt.Fprint(nc, okAnswer)
		}
	})
	var mu sync.Mutex
	latency := make(map[uint64]time.Duration)
	ctx, stop := context.WithCancel(t.Context())
	g, err := New(Config{
		Address: address, Rate: 1000,
		Next: func(uint64) []byte { return get },
		Observe: func(r Result) {
			mu.Lock()
			defer mu.Unlock()
			latency[r.Seq] = r.Latency
			if len(latency) == n {
				stop()
			}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Run(ctx); err != nil {
		t.Fatal(err)
	}
	for _, seq := range []uint64{0, 10, 20} {
		if want := time.Duration(n-1-seq) * time.Millisecond; latency[seq] < want {
			t.Errorf("request %d took %v, but it was due %v before the stall ended", seq, latency[seq], want)
		}
	}
}

func TestSendsNoMoreThanItsConnectionsCarry(t *testing.T) {
	address := serve(t, silent)
	s := run(t, Config{Address: address, Rate: 1000, ConnectionsMax: 2, Timeout: 200 * time.Millisecond}, 10)
	if s.Failed[Full] < 8 {
		t.Errorf("%s; want all but two to find no free connection", s.Why())
	}
}

// The server closes each connection after one answer without saying so: the race that every client of keep-alive has.
func TestResendsOnceWhatAnIdleConnectionSwallowed(t *testing.T) {
	address := serve(t, func(nc net.Conn) {
		r := bufio.NewReader(nc)
		http.ReadRequest(r)
		fmt.Fprint(nc, okAnswer)
		http.ReadRequest(r) // and close without an answer
	})
	s := run(t, Config{Address: address, Rate: 200, Resend: true}, 20)
	if s.Failures() != 0 || s.Resent == 0 {
		t.Errorf("failed: %q, resent %d; want no failure and some resent", s.Why(), s.Resent)
	}
	s = run(t, Config{Address: address, Rate: 200}, 20)
	if s.Failed[Closed] == 0 {
		t.Errorf("failed: %q; without Resend the race is a failure", s.Why())
	}
}

func TestRefusesAConfigurationThatCanNotWork(t *testing.T) {
	next := func(uint64) []byte { return get }
	for want, cfg := range map[string]Config{
		"rate":    {Address: "x:1", Next: next},
		"Next":    {Address: "x:1", Rate: 1},
		"Address": {Rate: 1, Next: next},
	} {
		if _, err := New(cfg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("New(%+v) = %v, want an error about %s", cfg, err, want)
		}
	}
}

func TestAResultBelongsToThePhaseInWhichItWasDue(t *testing.T) {
	rec := NewRecorder(time.Second)
	rec.Observe(Result{Due: time.Now(), Latency: time.Hour}) // before any phase
	calm := rec.Phase("calm")
	inCalm := time.Now()
	storm := rec.Phase("storm")
	inStorm := time.Now()
	rec.Observe(Result{Due: inStorm, Latency: 2 * time.Second, Failure: Timeout})
	rec.Observe(Result{Due: inCalm, Latency: time.Millisecond, Resent: true}) // answered late
	rec.End()
	rec.Observe(Result{Due: time.Now().Add(time.Second)}) // after the end
	if calm.Requests != 1 || calm.Failures() != 0 || calm.Resent != 1 || calm.Slow != 0 {
		t.Errorf("calm: %+v", calm.Failed)
	}
	if storm.Requests != 1 || storm.Why() != "1 timeout" || storm.Slow != 1 || !storm.LastSlow.Equal(inStorm) {
		t.Errorf("storm: %d requests, %s, slow %d", storm.Requests, storm.Why(), storm.Slow)
	}
	if n, failed := rec.Total(); n != 2 || failed != 1 {
		t.Errorf("total %d, failed %d", n, failed)
	}
}
