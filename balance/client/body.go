package client

import (
	"io"
	"sync/atomic"
)

// body is an answer's body that tells when it has ended: with an error, or with
// nil if all was read, or its reader had enough, which is not the server's fault.
type body struct {
	io.ReadCloser
	ended atomic.Bool
	end   func(error)
}

// upgraded is the body of an answer that has changed the protocol: the connection.
type upgraded struct {
	*body
	io.Writer
}

func newBody(rc io.ReadCloser, end func(error)) io.ReadCloser {
	b := &body{ReadCloser: rc, end: end}
	if w, ok := rc.(io.Writer); ok {
		return &upgraded{b, w}
	}
	return b
}

func (b *body) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	switch err {
	case nil:
	case io.EOF:
		b.finish(nil)
	default:
		b.finish(err)
	}
	return n, err
}

func (b *body) Close() error {
	err := b.ReadCloser.Close()
	b.finish(nil)
	return err
}

func (b *body) finish(err error) {
	if b.ended.CompareAndSwap(false, true) {
		b.end(err)
	}
}
