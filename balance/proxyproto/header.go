package proxyproto

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"net/netip"
	"strconv"
)

// A Header says on whose behalf a connection was made.
type Header struct {
	// Local says that the proxy speaks for itself, as a health check does: the connection's own addresses hold.
	Local bool
	// Source and Destination are the client's address and the one that it connected to. Both are invalid if the
	// proxy does not know them or the connection is not over IP.
	Source, Destination netip.AddrPort
	// TLVs are the additional values of version 2, a part of the parsed buffer; see Next.
	TLVs []byte
}

// MaxSize is the largest header that Parse takes, in bytes. Version 2 allows for 64 KiB of values; nobody sends
// that much to say who a client is.
const MaxSize = 4096

// v1Max is the longest line of version 1, with its end: proxy-protocol.txt §2.1.
const v1Max = 107

// signature begins a header of version 2: §2.2.
var signature = []byte("\r\n\r\n\x00\r\nQUIT\n")

// Errors of Parse.
var (
	ErrNone      = errors.New("there is no PROXY header: does the client send one?")
	ErrMalformed = errors.New("the PROXY header is malformed")
	ErrTooLarge  = errors.New("the PROXY header is too large")
	ErrChecksum  = errors.New("the checksum of the PROXY header is wrong")
)

// Parse reads a header from the beginning of buf and returns its length. It returns 0 and no error when buf
// does not hold the whole header yet.
func Parse(buf []byte) (n int, h Header, err error) {
	k := min(len(buf), len(signature))
	if bytes.Equal(buf[:k], signature[:k]) {
		if k < len(signature) {
			return 0, h, nil
		}
		return parse2(buf)
	}
	const text = "PROXY "
	k = min(len(buf), len(text))
	if string(buf[:k]) != text[:k] {
		return 0, h, ErrNone
	}
	end := bytes.Index(buf[:min(len(buf), v1Max)], []byte("\r\n"))
	switch {
	case end < 0 && len(buf) >= v1Max:
		return 0, h, ErrMalformed
	case end < 0:
		return 0, h, nil
	}
	h, err = parse1(string(buf[len(text):end]))
	return end + 2, h, err
}

// parse1 reads what stands between "PROXY " and the line's end: §2.1.
func parse1(line string) (h Header, err error) {
	if line == "UNKNOWN" || len(line) > 7 && line[:8] == "UNKNOWN " {
		return h, nil
	}
	var parts [5]string
	n := 0
	for rest := line; ; n++ {
		if n == len(parts) {
			return h, ErrMalformed
		}
		before, after, more := cut(rest)
		parts[n] = before
		if !more {
			break
		}
		rest = after
	}
	if n != len(parts)-1 {
		return h, ErrMalformed
	}
	var ok1, ok2 bool
	h.Source, ok1 = address1(parts[0], parts[1], parts[3])
	h.Destination, ok2 = address1(parts[0], parts[2], parts[4])
	if !ok1 || !ok2 {
		return Header{}, ErrMalformed
	}
	return h, nil
}

func cut(s string) (before, after string, found bool) {
	for i := range len(s) {
		if s[i] == ' ' {
			return s[:i], s[i+1:], true
		}
	}
	return s, "", false
}

func address1(family, host, port string) (netip.AddrPort, bool) {
	a, err := netip.ParseAddr(host)
	if err != nil || a.Zone() != "" || family == "TCP4" != a.Is4() || family != "TCP4" && family != "TCP6" {
		return netip.AddrPort{}, false
	}
	p, err := strconv.ParseUint(port, 10, 16)
	if err != nil || len(port) > 1 && port[0] == '0' || port[0] == '+' {
		return netip.AddrPort{}, false
	}
	return netip.AddrPortFrom(a.Unmap(), uint16(p)), true
}

// parse2 reads a header of version 2: §2.2.
func parse2(buf []byte) (n int, h Header, err error) {
	if len(buf) < 16 {
		return 0, h, nil
	}
	size := int(binary.BigEndian.Uint16(buf[14:]))
	switch {
	case buf[12]>>4 != 2 || buf[12]&15 > 1:
		return 0, h, ErrMalformed
	case 16+size > MaxSize:
		return 0, h, ErrTooLarge
	case len(buf) < 16+size:
		return 0, h, nil
	}
	n = 16 + size
	body := buf[16:n]
	addresses := 0
	switch family := buf[13] >> 4; {
	case family == 1 && size >= 12:
		addresses = 12
		h.Source = netip.AddrPortFrom(netip.AddrFrom4([4]byte(body[0:4])), binary.BigEndian.Uint16(body[8:]))
		h.Destination = netip.AddrPortFrom(netip.AddrFrom4([4]byte(body[4:8])), binary.BigEndian.Uint16(body[10:]))
	case family == 2 && size >= 36:
		addresses = 36
		h.Source = netip.AddrPortFrom(netip.AddrFrom16([16]byte(body[0:16])).Unmap(), binary.BigEndian.Uint16(body[32:]))
		h.Destination = netip.AddrPortFrom(netip.AddrFrom16([16]byte(body[16:32])).Unmap(), binary.BigEndian.Uint16(body[34:]))
	case family == 3 && size >= 216:
		addresses = 216 // Unix sockets have no address that would tell anything here
	case family == 0:
		addresses = 0
	default:
		return 0, Header{}, ErrMalformed
	}
	if buf[12]&15 == 0 { // LOCAL: the addresses are to be ignored
		h = Header{Local: true}
	}
	h.TLVs = body[addresses:]
	return n, h, h.checkTLVs(buf[:n])
}

