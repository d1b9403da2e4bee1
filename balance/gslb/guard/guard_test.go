package guard

import (
	"encoding/binary"
	"encoding/hex"
	"math"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func unhex(text string) []byte {
	b, err := hex.DecodeString(text)
	if err != nil {
		panic(err)
	}
	return b
}

func secret(text string) Secret {
	s, err := ParseSecret(text)
	if err != nil {
		panic(err)
	}
	return s
}

// The first vectors of the reference implementation (https://github.com/veorq/SipHash, vectors.h): key 00..0f, data
// 00, 01, 02...
func TestSipHashIsTheReference(t *testing.T) {
	k0, k1 := uint64(0x0706050403020100), uint64(0x0f0e0d0c0b0a0908)
	want := map[int]string{0: "310e0edd47db6f72", 1: "fd67dc93c539f874", 7: "37d1018bf50002ab", 8: "6224939a79f5f593", 15: "e545be4961ca29a1"}
	data := make([]byte, 16)
	for i := range data {
		data[i] = byte(i)
	}
	for n, hash := range want {
		if got := hex.EncodeToString(binary.LittleEndian.AppendUint64(nil, sipHash(k0, k1, data[:n]))); got != hash {
			t.Errorf("%d bytes: %s, want %s", n, got, hash)
		}
	}
}

// RFC 9018, appendix A.
func TestCookiesAreThoseOfTheRFC(t *testing.T) {
	first, rolled := secret("e5e973e5a6b2a43f48e7dc849e37bfcf"), secret("dd3bdf9344b678b185a6f5cb60fca715")
	old := secret("445536bcd2513298075a5d379663c962")
	c := NewCookies(first)
	v4 := netip.MustParseAddr("198.51.100.100")
	learn := unhex("2464c4abcf10c957")
	server := c.Server(learn, c.Check(learn, v4, 1559731985), v4, 1559731985)
	if got := hex.EncodeToString(server[:]); got != "010000005cf79f111f8130c3eee29480" {
		t.Errorf("a new client gets %s", got)
	}
	again := append(learn, server[:]...)
	if p := c.Check(again, v4, 1559731985+600); p != Proven {
		t.Errorf("its cookie is %v ten minutes later", p)
	}
	if s := c.Server(again, Proven, v4, 1559731985+600); s != server {
		t.Error("a fresh cookie is replaced")
	}
	if s := c.Server(again, Proven, v4, 1559731985+2000); s == server {
		t.Error("one of half an hour is not")
	}
	v6 := netip.MustParseAddr("2001:db8:220:1:59de:d0f4:8769:82b8")
	both := NewCookies(rolled, old)
	given := unhex("22681ab97d52c298010000005cf7c57926556bd0934c72f8")
	if p := both.Check(given, v6, 1559741817); p != Proven {
		t.Errorf("a cookie made with the old secret is %v", p)
	}
}

func TestCookiesThatAreNotOursProveNothing(t *testing.T) {
	c := NewCookies(Secret{1})
	a, b := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	const now = 1_700_000_000
	client := []byte("12345678")
	server := c.Server(client, NewClient, a, now)
	good := append(client, server[:]...)
	changed := append([]byte{}, good...)
	changed[20]++
	version := append([]byte{}, good...)
	version[8] = 2
	for _, tt := range []struct {
		name   string
		cookie []byte
		from   netip.Addr
		now    uint32
		want   Proof
	}{
		{"none", nil, a, now, NoCookie},
		{"a client's alone", client, a, now, NewClient},
		{"ours", good, a, now, Proven},
		{"ours, seen from elsewhere", good, b, now, WrongCookie},
		{"changed", changed, a, now, WrongCookie},
		{"of another version", version, a, now, WrongCookie},
		{"of another length", good[:20], a, now, WrongCookie},
		{"an hour old", good, a, now + cookieAgeMax, Proven},
		{"older", good, a, now + cookieAgeMax + 1, WrongCookie},
		{"five minutes ahead", good, a, now - cookieAheadMax, Proven},
		{"further ahead", good, a, now - cookieAheadMax - 1, WrongCookie},
	} {
		if got := c.Check(tt.cookie, tt.from, tt.now); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
	for _, text := range []string{"", "00", "zz", "e5e973e5a6b2a43f48e7dc849e37bfcf00"} {
		if _, err := ParseSecret(text); err == nil {
			t.Errorf("%q is a secret", text)
		}
	}
}

func TestALimiterLetsItsRateThrough(t *testing.T) {
	l := NewLimiter(Rate{PerSecond: 10, Burst: 5}, 64)
	allowed := 0
	for ms := range 10_000 {
		if l.Allow(7<<33, time.Duration(ms)*time.Millisecond) {
			allowed++
		}
	}
	if math.Abs(float64(allowed)-105) > 2 {
		t.Errorf("%d in ten seconds, want 5 and then 10 a second", allowed)
	}
}

func TestThingsAreLimitedApart(t *testing.T) {
	l := NewLimiter(Rate{PerSecond: 1, Burst: 1}, 4096)
	for i := range uint64(500) {
		if !l.Allow(i*0x9e3779b97f4a7c15, time.Second) {
			t.Fatalf("thing %d is held to another's rate", i)
		}
	}
	third := uint64(3)
	if l.Allow(third*0x9e3779b97f4a7c15, time.Second) {
		t.Error("a second one passes")
	}
}

// Whatever comes, the limiter neither grows nor lets one busy thing escape.
func TestABusyThingIsRememberedAmongManyOthers(t *testing.T) {
	l := NewLimiter(Rate{PerSecond: 100}, 4096)
	busy, allowed := uint64(0xdeadbeef12345678), 0
	for i := range uint64(100_000) { // ten seconds
		now := time.Duration(i) * 100 * time.Microsecond
		l.Allow((i+1)*0x9e3779b97f4a7c15, now)
		if l.Allow(busy, now) {
			allowed++
		}
	}
	if allowed > 1300 {
		t.Errorf("%d of 100000 pass in ten seconds, want about 1100", allowed)
	}
}

func TestALimiterForgetsAcrossTheTurnsOfItsClock(t *testing.T) {
	l := NewLimiter(Rate{PerSecond: 1, Burst: 1}, 64)
	for hours := range 60 {
		if now := time.Duration(hours) * time.Hour; !l.Allow(5<<33, now) {
			t.Errorf("blocked after %d quiet hours", hours)
		}
	}
}

func TestManyThreadsShareALimiter(t *testing.T) {
	l := NewLimiter(Rate{PerSecond: 1, Burst: 1000}, 64)
	var allowed atomic.Int64
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 1000 {
				if l.Allow(9<<33, time.Second) {
					allowed.Add(1)
				}
			}
		})
	}
	wg.Wait()
	if n := allowed.Load(); n != 1000 {
		t.Errorf("%d pass of a burst of 1000", n)
	}
}

func BenchmarkLimiter(b *testing.B) {
	l := NewLimiter(Rate{PerSecond: 1e9}, 1<<16)
	i := uint64(0)
	b.ReportAllocs()
	for b.Loop() {
		i++
		l.Allow((i%1000)*0x9e3779b97f4a7c15, time.Duration(i)*time.Microsecond)
	}
}

func BenchmarkCookieCheck(b *testing.B) {
	c := NewCookies(Secret{1})
	a := netip.MustParseAddr("192.0.2.1")
	server := c.Server([]byte("12345678"), NewClient, a, 1)
	cookie := append([]byte("12345678"), server[:]...)
	b.ReportAllocs()
	for b.Loop() {
		if c.Check(cookie, a, 2) != Proven {
			b.Fatal("not proven")
		}
	}
}
