package http2

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	xhpack "golang.org/x/net/http2/hpack"
)

// floods are what a peer may do a number of times in a burst, by default, and no more often.
var floods = []struct {
	name string
	once func(i int) string // a script
	max  int
	rule string
}{
	{"rapid reset", func(i int) string { return fmt.Sprintf("headers %d GET \n rst %d CANCEL", 2*i+1, 2*i+1) }, 200, "flood-resets"},
	{"streams that break a rule", func(i int) string { return fmt.Sprintf("headers %d GET \n window %d 0", 2*i+1, 2*i+1) }, 181, "flood-resets"},
	{"malformed heads", func(i int) string { return fmt.Sprintf("headers %d end GET X=y", 2*i+1) }, 200, "flood-resets"},
	{"data for streams that are over", func(i int) string { return "data 1 x" }, 1991, "flood-control"},
	{"requests above the limit", func(i int) string { return fmt.Sprintf("headers %d end GET", 2*i+1) }, 128 + 1000, "flood-resets"},
	{"settings", func(int) string { return "settings 4=1" }, 200, "flood-control"},
	{"pings", func(int) string { return "ping x" }, 2000, "flood-control"},
	{"priorities", func(int) string { return "priority 3 1" }, 2000, "flood-control"},
	{"window updates", func(int) string { return "window 0 1" }, 2000, "flood-control"},
	{"window updates of a stream that is over", func(int) string { return "window 1 1" }, 2000, "flood-control"},
	{"resets of a stream that is over", func(int) string { return "rst 1 CANCEL" }, 2000, "flood-control"},
	{"acknowledgements", func(int) string { return "settings ack" }, 2000, "flood-control"},
	{"pongs", func(int) string { return "pong x" }, 2000, "flood-control"},
	{"farewells", func(int) string { return "goaway 0 NO_ERROR" }, 2001, "flood-control"},
	{"unknown frames", func(int) string { return "frame 0x77 0 0" }, 2000, "flood-control"},
	{"empty data", func(int) string { return "data 3" }, 2000, "flood-empty"},
	{"padding", func(int) string { return "data 3 pad=1" }, 2000, "flood-empty"},
}

// flood plays a script until the connection fails. Stream 1 is over, and 3 is open, if the scripts want them.
func flood(t *testing.T, name string, once func(int) string, pause time.Duration, times int) (n int, rule string) {
	t.Helper()
	s := newScript(t, false, Settings{})
	s.play("settings")
	first := 0
	if strings.Contains(once(0), " 1") && !strings.Contains(once(0), "headers") {
		s.play("headers 1 end GET \n respond 1 end 200 \n headers 3 GET")
	}
	if strings.HasPrefix(once(0), "data 3") {
		s.play("headers 3 GET")
	}
	for n = range times {
		s.play(once(first + n))
		if err := s.c.Err(); err != nil {
			return n, err.(*Error).Rule
		}
		s.now += pause
		s.told = nil
	}
	return times, ""
}

func TestFloodsEndTheConnection(t *testing.T) {
	for _, f := range floods {
		t.Run(f.name, func(t *testing.T) {
			if n, rule := flood(t, f.name, f.once, 0, f.max+100); n != f.max || rule != f.rule {
				t.Errorf("%q after %d, want %q after %d", rule, n, f.rule, f.max)
			}
		})
	}
}

func TestWhatFloodsDoInABurstMayBeDoneForEverAtLeisure(t *testing.T) {
	for _, f := range floods {
		if f.name == "requests above the limit" {
			continue // nobody answers here
		}
		t.Run(f.name, func(t *testing.T) {
			if n, rule := flood(t, f.name, f.once, 110*time.Millisecond, 3*f.max); rule != "" {
				t.Errorf("%q after %d", rule, n)
			}
		})
	}
}

func TestSoundPeersMayGoOnForEver(t *testing.T) {
	for _, c := range []struct {
		name   string
		client bool
		once   func(i int) string
	}{
		{"half of the requests are reset", false, func(i int) string {
			return fmt.Sprintf("headers %d end GET \n headers %d end GET \n rst %[2]d CANCEL \n respond %[1]d end 200", 4*i+1, 4*i+3)
		}},
		{"window updates for each frame of data", false, func(i int) string {
			return fmt.Sprintf("headers %d end GET \n respond %[1]d 200 \n send %[1]d 100 \n window 0 100 \n window %[1]d 100 \n send %[1]d end 100 \n window 0 100", 2*i+1)
		}},
		{"pings for each frame of data", false, func(i int) string {
			return fmt.Sprintf("headers %d GET \n data %[1]d x \n ping a \n data %[1]d end y \n ping b \n consumed %[1]d 2 \n respond %[1]d end 200", 2*i+1)
		}},
		{"interim answers", true, func(i int) string {
			return fmt.Sprintf("request end GET / \n headers %d :status=103 \n headers %[1]d end OK", 2*i+1)
		}},
		{"the endpoint refuses all", true, func(i int) string { return fmt.Sprintf("request end GET / \n rst %d REFUSED_STREAM", 2*i+1) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newScript(t, c.client, Settings{})
			s.play("settings")
			for i := range 3000 {
				s.play(c.once(i))
				if err := s.c.Err(); err != nil {
					t.Fatalf("%v after %d", err, i)
				}
			}
			if s.c.Len() != 0 {
				t.Errorf("%d streams are left", s.c.Len())
			}
		})
	}
}

