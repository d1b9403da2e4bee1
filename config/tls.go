package config

import (
	"fmt"
	"time"
)

// TLS is how a listener of protocol https is secured.
type TLS struct {
	// What clients are shown. The name that a client asks for decides: the certificate with exactly that name, else one with a
	// wildcard for it, else the first of the list. Files that change are taken up within seconds, without a reload.
	Certificates []Certificate `yaml:"certificates,required" aka:"certificate certs cert crt"`
	// The oldest version that clients may speak. Every browser since 2014 speaks 1.2.
	MinVersion TLSVersion `yaml:"min_version" default:"1.2" aka:"ssl_protocols min_protocol ssl_min_ver"`
	// The authorities of clients' certificates, in PEM. The subject of a verified certificate is passed on in
	// X-Client-Cert-Subject, which is removed from every other request.
	ClientCA FilePath `yaml:"client_ca" aka:"ca_file ssl_client_certificate ca"`
	// Whether clients must show a certificate, which client_ca must have signed.
	ClientAuth ClientAuth `yaml:"client_auth" default:"none" aka:"verify ssl_verify_client mtls"`
	// Tell browsers to come by https only from now on. It is not told unless this is written, because it can't be taken
	// back before its time is over.
	HSTS *HSTS `yaml:"hsts" aka:"strict_transport_security"`
}

// Certificate is a certificate and its key.
type Certificate struct {
	// The certificate in PEM, followed by those that lead to its authority.
	Cert FilePath `yaml:"cert,required" aka:"certificate crt chain fullchain ssl_certificate"`
	// Its key in PEM, without a password. Nobody but Trivet's user should be able to read it.
	Key FilePath `yaml:"key,required" aka:"private_key ssl_certificate_key"`
}

// PoolTLS is how endpoints are spoken to under TLS. Their certificates are verified.
type PoolTLS struct {
	// The name that their certificates must be for, and that they are asked for. The default is each endpoint's own host.
	ServerName string `yaml:"server_name" aka:"sni proxy_ssl_name"`
	// The authorities that may have signed their certificates, in PEM. The default is the system's.
	CA FilePath `yaml:"ca" aka:"ca_file cafile proxy_ssl_trusted_certificate"`
	// What they are shown, if they ask for a certificate. Changed files are taken up, as those of listeners are.
	Certificate *Certificate `yaml:"certificate" aka:"client_certificate"`
	// The oldest version to speak.
	MinVersion TLSVersion `yaml:"min_version" default:"1.2" aka:"ssl_protocols min_protocol ssl_min_ver"`
	// Whether their certificates must be right. Without that, whoever gets between can read everything and answer in their
	// name, which is hardly better than plain text.
	Verify bool `yaml:"verify" default:"true" aka:"proxy_ssl_verify"`
}

func (t *PoolTLS) validate(c *checker, path string) {
	if !t.Verify && t.CA != "" {
		c.failKey(join(path, "ca"), "has no effect with verify: false", "remove verify: false")
	}
}

// validateTLS checks who uses a pool under TLS.
func (p *Pool) validateTLS(c *checker, path string) {
	if p.TLS == nil {
		return
	}
	for i := range c.config.Listeners {
		if l := &c.config.Listeners[i]; l.Protocol.ByAddress() && l.uses(p.Name) {
			c.failKey(join(path, "tls"), fmt.Sprintf("is for requests, and listener %s passes on whatever clients send", l.Name), "remove it: clients speak TLS with the endpoints themselves")
			return
		}
	}
	for i := range p.Endpoints {
		if a := p.Endpoints[i].Address; a.Unix != "" && p.TLS.ServerName == "" && p.TLS.Verify {
			c.failKey(join(path, "tls"), fmt.Sprintf("%s has no name that its certificate could be for", a), "write server_name: app.example.com")
			return
		}
	}
}

// TLSVersion is a version of TLS.
type TLSVersion string

// The versions.
const (
	TLS12 TLSVersion = "1.2" // RFC 5246
	TLS13 TLSVersion = "1.3" // RFC 8446
)

// Values is every version.
func (TLSVersion) Values() []string { return []string{string(TLS12), string(TLS13)} }

// ClientAuth is what is asked of clients.
type ClientAuth string

// What may be asked.
const (
	ClientAuthNone    ClientAuth = "none"    // no certificate
	ClientAuthRequest ClientAuth = "request" // a certificate if the client has one; a wrong one is refused
	ClientAuthRequire ClientAuth = "require" // a certificate
)

// Values is everything that may be asked.
func (ClientAuth) Values() []string {
	return []string{string(ClientAuthNone), string(ClientAuthRequest), string(ClientAuthRequire)}
}

// HSTS is Strict-Transport-Security (RFC 6797).
type HSTS struct {
	// For how long browsers remember it.
	MaxAge time.Duration `yaml:"max_age" default:"365d" scalar:"*"`
	// It holds for all names below the one in the request too.
	Subdomains bool `yaml:"subdomains" default:"false" aka:"include_subdomains includesubdomains"`
	// The site asks to be put on the list that browsers bring along.
	Preload bool `yaml:"preload" default:"false"`
}

func (t *TLS) validate(c *checker, path string) {
	if t.ClientCA != "" && t.ClientAuth == ClientAuthNone {
		c.failKey(join(path, "client_ca"), "has no effect: clients are not asked for certificates", "write client_auth: require, or request")
	}
	if t.ClientCA == "" && t.ClientAuth != ClientAuthNone {
		c.fail(join(path, "client_auth"), "clients are asked for certificates, but nothing says who may have signed them", "write client_ca: clients-ca.pem")
	}
	if t.HSTS != nil && t.HSTS.Preload && (t.HSTS.MaxAge < 365*24*time.Hour || !t.HSTS.Subdomains) {
		c.fail(join(path, "hsts.preload"), "browsers take only sites that say so for a year and for all subdomains", "write hsts: {max_age: 365d, subdomains: true, preload: true}")
	}
}

// validateTLS keeps protocol and tls together.
func (l *Listener) validateTLS(c *checker, path string) {
	switch {
	case l.Protocol == ProtocolHTTPS && l.TLS == nil:
		c.fail(join(path, "protocol"), "https needs a certificate", "write tls: {certificates: [{cert: shop.pem, key: shop.key}]}")
	case l.Protocol != ProtocolHTTPS && l.TLS != nil:
		c.failKey(join(path, "tls"), "has no effect: the listener speaks "+string(l.Protocol), "write protocol: https")
	}
}
