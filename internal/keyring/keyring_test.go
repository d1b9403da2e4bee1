package keyring

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// write makes a certificate for the names, of its own authority, and writes it and its key as NAME.pem and NAME.key.
func write(t *testing.T, dir, file string, key crypto.Signer, names ...string) Pair {
	t.Helper()
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: file}, DNSNames: names,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	pkcs, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	p := Pair{filepath.Join(dir, file+".pem"), filepath.Join(dir, file+".key")}
	put(t, p.Cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	put(t, p.Key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs}))
	return p
}

func put(t *testing.T, path string, content []byte) {
	t.Helper()
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

func newKey(t *testing.T) crypto.Signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// shown returns the common name of the certificate that a client gets, by the ring as it is now.
func shown(t *testing.T, r *Ring, name string) string {
	t.Helper()
	a, b := net.Pipe()
	defer a.Close()
	server := make(chan error, 1)
	go func() { defer b.Close(); server <- tls.Server(b, r.TLS()).Handshake() }()
	c := tls.Client(a, &tls.Config{ServerName: name, InsecureSkipVerify: true})
	if err := c.Handshake(); err != nil {
		t.Fatal(err)
	}
	go func() { _, _ = c.Read(make([]byte, 1)) }() // takes the session tickets
	if err := <-server; err != nil {
		t.Fatal(err)
	}
	return c.ConnectionState().PeerCertificates[0].Subject.CommonName
}

func TestPicksByName(t *testing.T) {
	dir := t.TempDir()
	r, err := New(Config{Pairs: []Pair{
		write(t, dir, "default", newKey(t), "shop.example"),
		write(t, dir, "wild", newKey(t), "*.shop.example"),
		write(t, dir, "exact", newKey(t), "pay.shop.example"),
		write(t, dir, "bare", newKey(t)),
	}})
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"shop.example": "default", "SHOP.example": "default", "other.example": "default", "": "default",
		"a.shop.example": "wild", "a.b.shop.example": "default", "pay.shop.example": "exact", "bare": "bare",
	} {
		if got := shown(t, r, name); got != want {
			t.Errorf("%q gets %s, want %s", name, got, want)
		}
	}
}

func TestPicksAKeyThatTheClientCanUse(t *testing.T) {
	dir := t.TempDir()
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	r, err := New(Config{Pairs: []Pair{write(t, dir, "ed", ed, "a.example"), write(t, dir, "ec", newKey(t), "a.example")}})
	if err != nil {
		t.Fatal(err)
	}
	hello := &tls.ClientHelloInfo{
		ServerName: "a.example", SupportedVersions: []uint16{tls.VersionTLS13},
		SignatureSchemes: []tls.SignatureScheme{tls.ECDSAWithP256AndSHA256},
	}
	c, err := r.current.Load().GetCertificate(hello)
	if err != nil || c.Leaf.Subject.CommonName != "ec" {
		t.Errorf("got %v, %v", c.Leaf.Subject, err)
	}
}

func TestTakesUpChangedFilesAndKeepsWhatWorks(t *testing.T) {
	dir := t.TempDir()
	p := write(t, dir, "a", newKey(t), "a.example")
	r, err := New(Config{Pairs: []Pair{p}})
	if err != nil {
		t.Fatal(err)
	}
	if changed, err := r.Refresh(); changed || err != nil {
		t.Errorf("nothing has changed: %v, %v", changed, err)
	}
	next := write(t, dir, "b", newKey(t), "a.example")
	if err := os.Rename(next.Cert, p.Cert); err != nil {
		t.Fatal(err)
	}
	if changed, err := r.Refresh(); changed || err == nil || !strings.Contains(err.Error(), p.Key) {
		t.Errorf("a certificate was taken without its key: %v, %v", changed, err)
	}
	if _, err := r.Refresh(); err != nil {
		t.Errorf("it is told twice: %v", err)
	}
	if got := shown(t, r, ""); got != "a" {
		t.Errorf("%s is shown", got)
	}
	if err := os.Rename(next.Key, p.Key); err != nil {
		t.Fatal(err)
	}
	if changed, err := r.Refresh(); !changed || err != nil {
		t.Errorf("the new pair is not taken: %v, %v", changed, err)
	}
	if got := shown(t, r, ""); got != "b" {
		t.Errorf("%s is shown", got)
	}
	if err := os.Remove(p.Cert); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Refresh(); err == nil {
		t.Error("a file is gone, and nobody hears of it")
	}
	if got := shown(t, r, ""); got != "b" {
		t.Errorf("%s is shown", got)
	}
}

