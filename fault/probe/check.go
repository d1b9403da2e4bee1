package probe

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"time"
)

// Check is one way to ask an endpoint how it is.
type Check interface {
	// Do asks once and returns before ctx ends, or soon after. The detail is
	// what was learned, for people, and set if err is nil; an error says what is
	// wrong with the endpoint. Do may be called concurrently.
	Do(ctx context.Context, t Target) (detail string, err error)
}

// Target is an endpoint to be asked.
type Target struct {
	// Address is the endpoint's identity, as reports name it: host:port, or a
	// path, perhaps after "unix:".
	Address string
	// Dial is what is connected to, in the same forms. Default Address.
	Dial string
}

// dial is what to connect to, taken apart.
func (t Target) dial() (network, address string) {
	address = t.Dial
	if address == "" {
		address = t.Address
	}
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		return "unix", path
	}
	if strings.HasPrefix(address, "/") {
		return "unix", address
	}
	return "tcp", address
}

// host is the host's name or address, without the port: empty for a path.
func (t Target) host() string {
	if network, _ := (Target{Address: t.Address}).dial(); network == "unix" {
		return ""
	}
	host, _, _ := net.SplitHostPort(t.Address)
	return host
}

// TLS says how to speak TLS to an endpoint.
type TLS struct {
	// ServerName is the name its certificate must be for. Default: the check's
	// host if it has one, or the endpoint's. An endpoint on a Unix socket has
	// none, and it must be given.
	ServerName string
	// Roots are the authorities that may have signed it; nil is the system's.
	Roots *x509.CertPool
	// Insecure accepts any certificate.
	Insecure bool
	// Config, if set, is asked before each connection and used in place of the other fields. Its ServerName may be empty.
	Config func() *tls.Config
}

// connect opens a connection whose reads and writes fail when ctx ends. The
// caller calls stop when it has ended.
func connect(ctx context.Context, t Target, secure *TLS, name string, protocols ...string) (conn net.Conn, stop func(), err error) {
	network, address := t.dial()
	raw, err := (&net.Dialer{KeepAlive: -1}).DialContext(ctx, network, address)
	if err != nil {
		return nil, nil, explain(ctx, "connect", err)
	}
	unhook := context.AfterFunc(ctx, func() { _ = raw.SetDeadline(time.Unix(1, 0)) })
	stop = func() {
		unhook()
		_ = raw.Close()
	}
	if secure == nil {
		return raw, stop, nil
	}
	conn = tls.Client(raw, secure.config(t, name, protocols...))
	if err := conn.(*tls.Conn).HandshakeContext(ctx); err != nil {
		stop()
		return nil, nil, explain(ctx, "TLS handshake", err)
	}
	return conn, stop, nil
}

// config is how TLS is spoken to t. name is the check's own, if it has one.
func (s *TLS) config(t Target, name string, protocols ...string) *tls.Config {
	if name == "" {
		name = t.host()
	}
	if s.ServerName != "" {
		name = s.ServerName
	}
	if s.Config != nil {
		c := s.Config().Clone()
		if c.NextProtos = protocols; c.ServerName == "" {
			c.ServerName = name
		}
		return c
	}
	return &tls.Config{ServerName: name, RootCAs: s.Roots, InsecureSkipVerify: s.Insecure, NextProtos: protocols}
}

// explain turns an error of the net package into what a person wants to read.
// doing names the step that failed.
func explain(ctx context.Context, doing string, err error) error {
	var timeout net.Error
	var number syscall.Errno
	switch {
	case ctx.Err() != nil || errors.As(err, &timeout) && timeout.Timeout() || errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Errorf("%s: timed out", doing)
	case errors.As(err, &number):
		return fmt.Errorf("%s: %s", doing, number.Error())
	case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("%s: connection closed by the endpoint", doing)
	}
	return fmt.Errorf("%s: %w", doing, err)
}

// quote shortens what an endpoint said so that it fits in a report.
func quote(b []byte) string {
	const longest = 60
	if len(b) > longest {
		return fmt.Sprintf("%q...", b[:longest])
	}
	return fmt.Sprintf("%q", b)
}
