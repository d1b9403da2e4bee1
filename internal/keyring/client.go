package keyring

import (
	"cmp"
	"crypto/tls"
)

// ClientConfig says how endpoints are spoken to under TLS.
type ClientConfig struct {
	ServerName string // that certificates must be for; empty is each endpoint's own
	CA         string // file of the authorities that may have signed them; empty is the system's
	Own        Pair   // the certificate that we show; empty files are none
	MinVersion uint16 // as in crypto/tls; 0 is TLS 1.2
	Insecure   bool   // any certificate will do
}

// A Client holds what is needed to speak TLS to endpoints.
type Client struct {
	files
	cfg ClientConfig
}

// NewClient reads the files. Its error names the one that is not right.
func NewClient(cfg ClientConfig) (*Client, error) {
	c := &Client{cfg: cfg}
	var names []string
	if cfg.CA != "" {
		names = append(names, cfg.CA)
	}
	if cfg.Own != (Pair{}) {
		names = append(names, cfg.Own.Cert, cfg.Own.Key)
	}
	if err := c.open(names, c.read); err != nil {
		return nil, err
	}
	return c, nil
}

// TLS returns the configuration for clients. It is another one after files have changed.
func (c *Client) TLS() *tls.Config { return c.current.Load() }

// Same reports whether a client of cfg would be like this one.
func (c *Client) Same(cfg ClientConfig) bool { return c.cfg == cfg }

func (c *Client) read() (*tls.Config, error) {
	t := &tls.Config{
		ServerName: c.cfg.ServerName, MinVersion: cmp.Or(c.cfg.MinVersion, tls.VersionTLS12), InsecureSkipVerify: c.cfg.Insecure,
	}
	if c.cfg.Own != (Pair{}) {
		own, err := c.cfg.Own.Load()
		if err != nil {
			return nil, err
		}
		t.Certificates = []tls.Certificate{own}
	}
	if c.cfg.CA != "" {
		var err error
		if t.RootCAs, err = authorities("CA", c.cfg.CA); err != nil {
			return nil, err
		}
	}
	return t, nil
}
