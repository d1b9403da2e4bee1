package trivet

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/trivet-ha/trivet/config"
	"github.com/trivet-ha/trivet/internal/testserver"
)

// issuer signs certificates for tests.
type issuer struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	next int64
}

func newIssuer(t *testing.T) *issuer {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	i := &issuer{t: t, key: key}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test authority"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(24 * time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	if i.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	return i
}

func (i *issuer) roots() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(i.cert)
	return p
}

// write puts the authority into ca.pem.
func (i *issuer) write(path string) {
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: i.cert.Raw}), 0o600); err != nil {
		i.t.Fatal(err)
	}
}

// issue writes a certificate and its key, each in one step, as tools that renew them do.
func (i *issuer) issue(base string, names ...string) {
	i.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		i.t.Fatal(err)
	}
	i.next++
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(100 + i.next), Subject: pkix.Name{CommonName: names[0]}, DNSNames: names, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(24 * time.Hour), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, i.cert, &key.PublicKey, i.key)
	if err != nil {
		i.t.Fatal(err)
	}
	pkcs, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		i.t.Fatal(err)
	}
	for path, block := range map[string]*pem.Block{base + ".pem": {Type: "CERTIFICATE", Bytes: der}, base + ".key": {Type: "PRIVATE KEY", Bytes: pkcs}} {
		if err := os.WriteFile(path+".new", pem.EncodeToMemory(block), 0o600); err != nil {
			i.t.Fatal(err)
		}
		if err := os.Rename(path+".new", path); err != nil {
			i.t.Fatal(err)
		}
	}
}

// secureShop is a node with an https listener and one shop behind.
func secureShop(t *testing.T, dir, more string) *running {
	t.Helper()
	return start(t, fmt.Sprintf(`
listeners:
  web:
    address: 127.0.0.1:0
    protocol: https
    pool: site
    tls:
      certificates:
        - {cert: %[1]s/a.pem, key: %[1]s/a.key}
        - {cert: %[1]s/b.pem, key: %[1]s/b.key}
      %[3]s
pools: {site: {endpoints: [%[2]s], health: {off: true}}}
admin: {socket: SOCKET}
`, dir, newShop(t, "one").address(), more))
}

// overTLS is a client that connects to a listener, whatever the name in the URL.
func (r *running) overTLS(i *issuer, name string) *http.Client {
	tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: i.roots(), ServerName: name}}
	r.t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: 10 * time.Second}
}

func (r *running) secureURL() string { return "https" + strings.TrimPrefix(r.url("web"), "http") }

func TestAListenerShowsTheCertificateOfTheNameAskedFor(t *testing.T) {
	dir, i := t.TempDir(), newIssuer(t)
	i.issue(filepath.Join(dir, "a"), "shop.example")
	i.issue(filepath.Join(dir, "b"), "*.shop.example")
	r := secureShop(t, dir, "hsts: {subdomains: true}")
	for _, name := range []string{"shop.example", "www.shop.example"} {
		resp, err := r.overTLS(i, name).Get(r.secureURL())
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if string(body) != "one" || resp.Header.Get("Strict-Transport-Security") != "max-age=31536000; includeSubDomains" {
			t.Errorf("%s: %q, %v", name, body, resp.Header)
		}
	}
	if _, err := r.overTLS(i, "other.example").Get(r.secureURL()); err == nil {
		t.Error("a certificate for another name was taken")
	}
}

