package l7_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/trivet-ha/trivet/balance/l7/http2"
	"github.com/trivet-ha/trivet/internal/testserver"
)

// withHTTP2 has the stage's listener speak HTTP/2 too.
func withHTTP2(s *setup) { s.listener.HTTP2 = &http2.Settings{} }

// secured2 is secured with HTTP/2.
func secured2(t testing.TB) ([]func(*setup), *tls.Config) {
	with, client := secured(t, func(c *tls.Config) { c.NextProtos = []string{"h2", "http/1.1"} })
	return []func(*setup){with, withHTTP2}, client
}

// web2 is a client that speaks HTTP/2: under TLS, or from the first byte on without.
func (st *stage) web2(cfg *tls.Config) *http.Client {
	tr := &http.Transport{TLSClientConfig: cfg, Protocols: new(http.Protocols), DisableCompression: true}
	if cfg != nil {
		tr.Protocols.SetHTTP2(true)
	} else {
		tr.Protocols.SetUnencryptedHTTP2(true)
	}
	st.t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: time.Minute}
}

// bothWays runs a test under TLS and in plain text.
func bothWays(t *testing.T, endpoints func() []string, f func(t *testing.T, st *stage, web *http.Client, url string)) {
	t.Run("tls", func(t *testing.T) {
		with, client := secured2(t)
		st := serve(t, endpoints(), with...)
		f(t, st, st.web2(client), "https://"+st.address)
	})
	t.Run("plain", func(t *testing.T) {
		st := serve(t, endpoints(), withHTTP2)
		f(t, st, st.web2(nil), "http://"+st.address)
	})
}

func TestHTTP2CarriesManyRequestsAtATime(t *testing.T) {
	bothWays(t, func() []string { return []string{hashing(t, nil)} }, func(t *testing.T, st *stage, web *http.Client, url string) {
		var wg sync.WaitGroup
		for i := range 64 {
			wg.Go(func() {
				for range 5 {
					body := bytes.Repeat([]byte{byte(i)}, 1000*i)
					resp, err := web.Post(url+"/", "text/plain", bytes.NewReader(body))
					if err != nil {
						t.Error(err)
						return
					}
					got, err := io.ReadAll(resp.Body)
					resp.Body.Close()
					if want := fmt.Sprintf("%x", sha256.Sum256(body)); err != nil || string(got) != want || resp.ProtoMajor != 2 {
						t.Errorf("%d: %s by %s: %v", i, got, resp.Proto, err)
					}
				}
			})
		}
		wg.Wait()
		if _, routes := st.srv.Stats(); routes[0].Status[2] == 0 && routes[1].Status[2] == 0 && routes[2].Status[2] == 0 {
			t.Error("no request is counted")
		}
	})
}

func TestMovesLargeBodiesUnharmedByHTTP2(t *testing.T) {
	size := int64(64 << 20)
	if testing.Short() {
		size = 4 << 20
	}
	bothWays(t, func() []string { return []string{hashing(t, nil)} }, func(t *testing.T, st *stage, web *http.Client, url string) {
		for _, length := range []int64{-1, size} {
			h := sha256.New()
			q, _ := http.NewRequest("POST", url+"/", io.TeeReader(io.LimitReader(new(pattern), size), h))
			q.ContentLength = length
			resp, err := web.Do(q)
			if err != nil {
				t.Fatal(err)
			}
			got, _ := io.ReadAll(resp.Body)
			resp.Body.Close()
			if want := fmt.Sprintf("%x", h.Sum(nil)); string(got) != want {
				t.Errorf("the endpoint got %s, want %s", got, want)
			}
		}
		resp, err := web.Get(fmt.Sprintf("%s/%d", url, size))
		if err != nil {
			t.Fatal(err)
		}
		down, want := sha256.New(), sha256.New()
		n, err := io.Copy(down, resp.Body)
		resp.Body.Close()
		_, _ = io.CopyN(want, new(pattern), size)
		if n != size || err != nil || !bytes.Equal(down.Sum(nil), want.Sum(nil)) {
			t.Errorf("%d bytes came, or others: %v", n, err)
		}
	})
}

func TestASlowStreamDoesNotHoldTheOthersUp(t *testing.T) {
	bothWays(t, func() []string { return []string{hashing(t, nil)} }, func(t *testing.T, st *stage, web *http.Client, url string) {
		slow, err := web.Get(url + "/20000000")
		if err != nil {
			t.Fatal(err)
		}
		defer slow.Body.Close()
		for range 20 {
			resp, err := web.Get(url + "/10000")
			if err != nil {
				t.Fatal(err)
			}
			if n, err := io.Copy(io.Discard, resp.Body); n != 10000 || err != nil {
				t.Errorf("%d bytes: %v", n, err)
			}
			resp.Body.Close()
		}
		if n, err := io.Copy(io.Discard, slow.Body); n != 20000000 || err != nil {
			t.Errorf("the slow one got %d bytes: %v", n, err)
		}
	})
}

