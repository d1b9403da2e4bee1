package l7_test

import (
	"bufio"
	"bytes"
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

func upgrade(fields ...string) string {
	return get(append([]string{"Connection: Upgrade", "Upgrade: websocket"}, fields...)...)
}

var (
	upgradeSent = get("Connection: upgrade", "Upgrade: websocket")
	switching   = lines("HTTP/1.1 101 Switching Protocols", "Connection: upgrade", "Upgrade: websocket")
)

func webSockets(s *setup) { s.route.Upgrade = []string{"websocket"} }

// tunnel opens one.
func tunnel(t *testing.T, change ...func(*setup)) (st *stage, client, server *peer) {
	e := newEndpoint(t)
	st = serve(t, []string{e.addr()}, append(change, webSockets, oneLoop)...)
	client = st.dial()
	client.say(upgrade())
	server = e.accept()
	server.expect(upgradeSent)
	server.say(switching)
	client.expect(switching)
	return st, client, server
}

func TestTunnelPassesBytesBothWays(t *testing.T) {
	st, client, server := tunnel(t)
	for i := range 50 {
		s := fmt.Sprintf("<%d>", i)
		client.say(s)
		server.expect(s)
		server.say(s + s)
		client.expect(s + s)
	}
	if st.pool.InFlight() != 1 {
		t.Error("the tunnel does not count as a request in flight")
	}
	client.close()
	server.ended()
	server.close()
	st.until("the tunnel is over", func() bool { return st.pool.InFlight() == 0 && st.srv.Connections() == 0 })
	if st.srv.IdleConns() != 0 {
		t.Error("its connection is kept for other requests")
	}
	if _, routes := st.srv.Stats(); routes[1].Route != "all" || routes[1].Status[1] != 1 {
		t.Errorf("it is counted as %+v", routes)
	}
}

func TestTunnelBeginsWithWhatHasBeenSaidAlready(t *testing.T) {
	e := newEndpoint(t)
	st := serve(t, []string{e.addr()}, webSockets)
	client := st.dial()
	client.say(upgrade() + "early bird") // does not wait for the 101
	server := e.accept()
	server.expect(upgradeSent)
	server.say(switching + "hello") // nor does this one for anything
	server.expect("early bird")
	client.expect(switching + "hello")
	client.close()
	server.ended()
}

func TestEndsOfATunnelPassSeparately(t *testing.T) {
	t.Run("client first", func(t *testing.T) {
		st, client, server := tunnel(t)
		client.say("last words")
		client.shut()
		server.expect("last words")
		server.ended()
		server.say("some more")
		client.expect("some more")
		server.say("and the end")
		server.close()
		client.expect("and the end")
		client.ended()
		st.until("the tunnel is over", func() bool { return st.pool.InFlight() == 0 })
	})
	t.Run("endpoint first", func(t *testing.T) {
		st, client, server := tunnel(t)
		server.say("last words")
		server.shut()
		client.expect("last words")
		client.ended()
		client.say("some more")
		server.expect("some more")
		release := st.srv.Hold() // the last words and the end are found at once
		client.say("and the end")
		client.shut()
		release()
		server.expect("and the end")
		server.ended()
		st.until("the tunnel is over", func() bool { return st.pool.InFlight() == 0 })
	})
	t.Run("both at once", func(t *testing.T) {
		st, client, server := tunnel(t)
		release := st.srv.Hold()
		client.say("from the client")
		client.shut()
		server.say("from the endpoint")
		server.shut()
		release()
		server.expect("from the client")
		client.expect("from the endpoint")
		server.ended()
		client.ended()
		st.until("the tunnel is over", func() bool { return st.pool.InFlight() == 0 })
	})
}

// TestEndOfATunnelWaitsForWhatComesBefore ends each side while much of what it said is still on its way.
func TestEndOfATunnelWaitsForWhatComesBefore(t *testing.T) {
	const size = 12 << 20
	for _, up := range []bool{true, false} {
		st, client, server := tunnel(t)
		from, to := client, server
		if !up {
			from, to = server, client
		}
		text := strings.Repeat("0123456789abcdef", size/16)
		var wg sync.WaitGroup
		wg.Go(func() { from.say(text); from.shut() })
		st.until("it does not fit", func() bool { return st.pool.InFlight() == 1 })
		if got := to.rest(); got != text {
			t.Errorf("%d bytes came of %d", len(got), len(text))
		}
		wg.Wait()
		to.shut()
		from.ended()
	}
}

func TestBrokenTunnelEnds(t *testing.T) {
	for _, c := range []struct {
		name string
		do   func(client, server *peer)
	}{
		{"the client resets", func(client, server *peer) { client.reset() }},
		{"the endpoint resets", func(client, server *peer) { server.reset() }},
		{"the endpoint resets after its end", func(client, server *peer) { server.shut(); client.ended(); server.reset() }},
		{"the client resets after its end", func(client, server *peer) { client.shut(); server.ended(); client.reset() }},
		{"the endpoint closes and the client goes on", func(client, server *peer) {
			server.close()
			client.ended()
			for range 20 {
				client.say(strings.Repeat("x", 100<<10))
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			st, client, server := tunnel(t)
			c.do(client, server)
			if !strings.Contains(c.name, "after its end") {
				st.until("the tunnel is over", func() bool { return st.pool.InFlight() == 0 })
			}
			client.close()
			server.close()
			st.until("the tunnel is over", func() bool { return st.pool.InFlight() == 0 && st.srv.Connections() == 0 })
		})
	}
}

func TestQuietTunnelIsClosed(t *testing.T) {
	st, client, server := tunnel(t, func(s *setup) { s.upstream.Tunnel = 12 * short })
	since := time.Now()
	for range 4 { // not quiet
		<-time.After(4 * short)
		client.say("x")
		server.expect("x")
	}
	since = since.Add(16 * short)
	client.broken()
	server.broken()
	took(t, since, 12*short)
	if st.failures("timeout") != 0 {
		t.Error("the endpoint is blamed for it")
	}
}

// TestLimitOfARequestIsNotThatOfATunnel: the route's time-out is for the answer's head then.
func TestLimitOfARequestIsNotThatOfATunnel(t *testing.T) {
	_, client, server := tunnel(t, func(s *setup) { s.route.Timeout, s.upstream.IdleIO = 15*short, short })
	<-time.After(18 * short)
	client.say("still there")
	server.expect("still there")
}

func TestDrainWaitsForTunnels(t *testing.T) {
	st, client, server := tunnel(t)
	drained := st.drain()
	client.say("x")
	server.expect("x")
	select {
	case <-drained:
		t.Error("Drain did not wait")
	default:
	}
	client.close()
	server.close()
	<-drained
}

// TestWebSocketWorksThroughARealServer speaks RFC 6455 by hand with a server of the standard library.
func TestWebSocketWorksThroughARealServer(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(echoFrames))
	defer server.Close()
	st := serve(t, []string{server.Listener.Addr().String()}, webSockets)
	client := st.dial()
	const key = "dGhlIHNhbXBsZSBub25jZQ=="
	client.say(upgrade("Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: "+key))
	head := client.head()
	if !strings.HasPrefix(head, "HTTP/1.1 101 ") || !strings.Contains(head, "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n") { // RFC 6455 §1.3
		t.Fatalf("the client got\n%s", quoted(head))
	}
	rng := rand.New(rand.NewPCG(1, 2))
	for _, size := range []int{0, 1, 125, 126, 65535, 65536, 3 << 20} {
		payload := make([]byte, size)
		for i := range payload {
			payload[i] = byte(rng.Uint32())
		}
		go client.say(string(frame(2, payload, rng.Uint32())))
		opcode, got := readFrame(t, client)
		if opcode != 2 || !bytes.Equal(got, payload) {
			t.Fatalf("of %d bytes came back %d, opcode %d", size, len(got), opcode)
		}
	}
	client.say(string(frame(8, []byte{3, 232}, 7)))
	if opcode, got := readFrame(t, client); opcode != 8 || len(got) != 2 {
		t.Errorf("the close was answered with opcode %d", opcode)
	}
	client.ended()
}

// frame makes a masked frame (RFC 6455 §5.2).
func frame(opcode byte, payload []byte, mask uint32) []byte {
	b := []byte{0x80 | opcode}
	switch n := len(payload); {
	case n < 126:
		b = append(b, 0x80|byte(n))
	case n < 1<<16:
		b = binary.BigEndian.AppendUint16(append(b, 0x80|126), uint16(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, 0x80|127), uint64(n))
	}
	key := binary.BigEndian.AppendUint32(nil, mask)
	b = append(b, key...)
	for i, c := range payload {
		b = append(b, c^key[i%4])
	}
	return b
}

// readFrame reads an unmasked one.
func readFrame(t *testing.T, p *peer) (opcode byte, payload []byte) {
	h := p.take(2)
	n := int(h[1] & 0x7f)
	switch n {
	case 126:
		n = int(binary.BigEndian.Uint16([]byte(p.take(2))))
	case 127:
		n = int(binary.BigEndian.Uint64([]byte(p.take(8))))
	}
	return h[0] & 0x0f, []byte(p.take(n))
}

// echoFrames is a WebSocket server that sends each frame back.
func echoFrames(w http.ResponseWriter, r *http.Request) {
	sum := sha1.Sum([]byte(r.Header.Get("Sec-WebSocket-Key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	conn, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	defer conn.Close()
	fmt.Fprintf(rw, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n", base64.StdEncoding.EncodeToString(sum[:]))
	_ = rw.Flush()
	for echoFrame(conn, rw.Reader) {
	}
}

func echoFrame(conn net.Conn, r *bufio.Reader) bool {
	var h [2]byte
	if _, err := io.ReadFull(r, h[:]); err != nil {
		return false
	}
	head := []byte{h[0], h[1] & 0x7f}
	n := uint64(h[1] & 0x7f)
	if extra := map[uint64]int{126: 2, 127: 8}[n]; extra > 0 {
		ext := make([]byte, 8)
		if _, err := io.ReadFull(r, ext[8-extra:]); err != nil {
			return false
		}
		head = append(head, ext[8-extra:]...)
		n = binary.BigEndian.Uint64(ext)
	}
	var key [4]byte
	if _, err := io.ReadFull(r, key[:]); err != nil {
		return false
	}
	payload := make([]byte, n)
	if _, err := io.ReadFull(r, payload); err != nil {
		return false
	}
	for i := range payload {
		payload[i] ^= key[i%4]
	}
	_, err := conn.Write(append(head, payload...))
	return err == nil && h[0]&0x0f != 8
}

// TestUpgradeNeedsNoBody: with one, who would say where it ends and the other protocol begins.
func TestUpgradeNeedsNoBody(t *testing.T) {
	e := newEndpoint(t)
	st := serve(t, []string{e.addr()}, webSockets)
	client := st.dial()
	client.say(upgrade("Content-Length: 2") + "hi")
	server := e.accept()
	server.expect(get("Content-Length: 2") + "hi")
	server.say(ok("", "Content-Length: 0"))
	client.expect(ok("", "Content-Length: 0"))
}
