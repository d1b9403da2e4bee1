package gslb

import (
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"
)

// batchMax is how many messages one call reads or sends. Beyond some dozens a call costs nothing any more, and the last
// answer waits for all.
const batchMax = 64

// Sizes of buffers.
const (
	queryMax   = 2048 // of a query over UDP; a name, a cookie and a subnet take less than 400
	controlMax = 64   // of what the kernel says about an address: 40 for IPv6
)

// mmsghdr is what recvmmsg(2) and sendmmsg(2) take: a message, and how long it was.
type mmsghdr struct {
	hdr    unix.Msghdr
	length uint32
	_      [4]byte
}

// slot is where one message is read into, and its answer written.
type slot struct {
	peer    unix.RawSockaddrInet6 // or one of IPv4, which is shorter
	control [controlMax]byte
	query   [queryMax]byte
	answer  []byte
	iov     unix.Iovec
	out     unix.Iovec
}

// batch is the messages of one call. It belongs to one worker. The kernel writes to addresses in it, so it does not
// move: it lives on the heap, whole.
type batch struct {
	slots [batchMax]slot
	in    [batchMax]mmsghdr
	out   [batchMax]mmsghdr
}

func newBatch(answerMax int) *batch {
	b := &batch{}
	room := make([]byte, batchMax*answerMax)
	for i := range b.slots {
		s, h := &b.slots[i], &b.in[i].hdr
		s.answer = room[i*answerMax : i*answerMax : (i+1)*answerMax]
		s.iov.Base = &s.query[0]
		s.iov.SetLen(queryMax)
		h.Iov, h.Iovlen = &s.iov, 1
		h.Name = (*byte)(unsafe.Pointer(&s.peer))
	}
	return b
}

// receive reads what is there, without waiting, and returns how many messages that is.
func (b *batch) receive(fd int, control bool) int {
	for i := range b.in {
		h := &b.in[i].hdr
		h.Namelen = unix.SizeofSockaddrInet6
		h.Control, h.Controllen = nil, 0
		if control {
			h.Control = &b.slots[i].control[0]
			h.SetControllen(controlMax)
		}
	}
	for range receiveTries {
		r, _, e := unix.RawSyscall6(unix.SYS_RECVMMSG, uintptr(fd), uintptr(unsafe.Pointer(&b.in[0])), batchMax, unix.MSG_DONTWAIT, 0, 0)
		switch {
		case e == 0:
			return int(r)
		case e == unix.EAGAIN:
			return 0
		}
	}
	return 0
}

// receiveTries bounds how often a call is interrupted, or fails for what an earlier answer met on its way: having told of it,
// the socket forgets that. Giving up at once would leave queries behind it unread, since sockets are watched for edges.
const receiveTries = 8

// from returns where message i came from, its port, and the bytes. It is false for what can't be answered.
func (b *batch) from(i int) (a netip.Addr, query []byte, ok bool) {
	m, s := &b.in[i], &b.slots[i]
	if m.hdr.Flags&unix.MSG_TRUNC != 0 {
		return a, nil, false
	}
	if s.peer.Port == 0 { // an answer to port 0 reaches nobody
		return a, nil, false
	}
	switch s.peer.Family {
	case unix.AF_INET:
		four := (*unix.RawSockaddrInet4)(unsafe.Pointer(&s.peer))
		a = netip.AddrFrom4(four.Addr)
	case unix.AF_INET6:
		a = netip.AddrFrom16(s.peer.Addr).Unmap()
	default:
		return a, nil, false
	}
	return a, s.query[:m.length], true
}

// reply makes the k-th message to send the answer to message i: to where it came from, and from where it was sent to.
func (b *batch) reply(k, i int, answer []byte) {
	s, in, out := &b.slots[i], &b.in[i].hdr, &b.out[k].hdr
	s.out.Base = &answer[0]
	s.out.SetLen(len(answer))
	*out = unix.Msghdr{Name: in.Name, Namelen: in.Namelen, Iov: &s.out, Iovlen: 1}
	if in.Control != nil && in.Controllen > 0 {
		forgetInterface(s.control[:in.Controllen])
		out.Control, out.Controllen = in.Control, in.Controllen
	}
}

// forgetInterface lets the kernel choose the way out by its routes: only the address is to be the one asked (ip(7),
// ipv6(7)). Behind the head of the control message stands an in_pktinfo, which begins with the interface, or an
// in6_pktinfo, which ends with it.
func forgetInterface(control []byte) {
	if len(control) < unix.SizeofCmsghdr+unix.SizeofInet4Pktinfo {
		return
	}
	h := (*unix.Cmsghdr)(unsafe.Pointer(&control[0]))
	if h.Level == unix.IPPROTO_IP && h.Type == unix.IP_PKTINFO {
		info := (*unix.Inet4Pktinfo)(unsafe.Pointer(&control[unix.CmsgLen(0)]))
		info.Ifindex = 0
	}
}

// send sends the first n messages of b.out and returns how many of them went out.
func (b *batch) send(fd, n int) (sent int) {
	for at := 0; at < n; {
		r, _, e := unix.RawSyscall6(unix.SYS_SENDMMSG, uintptr(fd), uintptr(unsafe.Pointer(&b.out[at])), uintptr(n-at), unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, 0, 0)
		switch {
		case e == unix.EINTR:
		case e == unix.EAGAIN:
			if !awaitRoom(fd) {
				return sent
			}
		case e != 0:
			at++ // this one can't be sent; those behind it may
		default:
			sent += int(r)
			at += int(r)
		}
	}
	return sent
}

// awaitRoom waits a moment for the socket's buffer to empty: on a real network card that is at the speed of the line.
func awaitRoom(fd int) bool {
	const patience = 2_000_000 // nanoseconds
	p := unix.PollFd{Fd: int32(fd), Events: unix.POLLOUT}
	ts := unix.NsecToTimespec(patience)
	r, _, e := unix.RawSyscall6(unix.SYS_PPOLL, uintptr(unsafe.Pointer(&p)), 1, uintptr(unsafe.Pointer(&ts)), 0, 0, 0)
	return e == unix.EINTR || e == 0 && r > 0
}
