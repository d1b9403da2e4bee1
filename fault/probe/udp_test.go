package probe

import (
	"net"
	"regexp"
	"testing"
	"time"
)

// datagrams answers each datagram with what f makes of it; nil is nothing.
func datagrams(t *testing.T, f func([]byte) [][]byte) string {
	t.Helper()
	c, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 2048)
		for {
			n, from, err := c.ReadFrom(buf)
			if err != nil {
				return
			}
			for _, answer := range f(buf[:n]) {
				_, _ = c.WriteTo(answer, from)
			}
		}
	}()
	t.Cleanup(func() { _ = c.Close(); <-done })
	return c.LocalAddr().String()
}

func TestUDP(t *testing.T) {
	echo := datagrams(t, func(b []byte) [][]byte { return [][]byte{[]byte("noise"), b} })
	silent := datagrams(t, func([]byte) [][]byte { return nil })
	game := datagrams(t, func(b []byte) [][]byte { return [][]byte{{0xff, 0xff, 0xff, 0xff, 'I', 17}} })
	closed, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := closed.LocalAddr().String()
	_ = closed.Close()
	for _, c := range []struct {
		name    string
		check   *UDP
		address string
		want    string
	}{
		{"silence is no refusal", &UDP{}, silent, "not refused"},
		{"an answer", &UDP{Send: []byte("x")}, echo, "answers"},
		{"nobody", &UDP{}, nobody, "error: send: connection refused"},
		{"nobody, and an answer is wanted", &UDP{Expect: regexp.MustCompile("x")}, nobody, "error: wait for answer: connection refused"},
		{"the right answer after another", &UDP{Send: []byte("ping"), Expect: regexp.MustCompile("^ping$")}, echo, "expected answer"},
		{"the wrong answer", &UDP{Send: []byte("ping"), Expect: regexp.MustCompile("pong")}, echo, `error: answer "ping" does not match pong`},
		{"no answer", &UDP{Send: []byte("ping"), Expect: regexp.MustCompile("pong")}, silent, "error: wait for answer: timed out"},
		{"bytes that are no text", &UDP{Expect: regexp.MustCompile(`^\xff\xff\xff\xffI`)}, game, "expected answer"},
		{"a socket in the file system", &UDP{}, "unix:/run/x", "error: a UDP probe needs an IP address and a port"},
		{"no address", &UDP{}, "nowhere", "error: connect: .*missing port.*"},
	} {
		t.Run(c.name, func(t *testing.T) {
			detail, err := askWithin(t, c.check, Target{Address: c.address}, 300*time.Millisecond)
			wants(t, detail, err, c.want)
		})
	}
}
