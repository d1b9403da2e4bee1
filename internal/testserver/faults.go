package testserver

import (
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
)

// StartCutter starts a proxy before address that cuts connections: each one after a number of bytes drawn evenly
// from zero to twice meanBytes, in either direction. It returns its own address. The same seed cuts at the same places.
func StartCutter(t testing.TB, address string, meanBytes int64, seed uint64) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &cutter{address: address, mean: meanBytes, src: rand.New(rand.NewPCG(seed, seed)), open: map[net.Conn]bool{}}
	p.wg.Go(func() { p.accept(l) })
	t.Cleanup(func() {
		l.Close()
		p.closeAll()
		p.wg.Wait()
	})
	return l.Addr().String()
}

type cutter struct {
	address string
	mean    int64
	wg      sync.WaitGroup

	mu     sync.Mutex
	src    *rand.Rand
	open   map[net.Conn]bool
	closed bool
}

func (p *cutter) accept(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		up, err := net.Dial("tcp", p.address)
		if err != nil {
			c.Close()
			continue
		}
		if !p.keep(c, up) {
			return
		}
		p.wg.Go(func() { p.pass(c, up) })
		p.wg.Go(func() { p.pass(up, c) })
	}
}

func (p *cutter) keep(conns ...net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range conns {
		p.open[c] = true
		if p.closed {
			c.Close()
		}
	}
	return !p.closed
}

// pass copies until the allowance is used up or the source ends, and then cuts both.
func (p *cutter) pass(dst, src net.Conn) {
	p.mu.Lock()
	allowance := p.src.Int64N(2*p.mean + 1)
	p.mu.Unlock()
	_, _ = io.CopyN(dst, src, allowance)
	for _, c := range []net.Conn{dst, src} {
		if tcp, ok := c.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0) // a reset, not a polite end
		}
		c.Close()
		p.mu.Lock()
		delete(p.open, c)
		p.mu.Unlock()
	}
}

func (p *cutter) closeAll() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	for c := range p.open {
		c.Close()
	}
}
