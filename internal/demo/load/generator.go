package load

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

// Config says what to send and how often.
type Config struct {
	Address string        // host:port of the server
	Rate    float64       // requests per second
	Timeout time.Duration // for one request, from the moment it is due; 0 means 10 s

	// ConnectionsMax bounds the connections, and with them the requests in flight; 0 means 4096, twice what a
	// stall of one second needs at 2 000 requests per second.
	ConnectionsMax int

	// Next returns the bytes of request number seq, which must stay as they are until it has been answered. It is
	// called from one goroutine.
	Next func(seq uint64) []byte

	// Check, if not nil, looks at an answer below 400 and says whether it is the right one. The body is only valid
	// during the call. It is called from many goroutines.
	Check func(seq uint64, status int, body []byte) bool

	// Observe gets every result. It is called from many goroutines.
	Observe func(Result)

	// Resend sends a request once more, on a new connection, when the one it was sent on had carried a request
	// before and was closed without a byte of answer. Browsers do so (RFC 9112 §9.3.1); the requests must be safe to
	// repeat.
	Resend bool
}

// A Generator sends requests until it is told to stop. Create one with [New].
type Generator struct {
	cfg Config

	wg sync.WaitGroup // connections and dials

	mu    sync.Mutex
	idle  []*conn // the most recently used last
	open  int     // connections that exist or are being dialled
	ended bool
}

// New checks the configuration. It sends nothing yet.
func New(cfg Config) (*Generator, error) {
	switch {
	case cfg.Rate <= 0:
		return nil, fmt.Errorf("load rate %g: must be above 0", cfg.Rate)
	case cfg.Next == nil:
		return nil, errors.New("load: Next is missing")
	case cfg.Address == "":
		return nil, errors.New("load: Address is missing")
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = 10 * time.Second
	}
	if cfg.ConnectionsMax == 0 {
		cfg.ConnectionsMax = 4096
	}
	if cfg.Observe == nil {
		cfg.Observe = func(Result) {}
	}
	return &Generator{cfg: cfg}, nil
}

// Run sends requests at the configured rate until ctx ends, then waits until every one of them has been answered or
// has failed, at most the time-out. It may be called once.
func (g *Generator) Run(ctx context.Context) error {
	p := newPacer(g.cfg.Rate)
	defer p.close()
	for seq := uint64(0); ; seq++ {
		due, ok := p.wait(ctx, seq)
		if !ok {
			break
		}
		g.send(job{seq: seq, due: due, request: g.cfg.Next(seq)})
	}
	g.finish()
	return nil
}

// A job is one request on its way.
type job struct {
	seq     uint64
	due     time.Time
	request []byte
	resent  bool
}

// send gives the job to the connection that was used last, or to a new one.
func (g *Generator) send(j job) {
	g.mu.Lock()
	if n := len(g.idle); n > 0 {
		c := g.idle[n-1]
		g.idle = g.idle[:n-1]
		c.job, c.busy = j, true
		g.mu.Unlock()
		c.write(j)
		return
	}
	if g.open >= g.cfg.ConnectionsMax {
		g.mu.Unlock()
		g.report(j, 0, Full)
		return
	}
	g.open++
	g.mu.Unlock()
	g.wg.Go(func() { g.dial(j) })
}

// dial makes a connection for the job and serves it until it closes.
func (g *Generator) dial(j job) {
	d := net.Dialer{Deadline: j.due.Add(g.cfg.Timeout), KeepAlive: -1}
	nc, err := d.Dial("tcp", g.cfg.Address)
	if err != nil {
		g.mu.Lock()
		g.open--
		g.mu.Unlock()
		if kind := failureOf(err); kind == Timeout {
			g.report(j, 0, Timeout)
		} else {
			g.report(j, 0, Connect)
		}
		return
	}
	c := newConn(g, nc)
	c.job, c.busy = j, true
	c.write(j)
	c.serve()
}

// report hands a result out.
func (g *Generator) report(j job, status int, failure Failure) {
	if failure == "" && status >= 400 {
		failure = Failure(fmt.Sprintf("status %d", status))
	}
	g.cfg.Observe(Result{Seq: j.seq, Due: j.due, Latency: time.Since(j.due), Status: status, Failure: failure, Resent: j.resent})
}

// finish closes what is idle and waits for the rest.
func (g *Generator) finish() {
	g.mu.Lock()
	g.ended = true
	for _, c := range g.idle {
		c.nc.Close()
	}
	g.mu.Unlock()
	g.wg.Wait()
}

// release puts a connection back; it reports false when the connection is to be closed instead.
func (g *Generator) release(c *conn) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	c.busy = false
	if g.ended {
		return false
	}
	c.nc.SetDeadline(time.Time{})
	g.idle = append(g.idle, c)
	return true
}

// drop forgets a connection and returns the job it was busy with, if any.
func (g *Generator) drop(c *conn) (j job, busy bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.open--
	if c.busy {
		c.busy = false
		return c.job, true
	}
	for i, other := range g.idle {
		if other == c {
			g.idle = append(g.idle[:i], g.idle[i+1:]...)
			break
		}
	}
	return job{}, false
}
