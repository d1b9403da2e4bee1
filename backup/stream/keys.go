package stream

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
)

// Errors of what is read back.
var (
	// ErrDamaged: the bytes are not those that were written, or make no sense.
	ErrDamaged = errors.New("the log is damaged")
	// ErrUnauthenticated: they were not sealed with this key, or not under this name, or were changed since.
	ErrUnauthenticated = errors.New("message authentication failed")
)

const (
	saltBytes = 24
	tagBytes  = 16
)

// keys are what a log is sealed and named with. Each object has a key of its own, derived by its random salt, so that
// counters can be nonces (NIST SP 800-38D §8.2.1) however many objects there are.
type keys struct{ secret [32]byte }

// hash is a keyed hash for one use.
func (k *keys) hash(use string, data []byte) (sum [32]byte) {
	m := hmac.New(sha256.New, k.secret[:])
	m.Write([]byte(use))
	m.Write([]byte{0})
	m.Write(data)
	m.Sum(sum[:0])
	return sum
}

// box seals or opens the parts of one object, in order.
type box struct {
	aead cipher.AEAD
	name []byte // authenticated with each part
	next uint64
}

func (k *keys) box(name string, salt []byte) *box {
	key, err := hkdf.Key(sha256.New, k.secret[:], salt, "trivet log object", 32)
	if err != nil {
		panic(err) // only for lengths over 255 hashes
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		panic(err) // only for wrong key lengths
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		panic(err)
	}
	return &box{aead: aead, name: []byte(name)}
}

func (b *box) nonce() []byte {
	n := make([]byte, 12)
	binary.BigEndian.PutUint64(n[4:], b.next)
	b.next++
	return n
}

// seal appends the sealed part to dst.
func (b *box) seal(dst, part []byte) []byte { return b.aead.Seal(dst, b.nonce(), part, b.name) }

// open decrypts a part over itself.
func (b *box) open(sealed []byte) ([]byte, error) {
	part, err := b.aead.Open(sealed[:0], b.nonce(), sealed, b.name)
	if err != nil {
		return nil, ErrUnauthenticated
	}
	return part, nil
}

func newSalt() []byte {
	salt := make([]byte, saltBytes)
	rand.Read(salt)
	return salt
}

// sealSmall seals a file of one part.
func (k *keys) sealSmall(name string, text []byte) []byte {
	salt := newSalt()
	return k.box(name, salt).seal(salt, text)
}

func (k *keys) openSmall(name string, sealed []byte) ([]byte, error) {
	if len(sealed) < saltBytes+tagBytes {
		return nil, fmt.Errorf("%w: %d bytes are too few", ErrDamaged, len(sealed))
	}
	return k.box(name, sealed[:saltBytes]).open(sealed[saltBytes:])
}
