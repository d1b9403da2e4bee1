package l7_test

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/trivet-ha/trivet/balance/l7"
)

// authority issues certificates for tests.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pool *x509.CertPool
}

func newAuthority(t testing.TB) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test authority"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	a := &authority{key: key, pool: x509.NewCertPool()}
	a.cert, _ = x509.ParseCertificate(der)
	a.pool.AddCert(a.cert)
	return a
}

func (a *authority) issue(t testing.TB, subject pkix.Name, names ...string) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: subject, DNSNames: names,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, a.cert, &key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// secured makes the stage's listener speak TLS as shop.example, and returns what clients need for it.
func secured(t testing.TB, change ...func(*tls.Config)) (func(*setup), *tls.Config) {
	a := newAuthority(t)
	server := &tls.Config{Certificates: []tls.Certificate{a.issue(t, pkix.Name{CommonName: "shop"}, "shop.example")}, NextProtos: []string{"http/1.1"}}
	for _, f := range change {
		f(server)
	}
	return func(s *setup) { s.listener.TLS = &l7.TLS{Config: server} },
		&tls.Config{RootCAs: a.pool, ServerName: "shop.example"}
}

// dialTLS connects a client under TLS.
func (st *stage) dialTLS(cfg *tls.Config) *tls.Conn {
	st.t.Helper()
	c, err := tls.Dial("tcp", st.address, cfg)
	if err != nil {
		st.t.Fatal(err)
	}
	st.t.Cleanup(func() { c.Close() })
	return c
}

// web is an HTTP client that connects to the stage whatever the host.
func (st *stage) web(cfg *tls.Config) *http.Client {
	tr := &http.Transport{TLSClientConfig: cfg, DialContext: nil, DisableCompression: true, MaxIdleConnsPerHost: 64}
	st.t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: time.Minute}
}

// hashing answers with the SHA-256 of a request's body, and to GET /n with n bytes.
func hashing(t testing.TB, seen func(*http.Request)) string {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if seen != nil {
			seen(r)
		}
		n := 0
		if _, _ = fmt.Sscanf(r.URL.Path, "/%d", &n); n > 0 {
			_, _ = io.CopyN(w, new(pattern), int64(n))
			return
		}
		h := sha256.New()
		_, _ = io.Copy(h, r.Body)
		fmt.Fprintf(w, "%x", h.Sum(nil))
	}))
	t.Cleanup(srv.Close)
	return srv.Listener.Addr().String()
}

// pattern is a stream without an end.
type pattern struct{ at uint32 }

func (s *pattern) Read(p []byte) (int, error) {
	for i := range p {
		s.at++
		p[i] = byte(s.at*2654435761>>24) ^ byte(s.at>>16)
	}
	return len(p), nil
}

func TestServesTLSOfBothVersions(t *testing.T) {
	with, client := secured(t)
	var proto string
	st := serve(t, []string{hashing(t, func(r *http.Request) { proto = r.Header.Get("X-Forwarded-Proto") })}, with,
		func(s *setup) { s.listener.Forward = l7.Forward{}; s.listener.TLS.HSTS = "max-age=31536000" })
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		cfg := client.Clone()
		cfg.MinVersion, cfg.MaxVersion = version, version
		resp, err := st.web(cfg).Get("https://" + st.address + "/1000")
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if len(body) != 1000 || resp.TLS.Version != version || proto != "https" {
			t.Errorf("%d bytes by version %x, X-Forwarded-Proto %q", len(body), resp.TLS.Version, proto)
		}
		if got := resp.Header.Get("Strict-Transport-Security"); got != "max-age=31536000" {
			t.Errorf("Strict-Transport-Security is %q", got)
		}
	}
	listeners, _ := st.srv.Stats()
	if n := listeners[0].Handshakes; n != 2 {
		t.Errorf("%d handshakes are counted", n)
	}
}

