package l7

import (
	"errors"
	"io"

	"golang.org/x/sys/unix"

	"github.com/trivet-ha/trivet/internal/edge"
	"github.com/trivet-ha/trivet/internal/loop"
)

// A socket is a connection to an endpoint as a stream of bytes, in plain text or under TLS. What it reports is what
// the kernel would: EAGAIN where a call would block, 0 bytes at the end.
type socket struct {
	w   *worker
	fd  int
	tok loop.Token
	tls *secure // nil: plain text

	out   []byte // under TLS: not yet taken by the kernel, from outAt on
	outAt int
	ahead []byte // plain text that was read to see whether there is any
}

// sealMax is how much is sealed before the kernel is asked whether it takes that.
const sealMax = 64 << 10

// watch registers the socket with the loop, or closes it.
func (s *socket) watch(h loop.Handler) unix.Errno {
	tok, err := s.w.Loop.Add(s.fd, h, loop.Readable|loop.Writable|loop.PeerDone)
	if err != nil {
		loop.Close(s.fd)
		return edge.Errno(err)
	}
	s.tok = tok
	return 0
}

// write gives p to the kernel as far as it takes it. If it takes less than all, the loop tells when it takes more.
func (s *socket) write(p []byte) (n int, e unix.Errno) {
	if s.tls == nil {
		return loop.Write(s.fd, p)
	}
	for n < len(p) {
		part := p[n:min(len(p), n+sealMax)]
		if s.tls.shaking || len(s.out) > 0 {
			break
		}
		if e := s.send(part); e != 0 {
			return n, e
		}
		n += len(part)
	}
	if n == 0 {
		return 0, unix.EAGAIN
	}
	return n, 0
}

// send sends all of p, and keeps what the kernel does not take.
func (s *socket) send(p []byte) unix.Errno {
	if s.tls != nil {
		var ok bool
		if p, ok = s.tls.seal(s.w, p); !ok {
			return unix.EPIPE
		}
	}
	return s.put(p)
}

// put sends bytes as they go over the wire.
func (s *socket) put(p []byte) unix.Errno {
	if len(s.out) > 0 {
		s.out = s.w.Bufs.Add(s.out, p)
		return 0
	}
	n, e := loop.Write(s.fd, p)
	if e != 0 && e != unix.EAGAIN {
		return e
	}
	if n < len(p) {
		s.out, s.outAt = append(s.w.Bufs.Get(len(p)-n), p[n:]...), 0
	}
	return 0
}

// drain sends what was kept. It reports false while something is left. A broken connection is for the next write to
// find.
func (s *socket) drain() bool {
	if len(s.out) == 0 {
		return true
	}
	n, e := loop.Write(s.fd, s.out[s.outAt:])
	if e == unix.EAGAIN {
		return false
	}
	if s.outAt += n; e == 0 && s.outAt < len(s.out) {
		return false
	}
	s.w.Bufs.Put(s.out)
	s.out, s.outAt = nil, 0
	return true
}

// read reads what there is, up to the length of p.
func (s *socket) read(p []byte) (n int, e unix.Errno) {
	if s.tls == nil {
		return loop.Read(s.fd, p)
	}
	if len(s.ahead) > 0 {
		n = copy(p, s.ahead)
		s.ahead = s.ahead[n:]
	}
	if n == len(p) {
		return n, 0
	}
	m, reply, err := s.tls.read(s.w, p[n:])
	if len(reply) > 0 {
		if e := s.put(reply); e != 0 {
			return 0, e
		}
	}
	n += m
	switch dry := errors.Is(err, errDry); {
	case err == nil || n > 0 && dry:
		return n, 0
	case n > 0: // the end is found by the next read
		s.w.Loop.Again(s.tok, loop.Readable)
		return n, 0
	case dry:
		return 0, unix.EAGAIN
	case err == io.EOF:
		return 0, 0
	}
	return 0, unix.ECONNRESET
}

// peek tells whether there is something to read, as loop.Peek does.
func (s *socket) peek() (n int, e unix.Errno) {
	if s.tls == nil {
		return loop.Peek(s.fd)
	}
	if len(s.ahead) == 0 {
		var b [1]byte
		if n, e = s.read(b[:]); n <= 0 {
			return n, e
		}
		s.ahead = append(s.ahead, b[0])
	}
	return len(s.ahead), 0
}

// unseal takes what the loop tells of a socket under TLS. It reports false while the handshake has it.
func (s *socket) unseal(ev loop.Events) bool {
	if s.tls.shaking {
		s.tls.wire.stir()
		return false
	}
	if ev&(loop.Readable|loop.PeerDone|loop.Hangup|loop.Failed) != 0 {
		s.tls.wire.dry = false
	}
	s.tls.wire.ended = s.tls.wire.ended || ev&(loop.PeerDone|loop.Hangup) != 0
	return true
}

// shutWrite ends our side.
func (s *socket) shutWrite() {
	if s.tls != nil && len(s.out) == 0 {
		_ = s.put(s.tls.sealEnd(s.w))
	}
	loop.ShutdownWrite(s.fd)
}

// shut closes the socket.
func (s *socket) shut() {
	s.w.Loop.Remove(s.tok)
	if s.tls != nil {
		s.tls.wire.close()
	}
	loop.Close(s.fd)
	s.w.Bufs.Put(s.out)
	s.out, s.ahead = nil, nil
}