func TestErrorsNameTheFile(t *testing.T) {
	dir := t.TempDir()
	good := write(t, dir, "a", newKey(t))
	other := write(t, dir, "b", newKey(t))
	garbage := filepath.Join(dir, "garbage.pem")
	put(t, garbage, []byte("hello"))
	missing := filepath.Join(dir, "missing.pem")
	for _, c := range []struct {
		cfg  Config
		want string
	}{
		{Config{}, "no certificate"},
		{Config{Pairs: []Pair{{missing, good.Key}}}, missing},
		{Config{Pairs: []Pair{{good.Cert, missing}}}, missing},
		{Config{Pairs: []Pair{{garbage, good.Key}}}, garbage},
		{Config{Pairs: []Pair{{good.Cert, other.Key}}}, other.Key},
		{Config{Pairs: []Pair{good}, ClientCA: missing}, missing},
		{Config{Pairs: []Pair{good}, ClientCA: garbage}, garbage},
	} {
		if _, err := New(c.cfg); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v", c.cfg, err)
		}
	}
}

func TestTheSameFilesMakeTheSameRing(t *testing.T) {
	cfg := Config{Pairs: []Pair{write(t, t.TempDir(), "a", newKey(t))}, Protocols: []string{"http/1.1"}}
	r, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if !r.Same(cfg) {
		t.Error("the same is not the same")
	}
	cfg.MinVersion = tls.VersionTLS13
	if r.Same(cfg) {
		t.Error("another version is the same")
	}
}

func TestEndpointsAreJudgedByTheAuthorityInTheFile(t *testing.T) {
	dir := t.TempDir()
	shop, other, own := write(t, dir, "shop", newKey(t), "shop.example"), write(t, dir, "other", newKey(t), "shop.example"), write(t, dir, "own", newKey(t))
	ring, err := New(Config{Pairs: []Pair{shop}, ClientAuth: tls.RequestClientCert})
	if err != nil {
		t.Fatal(err)
	}
	c, err := NewClient(ClientConfig{ServerName: "shop.example", CA: shop.Cert, Own: own})
	if err != nil {
		t.Fatal(err)
	}
	if cert, err := met(t, ring, c); err != nil || cert != "own" {
		t.Errorf("%v; the endpoint saw the certificate of %q", err, cert)
	}
	put(t, shop.Cert+".new", read(t, other.Cert))
	if err := os.Rename(shop.Cert+".new", shop.Cert); err != nil {
		t.Fatal(err)
	}
	before := c.TLS()
	if changed, err := c.Refresh(); err != nil || !changed || c.TLS() == before {
		t.Errorf("the authority has changed: %v, %v", changed, err)
	}
	if _, err := met(t, ring, c); err == nil {
		t.Error("a certificate of another authority is taken")
	}
	if !c.Same(ClientConfig{ServerName: "shop.example", CA: shop.Cert, Own: own}) || c.Same(ClientConfig{}) {
		t.Error("it is not told from another one")
	}
	insecure, err := NewClient(ClientConfig{Insecure: true})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := met(t, ring, insecure); err != nil {
		t.Error(err)
	}
	for _, wrong := range []ClientConfig{{CA: filepath.Join(dir, "none")}, {CA: own.Key}, {Own: Pair{own.Cert, shop.Key}}} {
		if _, err := NewClient(wrong); err == nil {
			t.Errorf("%+v is taken", wrong)
		}
	}
}

// met lets a client meet a server, and returns the common name of the certificate that the server was shown.
func met(t *testing.T, r *Ring, c *Client) (string, error) {
	t.Helper()
	ln, err := tls.Listen("tcp", "127.0.0.1:0", r.TLS())
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	shown := make(chan string, 1)
	go func() {
		defer close(shown)
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		server := conn.(*tls.Conn)
		if server.Handshake() != nil {
			return
		}
		name := ""
		if all := server.ConnectionState().PeerCertificates; len(all) > 0 {
			name = all[0].Subject.CommonName
		}
		shown <- name
	}()
	client, err := tls.Dial("tcp", ln.Addr().String(), c.TLS())
	if err == nil {
		client.Close()
	}
	return <-shown, err
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