// TestABrowserMayLeaveAPage: all the requests that are allowed at a time, reset at once, and again.
func TestABrowserMayLeaveAPage(t *testing.T) {
	s := newScript(t, false, Settings{})
	s.play("settings")
	id := 1
	for page := range 20 {
		first := id
		for range DefaultStreams {
			s.play(fmt.Sprintf("headers %d end GET", id))
			id += 2
		}
		for ; first < id; first += 2 {
			s.play(fmt.Sprintf("rst %d CANCEL", first))
		}
		if err := s.c.Err(); err != nil {
			t.Fatalf("page %d: %v", page, err)
		}
		s.now += 15 * time.Second
	}
	if n := s.c.Glitches(); n != 20*DefaultStreams {
		t.Errorf("%d glitches", n)
	}
}

func TestLateResetsCostNothing(t *testing.T) {
	s := newScript(t, false, Settings{Patience: 1})
	s.play("settings")
	for i := range 1000 {
		s.play(fmt.Sprintf("headers %d end GET", 2*i+1))
		s.now += time.Second
		s.play(fmt.Sprintf("rst %d CANCEL", 2*i+1))
		if err := s.c.Err(); err != nil {
			t.Fatal(i, err)
		}
	}
}

// TestWindowsOfAByteAreBounded: CVE-2019-9511, a large answer that is taken byte by byte.
func TestWindowsOfAByteAreBounded(t *testing.T) {
	s := newScript(t, false, Settings{})
	s.play("settings 4=0 \n ping x \n headers 1 end GET \n respond 1 200 \n send 1 end 1000000")
	n, last := 0, ""
	for ; s.c.Err() == nil && n < 5000; n++ {
		last = s.play("window 1 1 \n writable \n send 1 end 1000000")
	}
	if !strings.HasSuffix(last, "took 0\n< goaway 1 ENHANCE_YOUR_CALM flood-empty\n! flood-empty") { // and no half a frame before
		t.Errorf("at the end: %s", last)
	}
	if err, ok := s.c.Err().(*Error); !ok || err.Rule != "flood-empty" || n > 1100 {
		t.Errorf("%v after %d bytes", s.c.Err(), n)
	}
}

// TestWhoDoesNotReadIsCutOff: a driver that goes on all the same does not pile up output for ever.
func TestWhoDoesNotReadIsCutOff(t *testing.T) {
	s := newScript(t, false, Settings{Patience: 1 << 30})
	s.play("settings")
	ping := appendPing(nil, 0, make([]byte, 8))
	for i := 0; s.c.Err() == nil; i++ {
		s.c.Receive(bytes.Repeat(ping, 4000), 0)
		for ev := s.c.Next(); ev != nil; ev = s.c.Next() {
			t.Fatal(ev.Kind)
		}
		if full := len(s.c.Out) >= DefaultQueue; s.c.Full() != full {
			t.Fatalf("full: %v with %d bytes", s.c.Full(), len(s.c.Out))
		}
		if i > 1000 {
			t.Fatal("nothing happens")
		}
	}
	if err := s.c.Err().(*Error); err.Rule != "output-full" || len(s.c.Out) > outputMax+4000*len(ping)+100 {
		t.Errorf("%v with %d bytes of output", err, len(s.c.Out))
	}
}

// TestBombsStayFolded: a block that stands for 64 MiB of fields is refused, and takes the memory of a large head.
func TestBombsStayFolded(t *testing.T) {
	s := newScript(t, false, Settings{})
	s.play("settings")
	var block bytes.Buffer
	enc := xhpack.NewEncoder(&block)
	for _, f := range []xhpack.HeaderField{{Name: ":method", Value: "GET"}, {Name: ":scheme", Value: "http"}, {Name: ":path", Value: "/"}, {Name: "x", Value: strings.Repeat("v", 4000)}} {
		if err := enc.WriteField(f); err != nil {
			t.Fatal(err)
		}
	}
	block.Write(bytes.Repeat([]byte{0xbe}, frameMax-block.Len()))
	if got := s.play(fmt.Sprintf("frame 1 5 1 %x \n headers 3 end GET", block.Bytes())); got != "refused 1 end 431 head-size\nrequest 3 end GET / host=h none" {
		t.Errorf("told %s", got)
	}
	if n := cap(s.sc.head.text); n > 2*64<<10 {
		t.Errorf("%d bytes of text", n)
	}
}

// TestAnAnswerMayBeReadInSmallPiecesLater is what net/http's client does: it takes megabytes into its memory, and then
// opens the windows by 4 KiB at a time.
func TestAnAnswerMayBeReadInSmallPiecesLater(t *testing.T) {
	var sc Scratch
	c := NewServer(&Settings{}, &sc)
	c.Receive([]byte(preface+"\x00\x00\x00\x04\x00\x00\x00\x00\x00"), 0)
	for c.Next() != nil {
	}
	for range 100_000 {
		c.Receive(appendWindowUpdate(nil, 0, 4096), 0)
		for c.Next() != nil {
		}
		if c.Out = c.Out[:0]; c.Err() != nil {
			t.Fatal(c.Err())
		}
	}
}
