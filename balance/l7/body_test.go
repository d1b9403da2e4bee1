package l7_test

import (
	"bufio"
	"crypto/sha256"
	"fmt"
	"hash"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"runtime"
	"runtime/metrics"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/trivet-ha/trivet/balance/l7"
)

// noise is a stream of bytes that can't be mistaken for others.
type noise struct {
	rng  *rand.ChaCha8
	left int64
	sum  hash.Hash
}

func newNoise(seed byte, n int64) *noise {
	return &noise{rng: rand.NewChaCha8([32]byte{seed}), left: n, sum: sha256.New()}
}

func (s *noise) Read(p []byte) (int, error) {
	if s.left == 0 {
		return 0, io.EOF
	}
	p = p[:min(int64(len(p)), s.left)]
	s.left -= int64(len(p))
	_, _ = s.rng.Read(p)
	s.sum.Write(p)
	return len(p), nil
}

// crawl reads slowly at times, so that every buffer on the way fills up.
type crawl struct {
	r io.Reader
	n int
}

func (c *crawl) Read(p []byte) (int, error) {
	if c.n++; c.n%256 == 0 {
		<-time.After(2 * time.Millisecond)
	}
	return c.r.Read(p[:min(len(p), 16<<10)])
}

// TestLargeBodiesPassWholeInLittleMemory sends 64 MiB each way, of known length and in chunks, to readers that are
// slow at times.
func TestLargeBodiesPassWholeInLittleMemory(t *testing.T) {
	const size = 64 << 20
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := sha256.New()
		n, err := io.Copy(h, &crawl{r: r.Body})
		if err != nil || n != size {
			http.Error(w, fmt.Sprint(n, err), http.StatusBadRequest)
			return
		}
		down := newNoise(2, size)
		if r.ContentLength > 0 {
			w.Header().Set("Content-Length", fmt.Sprint(size))
		}
		w.Header().Set("X-Up", fmt.Sprintf("%x", h.Sum(nil)))
		w.Header().Set("Trailer", "X-Down")
		_, _ = io.CopyBuffer(struct{ io.Writer }{w}, down, make([]byte, 100<<10))
		w.Header().Set("X-Down", fmt.Sprintf("%x", down.sum.Sum(nil)))
	}))
	defer server.Close()
	st := serve(t, []string{server.Listener.Addr().String()})
	for _, chunked := range []bool{false, true} {
		before := heap()
		peak := watchHeap()
		up := newNoise(1, size)
		req, err := http.NewRequest("POST", "http://"+st.address+"/", io.MultiReader(up))
		if err != nil {
			t.Fatal(err)
		}
		if !chunked {
			req.ContentLength = size
		}
		tr := &http.Transport{}
		resp, err := tr.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		down := sha256.New()
		n, err := io.Copy(down, &crawl{r: resp.Body})
		resp.Body.Close()
		tr.CloseIdleConnections()
		if err != nil || n != size || resp.StatusCode != 200 {
			t.Fatalf("chunked %v: status %d, %d bytes, %v", chunked, resp.StatusCode, n, err)
		}
		if got, want := resp.Header.Get("X-Up"), fmt.Sprintf("%x", up.sum.Sum(nil)); got != want {
			t.Errorf("chunked %v: the endpoint's sum is %s, want %s", chunked, got, want)
		}
		want := newNoise(2, size)
		_, _ = io.Copy(io.Discard, want)
		if got, want := fmt.Sprintf("%x", down.Sum(nil)), fmt.Sprintf("%x", want.sum.Sum(nil)); got != want {
			t.Errorf("chunked %v: the client's sum is %s, want %s", chunked, got, want)
		}
		if got := resp.Trailer.Get("X-Down"); chunked && got != fmt.Sprintf("%x", down.Sum(nil)) {
			t.Errorf("the trailer says %q", got)
		}
		if grew := peak() - before; grew > 16<<20 {
			t.Errorf("chunked %v: the heap grew by %d MiB", chunked, grew>>20)
		}
	}
}

// heap is the live heap after a collection.
func heap() int64 {
	runtime.GC()
	return liveHeap()
}

func liveHeap() int64 {
	s := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(s)
	return int64(s[0].Value.Uint64())
}

// watchHeap samples the heap until the returned function is called, which gives the largest of the smallest sizes
// that were seen between collections: what is live, not what is garbage.
func watchHeap() (peak func() int64) {
	done := make(chan struct{})
	var wg sync.WaitGroup
	var top int64
	wg.Go(func() {
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case <-tick.C:
				top = max(top, heap())
			}
		}
	})
	return func() int64 { close(done); wg.Wait(); return top }
}