func TestAStreamThatIsResetGivesItsPlaceBack(t *testing.T) {
	hung := func() []string {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/hang" {
				<-r.Context().Done()
			}
		}))
		t.Cleanup(srv.Close)
		return []string{srv.Listener.Addr().String()}
	}
	bothWays(t, hung, func(t *testing.T, st *stage, web *http.Client, url string) {
		for range 20 {
			ctx, cancel := context.WithCancel(t.Context())
			q, _ := http.NewRequestWithContext(ctx, "GET", url+"/hang", nil)
			done := make(chan error, 1)
			go func() { _, err := web.Do(q); done <- err }()
			st.until("the request is under way", func() bool { return st.pool.InFlight() == 1 })
			cancel()
			if err := <-done; err == nil {
				t.Error("an answer came")
			}
			st.until("the place is free", func() bool { return st.pool.InFlight() == 0 })
		}
		resp, err := web.Get(url + "/")
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
	})
}

func TestARefusedBodyIsAnsweredAndTheConnectionGoesOn(t *testing.T) {
	with, client := secured2(t)
	st := serve(t, []string{hashing(t, nil)}, append(with, func(s *setup) { s.route.BodyMax = 1000 })...)
	web := st.web2(client)
	for range 3 {
		resp, err := web.Post("https://"+st.address+"/", "text/plain", bytes.NewReader(make([]byte, 100000)))
		if err != nil {
			t.Fatal(err)
		}
		if resp.Body.Close(); resp.StatusCode != 413 {
			t.Errorf("the status is %d", resp.StatusCode)
		}
		if resp, err = web.Get("https://" + st.address + "/10"); err != nil || resp.StatusCode != 200 {
			t.Fatalf("the next request: %v", err)
		}
		resp.Body.Close()
	}
	st.until("one connection was used", func() bool { l, _ := st.srv.Stats(); return l[0].Accepted == 1 })
}

func TestAnEndpointThatBreaksOffIsSeenAsAReset(t *testing.T) {
	e := newEndpoint(t)
	st := serve(t, []string{e.addr()}, withHTTP2)
	e.play(func(p *peer) {
		p.head()
		p.say("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
	})
	resp, err := st.web2(nil).Get("http://" + st.address + "/")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(resp.Body); err == nil {
		t.Errorf("%q was taken for the whole", got)
	}
	resp.Body.Close()
}

func TestDeadEndpointsCostNoRequestOverHTTP2(t *testing.T) {
	bothWays(t, func() []string { return []string{gone(t), hashing(t, nil)} }, func(t *testing.T, st *stage, web *http.Client, url string) {
		for range 50 {
			resp, err := web.Get(url + "/10")
			if err != nil || resp.StatusCode != 200 {
				t.Fatalf("%v, %v", resp, err)
			}
			resp.Body.Close()
		}
	})
}

func TestDrainEndsHTTP2WithoutALostRequest(t *testing.T) {
	bothWays(t, func() []string { return []string{hashing(t, nil)} }, func(t *testing.T, st *stage, web *http.Client, url string) {
		slow, err := web.Get(url + "/5000000")
		if err != nil {
			t.Fatal(err)
		}
		done := st.drain()
		if n, err := io.Copy(io.Discard, slow.Body); n != 5000000 || err != nil {
			t.Errorf("%d bytes came: %v", n, err)
		}
		slow.Body.Close()
		<-done
		if n := st.srv.Connections(); n != 0 {
			t.Errorf("%d connections are left", n)
		}
	})
}

func TestH2specFindsNoFault(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds, and builds h2spec once")
	}
	h2spec := testserver.Tool(t, "h2spec")
	for _, secure := range []bool{false, true} {
		with := []func(*setup){withHTTP2}
		if secure {
			with, _ = secured2(t)
		}
		st := serve(t, []string{hashing(t, nil)}, with...)
		_, port, _ := net.SplitHostPort(st.address)
		args := []string{"-h", "127.0.0.1", "-p", port, "--strict", "-o", "5", "-P", "/100"}
		if secure {
			args = append(args, "-t", "-k")
		}
		out, _ := exec.Command(h2spec, args...).CombinedOutput()
		text := string(out)
		if !strings.Contains(text, "146 tests, ") || !strings.Contains(text, ", 0 failed") {
			t.Errorf("TLS %v:\n%s", secure, out)
		}
	}
}

