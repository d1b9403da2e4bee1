package l7_test

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/trivet-ha/trivet/balance"
)

// overHTTP2 has the stage speak HTTP/2 to its endpoints.
func overHTTP2(s *setup) { s.upstream.HTTP2 = true }

// site2 is an endpoint that speaks HTTP/2 in plain text, and counts its connections.
func site2(t testing.TB, h http.Handler) (address string, count *atomic.Int64) {
	count = new(atomic.Int64)
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor != 2 {
			t.Errorf("%s came by %s", r.URL, r.Proto)
		}
		h.ServeHTTP(w, r)
	}))
	s.Config.Protocols = new(http.Protocols)
	s.Config.Protocols.SetUnencryptedHTTP2(true)
	s.Listener = &counted{s.Listener, count}
	s.Start()
	t.Cleanup(s.Close)
	return s.Listener.Addr().String(), count
}

func TestSpeaksHTTP2ToEndpoints(t *testing.T) {
	plain, conns := site2(t, echoHash)
	secure := newSecureSite2(t, echoHash)
	for name, c := range map[string]struct {
		address string
		with    []func(*setup)
	}{
		"plain": {plain, nil},
		"tls":   {secure.addr(), []func(*setup){secure.secure}},
	} {
		for _, newer := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, client of HTTP/2 %v", name, newer), func(t *testing.T) {
				st := serve(t, []string{c.address}, append(c.with, overHTTP2, withHTTP2)...)
				web := st.web(nil)
				if newer {
					web = st.web2(nil)
				}
				var wg sync.WaitGroup
				for i := range 16 {
					wg.Go(func() {
						for _, size := range []int{0, 1, 1000, 70_000, 300_000, 2_000_000} {
							size += i
							body, _ := io.ReadAll(io.LimitReader(new(pattern), int64(size)))
							var from io.Reader = bytes.NewReader(body)
							if i%2 == 0 {
								from = io.MultiReader(from) // whose length nobody knows
							}
							resp, err := web.Post("http://"+st.address+"/", "x/y", from)
							if err != nil {
								t.Error(err)
								return
							}
							got, _ := io.ReadAll(resp.Body)
							resp.Body.Close()
							if want := fmt.Sprintf("%x", sha256.Sum256(body)); string(got) != want {
								t.Errorf("%d bytes: got %s, want %s", size, got, want)
							}
							if size == 0 {
								continue
							}
							if resp, err = web.Get(fmt.Sprintf("http://%s/%d", st.address, size)); err != nil {
								t.Error(err)
								return
							}
							h := sha256.New()
							_, _ = io.Copy(h, resp.Body)
							resp.Body.Close()
							if want := sha256.Sum256(body); [32]byte(h.Sum(nil)) != want {
								t.Errorf("an answer of %d bytes is another one", size)
							}
						}
					})
				}
				wg.Wait()
				if _, e := st.up.Stats(); e[0].Connects > 2 {
					t.Errorf("%d connections were opened from two loops", e[0].Connects)
				}
			})
		}
	}
	if n := conns.Load(); n > 4 {
		t.Errorf("the endpoint saw %d connections", n)
	}
}

func newSecureSite2(t testing.TB, h http.Handler) *secureSite {
	s := &secureSite{authority: newAuthority(t), Server: httptest.NewUnstartedServer(h)}
	s.EnableHTTP2 = true
	s.client, s.TLS = s.configs(t)
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

func TestAnswersOfEveryShapeComeFromHTTP2(t *testing.T) {
	address, _ := site2(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Shape", r.URL.Path)
		switch r.URL.Path {
		case "/early":
			w.Header().Set("Link", "</a.css>")
			w.WriteHeader(103)
			fmt.Fprint(w, "late")
		case "/204":
			w.WriteHeader(204)
		case "/304":
			w.WriteHeader(304)
		case "/empty":
		case "/500":
			w.WriteHeader(500)
		case "/trailers":
			w.Header().Set("Trailer", "X-Sum")
			fmt.Fprint(w, "body")
			w.(http.Flusher).Flush()
			got, _ := io.ReadAll(r.Body)
			w.Header().Set("X-Sum", fmt.Sprintf("%s %s", got, r.Trailer.Get("X-Mine")))
		}
	}))
	st := serve(t, []string{address}, overHTTP2, withHTTP2)
	for _, web := range []*http.Client{st.web(nil), st.web2(nil)} {
		for path, want := range map[string]string{"/early": "200 late", "/204": "204 ", "/304": "304 ", "/empty": "200 ", "/500": "500 "} {
			for _, method := range []string{"GET", "HEAD"} {
				r, _ := http.NewRequest(method, "http://"+st.address+path, nil)
				resp, err := web.Do(r)
				if err != nil {
					t.Fatal(method, path, err)
				}
				body, err := io.ReadAll(resp.Body)
				resp.Body.Close()
				if method == "HEAD" {
					want, _, _ = strings.Cut(want, " ")
					want += " "
				}
				if got := fmt.Sprintf("%d %s", resp.StatusCode, body); got != want || err != nil || resp.Header.Get("X-Shape") != path {
					t.Errorf("%s %s: %q, %v", method, path, got, err)
				}
			}
		}
		r, _ := http.NewRequest("POST", "http://"+st.address+"/trailers", io.MultiReader(strings.NewReader("hello")))
		r.Trailer = http.Header{"X-Mine": {"mine"}}
		resp, err := web.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if string(body) != "body" || err != nil || resp.Trailer.Get("X-Sum") != "hello mine" {
			t.Errorf("got %q with trailers %v, %v", body, resp.Trailer, err)
		}
	}
}

