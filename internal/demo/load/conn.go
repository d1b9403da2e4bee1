package load

import (
	"bufio"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
)

// answerBytesMax bounds the body that is kept for Check; bodies are otherwise discarded as they come.
const answerBytesMax = 4 << 20

// A conn carries one request at a time. Its goroutine does nothing but read, also while the connection is idle, so
// that a connection closed by the server is taken out of the pool at once, as a browser would.
type conn struct {
	g  *Generator
	nc net.Conn
	r  *bufio.Reader

	served int // complete answers

	// Guarded by g.mu.
	busy bool
	job  job
}

func newConn(g *Generator, nc net.Conn) *conn {
	return &conn{g: g, nc: nc, r: bufio.NewReaderSize(nc, 16<<10)}
}

// write sends the job's request. An error is left to the reading side, which sees it too and may have an answer that
// came before it.
func (c *conn) write(j job) {
	c.nc.SetDeadline(j.due.Add(c.g.cfg.Timeout))
	if _, err := c.nc.Write(j.request); err != nil {
		if t, ok := c.nc.(*net.TCPConn); ok {
			t.CloseRead()
		}
	}
}

// serve reads answers until the connection ends, and then settles the account of the job in flight.
func (c *conn) serve() {
	defer c.nc.Close()
	for {
		if _, err := c.r.Peek(1); err != nil {
			c.lost(err, true)
			return
		}
		status, reusable, body, err := readAnswer(c.r, c.g.cfg.Check != nil)
		if err != nil {
			c.lost(err, false)
			return
		}
		c.g.mu.Lock()
		j, asked := c.job, c.busy
		c.g.mu.Unlock()
		if !asked {
			c.g.drop(c) // an answer to nothing
			return
		}
		c.served++
		failure := Failure("")
		if c.g.cfg.Check != nil && status < 400 && !c.g.cfg.Check(j.seq, status, body) {
			failure = Wrong
		}
		c.g.report(j, status, failure)
		if !reusable || !c.g.release(c) {
			c.g.mu.Lock()
			c.busy = false
			c.g.mu.Unlock()
			c.g.drop(c)
			return
		}
	}
}

// lost settles the job of a connection that broke. untouched means that no byte of the answer had come.
func (c *conn) lost(err error, untouched bool) {
	j, busy := c.g.drop(c)
	if !busy {
		return
	}
	kind := failureOf(err)
	if c.g.cfg.Resend && untouched && c.served > 0 && !j.resent && (kind == Closed || kind == Reset) {
		j.resent = true
		c.g.mu.Lock()
		c.g.open++
		c.g.mu.Unlock()
		c.g.wg.Go(func() { c.g.dial(j) })
		return
	}
	c.g.report(j, 0, kind)
}

// failureOf sorts an error of the connection.
func failureOf(err error) Failure {
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return Timeout
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return Reset
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed):
		return Closed
	case errors.Is(err, errMalformed):
		return Malformed
	}
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		return Timeout
	}
	return Connect
}
