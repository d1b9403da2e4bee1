package edge

import (
	"net/netip"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/trivet-ha/trivet/internal/bindaddr"
)

// packetPrefix marks the addresses at which datagrams come in.
const packetPrefix = "udp:"

// A PacketServer is a Server that takes datagrams: its listener may have addresses that begin with "udp:".
type PacketServer interface {
	Server

	// ServePackets begins to read what comes in at a port. It runs on the port's worker.
	ServePackets(p *Port) PacketReader
}

// A PacketReader reads the datagrams of a port. Its methods run on the port's worker.
type PacketReader interface {
	// Stop ends the reading. done is called once the port's sockets are not needed any more, to send answers to
	// those that have asked, say. If passed, another process reads them from now on: then nothing more may be read.
	Stop(passed bool, done func())
}

// A Port is one worker's part of an address at which datagrams come in. The kernel spreads clients over the
// workers by their addresses; a client stays with its worker as long as the number of sockets does not change.
type Port struct {
	Worker   *Worker
	Binding  *Binding // changes when a reload gives the address to another listener
	FDs      []int    // one, or more if the process before had more workers; bound, and not blocking
	Wildcard bool     // bound to all addresses: the kernel tells for each datagram which one it came to, as IP_PKTINFO

	reader PacketReader
}

func (p *Port) open() {
	p.reader = p.Binding.Listener().Server.(PacketServer).ServePackets(p)
}

func (p *Port) rebind(b *Binding) { p.Binding = b }

func (p *Port) stop(passed bool, done func()) { p.reader.Stop(passed, done) }

// Admit counts a client in that is new at a port and has no connection of its own: it is limited as those are that
// connect. The second result tells whether it may come in. The Conn has no descriptor.
func (p *Port) Admit(client netip.AddrPort) (Conn, bool) {
	b := p.Binding
	b.Stats.Accepted.Add(1)
	if b.Full() {
		b.Stats.Full.Add(1)
		return Conn{}, false
	}
	counted, why := b.enter(client.Addr())
	if why != admitted {
		b.Stats.Refused[why].Add(1)
		return Conn{}, false
	}
	return Conn{Worker: p.Worker, Binding: b, FD: -1, Peer: client, counted: counted}, true
}

// wildcard reports whether a socket is bound to all addresses of the machine.
func (s *socket) wildcard() bool {
	ap, err := bindaddr.Parse(strings.TrimPrefix(s.address, packetPrefix))
	return err == nil && ap.Addr().IsUnspecified()
}

// packetBuffer is what the kernel may keep of datagrams that come in or go out faster than they are taken: some
// thousands. It cuts it to net.core.rmem_max and wmem_max.
const packetBuffer = 4 << 20

func listenUDP(ap netip.AddrPort) (int, error) {
	raw := inetAddr(ap)
	fd, err := unix.Socket(raw.family, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	if err := prepareUDP(fd, ap); err != nil {
		unix.Close(fd)
		return -1, err
	}
	if err := unix.Bind(fd, bindaddr.Sockaddr(ap)); err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

func prepareUDP(fd int, ap netip.AddrPort) error {
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1); err != nil { // for the other workers
		return os.NewSyscallError("setsockopt", err)
	}
	for _, o := range [][2]int{{unix.SO_RCVBUFFORCE, unix.SO_RCVBUF}, {unix.SO_SNDBUFFORCE, unix.SO_SNDBUF}} {
		if unix.SetsockoptInt(fd, unix.SOL_SOCKET, o[0], packetBuffer) != nil { // needs a privilege
			_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, o[1], packetBuffer)
		}
	}
	wildcard := ap.Addr().IsUnspecified()
	if ap.Addr().Is6() {
		only := 1
		if wildcard {
			only = 0
		}
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, only)
	}
	if !wildcard {
		return nil
	}
	// An answer must come from the address that was asked: the kernel would choose another one.
	level, option := unix.IPPROTO_IP, unix.IP_PKTINFO
	if ap.Addr().Is6() {
		level, option = unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO
	}
	return os.NewSyscallError("setsockopt", unix.SetsockoptInt(fd, level, option, 1))
}
