package probe

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// MySQL asks a MySQL or MariaDB server whether it is well and, if the probe has an
// account, whether it takes writes (read_only) and how far a replica is behind. A
// member of a Galera cluster is well only while it is in step with the others.
type MySQL struct {
	// User logs in. Without one the server is well if it goes as far as to refuse a
	// stranger. That does not make it block this host, as connections would that end
	// in the middle of the handshake (max_connect_errors).
	User, Password string
	// MaxLag, if not 0, is how far a replica may be behind: one further behind is not
	// well. It needs a User with the privilege REPLICATION CLIENT, which MariaDB
	// calls REPLICA MONITOR.
	MaxLag time.Duration
	// TLS, if set, speaks TLS, and takes no for an error.
	TLS *TLS
}

// Do implements Check.
func (c *MySQL) Do(ctx context.Context, t Target) (detail string, err error) {
	a, err := c.Rank(ctx, t)
	return a.Detail, err
}

// Rank implements Ranker. There is no term: MySQL does not count its primaries.
func (c *MySQL) Rank(ctx context.Context, t Target) (Answer, error) {
	raw, stop, err := connect(ctx, t, nil, "")
	if err != nil {
		return Answer{}, err
	}
	defer stop()
	m, err := greet(raw)
	if err != nil {
		return Answer{}, explain(ctx, "greeting", err)
	}
	if c.TLS != nil {
		if err := m.encrypt(ctx, c.TLS.config(t, "")); err != nil {
			return Answer{}, explain(ctx, "TLS handshake", err)
		}
	}
	if c.User == "" {
		return c.knock(ctx, m)
	}
	if err := m.login(c.User, c.Password); err != nil {
		return Answer{}, explain(ctx, "log in", err)
	}
	a, err := c.examine(ctx, m)
	m.quit()
	return a, err
}

// knock is refused, if all is well.
func (c *MySQL) knock(ctx context.Context, m *mysqlConn) (Answer, error) {
	err := m.login("trivet", "")
	var refused *serverError
	switch {
	case err == nil:
		m.quit()
	case errors.As(err, &refused) && refused.code == "28000": // ER_ACCESS_DENIED_ERROR
	default:
		return Answer{}, explain(ctx, "knock", err)
	}
	return Answer{Detail: "takes connections, version " + m.version}, nil
}

func (c *MySQL) examine(ctx context.Context, m *mysqlConn) (Answer, error) {
	galera, err := m.query("show global variables like 'wsrep_on'")
	var ready map[string]field
	if err == nil && galera["Value"].text == "ON" {
		ready, err = m.query("show global status like 'wsrep_ready'")
	}
	if err != nil {
		return Answer{}, explain(ctx, "ask for its cluster", err)
	}
	if ready["Value"].text == "OFF" {
		return Answer{}, errors.New("not in step with its Galera cluster: wsrep_ready is OFF")
	}
	row, err := m.query("select @@global.read_only as read_only")
	if err != nil {
		return Answer{}, explain(ctx, "ask for its role", err)
	}
	switch strings.ToUpper(row["read_only"].text) {
	case "0", "OFF":
		return Answer{Detail: "primary, version " + m.version, Role: RolePrimary}, nil
	case "":
		return Answer{}, fmt.Errorf("ask for its role: %w", errNotUnderstood)
	}
	if c.MaxLag == 0 {
		return Answer{Detail: "read only, version " + m.version, Role: RoleReplica}, nil
	}
	return c.lag(ctx, m)
}

// lag asks how far the replica is behind, in the words of new servers and then in
// those of old ones.
func (c *MySQL) lag(ctx context.Context, m *mysqlConn) (Answer, error) {
	row, err := m.query("show replica status") // MySQL 8.0.22, MariaDB 10.5
	var refused *serverError
	if errors.As(err, &refused) && refused.code == "42000" && !strings.Contains(refused.text, "denied") {
		row, err = m.query("show slave status")
	}
	if err != nil {
		return Answer{}, explain(ctx, "ask for its lag", err)
	}
	behind, ok := row["Seconds_Behind_Source"]
	if !ok {
		behind = row["Seconds_Behind_Master"]
	}
	seconds, err := strconv.Atoi(behind.text)
	return replica(time.Duration(seconds)*time.Second, err == nil, c.MaxLag)
}
