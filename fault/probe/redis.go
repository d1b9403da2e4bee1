package probe

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"
)

// Redis asks a Redis server, or what speaks its protocol (Valkey, KeyDB), whether
// it is well and what its role is.
type Redis struct {
	// User and Password log in, if there is a password. User is empty for servers
	// without accounts.
	User, Password string
	// MaxLag, if not 0, is how long ago a replica may have heard from its primary,
	// and that its link must stand.
	MaxLag time.Duration
	// TLS, if set, speaks TLS.
	TLS *TLS
}

// Do implements Check.
func (c *Redis) Do(ctx context.Context, t Target) (detail string, err error) {
	a, err := c.Rank(ctx, t)
	return a.Detail, err
}

// Rank implements Ranker. There is no term: Redis does not count its primaries.
func (c *Redis) Rank(ctx context.Context, t Target) (Answer, error) {
	conn, stop, err := connect(ctx, t, c.TLS, "")
	if err != nil {
		return Answer{}, err
	}
	defer stop()
	r := &respConn{conn: conn, in: newReader(conn)}
	if c.Password != "" {
		login := []string{"AUTH", c.Password}
		if c.User != "" {
			login = []string{"AUTH", c.User, c.Password}
		}
		if _, err := r.ask(login...); err != nil {
			return Answer{}, explain(ctx, "log in", err)
		}
	}
	if _, err := r.ask("PING"); err != nil {
		return Answer{}, explain(ctx, "PING", err)
	}
	role, err := r.ask("ROLE")
	var refused *serverError
	if errors.As(err, &refused) && c.MaxLag == 0 {
		return Answer{Detail: "PONG; but ROLE: " + refused.text}, nil
	}
	if err != nil {
		return Answer{}, explain(ctx, "ROLE", err)
	}
	if len(role) == 0 {
		return Answer{}, fmt.Errorf("ROLE: %w", errNotUnderstood)
	}
	switch role[0] {
	case "master":
		return Answer{Detail: "primary", Role: RolePrimary}, nil
	case "slave":
		return c.replica(ctx, r, role)
	}
	return Answer{Detail: "PONG from a " + role[0]}, nil
}

// replica is the answer of one that follows. role is what ROLE says: the word, the
// primary's host and port, the state of the link, the offset.
func (c *Redis) replica(ctx context.Context, r *respConn, role []string) (Answer, error) {
	if len(role) < 5 {
		return Answer{}, fmt.Errorf("ROLE: %w", errNotUnderstood)
	}
	if c.MaxLag == 0 {
		return Answer{Detail: "replica, link " + role[3], Role: RoleReplica}, nil
	}
	if role[3] != "connected" {
		return Answer{}, fmt.Errorf("replica without a primary: its link is in state %s", role[3])
	}
	info, err := r.ask("INFO", "replication")
	if err == nil && len(info) != 1 {
		err = errNotUnderstood
	}
	if err != nil {
		return Answer{}, explain(ctx, "INFO", err)
	}
	_, rest, ok := strings.Cut(info[0], "master_last_io_seconds_ago:")
	text, _, _ := strings.Cut(rest, "\r\n")
	seconds, err := strconv.Atoi(text)
	return replica(time.Duration(seconds)*time.Second, ok && err == nil && seconds >= 0, c.MaxLag)
}

// respConn speaks RESP, version 2: https://redis.io/docs/latest/develop/reference/protocol-spec/.
type respConn struct {
	conn net.Conn
	in   *bufio.Reader
}

// maxReplies bounds the elements of an answer; ROLE has three for each replica.
const maxReplies = 4096

// ask sends a command and returns the parts of its answer, flattened.
func (r *respConn) ask(words ...string) ([]string, error) {
	var b strings.Builder
	fmt.Fprintf(&b, "*%d\r\n", len(words))
	for _, w := range words {
		fmt.Fprintf(&b, "$%d\r\n%s\r\n", len(w), w)
	}
	if _, err := io.WriteString(r.conn, b.String()); err != nil {
		return nil, err
	}
	var parts []string
	for left := 1; left > 0; left-- {
		more, err := r.reply(&parts)
		if err != nil {
			return nil, err
		}
		if left += more; left+len(parts) > maxReplies {
			return nil, errNotUnderstood
		}
	}
	return parts, nil
}

// reply reads one element. An array announces more of them.
func (r *respConn) reply(parts *[]string) (more int, err error) {
	line, err := r.in.ReadSlice('\n')
	switch {
	case errors.Is(err, bufio.ErrBufferFull):
		return 0, errNotUnderstood
	case err != nil:
		return 0, err
	case len(line) < 3 || line[len(line)-2] != '\r':
		return 0, errNotUnderstood
	}
	kind, text := line[0], string(line[1:len(line)-2])
	switch kind {
	case '+', ':':
		*parts = append(*parts, text)
		return 0, nil
	case '-':
		return 0, &serverError{text: text}
	}
	n, err := strconv.Atoi(text)
	switch {
	case err != nil || n < -1 || n > maxMessage:
		return 0, errNotUnderstood
	case kind == '*':
		return max(n, 0), nil
	case kind != '$':
		return 0, errNotUnderstood
	case n < 0:
		*parts = append(*parts, "")
		return 0, nil
	}
	body := make([]byte, n+2)
	if _, err := io.ReadFull(r.in, body); err != nil {
		return 0, err
	}
	*parts = append(*parts, string(body[:n]))
	return 0, nil
}
