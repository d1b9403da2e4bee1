package l7_test

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/trivet-ha/trivet/balance"
	"github.com/trivet-ha/trivet/balance/l7"
	"github.com/trivet-ha/trivet/fault/hedge"
	"github.com/trivet-ha/trivet/fault/outlier"
	"github.com/trivet-ha/trivet/fault/retry"
)

// FuzzChaos lets clients and endpoints say what they should and what they should not, in pieces of random size,
// with pauses, ends and resets at random places. Whatever happens, the server goes on, and no place on an endpoint
// is lost. Where both sides keep to the rules, the bytes must be right.
func FuzzChaos(f *testing.F) {
	for seed := range uint64(5) {
		f.Add(seed, uint8(seed*50), []byte("HTTP/1.1 200 OK\r\n\r\n"))
	}
	f.Add(uint64(99), uint8(255), []byte("\x00\r\n\r\n5\r\n"))
	f.Fuzz(func(t *testing.T, seed uint64, malice uint8, junk []byte) {
		w := &world{seed: seed, malice: float64(malice) / 512, junk: junk}
		w.run(t)
	})
}

// TestChaos is FuzzChaos with many clients at once.
func TestChaos(t *testing.T) {
	for seed, malice := range []float64{0.1, 0.25, 0.5} {
		w := &world{seed: uint64(1000 + seed), malice: malice, junk: []byte("\r\n0\r\n\r\nGET / HTTP/1.1\r\n"), clients: 24}
		w.run(t)
	}
}

// TestOrderlyWorldGetsTheRightBytes is the same without malice.
func TestOrderlyWorldGetsTheRightBytes(t *testing.T) {
	compared := int64(0)
	for seed := range uint64(20) {
		w := &world{seed: seed, clients: 12}
		w.run(t)
		compared += w.right.Load()
	}
	if compared < 200 { // many are 503, for the queue is short
		t.Errorf("only %d answers were compared", compared)
	}
}

// world is one run.
type world struct {
	seed    uint64
	malice  float64 // the chance of a misdeed at each step
	junk    []byte
	clients int
	right   atomic.Int64 // answers that were compared
}

func (w *world) rng(n uint64) *rand.Rand { return rand.New(rand.NewPCG(w.seed, n)) }

func (w *world) run(t *testing.T) {
	var addrs []string
	var wg sync.WaitGroup
	var lns []net.Listener
	for i := range 2 {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		lns = append(lns, ln)
		addrs = append(addrs, ln.Addr().String())
		wg.Go(func() { w.endpoint(ln, uint64(i)) })
	}
	s := &setup{
		server: l7.Config{Loops: 2, Origin: time.Now()},
		pool: balance.Config{
			Endpoints: []balance.EndpointConfig{{Address: addrs[0], MaxRequests: 3}, {Address: addrs[1], MaxRequests: 12}},
			Algorithm: balance.LeastRequest, Outlier: outlier.Config{Disabled: true}, MaxPending: 4,
		},
		upstream: l7.UpstreamSettings{
			Connect: time.Second, FirstByte: 100 * time.Millisecond, IdleIO: 100 * time.Millisecond, Tunnel: 100 * time.Millisecond,
			KeepAlive: 50 * time.Millisecond, MaxIdle: 4, Queue: 50 * time.Millisecond, Stall: true,
		},
		route: l7.Route{
			Hedge: w.hedge(), Name: "all", Upgrade: []string{"websocket"}, Timeout: 2 * time.Second,
			Retry: retry.Policy{Attempts: 3, Statuses: retry.Statuses(503), BackoffBase: time.Millisecond},
		},
		listener: l7.Listener{
			Name: "web", Addresses: []string{"127.0.0.1:0"}, BodyMax: 1 << 20,
			Timeouts: l7.Timeouts{Header: 200 * time.Millisecond, Idle: 200 * time.Millisecond, BodyIdle: 100 * time.Millisecond, WriteIdle: 200 * time.Millisecond},
		},
	}
	st := s.start(t)
	var all sync.WaitGroup
	for i := range max(w.clients, 2) {
		all.Go(func() { w.client(t, st.address, uint64(100+i)) })
	}
	all.Wait()
	client := st.dial()
	client.synced()
	client.close()
	st.close() // nothing is in flight
	for _, ln := range lns {
		ln.Close()
	}
	wg.Wait()
}

