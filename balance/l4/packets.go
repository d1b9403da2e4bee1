package l4

import (
	"encoding/binary"
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/trivet-ha/trivet/internal/loop"
)

// Datagrams are received and sent many at a time: a system call costs more than what it does for one of them.
const (
	slots    = 64
	slotSize = 64 << 10 // what the kernel may have put together from datagrams of one sender (UDP_GRO)

	// slotStride is the distance of slots. The bit more keeps the beginnings, which are all that there is of small
	// datagrams, from sharing a few sets of the processor's caches.
	slotStride = slotSize + 5*64

	// controlSize has room for the address that a datagram came to, and the size of its segments.
	controlSize = 96
)

// Options of UDP sockets, and the largest number of segments: linux/udp.h.
const (
	udpSegment  = unix.UDP_SEGMENT
	udpGRO      = unix.UDP_GRO
	segmentsMax = 64

	// segmentBytes is the most that a run of segments may have: an IP packet's length has 16 bits.
	segmentBytes = 65535 - 40 - 8
)

// An inbox is where datagrams are received.
type inbox struct {
	bytes    []byte
	msgs     [slots]loop.Message
	iovs     [slots]unix.Iovec
	names    [slots]unix.RawSockaddrInet6
	controls [slots][controlSize]byte
}

func newInbox() *inbox {
	b := &inbox{bytes: make([]byte, slots*slotStride)}
	for i := range slots {
		b.iovs[i].Base = &b.bytes[i*slotStride]
		b.iovs[i].SetLen(slotSize)
		h := &b.msgs[i].Hdr
		h.Iov = &b.iovs[i]
		h.SetIovlen(1)
		h.Control = &b.controls[i][0]
	}
	return b
}

// receive fills slots from i on, as far as there are datagrams, and returns their number.
func (b *inbox) receive(fd, i int) (int, unix.Errno) {
	for k := i; k < slots; k++ {
		h := &b.msgs[k].Hdr
		h.Name, h.Namelen = (*byte)(unsafe.Pointer(&b.names[k])), unix.SizeofSockaddrInet6
		h.SetControllen(controlSize)
	}
	return loop.ReceiveMany(fd, b.msgs[i:])
}

// data is what slot i has received.
func (b *inbox) data(i int) []byte { return b.bytes[i*slotStride:][:b.msgs[i].N:slotSize] }

// facts are what the kernel tells of what it has received.
type facts struct {
	segment int    // of several datagrams in one slot, the length of each but the last; 0 is a single one
	local   []byte // the address that it came to, 4 or 16 bytes
	device  uint32 // by which it came, for link-local addresses
}

// facts reads the control messages of slot i: struct cmsghdr, and cmsg(3).
func (b *inbox) facts(i int) (f facts) {
	rest := b.controls[i][:b.msgs[i].Hdr.Controllen]
	for len(rest) >= unix.SizeofCmsghdr {
		h := (*unix.Cmsghdr)(unsafe.Pointer(&rest[0]))
		size := int(h.Len)
		if size < unix.CmsgLen(0) || size > len(rest) {
			return f
		}
		data := rest[unix.CmsgLen(0):size]
		switch {
		case h.Level == unix.SOL_UDP && h.Type == udpGRO && len(data) >= 4:
			f.segment = int(binary.NativeEndian.Uint32(data))
		case h.Level == unix.SOL_IP && h.Type == unix.IP_PKTINFO && len(data) >= unix.SizeofInet4Pktinfo:
			f.local = data[8:12] // ipi_addr: what stands in the packet
		case h.Level == unix.SOL_IPV6 && h.Type == unix.IPV6_PKTINFO && len(data) >= unix.SizeofInet6Pktinfo:
			f.local, f.device = data[:16], binary.NativeEndian.Uint32(data[16:])
		}
		rest = rest[min(unix.CmsgSpace(len(data)), len(rest)):]
	}
	if f.segment >= int(b.msgs[i].N) {
		f.segment = 0
	}
	return f
}

// key tells clients apart that come to one port: RFC 768's source, and where there are several, the destination.
type key struct {
	addr  [16]byte // IPv4 as ::ffff:a.b.c.d
	local [16]byte
	scope uint32
	port  uint16
}

// v4Prefix begins an IPv4 address in the form of IPv6: RFC 4291 §2.5.5.2.
var v4Prefix = [12]byte{10: 0xff, 11: 0xff}

func (k *key) setFrom(name *unix.RawSockaddrInet6) {
	if name.Family == unix.AF_INET {
		v4 := (*unix.RawSockaddrInet4)(unsafe.Pointer(name))
		copy(k.addr[:], v4Prefix[:])
		copy(k.addr[12:], v4.Addr[:])
		k.port = swap16(v4.Port)
		return
	}
	k.addr, k.port, k.scope = name.Addr, swap16(name.Port), name.Scope_id
}

func (k *key) setLocal(local []byte) {
	if len(local) == 4 {
		copy(k.local[:], v4Prefix[:])
		copy(k.local[12:], local)
		return
	}
	copy(k.local[:], local)
}

func (k *key) client() netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom16(k.addr).Unmap(), k.port)
}

func swap16(n uint16) uint16 { return n<<8 | n>>8 }