// TestEarlyAnswerToALargeUploadArrives: the endpoint refuses without reading, and closes; the client sends on for
// a while and must see the refusal, not a reset.
func TestEarlyAnswerToALargeUploadArrives(t *testing.T) {
	for _, size := range []int{100 << 10, 8 << 20} {
		for _, closes := range []bool{false, true} {
			t.Run(fmt.Sprintf("%d KiB, closes %v", size>>10, closes), func(t *testing.T) {
				e := newEndpoint(t)
				st := serve(t, []string{e.addr()}, noOutliers)
				client := st.dial()
				done := make(chan struct{})
				go func() { client.say(post(strings.Repeat("x", size))); close(done) }()
				server := e.accept()
				server.head()
				refusal := lines("HTTP/1.1 413 Content Too Large", "Content-Length: 4") + "much"
				server.say(refusal)
				if closes {
					server.close() // unread bytes: a reset follows
				}
				head := client.head()
				if head != lines("HTTP/1.1 413 Content Too Large", "Content-Length: 4") && head != lines("HTTP/1.1 413 Content Too Large", "Content-Length: 4", "Connection: close") {
					t.Errorf("the client got\n%s", quoted(head))
				}
				client.expect("much")
				<-done
				client.shut()
				client.broken()
				if !closes && size > 1<<20 { // else all of it was sent, and the connection is as good as before
					server.broken()
				}
			})
		}
	}
}

// TestAnswerMayBeginBeforeTheRequestEnds is an endpoint that answers as it reads.
func TestAnswerMayBeginBeforeTheRequestEnds(t *testing.T) {
	e := newEndpoint(t)
	st := serve(t, []string{e.addr()})
	client := st.dial()
	head := lines("POST / HTTP/1.1", "Host: a.example", "Transfer-Encoding: chunked")
	client.say(head)
	server := e.accept()
	server.expect(head)
	server.say(ok("", "Transfer-Encoding: chunked"))
	client.expect(ok("", "Transfer-Encoding: chunked", "Connection: close")) // or the rest of a body could be taken for a request
	for i := range 20 {
		chunk := fmt.Sprintf("2\r\n%02d\r\n", i)
		client.say(chunk)
		server.expect(chunk)
		server.say(chunk)
		client.expect(chunk)
	}
	client.say("0\r\n\r\n")
	server.expect("0\r\n\r\n")
	server.say("0\r\n\r\n")
	client.expect("0\r\n\r\n")
	client.ended()
	if st.srv.IdleConns() != 1 {
		t.Error("the endpoint's connection is not used again")
	}
}

// TestLeaveToSendIsAskedForAndGiven: the body waits for 100, and does not come after another answer.
func TestLeaveToSendIsAskedForAndGiven(t *testing.T) {
	request := lines("POST / HTTP/1.1", "Host: a.example", "Content-Length: 5", "Expect: 100-continue")
	t.Run("given", func(t *testing.T) {
		e := newEndpoint(t)
		st := serve(t, []string{e.addr()})
		client := st.dial()
		client.say(request)
		server := e.accept()
		server.expect(request)
		server.say(lines("HTTP/1.1 100 Continue"))
		client.expect(lines("HTTP/1.1 100 Continue"))
		client.say("hello")
		server.expect("hello")
		server.say(ok("", "Content-Length: 0"))
		client.expect(ok("", "Content-Length: 0"))
		client.synced()
	})
	t.Run("refused", func(t *testing.T) {
		e := newEndpoint(t)
		st := serve(t, []string{e.addr()})
		client := st.dial()
		client.say(request)
		server := e.accept()
		server.expect(request)
		server.say(lines("HTTP/1.1 403 Forbidden", "Content-Length: 0"))
		client.expect(lines("HTTP/1.1 403 Forbidden", "Content-Length: 0", "Connection: close"))
		client.shut()
		client.ended()
		server.ended()
	})
}