// hedge makes second attempts common in every other world.
func (w *world) hedge() *hedge.Hedge {
	if w.seed%2 == 0 {
		return nil
	}
	return hedge.New(hedge.Config{Delay: time.Millisecond, Budget: retry.BudgetConfig{Ratio: 1, MinPerSecond: 1000}})
}

// misdeed reports whether it is time for one.
func (w *world) misdeed(r *rand.Rand) bool { return r.Float64() < w.malice/4 }

// send sends p in pieces, and perhaps does something else.
func (w *world) send(c net.Conn, r *rand.Rand, p []byte) bool {
	_ = c.SetDeadline(time.Now().Add(3 * time.Second))
	for len(p) > 0 {
		n := min(len(p), 1+r.IntN(1<<uint(r.IntN(18))))
		if w.misdeed(r) {
			switch r.IntN(6) {
			case 0:
				if tc, ok := c.(*net.TCPConn); ok {
					_ = tc.SetLinger(0)
				}
				return false
			case 1:
				return false
			case 2:
				if tc, ok := c.(*net.TCPConn); ok {
					_ = tc.CloseWrite()
				}
				return true
			case 3:
				if _, err := c.Write(w.junk); err != nil {
					return false
				}
			case 4:
				<-time.After(time.Duration(r.IntN(150)) * time.Millisecond)
			case 5:
				n = min(n, 1)
			}
		}
		if _, err := c.Write(p[:n]); err != nil {
			return false
		}
		p = p[n:]
	}
	return true
}

// body makes what is said under a number, so that the other side can check it.
func body(n int) []byte { return bytes.Repeat([]byte{byte('a' + n%26)}, n) }

// framed makes a body's fields and bytes.
func framed(r *rand.Rand, n int) (fields string, b []byte) {
	if r.IntN(2) == 0 {
		return fmt.Sprintf("Content-Length: %d\r\n", n), body(n)
	}
	var out bytes.Buffer
	for rest := body(n); len(rest) > 0; {
		k := min(len(rest), 1+r.IntN(n+1))
		fmt.Fprintf(&out, "%x\r\n%s\r\n", k, rest[:k])
		rest = rest[k:]
	}
	out.WriteString("0\r\n")
	if r.IntN(2) == 0 {
		out.WriteString("X-Sum: 1\r\n")
	}
	out.WriteString("\r\n")
	return "Transfer-Encoding: chunked\r\n", out.Bytes()
}

func size(r *rand.Rand) int { return r.IntN(1 << uint(r.IntN(19))) }

// client sends some requests and reads what comes.
func (w *world) client(t *testing.T, address string, n uint64) {
	r := w.rng(n)
	for range 3 {
		c, err := net.Dial("tcp", address)
		if err != nil {
			t.Error(err)
			return
		}
		for range 1 + r.IntN(5) {
			if !w.request(t, c, r) {
				break
			}
		}
		c.Close()
	}
}

// request plays one request; it reports whether another can follow on the connection.
func (w *world) request(t *testing.T, c net.Conn, r *rand.Rand) bool {
	want := size(r)
	method := []string{"GET", "POST", "PUT", "HEAD"}[r.IntN(4)]
	request := fmt.Sprintf("%s /%d HTTP/1.%d\r\nHost: a\r\n", method, want, min(1, r.IntN(5)))
	var b []byte
	switch {
	case r.IntN(10) == 0:
		request += "Connection: upgrade\r\nUpgrade: websocket\r\n"
	case method == "POST" || method == "PUT":
		var fields string
		if fields, b = framed(r, size(r)); strings.Contains(request, "HTTP/1.0") {
			n := size(r)
			fields, b = fmt.Sprintf("Content-Length: %d\r\n", n), body(n)
		}
		request += fields
	}
	done := make(chan bool, 1)
	go func() { done <- w.send(c, r, append([]byte(request+"\r\n"), b...)) }()
	p := &peer{t: t, conn: c}
	head := readSome(p, r, "\r\n\r\n")
	if sent := <-done; !sent || head == "" || w.malice > 0 {
		_, _ = io.CopyN(io.Discard, c, int64(r.IntN(100_000)))
		return false
	}
	switch {
	case !strings.HasPrefix(head, "HTTP/1.1 200 "):
		return false
	case method == "HEAD":
		return !strings.Contains(head, "Connection: close") && len(p.got) == 0
	}
	return w.check(t, p, head, want)
}

