package test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/trivet-ha/trivet/api"
)

// echoTCP sends everything back.
func echoTCP(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer c.Close()
				_, _ = io.Copy(c, c)
				_ = c.(*net.TCPConn).CloseWrite()
			})
		}
	})
	t.Cleanup(func() { l.Close(); wg.Wait() })
	return l.Addr().String()
}

// echoUDP sends every datagram back.
func echoUDP(t *testing.T) string {
	t.Helper()
	c, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		buf := make([]byte, 65536)
		for {
			n, from, err := c.ReadFrom(buf)
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err == nil {
				_, _ = c.WriteTo(buf[:n], from)
			}
		}
	})
	t.Cleanup(func() { c.Close(); wg.Wait() })
	return c.LocalAddr().String()
}

const byAddress = `
listeners:
  echo: {address: "127.0.0.1:0", protocol: tcp, pool: echo}
  game: {address: "127.0.0.1:0", protocol: udp, pool: game}
pools:
  echo: {balance: maglev, endpoints: [%s]}
  game: {balance: ip_hash, endpoints: [%s], timeouts: {idle: 5s}}
admin: {socket: SOCKET}
drain_timeout: 30s
`

func TestAGibibyteComesThroughTCPAsItWas(t *testing.T) {
	size := int64(1 << 30)
	if testing.Short() {
		size = 64 << 20
	}
	d := run(t, fmt.Sprintf(byAddress, echoTCP(t), echoUDP(t)))
	c, err := net.Dial("tcp", d.front("echo"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	sent, got := sha256.New(), sha256.New()
	var sender sync.WaitGroup
	sender.Go(func() {
		_, err := io.CopyBuffer(struct{ io.Writer }{c}, io.TeeReader(io.LimitReader(rand.NewChaCha8([32]byte{}), size), sent), make([]byte, 256<<10))
		if err != nil {
			t.Error(err)
		}
		_ = c.(*net.TCPConn).CloseWrite()
	})
	n, err := io.CopyBuffer(got, struct{ io.Reader }{c}, make([]byte, 256<<10))
	sender.Wait()
	if err != nil || n != size || !bytes.Equal(sent.Sum(nil), got.Sum(nil)) {
		t.Errorf("%d of %d bytes, %v", n, size, err)
	}
	e := d.status().Pools[0].Endpoints[0]
	if e.BytesIn != uint64(size) || e.BytesOut != uint64(size) || e.Sessions != 1 {
		t.Errorf("%d sessions, %d bytes in, %d out", e.Sessions, e.BytesIn, e.BytesOut)
	}
}

// TestSessionsOutliveUpgrades keeps a connection open, and a client sending datagrams, while the process is replaced.
func TestSessionsOutliveUpgrades(t *testing.T) {
	d := run(t, fmt.Sprintf(byAddress, echoTCP(t), echoUDP(t)))
	stream, err := net.Dial("tcp", d.front("echo"))
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	packets, err := net.Dial("udp", d.front("game"))
	if err != nil {
		t.Fatal(err)
	}
	defer packets.Close()
	ask := func(c net.Conn, text string) string {
		_ = c.SetDeadline(time.Now().Add(10 * time.Second))
		if _, err := io.WriteString(c, text); err != nil {
			return err.Error()
		}
		buf := make([]byte, len(text))
		if _, err := io.ReadFull(c, buf); err != nil {
			return err.Error()
		}
		return string(buf)
	}
	// A client of the control API for each question: a kept connection stays with the process that drains.
	fresh := func(f func(*api.Client)) {
		c := api.Dial(d.socket)
		defer c.Close()
		f(c)
	}
	pid := d.status().PID
	for i := range 3 {
		for _, c := range []net.Conn{stream, packets} {
			if got := ask(c, fmt.Sprint("before ", i)); got != fmt.Sprint("before ", i) {
				t.Fatalf("got %q", got)
			}
		}
		fresh(func(c *api.Client) {
			if err := c.Upgrade(t.Context()); err != nil {
				t.Fatal(err)
			}
		})
		eventually(t, "another process serves", func() (ok bool) {
			fresh(func(c *api.Client) {
				s, err := c.Status(t.Context())
				if ok = err == nil && s.PID != pid; ok {
					pid = s.PID
				}
			})
			return ok
		})
		for _, c := range []net.Conn{stream, packets} {
			if got := ask(c, fmt.Sprint("after ", i)); got != fmt.Sprint("after ", i) {
				t.Fatalf("got %q", got)
			}
		}
	}
	stream.Close() // the first process has waited for it
	d.client.Close()
	d.client = api.Dial(d.socket)
	another, err := net.Dial("tcp", d.front("echo"))
	if err != nil {
		t.Fatal(err)
	}
	defer another.Close()
	if got := ask(another, "another"); got != "another" {
		t.Errorf("got %q", got)
	}
	another.Close()
}

func TestWhereAClientWouldGoIsExplained(t *testing.T) {
	first, second := echoTCP(t), echoTCP(t)
	d := run(t, fmt.Sprintf(byAddress, first+", "+second, echoUDP(t)))
	_, port, _ := net.SplitHostPort(d.front("echo"))
	for url, listener := range map[string]string{"tcp://:" + port: "echo", "udp:": "game"} {
		all, err := d.client.ExplainRequest(t.Context(), api.Question{URL: url, From: "192.0.2.7"})
		if err != nil || len(all) != 1 || all[0].Listener != listener || all[0].Source != "192.0.2.7" {
			t.Fatalf("%s: %+v, %v", url, all, err)
		}
		chosen := 0
		for _, c := range all[0].Choices {
			if c.Chosen {
				chosen++
			}
		}
		if chosen != 1 {
			t.Errorf("%s: choices are %+v", url, all[0].Choices)
		}
	}
	if _, err := d.client.ExplainRequest(t.Context(), api.Question{URL: "tcp://:1"}); err == nil || !strings.Contains(err.Error(), "no listener takes") {
		t.Errorf("of a port where nobody listens: %v", err)
	}
}
