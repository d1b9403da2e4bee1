package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/trivet-ha/trivet/internal/loop"
)

// The load of the cases by UDP: each client has some datagrams under way, and sends one for each that comes back.
const (
	udpBytes = 128
	udpBatch = 64

	// udpPatience is how long a client waits before it takes what is under way for lost.
	udpPatience = 200 * time.Millisecond
)

// udpBackend is the argument that makes this program a backend: it sends every datagram back.
const udpBackend = "udp-backend"

// A datagramBatch is datagrams that are received, or sent, in one system call.
type datagramBatch struct {
	msgs  [udpBatch]loop.Message
	iovs  [udpBatch]unix.Iovec
	names [udpBatch]unix.RawSockaddrInet4
	bytes [udpBatch][2048]byte
}

func newDatagramBatch() *datagramBatch {
	b := &datagramBatch{}
	for i := range b.msgs {
		b.iovs[i].Base = &b.bytes[i][0]
		b.msgs[i].Hdr.Iov = &b.iovs[i]
		b.msgs[i].Hdr.SetIovlen(1)
	}
	return b
}

// receive takes what is there; from says whether the senders are wanted too.
func (b *datagramBatch) receive(fd int, from bool) int {
	for i := range b.msgs {
		b.iovs[i].SetLen(len(b.bytes[i]))
		h := &b.msgs[i].Hdr
		h.Name, h.Namelen = nil, 0
		if from {
			h.Name, h.Namelen = (*byte)(unsafe.Pointer(&b.names[i])), unix.SizeofSockaddrInet4
		}
	}
	n, _ := loop.ReceiveMany(fd, b.msgs[:])
	return n
}

// send sends the first n datagrams, with the lengths that they were received with.
func (b *datagramBatch) send(fd, n int) (sent int) {
	for i := range n {
		b.iovs[i].SetLen(int(b.msgs[i].N))
	}
	for sent < n {
		k, e := loop.SendMany(fd, b.msgs[sent:n])
		if e != 0 {
			k = 1 // refused or full: it is lost
		}
		sent += k
	}
	return sent
}

// serveUDP is the backend. It ends with the process.
func serveUDP(port string) error {
	n, err := strconv.Atoi(port)
	if err != nil {
		return err
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 8<<20)
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, 8<<20)
	if err := unix.Bind(fd, &unix.SockaddrInet4{Port: n, Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		return err
	}
	b := newDatagramBatch()
	for {
		if _, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, -1); err != nil && !errors.Is(err, unix.EINTR) {
			return err
		}
		for {
			k := b.receive(fd, true)
			b.send(fd, k)
			if k < udpBatch {
				break
			}
		}
	}
}

// udpClient is one socket of the load.
type udpClient struct {
	fd    int
	under int       // way
	heard time.Time // when the last datagram came back
}

// udpLoad is clients that each have a window of datagrams under way.
type udpLoad struct {
	clients []udpClient
	window  int
	batch   *datagramBatch
	epoll   int
	delays  []time.Duration // of a part of the answers
	answers uint64
	lost    uint64
	began   time.Time
}

// closedUDP runs the load. It holds a thread, and the clock is read once for each batch.
func closedUDP(ctx context.Context, port, clients, window int, seconds float64) (outcome, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	l := &udpLoad{window: window, batch: newDatagramBatch()}
	var err error
	if l.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return outcome{}, err
	}
	defer l.close()
	for range clients {
		if err := l.open(port); err != nil {
			return outcome{}, err
		}
	}
	l.began = time.Now()
	for i := range l.clients {
		l.fill(&l.clients[i], l.began)
	}
	end := l.began.Add(time.Duration(seconds * float64(time.Second)))
	for now := l.began; now.Before(end) && ctx.Err() == nil; now = time.Now() {
		if err := l.turn(); err != nil {
			return outcome{}, err
		}
	}
	out := outcome{requests: float64(l.answers), errors: float64(l.lost), seconds: time.Since(l.began).Seconds()}
	slices.Sort(l.delays)
	if n := len(l.delays); n > 0 {
		out.p50, out.p99 = l.delays[n/2], l.delays[n*99/100]
	}
	return out, ctx.Err()
}

func (l *udpLoad) close() {
	for _, c := range l.clients {
		unix.Close(c.fd)
	}
	unix.Close(l.epoll)
}

func (l *udpLoad) open(port int) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	l.clients = append(l.clients, udpClient{fd: fd})
	if err := unix.Connect(fd, &unix.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		return err
	}
	return unix.EpollCtl(l.epoll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(len(l.clients) - 1)})
}

// turn takes the answers that are there.
func (l *udpLoad) turn() error {
	var events [256]unix.EpollEvent
	n, err := unix.EpollWait(l.epoll, events[:], int(udpPatience/time.Millisecond))
	if err != nil && !errors.Is(err, unix.EINTR) {
		return err
	}
	now := time.Now()
	for _, e := range events[:max(n, 0)] {
		c := &l.clients[e.Fd]
		k := l.batch.receive(c.fd, false)
		for i := range k {
			if l.answers++; l.answers%64 == 0 {
				sent := int64(binary.NativeEndian.Uint64(l.batch.bytes[i][:]))
				l.delays = append(l.delays, now.Sub(l.began)-time.Duration(sent))
			}
		}
		c.under = max(0, c.under-k)
		c.heard = now
		l.fill(c, now)
	}
	if l.answers%8 == 0 || n == 0 { // now and then
		l.giveUp(now)
	}
	return nil
}

// giveUp counts as lost what has been under way for too long.
func (l *udpLoad) giveUp(now time.Time) {
	for i := range l.clients {
		if c := &l.clients[i]; now.Sub(c.heard) > udpPatience {
			l.lost += uint64(c.under)
			c.under, c.heard = 0, now
			l.fill(c, now)
		}
	}
}

// fill sends as many as the client may have under way.
func (l *udpLoad) fill(c *udpClient, now time.Time) {
	if c.heard.IsZero() {
		c.heard = now
	}
	n := min(l.window-c.under, udpBatch)
	for i := range n {
		binary.NativeEndian.PutUint64(l.batch.bytes[i][:], uint64(now.Sub(l.began)))
		l.batch.msgs[i].N = udpBytes
		l.batch.msgs[i].Hdr.Name, l.batch.msgs[i].Hdr.Namelen = nil, 0
	}
	c.under += l.batch.send(c.fd, n)
}

// udpBackends starts n backends that answer by UDP.
func (l *lab) udpBackends(ctx context.Context, n int) ([]*server, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	ports, err := freePorts(n)
	if err != nil {
		return nil, err
	}
	var all []*server
	for _, port := range ports {
		child, err := l.nursery.Start("backend", self, udpBackend, strconv.Itoa(port))
		if err != nil {
			return nil, err
		}
		s := &server{name: "backend", port: port, child: child, udp: true}
		if err := s.untilItServes(ctx); err != nil {
			return nil, err
		}
		all = append(all, s)
	}
	return all, nil
}

// checkUDP asks once.
func (s *server) checkUDP(ctx context.Context) error {
	out, err := closedUDP(ctx, s.port, 1, 1, 0.02)
	if err == nil && out.requests == 0 {
		err = fmt.Errorf("no datagram comes back from port %d", s.port)
	}
	return err
}
