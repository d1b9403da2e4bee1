package steer

import (
	"encoding/binary"
	"net/netip"
)

// Client is who asks, as far as it is known.
type Client struct {
	Addr netip.Addr // with zero bits behind Bits
	Bits int        // that are known; all of the address unless a resolver tells only a subnet
}

// ClientOf is the client at an address.
func ClientOf(a netip.Addr) Client {
	a = a.Unmap()
	return Client{Addr: a, Bits: a.BitLen()}
}

// prefix says how many bits of the client's address a rule looks at.
func (c Client) prefix(four, six int) int {
	if c.Addr.Is4() {
		return four
	}
	return six
}

// Key is the same for clients that share the first bits of their addresses, as many as are said for each family.
func (c Client) Key(four, six int) uint64 { return c.key(c.prefix(four, six)) }

// key is the same for clients that share the first bits of their addresses.
func (c Client) key(bits int) uint64 {
	if c.Addr.Is4() {
		a := c.Addr.As4()
		v := binary.BigEndian.Uint32(a[:])
		return mix(uint64(v & mask32(bits)))
	}
	a := c.Addr.As16()
	high, low := binary.BigEndian.Uint64(a[:8]), binary.BigEndian.Uint64(a[8:])
	return mix(mix(high&mask64(bits)) ^ low&mask64(bits-64))
}

func mask32(bits int) uint32 { return uint32(mask64(bits) >> 32) }

func mask64(bits int) uint64 {
	switch {
	case bits <= 0:
		return 0
	case bits >= 64:
		return ^uint64(0)
	}
	return ^uint64(0) << (64 - bits)
}