func TestRenewedCertificatesAreTakenUpWithoutAFailedRequest(t *testing.T) {
	dir, i := t.TempDir(), newIssuer(t)
	i.issue(filepath.Join(dir, "a"), "shop.example")
	i.issue(filepath.Join(dir, "b"), "b.example")
	r := secureShop(t, dir, "")
	url, web := r.secureURL(), r.overTLS(i, "shop.example")
	serial := func() int64 {
		c, err := tls.Dial("tcp", strings.TrimPrefix(url, "https://"), web.Transport.(*http.Transport).TLSClientConfig)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		return c.ConnectionState().PeerCertificates[0].SerialNumber.Int64()
	}
	before := serial()
	ctx, stop := context.WithCancel(t.Context())
	var load sync.WaitGroup
	for n := range 4 {
		load.Go(func() {
			for k := 0; ctx.Err() == nil; k++ {
				resp, err := web.Get(url)
				if err != nil {
					t.Errorf("client %d, request %d: %v", n, k, err)
					return
				}
				_, _ = io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
				if k%5 == n {
					web.CloseIdleConnections()
				}
			}
		})
	}
	i.issue(filepath.Join(dir, "a"), "shop.example")
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(20 * time.Second); serial() == before; <-tick.C {
		if time.Now().After(end) {
			t.Fatal("the new certificate is not shown")
		}
	}
	if err := r.ReloadFile(t.Context()); err != nil { // a reload that changes nothing keeps tickets and connections
		t.Error(err)
	}
	stop()
	load.Wait()
}

func TestACertificateThatCannotBeReadIsNamed(t *testing.T) {
	dir, i := t.TempDir(), newIssuer(t)
	i.issue(filepath.Join(dir, "a"), "shop.example")
	yaml := fmt.Sprintf(`
listeners: {web: {address: 127.0.0.1:0, protocol: https, pool: site, tls: {certificates: [{cert: %[1]s/a.pem, key: %[1]s/missing.key}]}}}
pools: {site: {endpoints: [127.0.0.1:1]}}
`, dir)
	file, err := config.Parse("trivet.yaml", []byte(yaml))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := New(Config{File: file}); err == nil || !strings.Contains(err.Error(), "missing.key") {
		t.Errorf("the error is %v", err)
	}
}

// client runs a program that speaks TLS and returns what it says.
func client(t *testing.T, name string, args ...string) string {
	t.Helper()
	path := testserver.Program(t, name)
	ctx, stop := context.WithTimeout(t.Context(), 20*time.Second)
	defer stop()
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Stdin = strings.NewReader("GET / HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n\r\n")
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	_ = cmd.Run() // what it says decides
	return out.String()
}

func TestOpenSSLAndCurlAreServed(t *testing.T) {
	dir, i := t.TempDir(), newIssuer(t)
	i.issue(filepath.Join(dir, "a"), "shop.example")
	i.issue(filepath.Join(dir, "b"), "b.example")
	i.issue(filepath.Join(dir, "ann"), "ann.example")
	i.write(filepath.Join(dir, "ca.pem"))
	r := secureShop(t, dir, fmt.Sprintf("client_ca: %s/ca.pem\n      client_auth: request", dir))
	address := strings.TrimPrefix(r.secureURL(), "https://")
	for _, version := range []string{"-tls1_2", "-tls1_3"} {
		for _, with := range [][]string{nil, {"-cert", filepath.Join(dir, "ann.pem"), "-key", filepath.Join(dir, "ann.key")}} {
			args := append([]string{
				"s_client", "-quiet", "-ign_eof", "-verify_return_error", "-CAfile", filepath.Join(dir, "ca.pem"), "-servername", "shop.example",
				"-verify_hostname", "shop.example", "-connect", address, version,
			}, with...)
			if got := client(t, "openssl", args...); !strings.Contains(got, "HTTP/1.1 200 OK") || !strings.Contains(got, "one") {
				t.Errorf("openssl %s says\n%s", strings.Join(args, " "), got)
			}
		}
	}
	if got := client(t, "openssl", "s_client", "-connect", address, "-tls1_1"); strings.Contains(got, "HTTP/1.1") {
		t.Errorf("TLS 1.1 is spoken:\n%s", got)
	}
	_, port, _ := strings.Cut(address, ":")
	got := client(t, "curl", "-sS", "--cacert", filepath.Join(dir, "ca.pem"), "--connect-to", "shop.example:443:127.0.0.1:"+port, "https://shop.example/")
	if got != "one" {
		t.Errorf("curl says %q", got)
	}
	for version, want := range map[string]string{"--http1.1": "1.1", "--http2": "2"} {
		got := client(t, "curl", "-sSk", version, "-o", "/dev/null", "-w", "%{http_version}", "https://"+address+"/")
		if got != want {
			t.Errorf("curl %s speaks %q", version, got)
		}
	}
}