// TestClientThatLeavesEndsItsRequest at every point of its way.
func TestClientThatLeavesEndsItsRequest(t *testing.T) {
	for _, c := range []struct {
		name string
		do   func(st *stage, e *endpoint, client *peer)
	}{
		{"in the body", func(st *stage, e *endpoint, client *peer) {
			client.say(lines("POST / HTTP/1.1", "Host: a.example", "Content-Length: 10") + "abc")
			e.accept().until("abc")
		}},
		{"in the chunks", func(st *stage, e *endpoint, client *peer) {
			client.say(lines("POST / HTTP/1.1", "Host: a.example", "Transfer-Encoding: chunked") + "a\r\nabc")
			e.accept().until("abc")
		}},
		{"in the answer", func(st *stage, e *endpoint, client *peer) {
			client.say(get())
			server := e.accept()
			server.expect(get())
			server.say(ok("abc", "Content-Length: 10"))
			client.until("abc")
			server.say("defg")
		}},
		{"in a large answer", func(st *stage, e *endpoint, client *peer) {
			client.say(get())
			server := e.accept()
			server.expect(get())
			go server.say(ok(strings.Repeat("x", 32<<20), fmt.Sprintf("Content-Length: %d", 32<<20)))
			client.take(1 << 20)
		}},
	} {
		for _, reset := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, reset %v", c.name, reset), func(t *testing.T) {
				e := newEndpoint(t)
				st := serve(t, []string{e.addr()}, func(s *setup) { s.upstream.IdleIO = 2 * time.Second })
				client := st.dial()
				c.do(st, e, client)
				if reset {
					client.reset()
				} else {
					client.close()
				}
				st.until("the request is over", func() bool { return st.pool.InFlight() == 0 && st.srv.Connections() == 0 })
				if st.srv.IdleConns() != 0 {
					t.Error("the endpoint's connection is used again")
				}
			})
		}
	}
}

// TestHalfClosedClientGetsItsAnswer: the end of the requests is not the end of the client.
func TestHalfClosedClientGetsItsAnswer(t *testing.T) {
	e := newEndpoint(t)
	st := serve(t, []string{e.addr()})
	client := st.dial()
	client.say(get() + get())
	client.shut()
	server := e.accept()
	for range 2 {
		server.expect(get())
		server.say(ok("x", "Content-Length: 1"))
		client.expect(ok("x", "Content-Length: 1"))
	}
	client.ended()
}

// TestPipelineOfMany sends a thousand requests at once, and reads nothing before the last is sent.
func TestPipelineOfMany(t *testing.T) {
	e := newEndpoint(t)
	e.play(func(p *peer) {
		for p.tryHead() != "" {
			p.say(ok("x", "Content-Length: 1"))
		}
	})
	st := serve(t, []string{e.addr()})
	for _, request := range []string{get(), syncRequest} {
		client := st.dial()
		client.say(strings.Repeat(request, 1000))
		for range 1000 {
			client.head()
			if request == get() {
				client.expect("x")
			}
		}
		client.synced()
		client.close()
	}
}

// TestSizesAroundTheBuffersPass sends answers and requests whose sizes meet the ends of reads and buffers.
func TestSizesAroundTheBuffersPass(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if r.URL.RawQuery == "chunked" {
			w.WriteHeader(http.StatusOK)
			_ = http.NewResponseController(w).Flush()
			out := bufio.NewWriterSize(w, 7777)
			_, _ = out.Write(body)
			_ = out.Flush()
			return
		}
		w.Header().Set("Content-Length", fmt.Sprint(len(body)))
		_, _ = w.Write(body)
	}))
	defer server.Close()
	st := serve(t, []string{server.Listener.Addr().String()}, oneLoop)
	client := st.dial()
	rng := rand.New(rand.NewPCG(3, 4))
	for _, base := range []int{1 << 10, 16 << 10, 64 << 10, 128 << 10, l7.BulkRead, l7.TurnBytes, l7.RetainMax} {
		for _, off := range []int{-300, -1, 0, 1, rng.IntN(200)} {
			size := base + off
			body := strings.Repeat("0123456789", size/10+1)[:size]
			var wg sync.WaitGroup
			wg.Go(func() { client.say(post(body)) })
			head := client.head()
			if !strings.HasPrefix(head, "HTTP/1.1 200 OK\r\n") {
				t.Fatalf("%d bytes: the client got\n%s", size, quoted(head))
			}
			client.expect(body)
			wg.Wait()
			wg.Go(func() {
				client.say(lines("POST /?chunked HTTP/1.1", "Host: a.example", "Transfer-Encoding: chunked") + fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", size, body))
			})
			client.head()
			r := bufio.NewReader(io.MultiReader(strings.NewReader(string(client.got)), client.conn))
			got, err := io.ReadAll(httputil.NewChunkedReader(r))
			if err != nil || string(got) != body {
				t.Fatalf("%d bytes in chunks: %d came, %v", size, len(got), err)
			}
			if end, _ := r.ReadString('\n'); end != "\r\n" {
				t.Fatalf("%d bytes in chunks: the end is %q", size, end)
			}
			if r.Buffered() > 0 {
				t.Fatalf("%d bytes in chunks: more comes after the end", size)
			}
			client.got = nil
			wg.Wait()
		}
	}
}
