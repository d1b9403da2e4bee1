package supervise

import (
	"fmt"
	"net"
	"strconv"
	"sync"
)

// Ports hands out free ports on loopback, none twice. The zero Ports is ready.
// Its methods may be called by any goroutine.
//
// Between the look and the moment at which the command listens, another program
// may take the port. That is rare: the kernel hands out odd ports to those who
// ask for any, as this does, and even ones to connections; and it does no harm:
// the command ends, and gets another port.
type Ports struct {
	mu    sync.Mutex
	taken map[int]bool
}

// Take returns a port that is free now.
func (p *Ports) Take() (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for range 100 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return 0, fmt.Errorf("find a free port: %w", err)
		}
		port := l.Addr().(*net.TCPAddr).Port
		l.Close()
		if !p.taken[port] {
			p.mark(port)
			return port, nil
		}
	}
	return 0, fmt.Errorf("find a free port: %d are handed out", len(p.taken))
}

// Keep marks a port that is in use already: by a process that was adopted.
func (p *Ports) Keep(port int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mark(port)
}

// Free gives a port back.
func (p *Ports) Free(port int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.taken, port)
}

func (p *Ports) mark(port int) {
	if p.taken == nil {
		p.taken = map[int]bool{}
	}
	p.taken[port] = true
}

// addressOf is where a process on a port answers.
func addressOf(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }
