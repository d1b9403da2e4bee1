package demo

import (
	"bytes"
	"strings"
	"testing"
	"time"
)

func TestBarsAreAsLongAsTheirValue(t *testing.T) {
	for _, tt := range []struct {
		n, max float64
		want   string
	}{
		{0, 10, "    "},
		{10, 10, "████"},
		{20, 10, "████"}, // never longer than its room
		{5, 10, "██  "},
		{1, 32, "▏   "},
		{3, 0, "████"},
	} {
		if got := bar(tt.n, tt.max, 4); got != tt.want {
			t.Errorf("bar(%g of %g) = %q, want %q", tt.n, tt.max, got, tt.want)
		}
	}
}

func TestFiguresAreReadable(t *testing.T) {
	for n, want := range map[uint64]string{0: "0", 999: "999", 1000: "1 000", 1234567: "1 234 567"} {
		if got := grouped(n); got != want {
			t.Errorf("grouped(%d) = %q, want %q", n, got, want)
		}
	}
	for d, want := range map[time.Duration]string{420 * time.Microsecond: "0.4 ms", 42 * time.Millisecond: "42 ms", 3 * time.Second: "3000 ms"} {
		if got := ms(d); got != want {
			t.Errorf("ms(%v) = %q, want %q", d, got, want)
		}
	}
}

func TestAStoryWithoutATerminalIsPlain(t *testing.T) {
	var out bytes.Buffer
	s := newStory(&out)
	s.show("never seen")
	s.title("1. A title")
	s.tell(balancer, "%s is down", "shop-a")
	if got := out.String(); strings.Contains(got, "\x1b") || strings.Contains(got, "never") || !strings.HasSuffix(got, "trivet  shop-a is down\n") {
		t.Errorf("story %q", got)
	}
}

func TestALiveLineStaysBelowTheStory(t *testing.T) {
	var out bytes.Buffer
	s := newStory(&out)
	s.width, s.colour = 100, true
	s.show("alive")
	s.print("told")
	s.show("")
	if want := "alive\r\x1b[2Ktold\nalive\r\x1b[2K"; out.String() != want {
		t.Errorf("wrote %q, want %q", out.String(), want)
	}
}

func TestCustomersKnowARightAnswer(t *testing.T) {
	c := &customers{host: "shop.demo", name: "run"}
	order := `{"id":"run-2","item":"kettle","answered_by":"shop-b"}`
	page := "<title>The Tea Shop</title> served by <b>shop-c</b>"
	c.next(0)
	if !c.check(0, 200, []byte(page)) || c.check(0, 200, []byte("<title>Nginx</title>")) {
		t.Error("a page is not told from another")
	}
	if request := string(c.next(2)); !strings.HasPrefix(request, "PUT /orders/run-2 HTTP/1.1\r\n") {
		t.Errorf("request %q", request)
	}
	if c.check(2, 200, []byte(page)) {
		t.Error("a page passes for an order")
	}
	if len(c.acknowledged()) != 0 {
		t.Error("an order counts that was not acknowledged")
	}
	if !c.check(2, 201, []byte(order)) || len(c.acknowledged()) != 1 || c.acknowledged()[0] != "run-2" {
		t.Errorf("acknowledged %v", c.acknowledged())
	}
	if request := string(c.next(4)); !strings.HasPrefix(request, "GET /orders/run-2 HTTP/1.1\r\n") {
		t.Errorf("request %q", request)
	}
	if !c.check(4, 200, []byte(order)) || c.check(4, 200, []byte(strings.Replace(order, "run-2", "run-3", 1))) {
		t.Error("an order is not told from another")
	}
	if got := c.shares(3); got[0] != 0 || got[1] != 2 || got[2] != 1 {
		t.Errorf("shares %v", got)
	}
}