// check compares an answer with what it must be, when nobody is malicious.
func (w *world) check(t *testing.T, p *peer, head string, want int) bool {
	var got []byte
	switch {
	case strings.Contains(head, "Transfer-Encoding: chunked"):
		for {
			line := readSome(p, nil, "\r\n")
			n := 0
			if _, err := fmt.Sscanf(line, "%x\r\n", &n); err != nil {
				t.Errorf("the client got chunk size %q after %d bytes", line, len(got))
				return false
			}
			if n == 0 {
				break
			}
			got = append(got, readBytes(p, n+2)...)
			got = got[:len(got)-2]
		}
		for readSome(p, nil, "\r\n") != "\r\n" {
		}
	case strings.Contains(head, "Content-Length: "):
		got = readBytes(p, want)
	default:
		_ = p.conn.SetReadDeadline(time.Now().Add(3 * time.Second))
		rest, _ := io.ReadAll(p.conn)
		got = append(p.got, rest...)
	}
	if !bytes.Equal(got, body(want)) {
		t.Errorf("the client got %d bytes, want %d, after\n%s", len(got), want, quoted(head))
		return false
	}
	w.right.Add(1)
	return !strings.Contains(head, "Connection: close") && len(p.got) == 0
}

func readSome(p *peer, _ *rand.Rand, end string) string {
	for {
		if i := bytes.Index(p.got, []byte(end)); i >= 0 {
			s := string(p.got[:i+len(end)])
			p.got = p.got[i+len(end):]
			return s
		}
		if p.more() != nil {
			return ""
		}
	}
}

func readBytes(p *peer, n int) []byte {
	for len(p.got) < n {
		if p.more() != nil {
			return p.got
		}
	}
	b := p.got[:n:n]
	p.got = p.got[n:]
	return b
}

// endpoint answers "/n" with n bytes, in one of the ways there are.
func (w *world) endpoint(ln net.Listener, n uint64) {
	var wg sync.WaitGroup
	defer wg.Wait()
	for i := uint64(0); ; i++ {
		c, err := ln.Accept()
		if err != nil {
			return
		}
		wg.Go(func() { defer c.Close(); w.answer(c, w.rng(1000*(n+1)+i)) })
	}
}

func (w *world) answer(c net.Conn, r *rand.Rand) {
	p := &peer{conn: c}
	for {
		head := readSome(p, r, "\r\n\r\n")
		if head == "" || !skipBody(p, head) {
			return
		}
		var method string
		var want int
		if _, err := fmt.Sscanf(head, "%s /%d ", &method, &want); err != nil {
			return
		}
		if strings.Contains(head, "Upgrade: websocket") && r.IntN(2) == 0 {
			if w.send(c, r, []byte(switching+"hello")) {
				_, _ = io.CopyN(struct{ io.Writer }{c}, c, 1000) // a bare socket would be spliced through a pipe that the runtime keeps
			}
			return
		}
		text := ""
		if r.IntN(8) == 0 {
			text = "HTTP/1.1 103 Early Hints\r\n\r\n"
		}
		if w.malice > 0 && r.IntN(8) == 0 {
			text += "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"
			if !w.send(c, r, []byte(text)) {
				return
			}
			continue
		}
		fields, b := framed(r, want)
		closes := r.IntN(6) == 0
		if closes {
			fields, b = "", body(want)
		}
		if method == "HEAD" {
			b = nil
		}
		if !w.send(c, r, append([]byte(text+"HTTP/1.1 200 OK\r\n"+fields+"\r\n"), b...)) || closes {
			return
		}
	}
}

// skipBody reads a request's body.
func skipBody(p *peer, head string) bool {
	n := 0
	if _, after, ok := strings.Cut(head, "Content-Length: "); ok {
		_, _ = fmt.Sscanf(after, "%d", &n)
		return len(readBytes(p, n)) == n
	}
	if !strings.Contains(head, "chunked") {
		return true
	}
	for {
		line := readSome(p, nil, "\r\n")
		if _, err := fmt.Sscanf(line, "%x\r\n", &n); err != nil {
			return false
		}
		if n == 0 {
			break
		}
		if len(readBytes(p, n+2)) != n+2 {
			return false
		}
	}
	for {
		switch readSome(p, nil, "\r\n") {
		case "\r\n":
			return true
		case "":
			return false
		}
	}
}
