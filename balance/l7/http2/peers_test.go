package http2

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/trivet-ha/trivet/internal/testserver"
)

// h2cClient returns net/http's client, which speaks HTTP/2 at once.
func h2cClient(t testing.TB) *http.Client {
	p := new(http.Protocols)
	p.SetUnencryptedHTTP2(true)
	tr := &http.Transport{Protocols: p}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: 30 * time.Second}
}

// h2cServer starts net/http's server.
func h2cServer(t testing.TB, h http.Handler) (addr string) {
	p := new(http.Protocols)
	p.SetUnencryptedHTTP2(true)
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: h, Protocols: p}
	done := make(chan struct{})
	go func() { defer close(done); _ = srv.Serve(lis) }()
	t.Cleanup(func() { srv.Close(); <-done })
	return lis.Addr().String()
}

func TestNetHTTPClientGetsAnswers(t *testing.T) {
	s := serve(t, Settings{}, echo)
	cl := h2cClient(t)
	large := bytes.Repeat([]byte("0123456789"), 200<<10)
	for _, c := range []struct {
		method, path string
		body         []byte
	}{{"GET", "/", nil}, {"POST", "/a?b=c", []byte("hello")}, {"PUT", "/large", large}, {"DELETE", "/x%20y", nil}} {
		var body io.Reader
		if c.body != nil {
			body = struct{ io.Reader }{bytes.NewReader(c.body)} // of unknown length
		}
		q, err := http.NewRequestWithContext(context.Background(), c.method, "http://"+s.addr()+c.path, body)
		if err != nil {
			t.Fatal(err)
		}
		q.AddCookie(&http.Cookie{Name: "a", Value: "1"})
		q.AddCookie(&http.Cookie{Name: "b", Value: "2"})
		q.Header.Set("X-Custom", strings.Repeat("v", 30000)) // needs CONTINUATION
		if c.body != nil {
			q.Trailer = http.Header{"X-End": nil}
			q.Trailer.Set("X-End", "yes")
		}
		resp, err := cl.Do(q)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || !bytes.Equal(got, c.body) {
			t.Errorf("%s: %d bytes of %d came back, %v", c.method, len(got), len(c.body), err)
		}
		for name, want := range map[string]string{"X-Method": c.method, "X-Target": c.path, "X-Host": s.addr(), "X-Cookie": "a=1; b=2", "X-Custom": strings.Repeat("v", 30000)} {
			if got := resp.Header.Get(name); got != want {
				t.Errorf("%s: %s is %.80q, want %.80q", c.method, name, got, want)
			}
		}
		if sum := resp.Trailer.Get("X-Sum"); sum != fmt.Sprint(len(c.body)) {
			t.Errorf("%s: trailer %q", c.method, sum)
		}
		if end := resp.Trailer.Get("X-End"); (end == "yes") != (c.body != nil) {
			t.Errorf("%s: the request's trailer came as %q", c.method, end)
		}
	}
}

func TestNetHTTPClientSendsManyAtATime(t *testing.T) {
	s := serve(t, Settings{Streams: 100}, func(q *testRequest) (head, rest, tail []byte) {
		sum := sha256.Sum256(q.body)
		return []byte("HTTP/1.1 200 OK\r\n\r\n"), append(fmt.Appendf(nil, "%x ", sum), q.body...), nil
	})
	cl := h2cClient(t)
	var wg sync.WaitGroup
	for i := range 64 {
		wg.Go(func() {
			body := bytes.Repeat([]byte{byte(i)}, i*7001)
			resp, err := cl.Post("http://"+s.addr()+"/", "x/y", bytes.NewReader(body))
			if err != nil {
				t.Error(err)
				return
			}
			defer resp.Body.Close()
			got, err := io.ReadAll(resp.Body)
			if want := append(fmt.Appendf(nil, "%x ", sha256.Sum256(body)), body...); err != nil || !bytes.Equal(got, want) {
				t.Errorf("request %d: %d bytes, want %d, %v", i, len(got), len(want), err)
			}
		})
	}
	wg.Wait()
}