func TestTrailersOfHTTP1ReachAClientOfHTTP2(t *testing.T) {
	e := newEndpoint(t)
	e.play(func(p *peer) {
		for p.tryHead() != "" {
			p.say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\nX-Sum: 7\r\nContent-Length: 3\r\n\r\n")
		}
	})
	st := serve(t, []string{e.addr()}, withHTTP2)
	resp, err := st.web2(nil).Get("http://" + st.address)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if string(body) != "body" || err != nil || resp.Trailer.Get("X-Sum") != "7" || len(resp.Trailer) != 1 {
		t.Errorf("got %q with trailers %v, %v", body, resp.Trailer, err)
	}
}

// TestASlowClientHoldsUpNobodyElse is about many answers that nobody reads on a connection that others use.
func TestASlowClientHoldsUpNobodyElse(t *testing.T) {
	address, conns := site2(t, echoHash)
	st := serve(t, []string{address}, overHTTP2, withHTTP2, oneLoop)
	var slow []*http.Response
	for range 40 {
		resp, err := st.web2(nil).Get("http://" + st.address + "/50000000")
		if err != nil {
			t.Fatal(err)
		}
		slow = append(slow, resp)
	}
	for range 20 {
		if got := fetch(t, st.web(nil), "http://"+st.address+"/100000"); len(got) != 100000 {
			t.Fatal(len(got))
		}
	}
	if conns.Load() != 1 {
		t.Errorf("%d connections were needed", conns.Load())
	}
	for _, r := range slow {
		r.Body.Close()
	}
}

// frames is a server that a test plays frame by frame.
type frames struct {
	*http2.Framer
	peer *peer
	hbuf bytes.Buffer
	henc *hpack.Encoder
}

func newFrames(p *peer) *frames {
	f := &frames{peer: p}
	_ = p.conn.SetDeadline(time.Now().Add(patient))
	var preface [len(http2.ClientPreface)]byte
	_, _ = io.ReadFull(p.conn, preface[:])
	f.Framer = http2.NewFramer(p.conn, p.conn)
	f.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	f.henc = hpack.NewEncoder(&f.hbuf)
	_ = f.WriteSettings()
	return f
}

// request waits for the next one and returns its stream; 0 at the end.
func (f *frames) request() uint32 {
	for {
		frame, err := f.ReadFrame()
		if err != nil {
			return 0
		}
		if h, ok := frame.(*http2.MetaHeadersFrame); ok {
			return h.StreamID
		}
	}
}

func (f *frames) answer(stream uint32) {
	f.hbuf.Reset()
	_ = f.henc.WriteField(hpack.HeaderField{Name: ":status", Value: "200"})
	_ = f.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: f.hbuf.Bytes(), EndHeaders: true, EndStream: true})
}

// TestWhatAnEndpointHasNotLookedAtIsSentAgain is about POST: to do it twice would do harm, and it is not.
func TestWhatAnEndpointHasNotLookedAtIsSentAgain(t *testing.T) {
	for name, refuse := range map[string]func(*frames, uint32){
		"refused": func(f *frames, id uint32) { _ = f.WriteRSTStream(id, http2.ErrCodeRefusedStream) },
		"goaway": func(f *frames, id uint32) {
			_ = f.WriteGoAway(0, http2.ErrCodeNo, nil)
			f.request()
		},
	} {
		t.Run(name, func(t *testing.T) {
			e := newEndpoint(t)
			var seen, refused atomic.Int64
			e.play(func(p *peer) {
				f := newFrames(p)
				for id := f.request(); id != 0; id = f.request() {
					if seen.Add(1)%2 == 1 {
						refused.Add(1)
						refuse(f, id)
						continue
					}
					f.answer(id)
				}
			})
			st := serve(t, []string{e.addr()}, overHTTP2, oneLoop)
			for range 5 {
				resp, err := st.web(nil).Post("http://"+st.address, "x/y", strings.NewReader("pay"))
				if err != nil {
					t.Fatal(err)
				}
				resp.Body.Close()
				if resp.StatusCode != 200 {
					t.Errorf("status %d", resp.StatusCode)
				}
			}
			if refused.Load() != 5 {
				t.Errorf("%d requests were refused", refused.Load())
			}
		})
	}
}

