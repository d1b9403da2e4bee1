// Package keyring answers which certificate a client is shown, and which an endpoint must show: it reads certificates,
// keys and authorities from files, picks a certificate by the name that the client asks for, and takes up files that have
// changed. It never opens a socket, and never gives up files that work for some that do not.
package keyring

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
)

// Pair names the files of a certificate, with those that lead to its authority behind it, and of its key. Both are PEM.
type Pair struct {
	Cert, Key string
}

// Config says what a Ring holds.
type Config struct {
	Pairs      []Pair // the first is shown to clients that ask for no name, or for one that nobody has
	MinVersion uint16 // as in crypto/tls; 0 is TLS 1.2
	Protocols  []string

	ClientCA   string             // file of the authorities of clients' certificates
	ClientAuth tls.ClientAuthType // what is asked of clients
}

// A Ring holds the certificates of one listener.
type Ring struct {
	files
	cfg  Config
	base *tls.Config
}

// New reads the files. Its error names the one that is not right.
func New(cfg Config) (*Ring, error) {
	if len(cfg.Pairs) == 0 {
		return nil, errors.New("there is no certificate")
	}
	cfg.Pairs, cfg.Protocols = slices.Clone(cfg.Pairs), slices.Clone(cfg.Protocols)
	r := &Ring{cfg: cfg}
	if err := r.open(cfg.files(), r.read); err != nil {
		return nil, err
	}
	// Session tickets are sealed with keys of base, which crypto/tls changes every day, so they outlive certificates.
	r.base = r.current.Load().Clone()
	r.base.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return r.current.Load(), nil }
	return r, nil
}

// TLS returns the configuration for servers. It stays the same when certificates change.
func (r *Ring) TLS() *tls.Config { return r.base }

// Same reports whether a ring of cfg would be like this one.
func (r *Ring) Same(cfg Config) bool {
	return slices.Equal(r.cfg.Pairs, cfg.Pairs) && slices.Equal(r.cfg.Protocols, cfg.Protocols) &&
		r.cfg.MinVersion == cfg.MinVersion && r.cfg.ClientCA == cfg.ClientCA && r.cfg.ClientAuth == cfg.ClientAuth
}

func (c *Config) files() []string {
	var all []string
	for _, p := range c.Pairs {
		all = append(all, p.Cert, p.Key)
	}
	if c.ClientCA != "" {
		all = append(all, c.ClientCA)
	}
	return all
}

// read makes a configuration of what the files hold now.
func (r *Ring) read() (*tls.Config, error) {
	c := &tls.Config{
		MinVersion: cmp.Or(r.cfg.MinVersion, tls.VersionTLS12),
		NextProtos: r.cfg.Protocols,
		ClientAuth: r.cfg.ClientAuth,
	}
	for _, p := range r.cfg.Pairs {
		cert, err := p.Load()
		if err != nil {
			return nil, err
		}
		c.Certificates = append(c.Certificates, cert)
	}
	c.GetCertificate = index(c.Certificates).pick
	if r.cfg.ClientCA != "" {
		var err error
		if c.ClientCAs, err = authorities("client CA", r.cfg.ClientCA); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// authorities reads certificates that may have signed others.
func authorities(what, file string) (*x509.CertPool, error) {
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", what, err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("read %s: %s holds no certificate in PEM", what, file)
	}
	return pool, nil
}

// Load reads the certificate. Its error names the file that is not right.
func (p Pair) Load() (tls.Certificate, error) {
	cert, err := os.ReadFile(p.Cert)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("read certificate: %w", err)
	}
	key, err := os.ReadFile(p.Key)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("read key: %w", err)
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("certificate %s with key %s: %s", p.Cert, p.Key, strings.TrimPrefix(err.Error(), "tls: "))
	}
	return pair, nil
}

// index finds certificates by name. A name may have several, of different kinds of keys.
func index(all []tls.Certificate) *names {
	n := &names{first: &all[0], of: map[string][]*tls.Certificate{}}
	for i := range all {
		leaf := all[i].Leaf
		for _, name := range leaf.DNSNames {
			n.add(name, &all[i])
		}
		if len(leaf.DNSNames)+len(leaf.IPAddresses) == 0 && leaf.Subject.CommonName != "" {
			n.add(leaf.Subject.CommonName, &all[i])
		}
	}
	return n
}

type names struct {
	first *tls.Certificate
	of    map[string][]*tls.Certificate
}

func (n *names) add(name string, c *tls.Certificate) {
	name = strings.ToLower(name)
	n.of[name] = append(n.of[name], c)
}

// pick is GetCertificate: the exact name goes before a wildcard, and a certificate that the client can use before one
// that it can't.
func (n *names) pick(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	name := strings.ToLower(strings.TrimSuffix(hello.ServerName, "."))
	wild := ""
	if dot := strings.IndexByte(name, '.'); dot > 0 {
		wild = "*" + name[dot:]
	}
	var found *tls.Certificate
	for _, key := range [...]string{name, wild} {
		for _, c := range n.of[key] {
			if hello.SupportsCertificate(c) == nil {
				return c, nil
			}
			found = cmp.Or(found, c)
		}
	}
	return cmp.Or(found, n.first), nil
}