// An outbox is datagrams that are about to be sent. It holds none of their bytes.
type outbox struct {
	msgs     [slots]loop.Message
	iovs     [2 * slots]unix.Iovec
	controls [slots][controlSize]byte
	segments [slots]int // length of the segments; 0 is one datagram
	n, vecs  int        // messages, and vectors, in use
}

// full reports whether there may be no room for a message of so many parts.
func (o *outbox) full(parts int) bool { return o.n == slots || o.vecs+parts > len(o.iovs) }

func (o *outbox) clear() { o.n, o.vecs = 0, 0 }

// begin adds a message without bytes.
func (o *outbox) begin() *unix.Msghdr {
	h := &o.msgs[o.n].Hdr
	*h = unix.Msghdr{Iov: &o.iovs[o.vecs]}
	o.segments[o.n] = 0
	o.n++
	return h
}

// append adds bytes to the message that was begun last.
func (o *outbox) append(p []byte) {
	v := &o.iovs[o.vecs]
	v.Base = unsafe.SliceData(p)
	v.SetLen(len(p))
	o.vecs++
	o.msgs[o.n-1].Hdr.Iovlen++
}

// cut has the kernel cut the message that was begun last into datagrams of that length: udp(7), UDP_SEGMENT.
// control is what else is told of the message.
func (o *outbox) cut(segment int, control []byte) {
	i := o.n - 1
	o.segments[i] = segment
	c := append(o.controls[i][:0], control...)
	h := unix.Cmsghdr{Level: unix.SOL_UDP, Type: udpSegment}
	h.SetLen(unix.CmsgLen(2))
	c = append(c, (*[unix.SizeofCmsghdr]byte)(unsafe.Pointer(&h))[:]...)
	binary.NativeEndian.PutUint16(o.controls[i][len(c):], uint16(segment))
	o.msgs[i].Hdr.Control = &o.controls[i][0]
	o.msgs[i].Hdr.SetControllen(len(control) + unix.CmsgSpace(2))
}

// whole sends message i as the datagrams that it consists of, for a kernel or a path that does not take it cut. It
// returns how many were not sent.
func (o *outbox) whole(fd, i int, control []byte) (lost int) {
	m := o.msgs[i : i+1 : i+1][0]
	m.Hdr.Control = unsafe.SliceData(control)
	m.Hdr.SetControllen(len(control))
	one := [1]loop.Message{m}
	var v unix.Iovec
	one[0].Hdr.Iov = &v
	one[0].Hdr.SetIovlen(1)
	vecs := unsafe.Slice(o.msgs[i].Hdr.Iov, int(o.msgs[i].Hdr.Iovlen))
	for _, vec := range vecs {
		p := unsafe.Slice(vec.Base, int(vec.Len))
		for len(p) > 0 {
			k := min(o.segments[i], len(p))
			v.Base = &p[0]
			v.SetLen(k)
			if _, e := loop.SendMany(fd, one[:]); e != 0 {
				lost++
			}
			p = p[k:]
		}
	}
	return lost
}

// datagrams counts those that messages from i up to n consist of.
func (o *outbox) datagrams(i, n int) (sum int) {
	for ; i < n; i++ {
		segment := o.segments[i]
		if segment == 0 {
			sum++
			continue
		}
		size := 0
		for _, v := range unsafe.Slice(o.msgs[i].Hdr.Iov, int(o.msgs[i].Hdr.Iovlen)) {
			size += int(v.Len)
		}
		sum += (size + segment - 1) / segment
	}
	return sum
}

// uncuttable are the errors by which the kernel says that it can't cut a message: the segments are larger than the
// path's packets, or the device does not do checksums (net/ipv4/udp.c, udp_send_skb).
func uncuttable(e unix.Errno) bool { return e == unix.EINVAL || e == unix.EIO || e == unix.EMSGSIZE }

// busy are the errors by which the kernel says that too much is under way: the datagram is lost, as it would be in
// any queue that is full.
func busy(e unix.Errno) bool { return e == unix.EAGAIN || e == unix.ENOBUFS || e == unix.ENOMEM }

// packetInfo is the control message that has an answer come from local, as the socket's family wants it.
func packetInfo(dst []byte, f facts) []byte {
	h := unix.Cmsghdr{}
	switch len(f.local) {
	case 4:
		h.Level, h.Type = unix.SOL_IP, unix.IP_PKTINFO
		h.SetLen(unix.CmsgLen(unix.SizeofInet4Pktinfo))
		dst = append(dst, (*[unix.SizeofCmsghdr]byte)(unsafe.Pointer(&h))[:]...)
		dst = append(dst, 0, 0, 0, 0) // any device
		dst = append(dst, f.local...) // ipi_spec_dst: the source of what is sent
		dst = append(dst, 0, 0, 0, 0)
	case 16:
		h.Level, h.Type = unix.SOL_IPV6, unix.IPV6_PKTINFO
		h.SetLen(unix.CmsgLen(unix.SizeofInet6Pktinfo))
		dst = append(dst, (*[unix.SizeofCmsghdr]byte)(unsafe.Pointer(&h))[:]...)
		dst = append(dst, f.local...)
		device := f.device
		if !netip.AddrFrom16([16]byte(f.local)).IsLinkLocalUnicast() {
			device = 0
		}
		dst = binary.NativeEndian.AppendUint32(dst, device)
	}
	for len(dst)%unix.SizeofPtr != 0 {
		dst = append(dst, 0)
	}
	return dst
}
