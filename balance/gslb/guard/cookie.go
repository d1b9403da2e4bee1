package guard

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"net/netip"
)

// Secret is a key that server cookies are made with: 128 bits, shared by all servers of an anycast address.
type Secret [16]byte

var errSecret = errors.New("is not a secret for cookies: 32 hexadecimal digits")

// ParseSecret reads 32 hexadecimal digits, as BIND and Knot write them.
func ParseSecret(text string) (s Secret, err error) {
	b, err := hex.DecodeString(text)
	if err != nil || len(b) != len(s) {
		return Secret{}, errSecret
	}
	return Secret(b), nil
}

// Cookies makes and checks server cookies of version 1 (RFC 9018 §4). The first secret makes them; all are accepted, so
// that one can be replaced.
type Cookies struct{ keys []key }

type key struct{ k0, k1 uint64 }

// NewCookies takes one secret at least.
func NewCookies(secrets ...Secret) *Cookies {
	c := &Cookies{}
	for _, s := range secrets {
		c.keys = append(c.keys, key{binary.LittleEndian.Uint64(s[:8]), binary.LittleEndian.Uint64(s[8:])})
	}
	return c
}

// Lengths of cookies (RFC 9018 §4).
const (
	ClientCookieLen = 8
	ServerCookieLen = 16
)

// Ages of a server cookie (RFC 9018 §4.3), in seconds.
const (
	cookieAgeMax    = 3600
	cookieAheadMax  = 300
	cookieRenewFrom = 1800
)

// Proof is what a cookie proves.
type Proof uint8

// The proofs.
const (
	NoCookie    Proof = iota // the client sent none
	NewClient                // a client's cookie, without one of ours
	WrongCookie              // one that is not ours, or too old
	Proven                   // one of ours: the client is where it says
)

// Check judges the cookie that a client sent from an address. unix is the time in seconds since 1970.
func (c *Cookies) Check(cookie []byte, from netip.Addr, unix uint32) Proof {
	switch {
	case len(cookie) < ClientCookieLen:
		return NoCookie
	case len(cookie) == ClientCookieLen:
		return NewClient
	case len(cookie) != ClientCookieLen+ServerCookieLen || cookie[8] != 1:
		return WrongCookie
	}
	server := cookie[ClientCookieLen:]
	age := int32(unix - binary.BigEndian.Uint32(server[4:])) // serial arithmetic (RFC 1982)
	if age > cookieAgeMax || age < -cookieAheadMax {
		return WrongCookie
	}
	for _, k := range c.keys {
		if k.hash(cookie[:ClientCookieLen], server[:8], from) == binary.LittleEndian.Uint64(server[8:]) {
			return Proven
		}
	}
	return WrongCookie
}

// Server returns the server's cookie for a client: the one it has, if that was found Proven and is not old yet, or a
// new one.
func (c *Cookies) Server(cookie []byte, proof Proof, from netip.Addr, unix uint32) (server [ServerCookieLen]byte) {
	if proof == Proven {
		if age := int32(unix - binary.BigEndian.Uint32(cookie[ClientCookieLen+4:])); age <= cookieRenewFrom {
			return [ServerCookieLen]byte(cookie[ClientCookieLen:])
		}
	}
	server[0] = 1 // the version; three bytes are reserved
	binary.BigEndian.PutUint32(server[4:], unix)
	h := c.keys[0].hash(cookie[:ClientCookieLen], server[:8], from)
	binary.LittleEndian.PutUint64(server[8:], h)
	return server
}

// hash is over the client's cookie, version, reserved bytes, time, and the client's address (RFC 9018 §4.4).
func (k key) hash(client, head []byte, from netip.Addr) uint64 {
	var buf [8 + 8 + 16]byte
	n := copy(buf[:], client[:8])
	n += copy(buf[n:], head[:8])
	if from.Is4() {
		a := from.As4()
		n += copy(buf[n:], a[:])
	} else {
		a := from.As16()
		n += copy(buf[n:], a[:])
	}
	return sipHash(k.k0, k.k1, buf[:n])
}
