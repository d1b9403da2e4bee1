package balance

import (
	"encoding/binary"
	"math/bits"
	"math/rand/v2"
	"net/netip"
	"testing"
)

// TestHashBytesIsStable: tables on several nodes, of several versions, must
// agree. Whoever changes the hash changes these values knowingly.
func TestHashBytesIsStable(t *testing.T) {
	for in, want := range stableHashes {
		if got := HashBytes([]byte(in)); got != want {
			t.Errorf("HashBytes(%q) = %#x, want %#x", in, got, want)
		}
	}
}

// TestHashBytesAvalanches: whichever bit of a key flips, each bit of the hash
// flips in half of the cases.
func TestHashBytesAvalanches(t *testing.T) {
	const keys = 1000
	rnd := rand.New(rand.NewPCG(1, 1))
	for _, n := range []int{2, 3, 4, 7, 8, 9, 16, 17, 33} {
		key := make([]byte, n)
		for bit := range n * 8 {
			var flips [64]int
			for range keys {
				for i := range key {
					key[i] = byte(rnd.Uint32())
				}
				h := HashBytes(key)
				key[bit/8] ^= 1 << (bit % 8)
				for d := h ^ HashBytes(key); d != 0; d &= d - 1 {
					flips[bits.TrailingZeros64(d)]++
				}
			}
			for out, f := range flips {
				if f < keys*38/100 || f > keys*62/100 {
					t.Fatalf("%d bytes: bit %d flips bit %d in %d of %d keys", n, bit, out, f, keys)
				}
			}
		}
	}
}

func TestHashBytesDistinguishesLengths(t *testing.T) {
	seen := map[uint64]int{}
	zeros := make([]byte, 200)
	for n := range zeros {
		h := HashBytes(zeros[:n])
		if other, ok := seen[h]; ok {
			t.Errorf("%d and %d zeros have the same hash", other, n)
		}
		seen[h] = n
	}
}

func TestHashAddrMasksPrefixes(t *testing.T) {
	hash := func(s string, p4, p6 int) uint64 { return HashAddr(netip.MustParseAddr(s), p4, p6) }
	for _, c := range []struct {
		a, b   string
		p4, p6 int
		same   bool
	}{
		{"10.1.2.3", "10.1.2.200", 24, 0, true},
		{"10.1.2.3", "10.1.3.3", 24, 0, false},
		{"10.1.2.3", "10.1.2.4", 0, 0, false},
		{"10.1.2.3", "10.1.2.4", 33, 0, false},
		{"10.1.2.3", "10.1.2.4", -1, 0, false},
		{"10.1.2.3", "10.1.2.3", 32, 0, true},
		{"10.1.2.3", "::ffff:10.1.2.77", 24, 0, true},
		{"2001:db8::1", "2001:db8::ffff", 0, 64, true},
		{"2001:db8:0:1::1", "2001:db8:0:2::1", 0, 64, false},
		{"2001:db8:0:1::1", "2001:db8:0:2::1", 0, 48, true},
		{"2001:db8::1:1", "2001:db8::1:2", 0, 112, true},
		{"2001:db8::1:1", "2001:db8::2:1", 0, 112, false},
		{"2001:db8::1", "2001:db8::2", 0, 0, false},
		{"fe80::1%eth0", "fe80::1%eth1", 0, 0, true},
	} {
		if same := hash(c.a, c.p4, c.p6) == hash(c.b, c.p4, c.p6); same != c.same {
			t.Errorf("%s and %s by /%d and /%d: same is %v", c.a, c.b, c.p4, c.p6, same)
		}
	}
}

func TestHashesAllocateNothing(t *testing.T) {
	key, addr := []byte("session"), netip.MustParseAddr("2001:db8::1")
	p := newPool(t, 3, nil)
	id := []byte(p.Endpoints()[0].Key())
	if n := testing.AllocsPerRun(100, func() {
		HashBytes(key)
		HashAddr(addr, 24, 64)
		p.ByKey(id)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// TestNeighbouringAddressesSpread: clients of one network are spread over
// endpoints as well as any.
func TestNeighbouringAddressesSpread(t *testing.T) {
	counts := make([]int, 7)
	var b [4]byte
	for i := range uint32(65536) {
		binary.BigEndian.PutUint32(b[:], 10<<24|i)
		counts[scale(HashAddr(netip.AddrFrom4(b), 0, 0), len(counts))]++
	}
	checkShares(t, counts, []float64{1, 1, 1, 1, 1, 1, 1})
}

func FuzzByKey(f *testing.F) {
	p := newPool(f, 3, nil)
	f.Add([]byte(p.Endpoints()[0].Key()))
	f.Add([]byte("ypeBEsobvc="))
	f.Fuzz(func(t *testing.T, key []byte) {
		if e := p.ByKey(key); e != nil && e.Key() != string(key) {
			t.Errorf("%q finds %s, whose key is %s", key, e.Address(), e.Key())
		}
	})
}

// stableHashes pins HashBytes.
var stableHashes = map[string]uint64{
	"":                  0x35b5cdea2eb02749,
	"a":                 0x481b43341575fbe,
	"ab":                0x4c456b15f7bc3eca,
	"abc":               0xb7d2d20c9df0b33e,
	"abcd":              0x8116766dc20a5b11,
	"abcdefg":           0xf1c15ae9201fbddc,
	"abcdefgh":          0x2be21e5e561d203a,
	"abcdefghi":         0x8825dc1caad2642f,
	"10.0.0.1:8080":     0x1eff0e55dd19402d,
	"0123456789abcdef":  0xfcf2ba895cacbc38,
	"0123456789abcdefg": 0xcb1f9d7699169805,
	"a key that is longer than thirty-two bytes": 0xd12f8dc2c31e1dcc,
}