func TestAResetAfterTheRequestIsNoReasonToPayTwice(t *testing.T) {
	e := newEndpoint(t)
	var seen atomic.Int64
	e.play(func(p *peer) {
		f := newFrames(p)
		for id := f.request(); id != 0; id = f.request() {
			seen.Add(1)
			_ = f.WriteRSTStream(id, http2.ErrCodeInternal)
		}
	})
	st := serve(t, []string{e.addr()}, overHTTP2, oneLoop)
	resp, err := st.web(nil).Post("http://"+st.address, "x/y", strings.NewReader("pay"))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != 502 || seen.Load() != 1 {
		t.Errorf("status %d; the endpoint saw it %d times", resp.StatusCode, seen.Load())
	}
}

func TestALimitOfStreamsIsKept(t *testing.T) {
	address := site2Limited(t, 4, echoHash)
	st := serve(t, []string{address}, overHTTP2, oneLoop)
	web := st.web(nil)
	var wg sync.WaitGroup
	for range 32 {
		wg.Go(func() {
			for range 10 {
				resp, err := web.Post("http://"+st.address, "x/y", strings.NewReader("pay"))
				if err != nil || resp.StatusCode != 200 {
					t.Errorf("%v, %v", resp, err)
					return
				}
				resp.Body.Close()
			}
		})
	}
	wg.Wait()
}

func site2Limited(t testing.TB, streams int, h http.Handler) string {
	s := httptest.NewUnstartedServer(h)
	s.Config.Protocols = new(http.Protocols)
	s.Config.Protocols.SetUnencryptedHTTP2(true)
	s.Config.HTTP2 = &http.HTTP2Config{MaxConcurrentStreams: streams}
	s.Start()
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

// TestAConnectionWithoutASignOfLifeIsGivenUp is about an endpoint whose machine is gone, so that nobody says so.
func TestAConnectionWithoutASignOfLifeIsGivenUp(t *testing.T) {
	e := newEndpoint(t)
	pinged := make(chan struct{})
	e.play(func(p *peer) {
		f := newFrames(p)
		f.request()
		for {
			frame, err := f.ReadFrame()
			if err != nil {
				return
			}
			if g, ok := frame.(*http2.PingFrame); ok && !g.IsAck() {
				close(pinged)
			}
		}
	})
	good, _ := site2(t, echoHash)
	st := serve(t, []string{e.addr(), good}, overHTTP2, oneLoop, func(s *setup) {
		s.upstream.Ping = time.Minute
		s.pool.Endpoints[1].Priority = 1
		s.pool.Algorithm = balance.RoundRobin
	})
	done := make(chan int, 1)
	go func() {
		resp, err := st.web(nil).Get("http://" + st.address + "/1")
		if err != nil {
			done <- 0
			return
		}
		resp.Body.Close()
		done <- resp.StatusCode
	}()
	st.until("the request is on its way", func() bool { return st.pool.Endpoints()[0].InFlight() == 1 })
	st.until("a sign of life is asked for", func() bool {
		st.srv.Sweep(2 * time.Minute)
		select {
		case <-pinged:
			return true
		default:
			return false
		}
	})
	st.srv.Sweep(4 * time.Minute)
	if status := <-done; status != 200 {
		t.Errorf("status %d", status)
	}
}

// BenchmarkHTTP2Endpoint is BenchmarkRequest with HTTP/2 to the endpoint, 32 requests at a time.
func BenchmarkHTTP2Endpoint(b *testing.B) {
	body := []byte(strings.Repeat("a", 128))
	address, _ := site2(b, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(body) }))
	st := serve(b, []string{address}, overHTTP2)
	web := st.web(nil)
	b.ReportAllocs()
	b.SetParallelism(16)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			resp, err := web.Get("http://" + st.address)
			if err != nil {
				b.Error(err)
				return
			}
			_, _ = io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
		}
	})
}

// counted counts the connections of a listener.
type counted struct {
	net.Listener
	n *atomic.Int64
}

func (c *counted) Accept() (net.Conn, error) {
	conn, err := c.Listener.Accept()
	if err == nil {
		c.n.Add(1)
	}
	return conn, err
}