// Types of additional values: §2.2.1 to §2.2.7.
const (
	TypeALPN      = 0x01
	TypeAuthority = 0x02
	TypeCRC32C    = 0x03
	TypeNoop      = 0x04
	TypeUniqueID  = 0x05
	TypeSSL       = 0x20
)

// Next takes the next value off h.TLVs. It reports false at the end.
func (h *Header) Next() (kind byte, value []byte, ok bool) {
	if len(h.TLVs) < 3 {
		return 0, nil, false
	}
	size := int(binary.BigEndian.Uint16(h.TLVs[1:]))
	if len(h.TLVs) < 3+size {
		return 0, nil, false
	}
	kind, value = h.TLVs[0], h.TLVs[3:3+size]
	h.TLVs = h.TLVs[3+size:]
	return kind, value, true
}

// checkTLVs walks over the values, and verifies the checksum if there is one.
func (h *Header) checkTLVs(whole []byte) error {
	rest := Header{TLVs: h.TLVs}
	at := len(whole) - len(h.TLVs)
	for {
		left := len(rest.TLVs)
		kind, value, ok := rest.Next()
		if !ok {
			if left > 0 {
				return ErrMalformed
			}
			return nil
		}
		if kind == TypeCRC32C && !validChecksum(whole, at+3, value) {
			return ErrChecksum
		}
		at += left - len(rest.TLVs)
	}
}

// validChecksum verifies the CRC-32C over the header with its own four bytes taken as zero: §2.2.3.
func validChecksum(whole []byte, at int, value []byte) bool {
	if len(value) != 4 {
		return false
	}
	table := crc32.MakeTable(crc32.Castagnoli)
	sum := crc32.Update(0, table, whole[:at])
	sum = crc32.Update(sum, table, []byte{0, 0, 0, 0})
	sum = crc32.Update(sum, table, whole[at+4:])
	return sum == binary.BigEndian.Uint32(value)
}

// Append1 appends a header of version 1. A source or destination that is not valid, or of another family than
// the other, is told as UNKNOWN.
func Append1(dst []byte, source, destination netip.AddrPort) []byte {
	s, d := source.Addr().Unmap(), destination.Addr().Unmap()
	if !s.IsValid() || !d.IsValid() || s.Is4() != d.Is4() {
		return append(dst, "PROXY UNKNOWN\r\n"...)
	}
	family := "PROXY TCP6 "
	if s.Is4() {
		family = "PROXY TCP4 "
	}
	dst = append(dst, family...)
	dst = append(s.WithZone("").AppendTo(dst), ' ')
	dst = append(d.WithZone("").AppendTo(dst), ' ')
	dst = append(strconv.AppendUint(dst, uint64(source.Port()), 10), ' ')
	return append(strconv.AppendUint(dst, uint64(destination.Port()), 10), "\r\n"...)
}

// Append2 appends a header of version 2, without additional values. A source or destination that is not valid
// makes it LOCAL.
func Append2(dst []byte, source, destination netip.AddrPort) []byte {
	const stream = 1
	return append2(dst, stream, source, destination)
}

// AppendDatagram appends a header of version 2 that goes before a datagram.
func AppendDatagram(dst []byte, source, destination netip.AddrPort) []byte {
	const datagram = 2
	return append2(dst, datagram, source, destination)
}

func append2(dst []byte, transport byte, source, destination netip.AddrPort) []byte {
	dst = append(dst, signature...)
	s, d := source.Addr().Unmap(), destination.Addr().Unmap()
	switch {
	case !s.IsValid() || !d.IsValid():
		return append(dst, 0x20, 0, 0, 0)
	case s.Is4() && d.Is4():
		dst = append(dst, 0x21, 0x10|transport, 0, 12)
		a, b := s.As4(), d.As4()
		dst = append(append(dst, a[:]...), b[:]...)
	default:
		dst = append(dst, 0x21, 0x20|transport, 0, 36)
		a, b := s.As16(), d.As16()
		dst = append(append(dst, a[:]...), b[:]...)
	}
	dst = binary.BigEndian.AppendUint16(dst, source.Port())
	return binary.BigEndian.AppendUint16(dst, destination.Port())
}
