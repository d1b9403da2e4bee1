package replication

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/trivet-ha/trivet/systems/postgres/wal"
)

// Errors that callers can do something about. What the server said is behind them.
var (
	// ErrRemoved: the server has no longer what was asked for of its log.
	ErrRemoved = errors.New("the server has removed this part of its log")
	// ErrNoSlot: there is no slot of this name.
	ErrNoSlot = errors.New("there is no such replication slot")
	// ErrSlotExists: there is one already.
	ErrSlotExists = errors.New("the replication slot exists")
	// ErrForked: the server's history left this timeline before the position asked for.
	ErrForked = errors.New("the server's history does not have this position")
	// ErrCorrupt: the server found pages with wrong checksums while it sent them. Everything was sent all the same.
	ErrCorrupt = errors.New("the server found damaged pages")
)

// oldestVersion is the first whose base backups have manifests.
const oldestVersion = 130000

// Options change how Connect connects. The zero value works.
type Options struct {
	// Name is the application_name, which synchronous_standby_names refers to; "trivet" if empty.
	Name string
	// Timeout bounds connecting, and every answer to a short command; 10 s if 0.
	Timeout time.Duration
	// Notice hears what the server says besides: warnings of damaged pages, for one.
	Notice func(severity, message string)
}

// Conn is a replication connection. Its methods must not be called concurrently, but for those that say so.
type Conn struct {
	pg      *pgconn.PgConn
	options Options
	version int
}

// Connect connects as a replication client. conninfo is a URL or a list of keywords, as for psql; what it leaves open comes
// from the environment and from ~/.pgpass.
func Connect(ctx context.Context, conninfo string, o Options) (*Conn, error) {
	if o.Name == "" {
		o.Name = "trivet"
	}
	if o.Timeout <= 0 {
		o.Timeout = 10 * time.Second
	}
	config, err := pgconn.ParseConfig(conninfo)
	if err != nil {
		return nil, err // it names the host, not the password
	}
	config.ConnectTimeout = o.Timeout
	config.RuntimeParams["replication"] = "true"
	config.RuntimeParams["application_name"] = o.Name
	c := &Conn{options: o}
	config.OnNotice = func(_ *pgconn.PgConn, n *pgconn.Notice) { c.notice(n.Severity, n.Message) }
	if c.pg, err = pgconn.ConnectConfig(ctx, config); err != nil {
		return nil, err
	}
	text, err := c.Show(ctx, "server_version_num")
	if err == nil {
		c.version, err = strconv.Atoi(text)
	}
	if err == nil && c.version < oldestVersion {
		err = fmt.Errorf("PostgreSQL %d is older than 13", c.version/10000)
	}
	if err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

func (c *Conn) notice(severity, message string) {
	if c.options.Notice != nil {
		c.options.Notice(severity, message)
	}
}

// Close ends the connection. It may be called at any time, from any goroutine.
func (c *Conn) Close() error { return c.pg.Conn().Close() }

// Version is the server's, as server_version_num has it: 150018 is 15.18.
func (c *Conn) Version() int { return c.version }

// Identity is who the server is, and where it stands.
type Identity struct {
	System   string // the system identifier, a decimal number
	Timeline wal.Timeline
	Position wal.Position // the end of its durable log
}

// Identify asks the server who it is.
func (c *Conn) Identify(ctx context.Context) (Identity, error) {
	row, err := c.one(ctx, "IDENTIFY_SYSTEM", 3)
	if err != nil {
		return Identity{}, err
	}
	t, err := strconv.ParseUint(row[1], 10, 32)
	if err != nil {
		return Identity{}, fmt.Errorf("identify: timeline %q", row[1])
	}
	p, err := wal.ParsePosition(row[2])
	return Identity{row[0], wal.Timeline(t), p}, err
}

// Show is the value of a setting. Sizes come with a unit, as for people.
func (c *Conn) Show(ctx context.Context, setting string) (string, error) {
	row, err := c.one(ctx, "SHOW "+setting, 1)
	if err != nil {
		return "", err
	}
	return row[0], nil
}

// Segments is the size of the files of the log.
func (c *Conn) Segments(ctx context.Context) (wal.Segments, error) {
	text, err := c.Show(ctx, "wal_segment_size")
	if err != nil {
		return 0, err
	}
	n, err := ParseSize(text)
	if err != nil || !wal.Segments(n).Valid() {
		return 0, fmt.Errorf("wal_segment_size is %q", text)
	}
	return wal.Segments(n), nil
}

// ParseSize reads a size as SHOW gives it: "16MB"; -1 stays -1. A number alone is taken for bytes.
func ParseSize(s string) (int64, error) {
	digits := strings.TrimRight(s, "kMGTB")
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("size %q", s)
	}
	shift, ok := map[string]int{"": 0, "B": 0, "kB": 10, "MB": 20, "GB": 30, "TB": 40}[s[len(digits):]]
	if !ok || n > 1<<62>>shift {
		return 0, fmt.Errorf("size %q", s)
	}
	return n << shift, nil
}

// Slot is what a slot keeps for its client.
type Slot struct {
	Position wal.Position // the oldest that the server keeps; zero if it keeps nothing yet
	Timeline wal.Timeline
}

