package probe

import (
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
)

// TCP is a connection, and a first exchange if wanted.
type TCP struct {
	// Send is written once connected.
	Send []byte
	// Expect, if set, must match what comes back, at most 64 KiB of it.
	Expect *regexp.Regexp
	// TLS, if set, speaks TLS.
	TLS *TLS
}

// Do implements Check.
func (c *TCP) Do(ctx context.Context, t Target) (detail string, err error) {
	conn, stop, err := connect(ctx, t, c.TLS, "")
	if err != nil {
		return "", err
	}
	defer stop()
	if len(c.Send) > 0 {
		if _, err := conn.Write(c.Send); err != nil {
			return "", explain(ctx, "send", err)
		}
	}
	if c.Expect == nil {
		return "connected", nil
	}
	if err := c.await(ctx, conn); err != nil {
		return "", err
	}
	return "expected answer", nil
}

// await reads until what has come matches, or can't any more.
func (c *TCP) await(ctx context.Context, conn io.Reader) error {
	buf := make([]byte, 0, 4<<10)
	for {
		n, err := conn.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		switch {
		case c.Expect.Match(buf):
			return nil
		case err != nil && len(buf) > 0 && errors.Is(err, io.EOF):
			return fmt.Errorf("answer %s does not match %s", quote(buf), c.Expect)
		case err != nil && len(buf) > 0:
			return fmt.Errorf("%w, after %s, which does not match %s", explain(ctx, "wait for answer", err), quote(buf), c.Expect)
		case err != nil:
			return explain(ctx, "wait for answer", err)
		case len(buf) == maxBody:
			return fmt.Errorf("answer %s does not match %s", quote(buf), c.Expect)
		case len(buf) == cap(buf):
			buf = append(make([]byte, 0, min(2*cap(buf), maxBody)), buf...)
		}
	}
}
