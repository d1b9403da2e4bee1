package l7

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// sockaddr is an address in the form that the kernel takes.
type sockaddr struct {
	family int
	raw    []byte
}

func (a *sockaddr) equal(b *sockaddr) bool { return a.family == b.family && bytes.Equal(a.raw, b.raw) }

func (a *sockaddr) connect(fd int) unix.Errno {
	for {
		_, _, e := unix.RawSyscall(unix.SYS_CONNECT, uintptr(fd), uintptr(unsafe.Pointer(&a.raw[0])), uintptr(len(a.raw)))
		if e != unix.EINTR {
			return e
		}
	}
}

// resolve turns "ip:port" or "unix:/path" into a socket address. Names are resolved by whoever fills the
// pool: a look-up would block the loop.
func resolve(address string) (sockaddr, error) {
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		return unixAddr(path)
	}
	ap, err := netip.ParseAddrPort(address)
	if err != nil {
		return sockaddr{}, fmt.Errorf("%q is no IP address and port", address)
	}
	return inetAddr(ap), nil
}

func unixAddr(path string) (sockaddr, error) {
	var sa unix.RawSockaddrUnix
	if len(path) == 0 || len(path) >= len(sa.Path) {
		return sockaddr{}, errors.New("socket path is empty or too long")
	}
	raw := make([]byte, 2+len(path)+1)
	putFamily(raw, unix.AF_UNIX)
	copy(raw[2:], path)
	if path[0] == '@' { // abstract name, without the final zero
		raw[2] = 0
		raw = raw[:len(raw)-1]
	}
	return sockaddr{unix.AF_UNIX, raw}, nil
}

func inetAddr(ap netip.AddrPort) sockaddr {
	a := ap.Addr().Unmap()
	if a.Is4() {
		raw := make([]byte, unix.SizeofSockaddrInet4)
		putFamily(raw, unix.AF_INET)
		raw[2], raw[3] = byte(ap.Port()>>8), byte(ap.Port())
		b := a.As4()
		copy(raw[4:], b[:])
		return sockaddr{unix.AF_INET, raw}
	}
	raw := make([]byte, unix.SizeofSockaddrInet6)
	putFamily(raw, unix.AF_INET6)
	raw[2], raw[3] = byte(ap.Port()>>8), byte(ap.Port())
	b := a.As16()
	copy(raw[8:], b[:])
	if zone := a.Zone(); zone != "" {
		if i, err := net.InterfaceByName(zone); err == nil {
			*(*uint32)(unsafe.Pointer(&raw[24])) = uint32(i.Index)
		}
	}
	return sockaddr{unix.AF_INET6, raw}
}

func putFamily(raw []byte, family uint16) { *(*uint16)(unsafe.Pointer(&raw[0])) = family }

// peerOf returns the address of an accepted connection; the zero AddrPort for Unix sockets.
func peerOf(sa *unix.RawSockaddrAny) netip.AddrPort {
	switch sa.Addr.Family {
	case unix.AF_INET:
		p := (*unix.RawSockaddrInet4)(unsafe.Pointer(sa))
		return netip.AddrPortFrom(netip.AddrFrom4(p.Addr), swap16(p.Port))
	case unix.AF_INET6:
		p := (*unix.RawSockaddrInet6)(unsafe.Pointer(sa))
		return netip.AddrPortFrom(netip.AddrFrom16(p.Addr).Unmap(), swap16(p.Port))
	}
	return netip.AddrPort{}
}

func swap16(n uint16) uint16 {
	b := (*[2]byte)(unsafe.Pointer(&n))
	return uint16(b[0])<<8 | uint16(b[1])
}
