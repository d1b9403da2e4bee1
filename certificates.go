package trivet

import (
	"context"
	"crypto/tls"
	"fmt"

	"github.com/trivet-ha/trivet/balance/l7"
	"github.com/trivet-ha/trivet/config"
	"github.com/trivet-ha/trivet/internal/keyring"
)

// ring is a listener's certificates, which are renewed while they are in force.
type ring struct {
	*keyring.Ring
	stop func()
}

// buildTLS makes what secures a listener; nil if it speaks plain text. A ring that says the same stays, and with it
// the keys of session tickets: clients come back without a full handshake.
func (b *build) buildTLS(spec *config.Listener) (*l7.TLS, error) {
	if spec.TLS == nil {
		return nil, nil
	}
	cfg := keyring.Config{
		MinVersion: versions[spec.TLS.MinVersion], Protocols: protocols(spec.HTTP2),
		ClientCA: string(spec.TLS.ClientCA), ClientAuth: clientAuths[spec.TLS.ClientAuth],
	}
	for _, c := range spec.TLS.Certificates {
		cfg.Pairs = append(cfg.Pairs, keyring.Pair{Cert: string(c.Cert), Key: string(c.Key)})
	}
	r := b.n.rings[spec.Name]
	if r == nil || !r.Same(cfg) {
		fresh, err := keyring.New(cfg)
		if err != nil {
			return nil, err
		}
		r = &ring{Ring: fresh}
	}
	b.rings[spec.Name] = r
	return &l7.TLS{Config: r.TLS(), HSTS: strictTransport(spec.TLS.HSTS)}, nil
}

// clientKeys are what it takes to speak TLS to a pool's endpoints; its files are renewed while it is in force.
type clientKeys struct {
	*keyring.Client
	stop func()
}

// buildClient makes what secures connections to a pool's endpoints, if they are to be. One that says the same stays, and
// connections with it.
func (b *build) buildClient(spec *config.Pool) error {
	if spec.TLS == nil {
		return nil
	}
	cfg := keyring.ClientConfig{
		ServerName: spec.TLS.ServerName, CA: string(spec.TLS.CA), MinVersion: versions[spec.TLS.MinVersion], Insecure: !spec.TLS.Verify,
	}
	if c := spec.TLS.Certificate; c != nil {
		cfg.Own = keyring.Pair{Cert: string(c.Cert), Key: string(c.Key)}
	}
	c := b.n.clients[spec.Name]
	if c == nil || !c.Same(cfg) {
		fresh, err := keyring.NewClient(cfg)
		if err != nil {
			return err
		}
		c = &clientKeys{Client: fresh}
	}
	b.clients[spec.Name] = c
	return nil
}

// secure returns how a pool's endpoints are spoken to under TLS; nil is plain text.
func (b *build) secure(pool config.Name) func() *tls.Config {
	if c := b.clients[pool]; c != nil {
		return c.TLS
	}
	return nil
}

// protocols is what is offered to clients (RFC 7301), the best first.
func protocols(http2 bool) []string {
	if http2 {
		return []string{"h2", "http/1.1"}
	}
	return []string{"http/1.1"}
}

var versions = map[config.TLSVersion]uint16{config.TLS12: tls.VersionTLS12, config.TLS13: tls.VersionTLS13}

var clientAuths = map[config.ClientAuth]tls.ClientAuthType{
	config.ClientAuthNone: tls.NoClientCert, config.ClientAuthRequest: tls.VerifyClientCertIfGiven,
	config.ClientAuthRequire: tls.RequireAndVerifyClientCert,
}

// strictTransport is the value of Strict-Transport-Security (RFC 6797 §6.1).
func strictTransport(h *config.HSTS) string {
	if h == nil {
		return ""
	}
	value := fmt.Sprintf("max-age=%d", int64(h.MaxAge.Seconds()))
	if h.Subdomains {
		value += "; includeSubDomains"
	}
	if h.Preload {
		value += "; preload"
	}
	return value
}

// adoptClients has the files of new clients renewed and ends those that are gone.
func (n *Node) adoptClients(clients map[config.Name]*clientKeys) {
	for name, old := range n.clients {
		if clients[name] != old {
			old.stop()
		}
	}
	for _, c := range clients {
		if c.stop == nil {
			c.stop = n.parts.add(func(ctx context.Context) { c.Run(ctx, n.log) })
		}
	}
	n.clients = clients
}

// adoptRings has new rings renewed and ends those that are gone.
func (n *Node) adoptRings(rings map[config.Name]*ring) {
	for name, old := range n.rings {
		if rings[name] != old {
			old.stop()
		}
	}
	for _, r := range rings {
		if r.stop == nil {
			r.stop = n.parts.add(func(ctx context.Context) { r.Run(ctx, n.log) })
		}
	}
	n.rings = rings
}
