package edge

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/trivet-ha/trivet/internal/bindaddr"
)

// A socket listens on one address. For TCP and UDP it is several descriptors, one for each worker, among which
// the kernel spreads connections, or clients (SO_REUSEPORT); they stay open together, for a closed one takes what
// is in its queue along.
type socket struct {
	address string
	fds     []int
	path    string // of a Unix socket, to be removed at the end
	packets bool   // datagrams come in
	binding *Binding
	takers  []taker       // one for each worker
	passed  bool          // another process has it too
	closed  chan struct{} // made when it begins to end, closed when it has ended
}

// A taker takes what comes in at a socket, for one worker, whose goroutine calls it.
type taker interface {
	open()
	rebind(b *Binding)
	stop(passed bool, done func())
}

// backlog is the length of the kernel's queue; it cuts it to net.core.somaxconn.
const backlog = 4096

// listen opens an address for the given number of workers.
func listen(address string, workers int, deferred bool) (*socket, error) {
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		return listenUnix(address, path)
	}
	where, packets := strings.CutPrefix(address, packetPrefix)
	ap, err := bindaddr.Parse(where)
	if err != nil {
		return nil, err
	}
	s := &socket{address: address, packets: packets}
	if err := s.vacant(ap); err != nil {
		return nil, fmt.Errorf("listen on %s: %w", address, err)
	}
	for range workers {
		fd, err := s.again(ap, deferred)
		if err != nil {
			s.close()
			return nil, fmt.Errorf("listen on %s: %w", address, err)
		}
		s.fds = append(s.fds, fd)
		if ap.Port() == 0 { // the kernel chooses once
			ap = netip.AddrPortFrom(ap.Addr(), bindaddr.Port(fd))
		}
	}
	return s, nil
}

// vacant reports an error if anybody listens on the address. Sockets that share an address would let another
// process of the same user in, which then gets half of the connections.
func (s *socket) vacant(ap netip.AddrPort) error {
	if ap.Port() == 0 {
		return nil
	}
	raw, kind := inetAddr(ap), unix.SOCK_STREAM
	if s.packets {
		kind = unix.SOCK_DGRAM
	}
	fd, err := unix.Socket(raw.family, kind|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if !s.packets { // connections that have ended do not keep an address; for datagrams the option would share it
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
	}
	if ap.Addr().Is6() && !ap.Addr().IsUnspecified() {
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1)
	}
	return unix.Bind(fd, bindaddr.Sockaddr(ap))
}

func listenTCP(ap netip.AddrPort, deferred bool) (int, error) {
	raw := inetAddr(ap)
	fd, err := unix.Socket(raw.family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	options := []struct{ level, name, value int }{
		{unix.SOL_SOCKET, unix.SO_REUSEADDR, 1},
		{unix.SOL_SOCKET, unix.SO_REUSEPORT, 1}, // for the other workers
		{unix.IPPROTO_TCP, unix.TCP_NODELAY, 1}, // accepted sockets inherit it
	}
	if deferred { // wake up for requests, not for connections
		options = append(options, struct{ level, name, value int }{unix.IPPROTO_TCP, unix.TCP_DEFER_ACCEPT, 1})
	}
	for _, o := range options {
		if err := unix.SetsockoptInt(fd, o.level, o.name, o.value); err != nil {
			unix.Close(fd)
			return -1, os.NewSyscallError("setsockopt", err)
		}
	}
	if ap.Addr().Is6() {
		only := 1
		if ap.Addr().IsUnspecified() {
			only = 0
		}
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, only)
	}
	if err := unix.Bind(fd, bindaddr.Sockaddr(ap)); err != nil {
		unix.Close(fd)
		return -1, err
	}
	if err := unix.Listen(fd, backlog); err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// listenUnix opens a Unix socket. One that a dead process has left is replaced; one that answers is not.
func listenUnix(address, path string) (*socket, error) {
	if c, err := net.Dial("unix", path); err == nil {
		c.Close()
		return nil, fmt.Errorf("listen on %s: another process does", address)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("listen on %s: %w", address, err)
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: path}); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("listen on %s: %w", address, err)
	}
	if err := unix.Listen(fd, backlog); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("listen on %s: %w", address, err)
	}
	return &socket{address: address, fds: []int{fd}, path: path}, nil
}

// adopt takes over descriptors from another process. If it had fewer workers than this one, the rest is
// opened: sockets that share an address share its connections.
func adopt(address string, fds []int, workers int, deferred bool) (*socket, error) {
	s := &socket{address: address, fds: slices.Clone(fds), packets: strings.HasPrefix(address, packetPrefix)}
	path, isUnix := strings.CutPrefix(address, "unix:")
	if isUnix {
		s.path = path
	}
	for _, fd := range fds {
		if err := unix.SetNonblock(fd, true); err != nil {
			return nil, fmt.Errorf("take over %s: %w", address, err)
		}
		unix.CloseOnExec(fd)
	}
	for !isUnix && len(s.fds) < workers {
		ap, err := bindaddr.Parse(s.addr())
		fd := -1
		if err == nil {
			fd, err = s.again(ap, deferred)
		}
		if err != nil {
			s.disown(fds)
			s.close()
			return nil, fmt.Errorf("listen on %s: %w", address, err)
		}
		s.fds = append(s.fds, fd)
	}
	return s, nil
}

// again opens one more descriptor for an address.
func (s *socket) again(ap netip.AddrPort, deferred bool) (int, error) {
	if s.packets {
		return listenUDP(ap)
	}
	return listenTCP(ap, deferred)
}

// setDeferred follows a listener that has come to want something else; see Listener.Deferred.
func (s *socket) setDeferred(deferred bool) {
	if s.path != "" || s.packets {
		return
	}
	seconds := 0
	if deferred {
		seconds = 1
	}
	for _, fd := range s.fds {
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_DEFER_ACCEPT, seconds)
	}
}

// disown keeps descriptors from being closed with the socket, and its file from being removed if it had any.
func (s *socket) disown(fds []int) {
	s.fds = slices.DeleteFunc(s.fds, func(fd int) bool { return slices.Contains(fds, fd) })
	s.passed = len(fds) > 0
}

// addr returns the address that the socket really has, which differs from the one asked for with port 0, and
// without "udp:".
func (s *socket) addr() string {
	if s.path != "" {
		return s.address
	}
	host, _, err := net.SplitHostPort(strings.TrimPrefix(s.address, packetPrefix))
	if err != nil {
		return s.address
	}
	return net.JoinHostPort(host, strconv.Itoa(int(bindaddr.Port(s.fds[0]))))
}

// wait returns when a socket that is ending has ended; one that never was has.
func (s *socket) wait(longest time.Duration) error {
	if s == nil {
		return nil
	}
	select {
	case <-s.closed:
		return nil
	case <-time.After(longest):
		return errors.New("the socket that had this address before has not ended yet")
	}
}

func (s *socket) close() {
	for _, fd := range s.fds {
		unix.Close(fd)
	}
	if s.path != "" && !s.passed {
		_ = os.Remove(s.path)
	}
}
