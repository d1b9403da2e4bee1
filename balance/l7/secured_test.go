package l7_test

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509/pkix"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/trivet-ha/trivet/balance"
	"github.com/trivet-ha/trivet/fault/hedge"
	"github.com/trivet-ha/trivet/fault/retry"
)

// secureSite is an endpoint that speaks TLS, and how it is spoken to. Its certificate is for app.example.
type secureSite struct {
	*httptest.Server
	authority *authority
	client    *tls.Config // what connects to it
	full      atomic.Int64
	resumed   atomic.Int64
}

func newSecureSite(t testing.TB, h http.Handler, change ...func(*tls.Config)) *secureSite {
	s := &secureSite{authority: newAuthority(t), Server: httptest.NewUnstartedServer(h)}
	s.client, s.TLS = s.configs(t)
	for _, f := range change {
		f(s.TLS)
	}
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

// configs are how the site is spoken to, and how it speaks.
func (s *secureSite) configs(t testing.TB) (client, server *tls.Config) {
	server = &tls.Config{Certificates: []tls.Certificate{s.authority.issue(t, pkix.Name{CommonName: "app"}, "app.example")}}
	server.VerifyConnection = func(c tls.ConnectionState) error {
		if c.DidResume {
			s.resumed.Add(1)
		} else {
			s.full.Add(1)
		}
		return nil
	}
	return &tls.Config{RootCAs: s.authority.pool, ServerName: "app.example", MinVersion: tls.VersionTLS12}, server
}

func (s *secureSite) addr() string { return s.Listener.Addr().String() }

// secure has the stage speak TLS to its endpoints.
func (s *secureSite) secure(set *setup) { set.upstream.TLS = func() *tls.Config { return s.client } }

// echoHash answers with the SHA-256 of a request's body, and to GET /n with n bytes.
var echoHash = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	n := 0
	if _, _ = fmt.Sscanf(r.URL.Path, "/%d", &n); n > 0 {
		_, _ = io.CopyN(w, new(pattern), int64(n))
		return
	}
	h := sha256.New()
	_, _ = io.Copy(h, r.Body)
	fmt.Fprintf(w, "%x", h.Sum(nil))
})

func TestSpeaksTLSToEndpoints(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		site := newSecureSite(t, echoHash, func(c *tls.Config) { c.MinVersion, c.MaxVersion = version, version })
		st := serve(t, []string{site.addr()}, site.secure)
		web := st.web(nil)
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				for _, size := range []int{0, 1, 1000, 70_000, 5_000_000} {
					size += i
					body, _ := io.ReadAll(io.LimitReader(new(pattern), int64(size)))
					resp, err := web.Post("http://"+st.address+"/", "x/y", strings.NewReader(string(body)))
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
					resp, err = web.Get(fmt.Sprintf("http://%s/%d", st.address, size))
					if err != nil {
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
		_, endpoints := st.up.Stats()
		if e := endpoints[0]; e.Reuses == 0 || e.Connects > 20 {
			t.Errorf("%d connections were opened, %d used again", e.Connects, e.Reuses)
		}
	}
}

func TestResumesSessionsWithEndpoints(t *testing.T) {
	site := newSecureSite(t, echoHash)
	st := serve(t, []string{site.addr()}, site.secure, oneLoop)
	for range 5 {
		if got := fetch(t, st.web(nil), "http://"+st.address+"/100"); len(got) != 100 {
			t.Fatal(got)
		}
		st.srv.Sweep(2 * time.Minute)
	}
	if site.full.Load() != 1 || site.resumed.Load() != 4 {
		t.Errorf("%d handshakes were full, %d resumed", site.full.Load(), site.resumed.Load())
	}
}

func fetch(t testing.TB, web *http.Client, url string) string {
	t.Helper()
	resp, err := web.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

func TestEndpointWithoutARightCertificateGetsNothing(t *testing.T) {
	var asked atomic.Int64
	site := newSecureSite(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked.Add(1) }))
	good := newSecureSite(t, echoHash)
	good.client.RootCAs.AddCert(good.authority.cert)
	for what, change := range map[string]func(*tls.Config){
		"another authority": func(c *tls.Config) { c.RootCAs = newAuthority(t).pool },
		"another name":      func(c *tls.Config) { c.ServerName = "other.example" },
		"no name":           func(c *tls.Config) { c.ServerName = "" },
		"too old":           func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS11 },
	} {
		t.Run(what, func(t *testing.T) {
			cfg := site.client.Clone()
			change(cfg)
			st := serve(t, []string{site.addr()}, func(s *setup) { s.upstream.TLS = func() *tls.Config { return cfg } })
			resp, err := st.web(nil).Post("http://"+st.address+"/", "x/y", strings.NewReader("hello"))
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			_, endpoints := st.up.Stats()
			if resp.StatusCode != 502 || asked.Load() != 0 || endpoints[0].Failures["connect"] == 0 {
				t.Errorf("status %d, %d requests came, failures %v", resp.StatusCode, asked.Load(), endpoints[0].Failures)
			}
		})
	}
	t.Run("and another one gets the request", func(t *testing.T) {
		st := serve(t, []string{site.addr(), good.addr()}, good.secure, func(s *setup) { s.pool.Algorithm = balance.RoundRobin })
		for range 10 {
			resp, err := st.web(nil).Post("http://"+st.address+"/", "x/y", strings.NewReader("hello"))
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if resp.StatusCode != 200 {
				t.Errorf("status %d", resp.StatusCode)
			}
		}
	})
}