func TestManyRequestsShareATLSConnection(t *testing.T) {
	with, client := secured(t)
	st := serve(t, []string{hashing(t, nil)}, with)
	conn := st.dialTLS(client)
	r := bufio.NewReader(conn)
	for i := range 200 {
		if _, err := io.WriteString(conn, strings.Repeat("GET /128 HTTP/1.1\r\nHost: a\r\n\r\n", 1+i%5)); err != nil {
			t.Fatal(err)
		}
		for range 1 + i%5 {
			resp, err := http.ReadResponse(r, nil)
			if err != nil {
				t.Fatal(err)
			}
			if n, _ := io.Copy(io.Discard, resp.Body); n != 128 {
				t.Fatalf("%d bytes", n)
			}
		}
	}
}

func TestMovesAHundredMegabytesUnharmedUnderTLS(t *testing.T) {
	const size = 100 << 20
	with, client := secured(t)
	st := serve(t, []string{hashing(t, nil)}, with)
	web := st.web(client)
	h := sha256.New()
	resp, err := web.Post("https://"+st.address+"/", "application/octet-stream", io.TeeReader(io.LimitReader(new(pattern), size), h))
	if err != nil {
		t.Fatal(err)
	}
	got, _ := io.ReadAll(resp.Body)
	resp.Body.Close()
	if want := fmt.Sprintf("%x", h.Sum(nil)); string(got) != want {
		t.Errorf("the endpoint got %s, want %s", got, want)
	}
	resp, err = web.Get(fmt.Sprintf("https://%s/%d", st.address, size))
	if err != nil {
		t.Fatal(err)
	}
	down, want := sha256.New(), sha256.New()
	n, err := io.Copy(down, resp.Body)
	resp.Body.Close()
	_, _ = io.CopyN(want, new(pattern), size)
	if n != size || err != nil {
		t.Fatalf("%d bytes came: %v", n, err)
	}
	if string(down.Sum(nil)) != string(want.Sum(nil)) {
		t.Error("the answer was changed on its way")
	}
}

