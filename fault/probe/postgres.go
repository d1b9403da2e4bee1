package probe

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"
)

// Postgres asks a PostgreSQL server, or what speaks its protocol, whether it
// takes connections and, if it has an account, whether it is the primary.
type Postgres struct {
	// User logs in. Without one nobody does: the server is well if it goes as far
	// as to ask who is there, as for pg_isready.
	User, Password string
	// Database is connected to. Default: "postgres", which every server has.
	Database string
	// MaxLag, if not 0, is how far a standby may be behind: one further behind is
	// not well. It needs a User.
	MaxLag time.Duration
	// TLS, if set, speaks TLS, and takes no for an error.
	TLS *TLS
}

// Do implements Check.
func (c *Postgres) Do(ctx context.Context, t Target) (detail string, err error) {
	a, err := c.Rank(ctx, t)
	return a.Detail, err
}

// Rank implements Ranker. The term is the server's timeline, which each promotion
// raises.
func (c *Postgres) Rank(ctx context.Context, t Target) (Answer, error) {
	conn, stop, err := connect(ctx, t, nil, "")
	if err != nil {
		return Answer{}, err
	}
	defer stop()
	p, err := newPgConn(ctx, conn, c.TLS, t)
	if err != nil {
		return Answer{}, err
	}
	database := c.Database
	if database == "" {
		database = "postgres"
	}
	if c.User == "" {
		return c.knock(ctx, p, database)
	}
	if err := p.login(c.User, c.Password, database); err != nil {
		return Answer{}, explain(ctx, "log in", err)
	}
	row, err := p.query(rankQuery)
	p.terminate()
	if err != nil {
		return Answer{}, explain(ctx, "ask for its role", err)
	}
	return c.judge(row)
}

// knock goes as far as the server's question who is there.
func (c *Postgres) knock(ctx context.Context, p *pgConn, database string) (Answer, error) {
	if err := p.startup("trivet", database); err != nil {
		return Answer{}, explain(ctx, "knock", err)
	}
	_, err := p.expect('R')
	var refused *serverError
	if errors.As(err, &refused) && !refused.unavailable() {
		err = nil // it knows neither the user nor the database, but it is there
	}
	if err != nil {
		return Answer{}, explain(ctx, "knock", err)
	}
	return Answer{Detail: "takes connections"}, nil
}

// rankQuery asks for the role, a primary's timeline and a standby's lag in
// seconds. What has been received and replayed is no lag, however long ago the
// last transaction was, as long as the standby is still receiving.
// PostgreSQL 15 documentation, §9.27.3 and §9.27.4; the names are those since 10.
const rankQuery = `select pg_is_in_recovery(),
case when pg_is_in_recovery() then null else substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8) end,
case when not pg_is_in_recovery() then null
when pg_last_wal_receive_lsn() = pg_last_wal_replay_lsn() and exists (select from pg_stat_wal_receiver where pid is not null) then 0
else extract(epoch from now() - pg_last_xact_replay_timestamp()) end`

// judge makes an answer of the query's row.
func (c *Postgres) judge(row []field) (Answer, error) {
	if len(row) != 3 || row[0].null {
		return Answer{}, errors.New("ask for its role: the answer is not understood")
	}
	if row[0].text == "f" {
		timeline, err := strconv.ParseUint(row[1].text, 16, 32)
		if err != nil {
			return Answer{}, fmt.Errorf("ask for its role: %s is no timeline", quote([]byte(row[1].text)))
		}
		return Answer{Detail: fmt.Sprintf("primary, timeline %d", timeline), Role: RolePrimary, Term: timeline}, nil
	}
	seconds, err := strconv.ParseFloat(row[2].text, 64)
	lag := time.Duration(seconds * float64(time.Second)).Round(time.Millisecond)
	return replica(lag, err == nil, c.MaxLag)
}

// replica is the answer of one that follows; lag is how far behind, if known.
func replica(lag time.Duration, known bool, most time.Duration) (Answer, error) {
	switch {
	case !known && most > 0:
		return Answer{}, fmt.Errorf("replica, and not known how far behind; it may be %v", most)
	case !known:
		return Answer{Detail: "replica", Role: RoleReplica}, nil
	case most > 0 && lag > most:
		return Answer{}, fmt.Errorf("replica, %v behind; it may be %v", lag, most)
	}
	return Answer{Detail: fmt.Sprintf("replica, %v behind", lag), Role: RoleReplica}, nil
}

// field is one value of a row.
type field struct {
	text string
	null bool
}