func TestEndpointMayAskForACertificate(t *testing.T) {
	clients := newAuthority(t)
	var subject string
	site := newSecureSite(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		subject = r.TLS.PeerCertificates[0].Subject.CommonName
	}), func(c *tls.Config) { c.ClientAuth, c.ClientCAs = tls.RequireAndVerifyClientCert, clients.pool })
	site.client.Certificates = []tls.Certificate{clients.issue(t, pkix.Name{CommonName: "trivet"}, "trivet.example")}
	st := serve(t, []string{site.addr()}, site.secure)
	if resp, err := st.web(nil).Get("http://" + st.address); err != nil || resp.StatusCode != 200 || subject != "trivet" {
		t.Errorf("%v, %v, certificate of %q", resp, err, subject)
	}
}

// TestHandshakeThatHangsIsAConnectionThatFails is about a server that accepts connections and says nothing.
func TestHandshakeThatHangsIsAConnectionThatFails(t *testing.T) {
	deaf := newEndpoint(t)
	good := newSecureSite(t, echoHash)
	st := serve(t, []string{deaf.addr(), good.addr()}, good.secure, func(s *setup) {
		s.upstream.Connect = 50 * time.Millisecond
		s.pool.Algorithm = balance.RoundRobin
	})
	for range 4 {
		resp, err := st.web(nil).Post("http://"+st.address+"/", "x/y", strings.NewReader("hello"))
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != 200 {
			t.Errorf("status %d", resp.StatusCode)
		}
	}
}

// TestAnswerCutOffUnderTLSIsNoAnswer is about an end that nobody has vouched for (RFC 8446 §6.1).
func TestAnswerCutOffUnderTLSIsNoAnswer(t *testing.T) {
	site := newSecureSite(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		c, _, _ := w.(http.Hijacker).Hijack()
		fmt.Fprint(c, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhalf an answ")
		c.(*tls.Conn).NetConn().Close()
	}))
	st := serve(t, []string{site.addr()}, site.secure)
	resp, err := st.web(nil).Get("http://" + st.address)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if body, err := io.ReadAll(resp.Body); err == nil {
		t.Errorf("half an answer came as a whole: %q", body)
	}
}

func TestHedgesUnderTLS(t *testing.T) {
	gate := make(chan struct{})
	var calls atomic.Int64
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if calls.Add(1) == 1 {
			<-gate
		}
		fmt.Fprint(w, "done")
	})
	a := newSecureSite(t, h)
	b := newSecureSite(t, h)
	a.client.RootCAs.AddCert(b.authority.cert)
	st := serve(t, []string{a.addr(), b.addr()}, a.secure, func(s *setup) {
		s.route.Hedge = hedge.New(hedge.Config{Delay: time.Millisecond, Budget: retry.BudgetConfig{MinPerSecond: 1000}})
	})
	defer close(gate)
	if got := fetch(t, st.web(nil), "http://"+st.address); got != "done" {
		t.Errorf("got %q", got)
	}
}

func TestTunnelsThroughTLS(t *testing.T) {
	site := newSecureSite(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		c, rw, _ := w.(http.Hijacker).Hijack()
		defer c.Close()
		fmt.Fprint(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")
		_, _ = io.Copy(c, rw)
	}))
	st := serve(t, []string{site.addr()}, site.secure, func(s *setup) { s.route.Upgrade = []string{"websocket"} })
	c := st.dial()
	c.say(lines("GET / HTTP/1.1", "Host: a", "Connection: upgrade", "Upgrade: websocket"))
	if head := c.head(); !strings.HasPrefix(head, "HTTP/1.1 101 ") {
		t.Fatal(head)
	}
	text := strings.Repeat("0123456789", 30_000)
	var wg sync.WaitGroup
	wg.Go(func() { c.say(text) })
	c.expect(text)
	wg.Wait()
	c.shut()
	c.ended()
}

func TestConnectionsFollowARenewedConfiguration(t *testing.T) {
	site := newSecureSite(t, echoHash)
	var mu sync.Mutex
	current := site.client
	st := serve(t, []string{site.addr()}, oneLoop, func(s *setup) {
		s.upstream.TLS = func() *tls.Config { mu.Lock(); defer mu.Unlock(); return current }
	})
	for range 3 {
		fetch(t, st.web(nil), "http://"+st.address+"/1")
	}
	mu.Lock()
	current = site.client.Clone()
	mu.Unlock()
	fetch(t, st.web(nil), "http://"+st.address+"/1")
	if _, e := st.up.Stats(); e[0].Connects != 2 {
		t.Errorf("%d connections were opened", e[0].Connects)
	}
}

// BenchmarkSecureEndpoint is BenchmarkRequest with TLS to the endpoint.
func BenchmarkSecureEndpoint(b *testing.B) {
	site := newSecureSite(b, nil)
	ln, err := tls.Listen("tcp", "127.0.0.1:0", site.TLS)
	if err != nil {
		b.Fatal(err)
	}
	parrotOn(b, ln, small)
	st := serve(b, []string{ln.Addr().String()}, site.secure, oneLoop)
	k := st.caller(get("User-Agent: bench", "Accept: */*", "X-User: me"))
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		if err := k.call(); err != nil {
			b.Fatal(err)
		}
	}
}
