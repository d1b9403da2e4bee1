package trivet

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"testing"
)

// secureEndpoint is a server that speaks TLS as app.example, and asks for certificates of the same authority.
func secureEndpoint(t *testing.T, dir string, i *issuer) string {
	t.Helper()
	i.issue(filepath.Join(dir, "app"), "app.example")
	cert, err := tls.LoadX509KeyPair(filepath.Join(dir, "app.pem"), filepath.Join(dir, "app.key"))
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, r.TLS.PeerCertificates[0].Subject.CommonName)
	}))
	s.TLS = &tls.Config{Certificates: []tls.Certificate{cert}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: i.roots()}
	s.StartTLS()
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

func TestAPoolUnderTLSIsProbedAndReloadedAsSuch(t *testing.T) {
	dir, i := t.TempDir(), newIssuer(t)
	i.write(filepath.Join(dir, "ca.pem"))
	i.issue(filepath.Join(dir, "own"), "trivet.example")
	yaml := fmt.Sprintf(`
listeners: {web: {address: 127.0.0.1:0, pool: site}}
pools:
  site:
    endpoints: [%s]
    tls: {server_name: app.example, ca: %[2]s/ca.pem, certificate: {cert: %[2]s/own.pem, key: %[2]s/own.key}}
    health: {probe: {http: /}, interval: 50ms, fast_interval: 50ms, fall: 1, rise: 1}
admin: {socket: SOCKET}
`, secureEndpoint(t, dir, i), dir)
	r := start(t, yaml)
	up := func() bool { return r.Status().Pools[0].Endpoints[0].Health == "up" }
	eventually(t, "the probe gets through", up)
	if code, body := get(t, r.url("web")); code != 200 || body != "trivet.example" {
		t.Errorf("%d %q", code, body)
	}
	before := r.clients["site"]
	if err := r.ReloadFile(t.Context()); err != nil {
		t.Fatal(err)
	}
	if r.clients["site"] != before {
		t.Error("a reload that changes nothing closes connections")
	}
	newIssuer(t).write(filepath.Join(dir, "ca.pem"))
	eventually(t, "a certificate of another authority is found out", func() bool { return !up() })
}
