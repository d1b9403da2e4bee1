package gslb

import (
	"math/rand/v2"
	"net"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/trivet-ha/trivet/balance/gslb/guard"
	"github.com/trivet-ha/trivet/balance/gslb/zone"
)

// spoil makes a query that is none any more.
func spoil(r *rand.Rand, query []byte) []byte {
	b := append([]byte{}, query...)
	switch r.IntN(6) {
	case 0: // cut
		return b[:r.IntN(len(b))]
	case 1: // something behind
		for range r.IntN(100) {
			b = append(b, byte(r.Uint32()))
		}
	case 2: // garbage of any length
		b = make([]byte, r.IntN(600))
		for i := range b {
			b[i] = byte(r.Uint32())
		}
	case 3: // counts that promise more
		b[4+r.IntN(8)] = byte(r.Uint32())
	case 4: // labels that lead elsewhere
		b[12] = byte(r.Uint32())
	default:
		for range 1 + r.IntN(8) {
			b[r.IntN(len(b))] ^= 1 << r.IntN(8)
		}
	}
	return b
}

// residentBytes is the memory of this process, from /proc.
func residentBytes(t *testing.T) int {
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Fatal(err)
	}
	pages, _ := strconv.Atoi(strings.Fields(string(text))[1])
	return pages * os.Getpagesize()
}

// One in ten queries is malformed, over UDP and over TCP. Whole ones are all answered, nothing crashes, and memory stays as it is.
// go test -run Endures -args -queries 10000000 sends ten million.
func TestItEnduresMalformedQueries(t *testing.T) {
	s := begin(t, Options{Workers: 2}, func(cfg *Config, _ *zone.Content) {
		cfg.World.Cookies = guard.NewCookies(guard.Secret{1})
		cfg.World.NSID = []byte("ns1")
	})
	address := s.address()
	calm, calmed := make(chan struct{}), make(chan struct{})
	go func() { // pools change all the while
		defer close(calmed)
		for {
			select {
			case <-calm:
				return
			case <-time.After(time.Millisecond):
				s.tell("192.0.2.1", "192.0.2.2 out", "192.0.2.3")
				s.tell("192.0.2.1", "192.0.2.2", "192.0.2.3")
			}
		}
	}()
	defer func() { close(calm); <-calmed }()
	var good [][]byte
	for _, q := range []struct {
		name string
		t    uint16
	}{{"www.example.com.", dns.TypeA}, {"www.example.com.", dns.TypeAAAA}, {"edition.example.com.", dns.TypeTXT}, {"nothing.example.com.", dns.TypeMX}, {"www.example.org.", dns.TypeA}} {
		m := new(dns.Msg).SetQuestion(q.name, q.t)
		plain, _ := m.Pack()
		m.SetEdns0(1232, true)
		m.IsEdns0().Option = []dns.EDNS0{&dns.EDNS0_COOKIE{Code: dns.EDNS0COOKIE, Cookie: "0102030405060708"}, &dns.EDNS0_NSID{Code: dns.EDNS0NSID},
			&dns.EDNS0_SUBNET{Code: dns.EDNS0SUBNET, Family: 1, SourceNetmask: 24, Address: net.IPv4(192, 0, 2, 0)}}
		full, _ := m.Pack()
		good = append(good, plain, full)
	}
	r := rand.New(rand.NewPCG(1, 2))
	conn, err := net.Dial("udp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	buf := make([]byte, 4096)
	const window = 100 // queries on their way
	answered, warm, after := 0, 0, 0
	for sent := 0; sent < *queries; sent += window {
		want := 0
		for i := range window {
			q := good[r.IntN(len(good))]
			if i%10 == 0 {
				q = spoil(r, q)
			} else {
				want++
			}
			if _, err := conn.Write(q); err != nil {
				t.Fatal(err)
			}
		}
		// Some of the malformed ones are answered too. What is missing at the end of the window is lost.
		for got := 0; got < want; got++ {
			_ = conn.SetReadDeadline(time.Now().Add(5 * time.Second))
			if _, err := conn.Read(buf); err != nil {
				t.Fatalf("after %d queries: %v", sent, err)
			}
			answered++
		}
		_ = conn.SetReadDeadline(time.Now().Add(time.Microsecond))
		for { // the rest
			if _, err := conn.Read(buf); err != nil {
				break
			}
		}
		if sent == *queries/4/window*window {
			runtime.GC()
			warm = residentBytes(t)
		}
	}
	runtime.GC()
	after = residentBytes(t)
	if after > warm+warm/10+8<<20 {
		t.Errorf("memory has grown from %d to %d bytes", warm, after)
	}
	for i := range 200 {
		c, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		q := spoil(r, good[i%len(good)])
		_, _ = c.Write(append([]byte{byte(len(q) >> 8), byte(len(q))}, q...))
		_ = c.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
		_, _ = c.Read(buf)
		c.Close()
	}
	if got := s.resolve("tcp", "edition.example.com."); got != "" {
		t.Errorf("at the end: %s", got)
	}
	t.Logf("%d queries, %d answers; %d KiB resident after a quarter, %d KiB at the end", *queries, answered, warm>>10, after>>10)
}
