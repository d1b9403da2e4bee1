package repository

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"testing"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// The vectors of D. J. Bernstein, "The Poly1305-AES message-authentication code" (2005), appendix B.
func TestPoly1305AESVectors(t *testing.T) {
	for _, v := range []struct{ msg, k, r, nonce, tag string }{
		{"f3f6", "ec074c835580741701425b623235add6", "851fc40c3467ac0be05cc20404f3f700", "fb447350c4e868c52ac3275cf9d4327e", "f4c633c3044fc145f84f335cb81953de"},
		{"", "75deaa25c09f208e1dc4ce6b5cad3fbf", "a0f3080000f46400d0c7e9076c834403", "61ee09218d29b0aaed7e154a2c5509cc", "dd3fab2251f11ac759f0887129cc2ee7"},
		{"663cea190ffb83d89593f3f476b6bc24d7e679107ea26adb8caf6652d0656136", "6acb5f61a7176dd320c5c1eb2edcdc74", "48443d0bb0d21109c89a100b5ce2c208", "ae212a55399729595dea458bc621ff0e", "0ee1c16bb73f0f4fd19881753c01cdbe"},
		{"ab0812724a7f1e342742cbed374d94d136c6b8795d45b3819830f2c04491faf0990c62e48b8018b2c3e4a0fa3134cb67fa83e158c994d961c4cb21095c1bf9", "e1a5668a4d5b66a5f68cc5424ed5982d", "12976a08c4426d0ce8a82407c4f48207", "9ae831e743978d3a23527c7128149e3a", "5154ad0d2cb26e01274fc51148491f1b"},
	} {
		s := newSealer([32]byte{}, [16]byte(unhex(t, v.k)), [16]byte(unhex(t, v.r)))
		var tag [16]byte
		s.sum(&tag, unhex(t, v.msg), unhex(t, v.nonce))
		if hex.EncodeToString(tag[:]) != v.tag {
			t.Errorf("message %s: tag %x, want %s", v.msg, tag, v.tag)
		}
	}
}

// NIST SP 800-38A, F.5.5: CTR-AES256.Encrypt.
func TestAES256CTRVector(t *testing.T) {
	s := newSealer([32]byte(unhex(t, "603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4")), [16]byte{1}, [16]byte{1})
	iv := unhex(t, "f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff")
	plain := unhex(t, "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e5130c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17ad2b417be66c3710")
	want := "601ec313775789a5b7a7f504bbf3d228f443e3ca4d62b59aca84e990cacaf5c52b0930daa23de94ce87017ba2d84988ddfc9c58db67aada613c2dd08457941a6"
	buf := append(append(bytes.Clone(iv), plain...), make([]byte, macBytes)...)
	s.sealWithIV(buf)
	if got := hex.EncodeToString(buf[ivBytes : len(buf)-macBytes]); got != want {
		t.Errorf("ciphertext %s", got)
	}
	back, err := s.open(buf)
	if err != nil || !bytes.Equal(back, plain) {
		t.Errorf("opened %x, %v", back, err)
	}
}

func TestEveryChangedBitIsNoticed(t *testing.T) {
	s := newMasterKey().sealer()
	sealed := s.seal([]byte("some bytes"))
	for i := range len(sealed) * 8 {
		bad := bytes.Clone(sealed)
		bad[i/8] ^= 1 << (i % 8)
		if _, err := s.open(bad); !errors.Is(err, ErrUnauthenticated) {
			t.Fatalf("bit %d changed: %v", i, err)
		}
		if _, err := s.openTo(nil, bad[:len(bad)-i%len(bad)]); err == nil {
			t.Fatalf("cut by %d: opens", i%len(bad))
		}
	}
	if _, err := newMasterKey().sealer().open(bytes.Clone(sealed)); !errors.Is(err, ErrUnauthenticated) {
		t.Errorf("another key opens it: %v", err)
	}
}

func TestSealingTheSameTwiceGivesDifferentBytes(t *testing.T) {
	s := newMasterKey().sealer()
	a, b := s.seal([]byte("x")), s.seal([]byte("x"))
	if bytes.Equal(a, b) || bytes.Equal(a[:ivBytes], b[:ivBytes]) {
		t.Error("an IV was used twice")
	}
	if x, err := s.open(a); err != nil || string(x) != "x" {
		t.Errorf("opened %q, %v", x, err)
	}
	if x, err := s.open(s.seal(nil)); err != nil || len(x) != 0 {
		t.Errorf("nothing sealed opens to %q, %v", x, err)
	}
}

func TestMasterKeyNeverShowsInMessages(t *testing.T) {
	m := newMasterKey()
	secret := hex.EncodeToString(m.Encrypt[:4])
	for _, format := range []string{"%v", "%s", "%+v", "%#v"} {
		if out := fmt.Sprintf(format, m); bytes.Contains([]byte(out), []byte(secret)) || len(out) > 30 {
			t.Errorf("%s prints %q", format, out)
		}
	}
	text, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	var back MasterKey
	if err := json.Unmarshal(text, &back); err != nil || back != m {
		t.Errorf("key does not survive its JSON: %v", err)
	}
	for _, bad := range []string{`{}`, `{"mac":{"k":"AA==","r":"AA=="},"encrypt":"AA=="}`, `{"mac":{"k":"AAAAAAAAAAAAAAAAAAAAAA==","r":"AAAAAAAAAAAAAAAAAAAAAA=="},"encrypt":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="}`} {
		if json.Unmarshal([]byte(bad), &back) == nil {
			t.Errorf("accepted %s", bad)
		}
	}
}

func TestSubkeysDifferByPurposeAndKey(t *testing.T) {
	a, b := newMasterKey(), newMasterKey()
	again := a
	if a.Subkey("x") == a.Subkey("y") || a.Subkey("x") == b.Subkey("x") || a.Subkey("x") != again.Subkey("x") {
		t.Error("subkeys are not independent")
	}
}

func TestHostileKeyFilesAreRefused(t *testing.T) {
	for _, k := range []keyFile{
		{KDF: "argon2", N: 16, R: 8, P: 1},
		{KDF: "scrypt", N: 1 << 40, R: 8, P: 1},
		{KDF: "scrypt", N: 16, R: 1 << 30, P: 1},
		{KDF: "scrypt", N: 16, R: 8, P: 1 << 30},
		{KDF: "scrypt", N: 0, R: 0, P: 0},
		{KDF: "scrypt", N: 15, R: 8, P: 1},
		{KDF: "scrypt", N: 16, R: 8, P: 1, Data: []byte("short")},
	} {
		if _, err := k.open("x"); err == nil {
			t.Errorf("opened %+v", k)
		}
	}
}