func TestNetHTTPServerAnswersUs(t *testing.T) {
	addr := h2cServer(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Trailer", "X-Sum")
		w.Header().Set("X-Seen", r.Method+" "+r.URL.String()+" "+r.Host+" "+r.Header.Get("Cookie")+" "+r.Header.Get("Te"))
		if r.URL.Path == "/hints" {
			w.WriteHeader(103)
		}
		w.WriteHeader(201)
		n, err := io.Copy(w, r.Body)
		if err != nil {
			t.Error(err)
		}
		w.Header().Set("X-Sum", fmt.Sprint(n, " ", r.Trailer.Get("X-End")))
	}))
	cl := dial(t, addr, Settings{})
	large := bytes.Repeat([]byte("0123456789"), 200<<10)
	for i, c := range []struct {
		line string
		body []byte
	}{{"GET /hints", nil}, {"POST /", []byte("hello")}, {"PUT /large", large}, {"OPTIONS /o", nil}, {"PURGE /x?y", large[:100000]}} {
		head := c.line + " HTTP/1.1\r\nHost: shop.example\r\nCookie: a=1; b=2\r\nTE: trailers\r\nTrailer: x-end\r\nConnection: close\r\n\r\n"
		resp, err := cl.do(head, c.body, "x-end: yes\r\n\r\n")
		if err != nil {
			t.Fatal(err)
		}
		if resp.status != 201 || !bytes.Equal(resp.body, c.body) || resp.reset != nil {
			t.Errorf("%s: status %d, %d bytes, %+v", c.line, resp.status, len(resp.body), resp.reset)
		}
		if want := c.line + " shop.example a=1; b=2 trailers"; resp.fields["x-seen"] != want {
			t.Errorf("the server saw %q, want %q", resp.fields["x-seen"], want)
		}
		if want := fmt.Sprintf("x-sum: %d yes\r\n\r\n", len(c.body)); resp.trailers != want {
			t.Errorf("%s: trailers %q, want %q", c.line, resp.trailers, want)
		}
		if hints := i == 0; hints != (len(resp.interims) == 1 && resp.interims[0] == 103) {
			t.Errorf("%s: interim answers %v", c.line, resp.interims)
		}
	}
}

// TestBothOfOurSides: our client against our server, with a body that fills every window many times.
func TestBothOfOurSides(t *testing.T) {
	s := serve(t, Settings{}, echo)
	cl := dial(t, s.addr(), Settings{})
	body := make([]byte, 24<<20)
	for i := range body {
		body[i] = byte(i * i >> 8)
	}
	for range 2 {
		resp, err := cl.do("POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: "+fmt.Sprint(len(body))+"\r\n\r\n", body, "")
		if err != nil {
			t.Fatal(err)
		}
		if resp.status != 200 || sha256.Sum256(resp.body) != sha256.Sum256(body) {
			t.Errorf("status %d, %d bytes of %d came back", resp.status, len(resp.body), len(body))
		}
	}
}

// TestH2spec runs the conformance suite against the server side.
func TestH2spec(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds, and builds h2spec once")
	}
	s := serve(t, Settings{}, hello(100))
	_, port, _ := net.SplitHostPort(s.addr())
	cmd := exec.Command(testserver.Tool(t, "h2spec"), "-h", "127.0.0.1", "-p", port, "--strict", "-o", "5")
	out, err := cmd.CombinedOutput()
	text := string(out)
	i := strings.LastIndex(text, " tests, ")
	if err != nil || i < 0 || !strings.Contains(text[i:], ", 0 failed") {
		t.Errorf("%v\n%s", err, text)
		return
	}
	t.Log(strings.TrimSpace(text[strings.LastIndexByte(text[:i], '\n')+1:]))
}

