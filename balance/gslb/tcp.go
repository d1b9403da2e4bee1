package gslb

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/trivet-ha/trivet/balance/gslb/answer"
	"github.com/trivet-ha/trivet/balance/gslb/wire"
)

// How long TCP clients may take.
const (
	tcpIdle  = 10 * time.Second // without a query (RFC 7766 §6.2.3 speaks of a few seconds)
	tcpQuery = 2 * time.Second  // from the first byte of a query to its last
	tcpWrite = 5 * time.Second  // to take an answer
)

// tcpQueryMax is the largest query taken over TCP, in bytes; a longer one ends the connection.
const tcpQueryMax = 4096

// tcp is what all TCP connections share.
type tcp struct {
	server *Server
	seats  chan *seat // responders that nobody uses
	all    []*seat
	closed atomic.Uint64 // connections closed at once, for a limit

	mu      sync.Mutex
	conns   map[net.Conn]struct{}
	sources map[netip.Prefix]int
	ending  bool
}

// seat is a responder and the room for its answer. There are few: an answer takes microseconds.
type seat struct {
	responder *answer.Responder
	buf       []byte
}

func newTCP(s *Server, seats int) *tcp {
	t := &tcp{server: s, seats: make(chan *seat, seats), conns: map[net.Conn]struct{}{}, sources: map[netip.Prefix]int{}}
	for i := range seats {
		seat := &seat{
			responder: answer.New(i, uint64(time.Now().UnixNano())^uint64(i)<<32),
			buf:       make([]byte, 0, wire.TCPMax),
		}
		t.all = append(t.all, seat)
		t.seats <- seat
	}
	return t
}

// serve accepts connections until the listener is closed, and returns when all of them have ended.
func (t *tcp) serve(ctx context.Context, l net.Listener) {
	var wg sync.WaitGroup
	defer wg.Wait()
	for {
		c, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // out of descriptors, say: others may be closed meanwhile
			select {
			case <-ctx.Done():
				return
			case <-time.After(50 * time.Millisecond):
			}
			continue
		}
		if !t.enter(c) {
			t.closed.Add(1)
			c.Close()
			continue
		}
		wg.Go(func() {
			defer t.leave(c)
			t.converse(c)
		})
	}
}

// enter counts a connection in, if the limits let it.
func (t *tcp) enter(c net.Conn) bool {
	limits := t.server.limits.Load()
	source := sourceOf(c)
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ending || len(t.conns) >= limits.Connections || t.sources[source] >= limits.PerSource {
		return false
	}
	t.conns[c] = struct{}{}
	t.sources[source]++
	return true
}

func (t *tcp) leave(c net.Conn) {
	source := sourceOf(c)
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.conns, c)
	if t.sources[source]--; t.sources[source] == 0 {
		delete(t.sources, source)
	}
	c.Close()
}

// open returns how many connections there are.
func (t *tcp) open() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.conns)
}

// end lets no connection in any more, and ends those that wait for a query.
func (t *tcp) end() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ending = true
	for c := range t.conns {
		_ = c.SetReadDeadline(time.Now())
	}
}

// isEnding reports whether end was called.
func (t *tcp) isEnding() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.ending
}

// sourceOf is what connections are counted by: an IPv4 address, or the network of an IPv6 one.
func sourceOf(c net.Conn) netip.Prefix {
	a := addrOf(c)
	bits := a.BitLen()
	if a.Is6() {
		bits = 64
	}
	p, _ := a.Prefix(bits)
	return p
}

func addrOf(c net.Conn) netip.Addr {
	if a, ok := c.RemoteAddr().(*net.TCPAddr); ok {
		return a.AddrPort().Addr().Unmap().WithZone("")
	}
	return netip.Addr{}
}

// converse answers one query after the other (RFC 7766 §6.2.1.1 lets them come without waiting) until the client has
// enough, or takes too long.
func (t *tcp) converse(c net.Conn) {
	from := addrOf(c)
	in := make([]byte, 512)
	var out []byte
	for {
		query, ok := t.read(c, &in)
		if !ok {
			return
		}
		if out = t.answer(out[:0], query, from); len(out) == 0 {
			return // no query: this is no client of ours
		}
		_ = c.SetWriteDeadline(time.Now().Add(tcpWrite))
		if _, err := c.Write(out); err != nil {
			return
		}
	}
}

// read returns the next query. in grows to what it needs.
func (t *tcp) read(c net.Conn, in *[]byte) ([]byte, bool) {
	_ = c.SetReadDeadline(time.Now().Add(tcpIdle))
	if t.isEnding() { // end came before the deadline was moved
		return nil, false
	}
	var head [2]byte
	if _, err := io.ReadFull(c, head[:]); err != nil {
		return nil, false
	}
	n := int(binary.BigEndian.Uint16(head[:]))
	if n < wire.HeaderLen || n > tcpQueryMax {
		return nil, false
	}
	if n > len(*in) {
		*in = make([]byte, n)
	}
	_ = c.SetReadDeadline(time.Now().Add(tcpQuery))
	_, err := io.ReadFull(c, (*in)[:n])
	return (*in)[:n], err == nil
}

// answer appends the answer with its length before it.
func (t *tcp) answer(out, query []byte, from netip.Addr) []byte {
	seat := <-t.seats
	source := t.server.source(t.server.now())
	source.Addr, source.TCP = from, true
	msg := seat.responder.Answer(t.server.world.Load(), seat.buf, query, source)
	if l := t.server.queryLog.Load(); l != nil {
		l.note(seat.responder, source, len(msg))
	}
	if len(msg) > 0 {
		out = binary.BigEndian.AppendUint16(out, uint16(len(msg)))
		out = append(out, msg...)
	}
	t.seats <- seat
	return out
}
