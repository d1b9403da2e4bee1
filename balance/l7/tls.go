package l7

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/trivet-ha/trivet/internal/loop"
)

// TLS says how the connections of a listener are secured.
type TLS struct {
	// Config must stay the same for as long as session tickets are to be good; certificates are exchanged through
	// its GetConfigForClient.
	Config *tls.Config

	// HSTS is the value of Strict-Transport-Security in every answer; empty sends none of our own.
	HSTS string
}

// secure is TLS on a connection, to a client or to an endpoint. Its handshake runs in a goroutine, because it costs a
// millisecond or so of computing that other connections of the loop need not wait for. Until that has ended the
// goroutine has the socket; from then on the loop has it, and nothing blocks.
type secure struct {
	conn    *tls.Conn
	wire    wire
	subject []byte // of the client's certificate, if it has a verified one
	resumed bool   // a session ticket has shortened the handshake
	shaking bool   // the handshake is under way
}

// startTLS begins the handshake of the given role, tls.Server or tls.Client. done is called on the loop, unless the connection is
// gone by then.
func (w *worker) startTLS(fd int, peer netip.AddrPort, role func(net.Conn, *tls.Config) *tls.Conn, cfg *tls.Config, done func(error)) *secure {
	s := &secure{wire: wire{fd: fd, peer: peer, wake: make(chan struct{}, 1)}, shaking: true}
	s.conn = role(&s.wire, cfg)
	w.handshakes.Go(func() { // waited for when the worker ends
		err := s.conn.Handshake()
		w.Loop.Post(func() {
			if s.wire.closed {
				return
			}
			s.wire.wake, s.shaking = nil, false
			done(err)
		})
	})
	return s
}

// read reads plain text, up to the length of buf or until nothing more is there, for which the error is errDry. What
// TLS itself wants to say because of it, an alert or the answer to a change of keys, is in the worker's memory.
func (s *secure) read(w *worker, buf []byte) (n int, reply []byte, err error) {
	s.wire.out = w.sealed[:0]
	for n < len(buf) && err == nil {
		var m int
		m, err = s.conn.Read(buf[n:])
		n += m
	}
	w.sealed = s.wire.out
	return n, s.wire.out, err
}

// seal returns p as it goes over the wire, in the worker's memory.
func (s *secure) seal(w *worker, p []byte) (sealed []byte, ok bool) {
	s.wire.out = w.sealed[:0]
	_, err := s.conn.Write(p)
	w.sealed = s.wire.out
	return s.wire.out, err == nil
}

// sealEnd returns the record that ends our side (RFC 8446 §6.1). It is empty the second time.
func (s *secure) sealEnd(w *worker) []byte {
	s.wire.out = w.sealed[:0]
	_ = s.conn.CloseWrite()
	w.sealed = s.wire.out
	return s.wire.out
}

// established takes what the handshake has found out.
func (s *secure) established() (protocol string) {
	state := s.conn.ConnectionState()
	s.resumed = state.DidResume
	if len(state.VerifiedChains) > 0 {
		s.subject = appendSubject(nil, state.PeerCertificates[0])
	}
	return state.NegotiatedProtocol
}

// appendSubject appends the subject of a certificate as RFC 2253 writes it. What has no place in a field is escaped
// as in a URL.
func appendSubject(dst []byte, cert *x509.Certificate) []byte {
	const hex = "0123456789ABCDEF"
	for _, b := range []byte(cert.Subject.String()) {
		if b < ' ' || b > '~' || b == '%' {
			dst = append(dst, '%', hex[b>>4], hex[b&15])
			continue
		}
		dst = append(dst, b)
	}
	return dst
}

// readSecure reads what there is of plain text, up to the length of buf.
func (c *transport) readSecure(buf []byte) (p []byte, open, ok bool) {
	c.tls.wire.ended = c.peerDone
	n, reply, err := c.tls.read(c.w, buf)
	if len(reply) > 0 && !c.put(reply) {
		return nil, false, false
	}
	if err == nil {
		return buf[:n], true, true
	}
	dry := errors.Is(err, errDry)
	c.readable = !dry && n > 0 // or else the end is found by the next read
	switch {
	case n > 0 || dry:
		return buf[:n], true, true
	case err == io.EOF:
		c.peerDone = true
		return nil, false, true
	}
	return nil, false, false
}