func TestNghttpAndH2loadGetAnswers(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	s := serve(t, Settings{}, hello(70000))
	out, err := exec.Command(testserver.Program(t, "nghttp"), "-n", "-s", "http://"+s.addr()+"/a", "http://"+s.addr()+"/b").CombinedOutput()
	if err != nil || strings.Count(string(out), " 200 ") != 2 {
		t.Errorf("nghttp: %v\n%s", err, out)
	}
	file := t.TempDir() + "/body"
	if err := os.WriteFile(file, bytes.Repeat([]byte("x"), 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"-n", "5000", "-c", "4", "-m", "32"}, {"-n", "64", "-c", "2", "-m", "8", "-d", file}, {"-n", "500", "-c", "4", "-m", "120", "-w", "16", "-W", "16"}} {
		out, err = exec.Command(testserver.Program(t, "h2load"), append(args, "http://"+s.addr()+"/")...).CombinedOutput()
		if err != nil || !strings.Contains(string(out), " 0 failed, 0 errored, 0 timeout") {
			t.Errorf("h2load %v: %v\n%s", args, err, out)
		}
	}
	if len(s.errs) > 0 {
		t.Errorf("the server complained: %v", s.errs)
	}
}

// TestNghttpdAnswersUs: files of several sizes, and trailers, from the server of nghttp2.
func TestNghttpdAnswersUs(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	root := t.TempDir()
	large := bytes.Repeat([]byte("0123456789abcdef"), 300000)
	for name, content := range map[string][]byte{"small": []byte("hello"), "empty": nil, "large": large} {
		if err := os.WriteFile(root+"/"+name, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(lis.Addr().String())
	lis.Close()
	cmd := exec.Command(testserver.Program(t, "nghttpd"), "--no-tls", "-a", "127.0.0.1", "--trailer=x-sum: 1", "-d", root, port)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	cl := dialSoon(t, "127.0.0.1:"+port)
	for range 3 {
		for _, c := range []struct {
			path   string
			status int
			want   []byte
		}{{"/small", 200, []byte("hello")}, {"/empty", 200, nil}, {"/large", 200, large}} {
			resp, err := cl.do("GET "+c.path+" HTTP/1.1\r\nHost: h\r\nUser-Agent: test\r\n\r\n", nil, "")
			if err != nil || resp.status != c.status || !bytes.Equal(resp.body, c.want) {
				t.Fatalf("%s: %v, status %d, %d bytes", c.path, err, resp.status, len(resp.body))
			}
			if want := "x-sum: 1\r\n\r\n"; len(c.want) > 0 && resp.trailers != want {
				t.Errorf("%s: trailers %q", c.path, resp.trailers)
			}
		}
		if resp, err := cl.do("GET /none HTTP/1.1\r\nHost: h\r\n\r\n", nil, ""); err != nil || resp.status != 404 {
			t.Errorf("%v, status %d", err, resp.status)
		}
	}
}

// dialSoon connects to a server that is starting.
func dialSoon(t *testing.T, addr string) *client {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for range 1000 {
		if nc, err := net.Dial("tcp", addr); err == nil {
			nc.Close()
			return dial(t, addr, Settings{})
		}
		<-tick.C
	}
	t.Fatal("nothing listens at ", addr)
	return nil
}

// TestDrainingLosesNoRequest: a server that ends every connection after ten requests, under a client that sends many
// at a time.
func TestDrainingLosesNoRequest(t *testing.T) {
	s := serve(t, Settings{}, hello(2000))
	s.drainAfter = 10
	cl := h2cClient(t)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 100 {
				resp, err := cl.Post("http://"+s.addr()+"/", "x/y", strings.NewReader("body")) // which is not sent twice
				if err != nil {
					t.Error(err)
					return
				}
				if n, err := io.Copy(io.Discard, resp.Body); n != 2000 || err != nil {
					t.Error(n, err)
				}
				resp.Body.Close()
			}
		})
	}
	wg.Wait()
}
