package edge

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

// Sockaddr is an address in the form that the kernel takes.
type Sockaddr struct {
	family int
	raw    []byte
}

// Equal reports whether two addresses are the same.
func (a *Sockaddr) Equal(b *Sockaddr) bool { return a.family == b.family && bytes.Equal(a.raw, b.raw) }

// connect begins to connect.
func (a *Sockaddr) connect(fd int) unix.Errno {
	for {
		_, _, e := unix.RawSyscall(unix.SYS_CONNECT, uintptr(fd), uintptr(unsafe.Pointer(&a.raw[0])), uintptr(len(a.raw)))
		if e != unix.EINTR {
			return e
		}
	}
}

// Resolve turns "ip:port" or "unix:/path" into a socket address. Names are resolved by whoever fills the
// pool: a look-up would block the loop.
func Resolve(address string) (Sockaddr, error) {
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		return unixAddr(path)
	}
	ap, err := netip.ParseAddrPort(address)
	if err != nil {
		return Sockaddr{}, fmt.Errorf("%q is no IP address and port", address)
	}
	return inetAddr(ap), nil
}

func unixAddr(path string) (Sockaddr, error) {
	var sa unix.RawSockaddrUnix
	if len(path) == 0 || len(path) >= len(sa.Path) {
		return Sockaddr{}, errors.New("socket path is empty or too long")
	}
	raw := make([]byte, 2+len(path)+1)
	putFamily(raw, unix.AF_UNIX)
	copy(raw[2:], path)
	if path[0] == '@' { // abstract name, without the final zero
		raw[2] = 0
		raw = raw[:len(raw)-1]
	}
	return Sockaddr{unix.AF_UNIX, raw}, nil
}

func inetAddr(ap netip.AddrPort) Sockaddr {
	a := ap.Addr().Unmap()
	if a.Is4() {
		raw := make([]byte, unix.SizeofSockaddrInet4)
		putFamily(raw, unix.AF_INET)
		raw[2], raw[3] = byte(ap.Port()>>8), byte(ap.Port())
		b := a.As4()
		copy(raw[4:], b[:])
		return Sockaddr{unix.AF_INET, raw}
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
	return Sockaddr{unix.AF_INET6, raw}
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

// Dial begins to connect to the address, without waiting. The connection is usually still being established
// when it returns: the socket becomes writable, or fails.
func (a *Sockaddr) Dial() (int, unix.Errno) {
	fd, err := unix.Socket(a.family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, Errno(err)
	}
	if a.family != unix.AF_UNIX {
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	}
	if e := a.connect(fd); e != 0 && e != unix.EINPROGRESS {
		unix.Close(fd)
		return -1, e
	}
	return fd, 0
}

// DialPacket makes a datagram socket that talks to the address only.
func (a *Sockaddr) DialPacket() (int, unix.Errno) {
	fd, err := unix.Socket(a.family, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, Errno(err)
	}
	if e := a.connect(fd); e != 0 {
		unix.Close(fd)
		return -1, e
	}
	return fd, 0
}

// Errno returns the system's error number in err; EIO if there is none.
func Errno(err error) unix.Errno {
	var e unix.Errno
	if errors.As(err, &e) {
		return e
	}
	return unix.EIO
}