func TestNghttpH2loadAndCurlAreServed(t *testing.T) {
	with, _ := secured2(t)
	st := serve(t, []string{hashing(t, nil)}, with...)
	plain := serve(t, []string{hashing(t, nil)}, withHTTP2)
	for _, c := range []struct{ args, want string }{
		{"curl -sSk --http2 -o /dev/null -w %{http_version}:%{size_download} https://" + st.address + "/70000", "2:70000"},
		{"curl -sSk --http1.1 -o /dev/null -w %{http_version}:%{size_download} https://" + st.address + "/70000", "1.1:70000"},
		{"curl -sS --http2-prior-knowledge -o /dev/null -w %{http_version}:%{size_download} http://" + plain.address + "/70000", "2:70000"},
		{"nghttp -ns http://" + plain.address + "/70000", " 200 "},
		{"h2load -n 2000 -c 4 -m 32 https://" + st.address + "/128", " 0 failed, 0 errored, 0 timeout"},
		{"h2load -n 500 -c 4 -m 32 -w 16 -W 16 http://" + plain.address + "/70000", " 0 failed, 0 errored, 0 timeout"},
	} {
		args := strings.Fields(c.args)
		out, err := exec.Command(testserver.Program(t, args[0]), args[1:]...).CombinedOutput()
		if err != nil || !strings.Contains(string(out), c.want) {
			t.Errorf("%s: %v\n%s", c.args, err, out)
		}
	}
}

// BenchmarkHTTP2Request is BenchmarkRequest's smallest case by h2load, with 32 streams on each of 8 connections.
func BenchmarkHTTP2Request(b *testing.B) {
	path, err := exec.LookPath("h2load")
	if err != nil {
		b.Skip("h2load is not installed")
	}
	st := serve(b, []string{parrot(b, "HTTP/1.1 200 OK\r\nContent-Length: 128\r\n\r\n"+strings.Repeat("b", 128))}, withHTTP2)
	out, err := exec.Command(path, "-n", fmt.Sprint(max(b.N, 8)), "-c", "8", "-m", "32", "http://"+st.address+"/").CombinedOutput()
	if err != nil || !strings.Contains(string(out), " 0 failed, 0 errored") {
		b.Fatalf("%v\n%s", err, out)
	}
}

func TestEveryKindOfAnswerEndsWhereItShouldOverHTTP2(t *testing.T) {
	for name, c := range map[string]struct{ method, answer, want string }{
		"length":  {"GET", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", "abc"},
		"chunks":  {"GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n1\r\nd\r\n0\r\nX-Sum: 4\r\n\r\n", "abcd"},
		"close":   {"GET", "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nabc", "abc"},
		"empty":   {"GET", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", ""},
		"none":    {"GET", "HTTP/1.1 204 No Content\r\n\r\n", ""},
		"head":    {"HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", ""},
		"interim": {"GET", "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx", "x"},
	} {
		t.Run(name, func(t *testing.T) {
			e := newEndpoint(t)
			st := serve(t, []string{e.addr()}, withHTTP2)
			e.play(func(p *peer) {
				p.head()
				p.say(c.answer)
			})
			q, _ := http.NewRequest(c.method, "http://"+st.address+"/", nil)
			resp, err := st.web2(nil).Do(q)
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			if string(got) != c.want || err != nil {
				t.Errorf("got %q: %v", got, err)
			}
		})
	}
}

func TestTrailersOfARequestReachTheEndpointFromHTTP2(t *testing.T) {
	sum := make(chan string, 1)
	st := serve(t, []string{hashing(t, func(r *http.Request) { _, _ = io.Copy(io.Discard, r.Body); sum <- r.Trailer.Get("X-Sum") })}, withHTTP2)
	q, _ := http.NewRequest("POST", "http://"+st.address+"/", io.MultiReader(strings.NewReader("hello")))
	q.Trailer = http.Header{"X-Sum": {"five"}}
	resp, err := st.web2(nil).Do(q)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if got := <-sum; got != "five" {
		t.Errorf("the trailer is %q", got)
	}
}

func TestAFailingEndpointIsReplacedUnderLoadOverHTTP2(t *testing.T) {
	hits := 0
	var mu sync.Mutex
	flaky := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		mu.Lock()
		hits++
		mu.Unlock()
		c, _, err := http.NewResponseController(w).Hijack()
		if err == nil {
			c.Close() // without an answer
		}
	}))
	defer flaky.Close()
	st := serve(t, []string{flaky.Listener.Addr().String(), hashing(t, nil)}, withHTTP2)
	web := st.web2(nil)
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for range 20 {
				resp, err := web.Get("http://" + st.address + "/10")
				if err != nil {
					t.Error(err)
					return
				}
				if _, _ = io.Copy(io.Discard, resp.Body); resp.StatusCode != 200 {
					t.Errorf("the status is %d", resp.StatusCode)
				}
				resp.Body.Close()
			}
		})
	}
	wg.Wait()
	if mu.Lock(); hits == 0 {
		t.Error("the endpoint was never asked")
	}
	mu.Unlock()
}
