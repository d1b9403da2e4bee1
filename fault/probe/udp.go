package probe

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"regexp"
	"time"
)

// UDP is a datagram, and an answer if one is wanted. Without, an endpoint is well
// unless its host says that nobody listens there: all that UDP can tell.
type UDP struct {
	// Send is the datagram; an empty one by default.
	Send []byte
	// Expect, if set, must match a datagram that comes back.
	Expect *regexp.Regexp
}

// refusalWait is how long a host has to say that nobody listens.
const refusalWait = 200 * time.Millisecond

// Do implements Check.
func (c *UDP) Do(ctx context.Context, t Target) (detail string, err error) {
	network, address := t.dial()
	if network != "tcp" {
		return "", errors.New("a UDP probe needs an IP address and a port")
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, "udp", address)
	if err != nil {
		return "", explain(ctx, "connect", err)
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })()
	if _, err := conn.Write(c.Send); err != nil {
		return "", explain(ctx, "send", err)
	}
	if c.Expect == nil {
		return c.listen(ctx, conn)
	}
	return c.await(ctx, conn)
}

// listen waits for a refusal. ctx may end before: then there was none in the time
// there was.
func (c *UDP) listen(ctx context.Context, conn net.Conn) (string, error) {
	wait := refusalWait
	if by, ok := ctx.Deadline(); ok {
		wait = min(wait, time.Until(by)/2)
	}
	_ = conn.SetReadDeadline(time.Now().Add(wait))
	_, err := conn.Read(make([]byte, 1))
	switch {
	case err == nil:
		return "answers", nil
	case errors.Is(err, os.ErrDeadlineExceeded):
		return "not refused", nil
	}
	return "", explain(ctx, "send", err)
}

// await reads datagrams until one matches. Others may be late answers to somebody
// who had this port before.
func (c *UDP) await(ctx context.Context, conn net.Conn) (string, error) {
	buf := make([]byte, maxBody)
	var last []byte
	for {
		n, err := conn.Read(buf)
		switch {
		case err != nil && last != nil:
			return "", fmt.Errorf("answer %s does not match %s", quote(last), c.Expect)
		case err != nil:
			return "", explain(ctx, "wait for answer", err)
		case matches(c.Expect, buf[:n]):
			return "expected answer", nil
		}
		last = append([]byte(nil), buf[:min(n, 100)]...)
	}
}

// matches also lets an expression say bytes that are no UTF-8: \xff is the byte 255.
func matches(e *regexp.Regexp, b []byte) bool {
	if e.Match(b) {
		return true
	}
	runes := make([]rune, len(b))
	for i, c := range b {
		runes[i] = rune(c)
	}
	return e.MatchString(string(runes))
}
