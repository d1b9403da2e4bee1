package gslb

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/trivet-ha/trivet/internal/bindaddr"
)

// door is an address that is served: a UDP socket for each worker, and one for TCP.
type door struct {
	address string // as it was asked for
	udp     []int
	tcp     net.Listener
	wild    bool // on every address of the machine: answers have to say which was asked
	open    bool // its sockets are watched
}

// receiveBuffer is what a burst may fill while a worker is busy, in bytes; the kernel counts about 800 for a small query.
const receiveBuffer = 4 << 20

// openDoor opens an address for that many workers.
func openDoor(address string, workers int) (*door, error) {
	ap, err := bindaddr.Parse(address)
	if err != nil {
		return nil, err
	}
	const tries = 20 // with port 0: what UDP got may be taken for TCP
	for i := range tries {
		d := &door{address: address, wild: ap.Addr().IsUnspecified()}
		if err = d.listen(ap, workers); err == nil {
			return d, nil
		}
		d.close()
		if ap.Port() != 0 || !errors.Is(err, unix.EADDRINUSE) || i == tries-1 {
			break
		}
	}
	return nil, fmt.Errorf("serve dns on %s: %w", address, err)
}

func (d *door) listen(ap netip.AddrPort, workers int) error {
	if err := vacant(ap); err != nil {
		return err
	}
	for range workers {
		fd, err := socket(ap, unix.SOCK_DGRAM)
		if err != nil {
			return err
		}
		d.udp = append(d.udp, fd)
		if ap.Port() == 0 {
			ap = netip.AddrPortFrom(ap.Addr(), bindaddr.Port(fd))
		}
	}
	fd, err := socket(ap, unix.SOCK_STREAM)
	if err != nil {
		return err
	}
	return d.listenTCP(fd)
}

// listenTCP takes a descriptor over as the TCP listener.
func (d *door) listenTCP(fd int) error {
	f := os.NewFile(uintptr(fd), "dns "+d.address)
	defer f.Close() // the listener has a copy
	l, err := net.FileListener(f)
	if err != nil {
		return err
	}
	d.tcp = l
	return nil
}

// adoptDoor takes over the sockets of another process. All UDP sockets are kept, be they more than workers: one that is
// closed takes the queries in it along.
func adoptDoor(address string, udp, tcp []int) (*door, error) {
	ap, err := bindaddr.Parse(address)
	if err != nil {
		return nil, err
	}
	d := &door{address: address, wild: ap.Addr().IsUnspecified(), udp: udp}
	for _, fd := range udp {
		if err := unix.SetNonblock(fd, true); err != nil {
			return nil, fmt.Errorf("take over dns on %s: %w", address, err)
		}
		unix.CloseOnExec(fd)
	}
	if err := d.listenTCP(tcp[0]); err != nil {
		return nil, fmt.Errorf("take over dns on %s: %w", address, err)
	}
	return d, nil
}

// vacant reports an error if anybody serves the address: sockets that share one would each get a part of the queries.
func vacant(ap netip.AddrPort) error {
	if ap.Port() == 0 {
		return nil
	}
	fd, err := unix.Socket(bindaddr.Family(ap), unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.Bind(fd, bindaddr.Sockaddr(ap))
}

// socket opens and binds a socket of one kind.
func socket(ap netip.AddrPort, kind int) (int, error) {
	fd, err := unix.Socket(bindaddr.Family(ap), kind|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	if err = setUp(fd, ap, kind); err == nil {
		err = unix.Bind(fd, bindaddr.Sockaddr(ap))
	}
	if err == nil && kind == unix.SOCK_STREAM {
		err = unix.Listen(fd, 1024)
	}
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

func setUp(fd int, ap netip.AddrPort, kind int) error {
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1); err != nil {
		return os.NewSyscallError("setsockopt", err)
	}
	six, wild := ap.Addr().Is6(), ap.Addr().IsUnspecified()
	if six {
		only := 1
		if wild {
			only = 0
		}
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, only)
	}
	if kind == unix.SOCK_STREAM {
		return os.NewSyscallError("setsockopt", unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1))
	}
	// Nobody may make us believe in a smaller path: answers never need fragments (RFC 9715 §3.1).
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_OMIT)
	if six {
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_PMTUDISC_OMIT)
	}
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, receiveBuffer) != nil { // root only
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, receiveBuffer)
	}
	if !wild {
		return nil
	}
	if six {
		return os.NewSyscallError("setsockopt", unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1))
	}
	return os.NewSyscallError("setsockopt", unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_PKTINFO, 1))
}

// addr is the address that the door really has, which differs from the one asked for with port 0.
func (d *door) addr() string {
	host, _, err := net.SplitHostPort(d.address)
	if err != nil || len(d.udp) == 0 {
		return d.address
	}
	return net.JoinHostPort(host, strconv.Itoa(int(bindaddr.Port(d.udp[0]))))
}

// close closes the sockets. Those that are watched have to be unwatched before.
func (d *door) close() {
	for _, fd := range d.udp {
		unix.Close(fd)
	}
	d.udp = nil
	if d.tcp != nil {
		d.tcp.Close()
	}
}
