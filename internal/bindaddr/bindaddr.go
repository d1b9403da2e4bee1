// Package bindaddr answers what an address to listen on means: from text to an IP address and port, and from there to
// what the kernel takes. It opens no socket that stays.
package bindaddr

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"

	"golang.org/x/sys/unix"
)

// Parse reads "host:port". The host is an IP address of this machine or "localhost"; none is every address of the
// machine, of both families where it has both.
func Parse(address string) (netip.AddrPort, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("listen on %q: %w", address, err)
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("listen on %q: the port is no number up to 65535", address)
	}
	switch host {
	case "":
		return netip.AddrPortFrom(everywhere(), uint16(n)), nil
	case "localhost":
		host = "127.0.0.1"
	}
	a, err := netip.ParseAddr(host)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("listen on %q: the host must be an IP address of this machine", address)
	}
	return netip.AddrPortFrom(a, uint16(n)), nil
}

// everywhere is "::", which takes IPv4 too, or "0.0.0.0" on a machine without IPv6.
func everywhere() netip.Addr {
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return netip.IPv4Unspecified()
	}
	defer unix.Close(fd)
	if unix.Bind(fd, &unix.SockaddrInet6{}) != nil {
		return netip.IPv4Unspecified()
	}
	return netip.IPv6Unspecified()
}

// Family is AF_INET or AF_INET6.
func Family(ap netip.AddrPort) int {
	if ap.Addr().Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}

// Sockaddr is the address as bind takes it. A zone of IPv6 ("fe80::1%eth0") is the name of an interface.
func Sockaddr(ap netip.AddrPort) unix.Sockaddr {
	if a := ap.Addr(); a.Is4() {
		return &unix.SockaddrInet4{Port: int(ap.Port()), Addr: a.As4()}
	}
	zone := uint32(0)
	if i, err := net.InterfaceByName(ap.Addr().Zone()); err == nil {
		zone = uint32(i.Index)
	}
	return &unix.SockaddrInet6{Port: int(ap.Port()), Addr: ap.Addr().As16(), ZoneId: zone}
}

// Port is the port that a socket is bound to: what the kernel chose when it was asked for port 0. It is 0 if fd is no
// such socket.
func Port(fd int) uint16 {
	sa, err := unix.Getsockname(fd)
	if err != nil {
		return 0
	}
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return uint16(sa.Port)
	case *unix.SockaddrInet6:
		return uint16(sa.Port)
	}
	return 0
}
