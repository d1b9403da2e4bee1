package lint

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

func TestJudgesCertificatesByTheirFiles(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	from := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	day := 24 * time.Hour
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"a.example"}, NotBefore: from, NotAfter: from.Add(90 * day)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	pkcs, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write := func(name string, mode os.FileMode, content []byte) {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, content, mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	private := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs})
	write("a.pem", 0o644, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	write("a.key", 0o600, private)
	write("open.key", 0o644, private)
	write("bad.key", 0o600, []byte("none"))
	for _, c := range []struct {
		key  string
		at   time.Duration
		want []string
	}{
		{"a.key", 10 * day, nil},
		{"a.key", 75 * day, nil},
		{"a.key", 77 * day, []string{"certificate-expires-soon"}},
		{"a.key", 91 * day, []string{"certificate-expired"}},
		{"open.key", 10 * day, []string{"key-readable"}},
		{"bad.key", 10 * day, []string{"certificate-unusable"}},
		{"none.key", 10 * day, []string{"certificate-unusable"}},
	} {
		write("trivet.yaml", 0o644, []byte(`listeners: {web: {address: ":443", protocol: https, pool: p, tls: {certificates: [{cert: a.pem, key: `+c.key+`}]}}}
pools: {p: {endpoints: [10.0.0.1:80]}}
`))
		var got []string
		for _, f := range Certificates(load(t, filepath.Join(dir, "trivet.yaml")), from.Add(c.at)) {
			got = append(got, f.Rule)
			if f.Line != 1 {
				t.Errorf("%s is found in line %d", f.Rule, f.Line)
			}
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s after %v: %v, want %v", c.key, c.at, got, c.want)
		}
	}
}
