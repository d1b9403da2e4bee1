package balance

import (
	"encoding/binary"
	"math/bits"
	"net/netip"
)

// Odd constants with as many ones as zeros, from the fractional parts of the
// square roots of 2, 3, 5 and 7.
const (
	k0 = 0x6a09e667f3bcc909
	k1 = 0xbb67ae8584caa73b
	k2 = 0x3c6ef372fe94f82b
	k3 = 0xa54ff53a5f1d36f1
)

// golden is 2^64 divided by the golden ratio: its multiples fall evenly into any
// interval. D. E. Knuth, The Art of Computer Programming 3, §6.4.
const golden = 0x9e3779b97f4a7c15

// fold multiplies to 128 bits and folds the halves together.
func fold(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	return hi ^ lo
}

// mix spreads every bit of x over the whole result; a bijection.
// S. Vigna's splitmix64 (public domain), after D. Stafford.
func mix(x uint64) uint64 {
	x ^= x >> 30
	x *= 0xbf58476d1ce4e5b9
	x ^= x >> 27
	x *= 0x94d049bb133111eb
	return x ^ x>>31
}

// HashBytes returns a hash of b to choose an endpoint by. It is the same in
// every process and on every machine, spreads well, and allocates nothing. It is
// no defence against a sender that looks for collisions.
func HashBytes(b []byte) uint64 {
	h := uint64(len(b)) ^ k0
	for len(b) > 16 {
		h = fold(binary.LittleEndian.Uint64(b)^k1, binary.LittleEndian.Uint64(b[8:])^h)
		b = b[16:]
	}
	var x, y uint64
	switch n := len(b); {
	case n >= 8:
		x = binary.LittleEndian.Uint64(b)
		y = binary.LittleEndian.Uint64(b[n-8:])
	case n >= 4:
		x = uint64(binary.LittleEndian.Uint32(b))
		y = uint64(binary.LittleEndian.Uint32(b[n-4:]))
	case n > 0:
		x = uint64(b[0])<<16 | uint64(b[n/2])<<8 | uint64(b[n-1])
	}
	return mix(fold(x^k2, y^h) ^ k3)
}

// HashAddr returns a hash of the first prefix4 bits of an IPv4 address or the
// first prefix6 bits of an IPv6 address, so that one client's neighbouring
// addresses stay together. A prefix of 0, or longer than the address, is the
// whole address. An IPv4-mapped IPv6 address counts as IPv4; zones do not count.
func HashAddr(a netip.Addr, prefix4, prefix6 int) uint64 {
	a = a.Unmap()
	if a.Is4() {
		b := a.As4()
		x := uint64(binary.BigEndian.Uint32(b[:]))
		if prefix4 > 0 && prefix4 < 32 {
			x &= ^uint64(0) << (32 - prefix4)
		}
		return mix(fold(x^k1, k2))
	}
	b := a.As16()
	x, y := binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:])
	switch {
	case prefix6 <= 0 || prefix6 >= 128:
	case prefix6 > 64:
		y &= ^uint64(0) << (128 - prefix6)
	default:
		x, y = x&(^uint64(0)<<(64-prefix6)), 0
	}
	return mix(fold(x^k2, y^k3) ^ k0)
}