func TestASlowReaderHoldsItsEndpointBackUnderTLS(t *testing.T) {
	with, client := secured(t)
	st := serve(t, []string{hashing(t, nil)}, with)
	conn := st.dialTLS(client)
	if _, err := io.WriteString(conn, "GET /20000000 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	st.until("the answer is held", func() bool { return st.pool.InFlight() == 1 })
	resp, err := http.ReadResponse(bufio.NewReaderSize(conn, 100), nil)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := io.Copy(io.Discard, resp.Body); n != 20000000 || err != nil {
		t.Errorf("%d bytes came: %v", n, err)
	}
}

func TestEndsATLSConnectionInOrder(t *testing.T) {
	with, client := secured(t)
	st := serve(t, []string{hashing(t, nil)}, with)
	client.MaxVersion = tls.VersionTLS12 // the kind of a record can be seen there
	raw, err := net.Dial("tcp", st.address)
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	all := &recorder{Conn: raw}
	conn := tls.Client(all, client)
	_, _ = io.WriteString(conn, "GET /10 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
	if got, err := io.ReadAll(conn); err != nil || len(got) == 0 {
		t.Errorf("the connection ended with %v after %q", err, got)
	}
	last := byte(0)
	for p := all.got; len(p) >= 5; p = p[5+(int(p[3])<<8|int(p[4])):] {
		last = p[0]
	}
	if last != 21 {
		t.Errorf("the last record is of kind %d, not an alert", last)
	}
}

// recorder keeps what is read.
type recorder struct {
	net.Conn
	got []byte
}

func (r *recorder) Read(p []byte) (int, error) {
	n, err := r.Conn.Read(p)
	r.got = append(r.got, p[:n]...)
	return n, err
}

func TestACutAnswerHasNoOrderlyEndUnderTLS(t *testing.T) {
	e := newEndpoint(t)
	with, client := secured(t)
	st := serve(t, []string{e.addr()}, with)
	conn := st.dialTLS(client)
	_, _ = io.WriteString(conn, "GET /10 HTTP/1.0\r\nHost: a\r\n\r\n")
	u := e.accept()
	u.head()
	u.say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc")
	buf := make([]byte, 1000)
	if _, err := conn.Read(buf); err != nil {
		t.Fatal(err)
	}
	u.conn.Close()
	if _, err := io.ReadAll(conn); err == nil {
		t.Error("the client took a part for the whole")
	}
}

func TestPassesTheVerifiedSubjectOnAndNoOther(t *testing.T) {
	a := newAuthority(t)
	var got []string
	server := func(c *tls.Config) { c.ClientCAs, c.ClientAuth = a.pool, tls.VerifyClientCertIfGiven }
	with, client := secured(t, server)
	st := serve(t, []string{hashing(t, func(r *http.Request) { got = r.Header.Values("X-Client-Cert-Subject") })}, with)
	ask := func(cfg *tls.Config) error {
		q, _ := http.NewRequest("GET", "https://"+st.address+"/1", nil)
		q.Header.Set("x-client-cert-subject", "CN=root")
		resp, err := st.web(cfg).Do(q)
		if err == nil {
			resp.Body.Close()
		}
		return err
	}
	if err := ask(client); err != nil || len(got) != 0 {
		t.Errorf("without a certificate the endpoint heard %q: %v", got, err)
	}
	cfg := client.Clone()
	cfg.Certificates = []tls.Certificate{a.issue(t, pkix.Name{CommonName: "ann\r\nX: y", Organization: []string{"é"}})}
	if err := ask(cfg); err != nil || len(got) != 1 || got[0] != "CN=ann%0D%0AX: y,O=%C3%A9" {
		t.Errorf("with a certificate the endpoint heard %q: %v", got, err)
	}
	cfg.Certificates = []tls.Certificate{newAuthority(t).issue(t, pkix.Name{CommonName: "mallory"})}
	cfg.Certificates[0].Leaf = nil
	cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &cfg.Certificates[0], nil }
	if err := ask(cfg); err == nil {
		t.Error("a certificate of another authority was taken")
	}
}

func TestTellsWhoSpeaksPlainTextWhereTLSIsSpoken(t *testing.T) {
	with, _ := secured(t)
	st := serve(t, []string{gone(t)}, with)
	p := st.dial()
	p.say("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	if got := p.rest(); !strings.HasSuffix(got, "this port speaks HTTPS: use https://\n") {
		t.Errorf("the answer is %q", got)
	}
}

func TestHandshakesThatLeadNowhereEnd(t *testing.T) {
	with, client := secured(t)
	st := serve(t, []string{gone(t)}, with, func(s *setup) { s.listener.Timeouts.Header = 50 * time.Millisecond })
	silent := st.dial()
	half := st.dial()
	half.say("\x16\x03\x01\x02\x00\x01\x00")
	garbage := st.dial()
	garbage.say(strings.Repeat("\x16\x03\x01\x00\x05hello", 100))
	leaver := st.dial()
	leaver.say("\x16\x03")
	leaver.conn.Close()
	unknown := client.Clone()
	unknown.RootCAs = x509.NewCertPool()
	if c, err := tls.Dial("tcp", st.address, unknown); err == nil {
		c.Close()
		t.Error("the client took a certificate that it does not know")
	}
	for _, p := range []*peer{silent, half, garbage} {
		p.rest()
	}
	st.until("no connection is left", func() bool { return st.srv.Connections() == 0 })
	listeners, _ := st.srv.Stats()
	if n := listeners[0].HandshakesFailed; n < 4 {
		t.Errorf("%d failed handshakes are counted", n)
	}
}

func TestAClientThatLeavesInTheHandshakeCostsNothing(t *testing.T) {
	with, client := secured(t)
	st := serve(t, []string{gone(t)}, with)
	before := runtime.NumGoroutine()
	for range 50 {
		c, err := net.Dial("tcp", st.address)
		if err != nil {
			t.Fatal(err)
		}
		hello := &firstWrite{Conn: c}
		_ = tls.Client(hello, client).Handshake()
		c.Close()
	}
	st.until("no connection is left", func() bool { return st.srv.Connections() == 0 })
	st.until("no goroutine is left", func() bool { return runtime.NumGoroutine() <= before+2 })
}

// firstWrite lets a ClientHello through and then fails.
type firstWrite struct{ net.Conn }

func (f *firstWrite) Read([]byte) (int, error) { return 0, errors.New("gone") }

// TestCiphertextMayComeInPieces sends what a client says one byte after the other.
func TestCiphertextMayComeInPieces(t *testing.T) {
	for _, size := range []int{1, 7, 1000} {
		with, client := secured(t)
		st := serve(t, []string{hashing(t, nil)}, with)
		raw, err := net.Dial("tcp", st.address)
		if err != nil {
			t.Fatal(err)
		}
		conn := tls.Client(pieces{raw, size}, client)
		if _, err := io.WriteString(conn, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(conn, "hello")
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		got, _ := io.ReadAll(resp.Body)
		if want := fmt.Sprintf("%x", sha256.Sum256([]byte("hello"))); string(got) != want {
			t.Errorf("the endpoint got another body")
		}
		conn.Close()
	}
}

// pieces writes a few bytes at a time.
type pieces struct {
	net.Conn
	size int
}

func (p pieces) Write(b []byte) (n int, err error) {
	for n < len(b) && err == nil {
		var m int
		m, err = p.Conn.Write(b[n:min(len(b), n+p.size)])
		n += m
		runtime.Gosched()
	}
	return n, err
}

func TestTicketsShortenHandshakes(t *testing.T) {
	with, client := secured(t)
	st := serve(t, []string{hashing(t, nil)}, with)
	client.ClientSessionCache = tls.NewLRUClientSessionCache(4)
	for i := range 3 {
		conn := st.dialTLS(client)
		_, _ = io.WriteString(conn, "GET /1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
		_, _ = io.ReadAll(conn)
		if resumed := conn.ConnectionState().DidResume; resumed != (i > 0) {
			t.Errorf("connection %d: resumed %v", i, resumed)
		}
	}
	if listeners, _ := st.srv.Stats(); listeners[0].Resumed != 2 {
		t.Errorf("%d resumed connections are counted", listeners[0].Resumed)
	}
}

func TestTunnelsUnderTLS(t *testing.T) {
	e := newEndpoint(t)
	with, client := secured(t)
	st := serve(t, []string{e.addr()}, with, func(s *setup) { s.route.Upgrade = []string{"websocket"} })
	conn := st.dialTLS(client)
	_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")
	u := e.accept()
	u.head()
	u.say("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nhello")
	r := bufio.NewReader(conn)
	if _, err := http.ReadResponse(r, nil); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 5)
	if _, err := io.ReadFull(r, buf); err != nil || string(buf) != "hello" {
		t.Fatalf("%q: %v", buf, err)
	}
	_, _ = io.WriteString(conn, "world")
	_ = conn.CloseWrite()
	if got := u.rest(); got != "world" {
		t.Errorf("the endpoint got %q", got)
	}
	u.conn.Close()
	if _, err := io.ReadAll(r); err != nil {
		t.Errorf("the tunnel ended with %v", err)
	}
}

// BenchmarkTLSRequest is BenchmarkRequest's smallest case under TLS 1.3.
func BenchmarkTLSRequest(b *testing.B) {
	with, client := secured(b)
	st := serve(b, []string{parrot(b, "HTTP/1.1 200 OK\r\nContent-Length: 128\r\n\r\n"+strings.Repeat("b", 128))}, with)
	conn := st.dialTLS(client)
	request := []byte("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	buf := make([]byte, 4096)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := conn.Write(request); err != nil {
			b.Fatal(err)
		}
		if _, err := io.ReadAtLeast(conn, buf, 128+len("HTTP/1.1 200 OK\r\nContent-Length: 128\r\n\r\n")); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkTLSIdle tells what an idle connection costs, in bytes of heap on the server's side.
func BenchmarkTLSIdle(b *testing.B) {
	with, client := secured(b)
	st := serve(b, []string{hashing(b, nil)}, with)
	const conns = 400
	raw := make([]net.Conn, 0, conns)
	heap := func() uint64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc + m.StackInuse
	}
	for b.Loop() {
		before := heap()
		var wg sync.WaitGroup
		for range conns {
			c, err := net.Dial("tcp", st.address)
			if err != nil {
				b.Fatal(err)
			}
			raw = append(raw, c)
			wg.Go(func() {
				conn := tls.Client(c, client)
				_, _ = io.WriteString(conn, "GET /1 HTTP/1.1\r\nHost: a\r\n\r\n")
				_, _ = conn.Read(make([]byte, 1000))
			})
		}
		wg.Wait()
		b.ReportMetric(float64(heap()-before)/conns, "B/conn")
		for _, c := range raw {
			c.Close()
		}
		raw = raw[:0]
	}
}
