package faulthttp

import (
	"context"
	"io"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/trivet-ha/trivet/fault"
)

// body is an answer's body. Its end, by whichever way, ends the context of the
// request it belongs to; and so does silence for longer than idle.
type body struct {
	io.ReadCloser
	cancel context.CancelCauseFunc
	idle   time.Duration
	timer  *time.Timer // nil if there is no limit
	silent atomic.Bool
}

// upgraded is the body of an answer that has changed the protocol: the connection.
type upgraded struct {
	*body
	io.Writer
}

func newBody(rc io.ReadCloser, idle time.Duration, cancel context.CancelCauseFunc) io.ReadCloser {
	b := &body{ReadCloser: rc, cancel: cancel, idle: idle}
	if idle > 0 {
		b.timer = time.AfterFunc(idle, func() {
			b.silent.Store(true)
			cancel(fault.ErrTimeout)
		})
		b.timer.Stop()
	}
	if w, ok := rc.(io.Writer); ok {
		return &upgraded{b, w}
	}
	return b
}

func (b *body) Read(p []byte) (int, error) {
	if b.timer != nil {
		b.timer.Reset(b.idle)
	}
	n, err := b.ReadCloser.Read(p)
	if b.timer != nil {
		b.timer.Stop()
	}
	if err != nil {
		b.cancel(nil)
		if err != io.EOF && b.silent.Load() {
			err = &fault.TimeoutError{Limit: b.idle, Err: err}
		}
	}
	return n, err
}

func (b *body) Close() error {
	err := b.ReadCloser.Close()
	b.cancel(nil)
	return err
}

// discardLimit is how much of a body is read so that its connection can be used
// again; one with more to say is closed.
const discardLimit = 64 << 10

// discard gets rid of an answer.
func discard(r *http.Response) {
	if r == nil || r.Body == nil {
		return
	}
	_, _ = io.CopyN(io.Discard, r.Body, discardLimit)
	_ = r.Body.Close()
}
