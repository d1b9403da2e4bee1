package wire

import "net/netip"

// Option codes of EDNS.
const (
	optionNSID      = 3  // RFC 5001
	optionSubnet    = 8  // RFC 7871
	optionCookie    = 10 // RFC 7873
	optionKeepalive = 11 // RFC 7828
	optionError     = 15 // RFC 8914
)

// EDNS is what the OPT record of a query says (RFC 6891).
type EDNS struct {
	Present   bool
	Version   uint8
	Size      uint16 // of the largest answer the client takes over UDP
	DO        bool   // the client wants DNSSEC records (RFC 3225)
	NSID      bool   // asks for the server's identifier
	Keepalive bool   // asks how long a TCP connection is kept
	Cookie    []byte // the client's, 8 bytes; with a server's behind it, 16 to 40 in all
	Subnet    Subnet
}

// Subnet is where the client of a resolver is, as far as the resolver tells (RFC 7871).
type Subnet struct {
	Present bool
	Addr    netip.Addr // zero bits behind Bits; invalid if the client wants it kept to itself without a family
	Bits    int        // that are told
	raw     []byte     // the option as it came
}

// parse reads an OPT record: its type, class and TTL in head, its options in data.
func (e *EDNS) parse(head, data []byte) bool {
	e.Present = true
	e.Size = get16(head[2:])
	e.Version = head[5]
	e.DO = head[6]&0x80 != 0
	for len(data) > 0 {
		if len(data) < 4 {
			return false
		}
		code, n := get16(data), int(get16(data[2:]))
		if len(data) < 4+n {
			return false
		}
		if !e.option(code, data[4:4+n]) {
			return false
		}
		data = data[4+n:]
	}
	return true
}

// option takes one option; unknown ones are ignored (RFC 6891 §6.1.2).
func (e *EDNS) option(code uint16, body []byte) bool {
	switch code {
	case optionNSID:
		e.NSID = true
		return len(body) == 0
	case optionKeepalive:
		e.Keepalive = true
		return true
	case optionCookie:
		if len(body) != 8 && (len(body) < 16 || len(body) > 40) {
			return false // RFC 7873 §5.2.2
		}
		if e.Cookie == nil { // of several the first counts (§5.2)
			e.Cookie = body
		}
		return true
	case optionSubnet:
		return e.Subnet.parse(body)
	}
	return true
}

// parse reads a client subnet, and refuses what RFC 7871 §7.1.2 and §11.2 have refused: bytes beyond the prefix, or too
// few for it, bits behind it, and a scope in a query.
func (s *Subnet) parse(body []byte) bool {
	if len(body) < 4 {
		return false
	}
	family, bits, scope := get16(body), int(body[2]), body[3]
	address := body[4:]
	if scope != 0 || len(address) != (bits+7)/8 {
		return false
	}
	if rest := bits % 8; rest != 0 && address[len(address)-1]<<rest != 0 {
		return false
	}
	var full [16]byte
	copy(full[:], address)
	switch {
	case family == 0 && bits == 0: // how dig +subnet=0 asks for no subnet at all
	case family == 1 && bits <= 32:
		s.Addr = netip.AddrFrom4([4]byte(full[:4]))
	case family == 2 && bits <= 128:
		s.Addr = netip.AddrFrom16(full)
	default:
		return false
	}
	s.Present, s.Bits, s.raw = true, bits, body
	return true
}

// optionsMax is more than all options together: the longest NSID and client's cookie, and the others' few bytes.
const optionsMax = 512

// NSIDMax is the longest identifier that a server may have.
const NSIDMax = 255

// optLen is the length of an OPT record without options.
const optLen = 11

// Options are what an answer says in its OPT record. Begin with Reply or None.
type Options struct {
	buf   [optionsMax]byte
	n     int // bytes in use; 0 is no OPT record
	scope int // where the scope of the subnet stands
}

// None is for an answer without an OPT record: to a query without one (RFC 6891 §7).
func (o *Options) None() { o.n = 0 }

// Reply begins an OPT record. size is the largest query taken over UDP; a client's DO bit is sent back (RFC 3225 §3).
func (o *Options) Reply(size int, do bool) {
	o.n, o.scope = optLen, 0
	*(*[optLen]byte)(o.buf[:]) = [optLen]byte{2: byte(TypeOPT), 3: byte(size >> 8), 4: byte(size)}
	if do {
		o.buf[7] = 0x80
	}
}

// Len returns the bytes that the record takes.
func (o *Options) Len() int { return o.n }

// open begins an option of n bytes, or returns nil if there is no record, or no room.
func (o *Options) open(code uint16, n int) []byte {
	if o.n == 0 || o.n+4+n > len(o.buf) {
		return nil
	}
	put16(o.buf[o.n:], code)
	put16(o.buf[o.n+2:], uint16(n))
	body := o.buf[o.n+4 : o.n+4+n]
	o.n += 4 + n
	put16(o.buf[9:], uint16(o.n-optLen))
	return body
}

// NSID tells the server's identifier.
func (o *Options) NSID(id []byte) { copy(o.open(optionNSID, len(id)), id) }

// Cookie sends the client's cookie back, with the server's behind it.
func (o *Options) Cookie(client, server []byte) {
	body := o.open(optionCookie, len(client)+len(server))
	copy(body[copy(body, client):], server)
}

// Keepalive tells how long an idle TCP connection is kept, in tenths of a second.
func (o *Options) Keepalive(tenths uint16) {
	if body := o.open(optionKeepalive, 2); body != nil {
		put16(body, tenths)
	}
}

// Subnet sends a client subnet back. Its scope is 0 until Scope says otherwise.
func (o *Options) Subnet(s *Subnet) {
	if body := o.open(optionSubnet, len(s.raw)); body != nil {
		copy(body, s.raw)
		o.scope = o.n - len(body) + 3
	}
}

// Scope says how many bits of the client's address the answer depends on.
func (o *Options) Scope(bits int) {
	if o.n > 0 && o.scope > 0 {
		o.buf[o.scope] = byte(bits)
	}
}

// ErrorLen is what Error adds.
const ErrorLen = 6

// Error adds an extended error without a text.
func (o *Options) Error(code uint16) {
	if body := o.open(optionError, 2); body != nil {
		put16(body, code)
	}
}
