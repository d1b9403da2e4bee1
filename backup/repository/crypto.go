package repository

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/crypto/poly1305" //lint:ignore SA1019 the format is AES-256-CTR with Poly1305-AES; chacha20poly1305 can't replace it
)

const (
	ivBytes  = aes.BlockSize
	macBytes = poly1305.TagSize
	// sealedOverhead is what sealing adds: IV(16) ‖ ciphertext ‖ MAC(16). restic design, "Repository
	// Layout" and "Keys, Encryption and MAC".
	sealedOverhead = ivBytes + macBytes
)

// ErrUnauthenticated means that the bytes were not sealed with this key, or were changed since.
var ErrUnauthenticated = errors.New("message authentication failed")

// MasterKey opens and seals everything in a repository but the key files.
type MasterKey struct {
	Encrypt [32]byte // AES-256
	K       [16]byte // AES-128, of Poly1305-AES
	R       [16]byte // Poly1305
}

type macKeyJSON struct {
	K []byte `json:"k"`
	R []byte `json:"r"`
}

type masterKeyJSON struct {
	MAC     macKeyJSON `json:"mac"`
	Encrypt []byte     `json:"encrypt"`
}

// MarshalJSON writes the form that is sealed inside a key file. It is the secret itself.
func (m MasterKey) MarshalJSON() ([]byte, error) {
	return json.Marshal(masterKeyJSON{macKeyJSON{m.K[:], m.R[:]}, m.Encrypt[:]})
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (m *MasterKey) UnmarshalJSON(data []byte) error {
	var j masterKeyJSON
	if err := json.Unmarshal(data, &j); err != nil {
		return err
	}
	if len(j.Encrypt) != len(m.Encrypt) || len(j.MAC.K) != len(m.K) || len(j.MAC.R) != len(m.R) {
		return errors.New("master key: wrong length")
	}
	copy(m.Encrypt[:], j.Encrypt)
	copy(m.K[:], j.MAC.K)
	copy(m.R[:], j.MAC.R)
	return m.valid()
}

// String hides the key from messages and logs.
func (m MasterKey) String() string { return "MasterKey(secret)" }

// GoString is String.
func (m MasterKey) GoString() string { return m.String() }

func (m MasterKey) valid() error {
	if m.Encrypt == [32]byte{} || m.K == [16]byte{} || m.R == [16]byte{} {
		return errors.New("master key: a part of it is zero")
	}
	return nil
}

func newMasterKey() MasterKey {
	var m MasterKey
	rand.Read(m.Encrypt[:])
	rand.Read(m.K[:])
	rand.Read(m.R[:])
	return m
}

// Subkey derives a key for another use than sealing (HKDF-SHA-256, RFC 5869). Different purposes give
// independent keys.
func (m MasterKey) Subkey(purpose string) [32]byte {
	secret := slices.Concat(m.Encrypt[:], m.K[:], m.R[:])
	key, err := hkdf.Key(sha256.New, secret, nil, "trivet "+purpose, 32)
	if err != nil {
		panic(err) // only for lengths over 255 hashes
	}
	return [32]byte(key)
}

// sealer seals and opens with one key. It is safe for concurrent use.
type sealer struct {
	data cipher.Block
	mac  cipher.Block
	r    [16]byte
}

func newSealer(encrypt [32]byte, k, r [16]byte) *sealer {
	data, err := aes.NewCipher(encrypt[:])
	if err != nil {
		panic(err) // only for wrong key lengths
	}
	mac, err := aes.NewCipher(k[:])
	if err != nil {
		panic(err)
	}
	return &sealer{data: data, mac: mac, r: r}
}

func (m MasterKey) sealer() *sealer { return newSealer(m.Encrypt, m.K, m.R) }

// sealInPlace seals buf, whose first ivBytes and last macBytes are room for the IV and the MAC and whose
// middle is the plaintext.
func (s *sealer) sealInPlace(buf []byte) {
	iv := buf[:ivBytes]
	rand.Read(iv)
	s.sealWithIV(buf)
}

func (s *sealer) sealWithIV(buf []byte) {
	iv, text, mac := buf[:ivBytes], buf[ivBytes:len(buf)-macBytes], buf[len(buf)-macBytes:]
	cipher.NewCTR(s.data, iv).XORKeyStream(text, text)
	s.sum((*[macBytes]byte)(mac), text, iv)
}

// seal returns data sealed, in a new slice.
func (s *sealer) seal(data []byte) []byte {
	buf := make([]byte, sealedOverhead+len(data))
	copy(buf[ivBytes:], data)
	s.sealInPlace(buf)
	return buf
}

// open checks sealed and decrypts it over itself: the plaintext returned is a part of it.
func (s *sealer) open(sealed []byte) ([]byte, error) {
	if len(sealed) < sealedOverhead {
		return nil, fmt.Errorf("sealed data of %d bytes is too short: %w", len(sealed), ErrUnauthenticated)
	}
	iv, text, mac := sealed[:ivBytes], sealed[ivBytes:len(sealed)-macBytes], sealed[len(sealed)-macBytes:]
	var want [macBytes]byte
	s.sum(&want, text, iv)
	if subtle.ConstantTimeCompare(want[:], mac) != 1 {
		return nil, ErrUnauthenticated
	}
	cipher.NewCTR(s.data, iv).XORKeyStream(text, text)
	return text, nil
}

// openTo checks sealed and decrypts it into dst[:0], leaving sealed as it is.
func (s *sealer) openTo(dst, sealed []byte) ([]byte, error) {
	if len(sealed) < sealedOverhead {
		return nil, fmt.Errorf("sealed data of %d bytes is too short: %w", len(sealed), ErrUnauthenticated)
	}
	iv, text, mac := sealed[:ivBytes], sealed[ivBytes:len(sealed)-macBytes], sealed[len(sealed)-macBytes:]
	var want [macBytes]byte
	s.sum(&want, text, iv)
	if subtle.ConstantTimeCompare(want[:], mac) != 1 {
		return nil, ErrUnauthenticated
	}
	dst = slices.Grow(dst[:0], len(text))[:len(text)]
	cipher.NewCTR(s.data, iv).XORKeyStream(dst, text)
	return dst, nil
}

// sum is Poly1305-AES (Bernstein 2005): the one-time key is r ‖ AES_k(iv).
func (s *sealer) sum(out *[macBytes]byte, text, iv []byte) {
	var key [32]byte
	copy(key[:16], s.r[:])
	s.mac.Encrypt(key[16:], iv)
	poly1305.Sum(out, text, &key)
}
