package gslb

import (
	"math/rand/v2"
	"net"
	"os"
	"runtime"
	"slices"
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

// openFiles is how many descriptors this process has.
func openFiles(t *testing.T) int {
	all, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(all)
}

// enduredQueries is how many queries the test of endurance sends; TRIVET_TEST_LONG=1 (make endure) has it send ten million.
func enduredQueries() int {
	if os.Getenv("TRIVET_TEST_LONG") != "" {
		return 10_000_000
	}
	return 200_000
}

// wholeQueries are questions of several kinds, with and without all that EDNS has.
func wholeQueries() (all [][]byte) {
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
		all = append(all, plain, full)
	}
	return all
}

// One in ten queries is malformed, over UDP and over TCP. Whole ones are all answered, nothing crashes, and memory stays as it is.
func TestItEnduresMalformedQueries(t *testing.T) {
	s := begin(t, Options{Workers: 2}, func(cfg *Config, _ *zone.Content) {
		cfg.World.Cookies = guard.NewCookies(guard.Secret{1})
		cfg.World.NSID = []byte("ns1")
	})
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
	queries, good, r := enduredQueries(), wholeQueries(), rand.New(rand.NewPCG(1, 2))
	conn, err := net.Dial("udp", s.address())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	var memory []int // after each tenth
	answered, files := 0, openFiles(t)
	for sent := 0; sent < queries; {
		n := s.endureWindow(conn, r, good)
		answered += n
		if sent += endureWindow; sent%(queries/10) == 0 {
			runtime.GC()
			memory = append(memory, residentBytes(t)>>10)
			s.endureTCP(r, good, queries/10_000)
		}
	}
	warm := memory[2] // what it takes is taken
	if most := slices.Max(memory); most > warm+warm/10+8<<10 {
		t.Errorf("memory has grown from %d to %d KiB", warm, most)
	}
	eventually(t, "all connections have left", func() bool { return s.Counts().Connections == 0 })
	if n := openFiles(t); n > files {
		t.Errorf("%d descriptors have become %d", files, n)
	}
	if got := s.resolve("tcp", "www.example.com."); !strings.HasPrefix(got, "192.0.2.1/") {
		t.Errorf("at the end: %s", got)
	}
	t.Logf("%d queries, %d answers; KiB resident after each tenth: %v", queries, answered, memory)
}

// endureWindow is how many queries are on their way at a time.
const endureWindow = 100

// endureWindow sends one window, of which one in ten is malformed, and waits until all the others are answered.
func (s *stage) endureWindow(conn net.Conn, r *rand.Rand, good [][]byte) (answered int) {
	const malformed = 10 // one in
	var waits [endureWindow]bool
	for i := range endureWindow {
		q := slices.Clone(good[r.IntN(len(good))])
		if i%malformed == 0 {
			q[0] = 0xff // no id of a whole one
			q = spoil(r, q)
		} else {
			q[0], q[1], waits[i] = 0, byte(i), true
		}
		if _, err := conn.Write(q); err != nil {
			s.t.Fatal(err)
		}
	}
	buf := make([]byte, 4096)
	for answered < endureWindow-endureWindow/malformed {
		_ = conn.SetReadDeadline(time.Now().Add(10 * time.Second))
		if _, err := conn.Read(buf); err != nil {
			s.t.Fatalf("a whole query was lost: %v", err)
		}
		if id := int(buf[0])<<8 | int(buf[1]); id < endureWindow && waits[id] {
			waits[id] = false
			answered++
		}
	}
	_ = conn.SetReadDeadline(time.Now().Add(time.Microsecond))
	for { // some of the malformed ones are answered too
		if _, err := conn.Read(buf); err != nil {
			return answered
		}
	}
}

// endureTCP has n clients send a malformed query each.
func (s *stage) endureTCP(r *rand.Rand, good [][]byte, n int) {
	buf := make([]byte, 4096)
	for i := range n {
		c, err := net.Dial("tcp", s.address())
		if err != nil {
			s.t.Fatal(err)
		}
		q := spoil(r, good[i%len(good)])
		_, _ = c.Write(append([]byte{byte(len(q) >> 8), byte(len(q))}, q...))
		_ = c.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
		_, _ = c.Read(buf)
		c.Close()
	}
}
