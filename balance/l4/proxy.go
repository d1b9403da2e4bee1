package l4

import (
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/trivet-ha/trivet/balance"
	"github.com/trivet-ha/trivet/balance/proxyproto"
	"github.com/trivet-ha/trivet/internal/loop"
)

// ProxyVersion is which PROXY header an endpoint gets.
type ProxyVersion uint8

// The versions.
const (
	NoProxy ProxyVersion = iota
	ProxyV1
	ProxyV2
)

func (v ProxyVersion) append(dst []byte, source, destination netip.AddrPort) []byte {
	if v == ProxyV1 {
		return proxyproto.Append1(dst, source, destination)
	}
	return proxyproto.Append2(dst, source, destination)
}

// readHeader reads the client's PROXY header, and goes on once it is whole.
func (x *session) readHeader() {
	for x.endpoint.readable {
		n, e := loop.Read(x.FD, x.w.buf[:proxyproto.MaxSize])
		switch {
		case e == unix.EAGAIN:
			x.endpoint.readable = false
			return
		case e != 0 || n == 0:
			x.finish(balance.Canceled)
			return
		case n < proxyproto.MaxSize:
			x.endpoint.readable = x.endpoint.peerDone
		}
		x.prelude = x.w.Bufs.Add(x.prelude, x.w.buf[:n])
		k, h, err := proxyproto.Parse(x.prelude)
		if err != nil || k == 0 && len(x.prelude) > proxyproto.MaxSize {
			x.service.Server.log().Debug("connection refused", "listener", x.Binding.Name, "client", x.Peer, "error", err)
			x.finish(balance.Canceled)
			return
		}
		if k == 0 {
			continue
		}
		x.told(k, h)
		return
	}
}

// told goes on with what the header says.
func (x *session) told(k int, h proxyproto.Header) {
	if h.Source.IsValid() {
		x.source, x.local = h.Source, h.Destination
	}
	x.prelude = x.prelude[:copy(x.prelude, x.prelude[k:])]
	if !x.service.Access.Permits(x.source.Addr()) {
		x.finish(balance.Canceled)
		return
	}
	x.choose()
}

// localAddr is where the client connected to.
func (x *session) localAddr() netip.AddrPort {
	if x.local.IsValid() {
		return x.local
	}
	return boundTo(x.FD)
}

// boundTo is a socket's own address; the zero AddrPort for a Unix socket.
func boundTo(fd int) netip.AddrPort {
	sa, err := unix.Getsockname(fd)
	if err != nil {
		return netip.AddrPort{}
	}
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port))
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(sa.Addr).Unmap(), uint16(sa.Port))
	}
	return netip.AddrPort{}
}