// Slot looks at a physical slot. Servers before 15 cannot tell; the error is errors.ErrUnsupported.
func (c *Conn) Slot(ctx context.Context, name string) (Slot, error) {
	if c.version < 150000 {
		return Slot{}, fmt.Errorf("read slot %s: PostgreSQL %d: %w", name, c.version/10000, errors.ErrUnsupported)
	}
	row, err := c.one(ctx, "READ_REPLICATION_SLOT "+quoteName(name), 3)
	switch {
	case err != nil:
		return Slot{}, err
	case row[0] == "":
		return Slot{}, fmt.Errorf("slot %s: %w", name, ErrNoSlot)
	case row[1] == "":
		return Slot{}, nil
	}
	p, err := wal.ParsePosition(row[1])
	t, _ := strconv.ParseUint(row[2], 10, 32)
	return Slot{p, wal.Timeline(t)}, err
}

// CreateSlot makes a physical slot that keeps the log from now on. The error is ErrSlotExists if there is one.
func (c *Conn) CreateSlot(ctx context.Context, name string) error {
	_, err := c.one(ctx, "CREATE_REPLICATION_SLOT "+quoteName(name)+" PHYSICAL RESERVE_WAL", 4)
	return err
}

// DropSlot removes a slot that nobody uses.
func (c *Conn) DropSlot(ctx context.Context, name string) error {
	_, err := c.query(ctx, "DROP_REPLICATION_SLOT "+quoteName(name))
	return err
}

// History fetches the history file of a timeline. The first has none.
func (c *Conn) History(ctx context.Context, t wal.Timeline) ([]byte, error) {
	if t <= 1 {
		return nil, nil
	}
	row, err := c.one(ctx, fmt.Sprintf("TIMELINE_HISTORY %d", t), 2)
	if err != nil {
		return nil, err
	}
	return []byte(row[1]), nil
}

// one runs a command whose answer is one row of at least so many columns. NULL reads as "".
func (c *Conn) one(ctx context.Context, command string, columns int) ([]string, error) {
	rows, err := c.query(ctx, command)
	if err != nil {
		return nil, err
	}
	if len(rows) != 1 || len(rows[0]) < columns {
		return nil, fmt.Errorf("%s: the server gave %d rows, want one of %d columns", command, len(rows), columns)
	}
	return rows[0], nil
}

func (c *Conn) query(ctx context.Context, command string) ([][]string, error) {
	ctx, cancel := context.WithTimeout(ctx, c.options.Timeout)
	defer cancel()
	results, err := c.pg.Exec(ctx, command).ReadAll()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", command, meaning(err))
	}
	var rows [][]string
	for _, r := range results {
		for _, row := range r.Rows {
			texts := make([]string, len(row))
			for i, v := range row {
				texts[i] = string(v)
			}
			rows = append(rows, texts)
		}
	}
	return rows, nil
}

// meaning puts one of this package's errors before what the server said, where one fits.
func meaning(err error) error {
	var said *pgconn.PgError
	if !errors.As(err, &said) {
		return err
	}
	cause := error(nil)
	switch {
	case said.Code == "42704": // undefined_object
		cause = ErrNoSlot
	case said.Code == "42710": // duplicate_object
		cause = ErrSlotExists
	case said.Code == "58P01", said.Code == "55000" && strings.Contains(said.Message, "can no longer"): // undefined_file; an invalidated slot
		cause = ErrRemoved
	case said.Code == "XX001": // data_corrupted
		cause = ErrCorrupt
	case strings.HasPrefix(said.Message, "requested starting point"):
		cause = ErrForked
	default:
		return err
	}
	return fmt.Errorf("%w: %w", cause, err)
}

// quoteName quotes a name for a replication command.
func quoteName(s string) string { return `"` + strings.ReplaceAll(s, `"`, `""`) + `"` }

// quoteText quotes a text for a replication command.
func quoteText(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

// send starts a command whose answer is read message by message.
func (c *Conn) send(command string) error {
	f := c.pg.Frontend()
	f.SendQuery(&pgproto3.Query{String: command})
	return f.Flush()
}

// receive reads the next message that is not a notice or a setting. An error of the server comes back as error; what
// follows it is not read.
func (c *Conn) receive() (pgproto3.BackendMessage, error) {
	for {
		m, err := c.pg.Frontend().Receive()
		if err != nil {
			return nil, err
		}
		switch m := m.(type) {
		case *pgproto3.NoticeResponse:
			c.notice(m.Severity, m.Message)
		case *pgproto3.ParameterStatus:
		case *pgproto3.ErrorResponse:
			return nil, meaning(pgconn.ErrorResponseToPgError(m))
		default:
			return m, nil
		}
	}
}

// afterError reads what follows an error of the server, so that the connection can be used again.
func (c *Conn) afterError(err error) {
	var said *pgconn.PgError
	if !errors.As(err, &said) || said.Severity != "ERROR" {
		return
	}
	for {
		m, err := c.pg.Frontend().Receive()
		if _, ready := m.(*pgproto3.ReadyForQuery); ready || err != nil {
			return
		}
	}
}

// rows reads one result: its rows, up to the command's completion.
func (c *Conn) rows() ([][]string, error) {
	var rows [][]string
	for {
		m, err := c.receive()
		if err != nil {
			return nil, err
		}
		switch m := m.(type) {
		case *pgproto3.RowDescription:
		case *pgproto3.DataRow:
			texts := make([]string, len(m.Values))
			for i, v := range m.Values {
				texts[i] = string(v)
			}
			rows = append(rows, texts)
		case *pgproto3.CommandComplete:
			return rows, nil
		default:
			return nil, fmt.Errorf("the server sent %T, want rows", m)
		}
	}
}

// until lets ctx interrupt reads and writes. Call stop when done: it gives the cause if ctx ended.
func (c *Conn) until(ctx context.Context) (stop func() error) {
	conn := c.pg.Conn()
	undo := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	return func() error {
		undo()
		return context.Cause(ctx)
	}
}