// wire is a socket as crypto/tls sees it. In the handshake it waits where the kernel would block; afterwards it says
// errDry, after which crypto/tls goes on as if nothing had happened, and collects what is written.
type wire struct {
	peer  netip.AddrPort
	wake  chan struct{} // something may have changed at the socket; nil after the handshake
	out   []byte        // what is to be sent, after the handshake
	dry   bool          // nothing is there to be read before the loop says so; after the handshake
	ended bool          // the peer sends no more: a short read does not mean dry

	strict bool // an end that TLS has not announced may be somebody else's doing (RFC 9112 §9.8)

	mu     sync.Mutex // the loop may close the socket while the handshake runs
	fd     int
	closed bool
}

// errCut is the end of a stream that should have been announced.
var errCut = errors.New("the connection ended without a word")

// dryError says that nothing is there to be read for now.
type dryError struct{}

// errDry is a net.Error that is temporary: crypto/tls keeps what it has read of a record then.
var errDry net.Error = dryError{}

func (dryError) Error() string   { return "nothing to read yet" }
func (dryError) Timeout() bool   { return true }
func (dryError) Temporary() bool { return true }

// Read implements net.Conn.
func (w *wire) Read(p []byte) (int, error) {
	if w.wake != nil {
		return w.await(func() (int, unix.Errno) { return loop.Read(w.fd, p) }, io.EOF)
	}
	if w.dry {
		return 0, errDry
	}
	switch n, e := loop.Read(w.fd, p); {
	case e == unix.EAGAIN:
		w.dry = true
		return 0, errDry
	case e != 0:
		return 0, e
	case n == 0 && w.strict:
		return 0, errCut
	case n == 0:
		return 0, io.EOF
	default:
		w.dry = n < len(p) && !w.ended
		return n, nil
	}
}

// Write implements net.Conn.
func (w *wire) Write(p []byte) (n int, err error) {
	if w.wake == nil {
		w.out = append(w.out, p...)
		return len(p), nil
	}
	for n < len(p) && err == nil {
		var m int
		m, err = w.await(func() (int, unix.Errno) { return loop.Write(w.fd, p[n:]) }, io.ErrShortWrite)
		n += m
	}
	return n, err
}

// await does a call in the handshake as soon as it does not block any more. none is what a count of 0 means.
func (w *wire) await(call func() (int, unix.Errno), none error) (int, error) {
	for {
		w.mu.Lock()
		if w.closed {
			w.mu.Unlock()
			return 0, net.ErrClosed
		}
		n, e := call()
		w.mu.Unlock()
		switch {
		case e == unix.EAGAIN:
			<-w.wake
		case e != 0:
			return 0, e
		case n == 0:
			return 0, none
		default:
			return n, nil
		}
	}
}

// stir tells the handshake that something has happened at the socket.
func (w *wire) stir() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// close lets go of the socket, which the caller closes.
func (w *wire) close() {
	w.mu.Lock()
	w.closed = true
	w.mu.Unlock()
	w.stir()
}

// Close implements net.Conn. The socket is not crypto/tls's to close.
func (w *wire) Close() error { return nil }

// LocalAddr implements net.Conn.
func (w *wire) LocalAddr() net.Addr { return nil }

// RemoteAddr implements net.Conn.
func (w *wire) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(w.peer) }

// SetDeadline implements net.Conn. Deadlines are the loop's.
func (w *wire) SetDeadline(time.Time) error { return nil }

// SetReadDeadline implements net.Conn.
func (w *wire) SetReadDeadline(time.Time) error { return nil }

// SetWriteDeadline implements net.Conn.
func (w *wire) SetWriteDeadline(time.Time) error { return os.ErrNoDeadline }
