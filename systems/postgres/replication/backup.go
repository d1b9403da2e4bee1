package replication

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/trivet-ha/trivet/systems/postgres/wal"
)

// BackupOptions say how a base backup is taken.
type BackupOptions struct {
	Label string // for people; "trivet" if empty
	// Spread lets the checkpoint that begins the backup take its time. Otherwise it is as fast as the disk allows.
	Spread bool
	// WithWAL sends, at the end, the log that makes the backup consistent.
	WithWAL bool
	// NoVerify leaves out the check of page checksums, for servers that have them.
	NoVerify bool
	// RateBytes bounds the bytes sent a second; no bound if 0. PostgreSQL takes 32 KiB to 1 GiB.
	RateBytes int64
}

// Tablespace is a directory of the cluster outside of its main one.
type Tablespace struct {
	OID      uint32 `json:"oid"`
	Location string `json:"location"`
}

// Archive is one of the archives of a backup: a tar of the main directory or of a tablespace, or the manifest.
type Archive struct {
	Tablespace *Tablespace // nil for the main directory
	Manifest   bool        // the content is the manifest's text
}

// Backup is a base backup that is being received. Next goes to its archives, one after the other; Read reads the present
// one.
type Backup struct {
	// Start is where replay of the backup begins, on Timeline.
	Start    wal.Position
	Timeline wal.Timeline
	// Tablespaces are those beside the main directory.
	Tablespaces []Tablespace

	c     *Conn
	stop  func() error
	err   error  // nothing more can be read
	data  []byte // of the present message
	next  *Archive
	ended bool // the present archive
	over  bool // all of them

	// Before 15 each archive has a COPY of its own.
	count int
}

// StartBackup begins a base backup. The checkpoint that comes first may take a while. ctx bounds the whole backup.
func (c *Conn) StartBackup(ctx context.Context, o BackupOptions) (*Backup, error) {
	b := &Backup{c: c, stop: c.until(ctx), ended: true}
	err := c.send(c.backupCommand(o))
	if err == nil {
		err = b.begin()
	}
	if err != nil {
		if cause := b.stop(); cause != nil {
			err = cause
		}
		c.Close()
		return nil, fmt.Errorf("base backup: %w", err)
	}
	return b, nil
}

func (c *Conn) backupCommand(o BackupOptions) string {
	if o.Label == "" {
		o.Label = "trivet"
	}
	modern := c.version >= 150000
	var words []string
	add := func(yes bool, new, old string) {
		if yes && modern {
			words = append(words, new)
		} else if yes && old != "" {
			words = append(words, old)
		}
	}
	add(true, "LABEL "+quoteText(o.Label), "LABEL "+quoteText(o.Label))
	add(!o.Spread, "CHECKPOINT 'fast'", "FAST")
	add(o.WithWAL, "WAL true", "WAL")
	add(true, "WAIT false", "NOWAIT") // whether the log is archived somewhere is not the server's concern here
	add(o.RateBytes > 0, fmt.Sprintf("MAX_RATE %d", o.RateBytes>>10), fmt.Sprintf("MAX_RATE %d", o.RateBytes>>10))
	add(o.NoVerify, "VERIFY_CHECKSUMS false", "NOVERIFY_CHECKSUMS")
	add(true, "MANIFEST 'yes'", "MANIFEST 'yes'")
	add(true, "MANIFEST_CHECKSUMS 'CRC32C'", "MANIFEST_CHECKSUMS 'CRC32C'")
	if modern {
		return "BASE_BACKUP (" + strings.Join(words, ", ") + ")"
	}
	return "BASE_BACKUP " + strings.Join(words, " ")
}

// begin reads where the backup starts, and the list of tablespaces.
func (b *Backup) begin() error {
	rows, err := b.c.rows()
	if err != nil {
		return err
	}
	if b.Start, b.Timeline, err = startOf(rows); err != nil {
		return err
	}
	if rows, err = b.c.rows(); err != nil {
		return err
	}
	for _, row := range rows {
		if len(row) < 2 || row[0] == "" {
			continue // the main directory
		}
		oid, err := strconv.ParseUint(row[0], 10, 32)
		if err != nil {
			return fmt.Errorf("tablespace %q", row[0])
		}
		b.Tablespaces = append(b.Tablespaces, Tablespace{uint32(oid), row[1]})
	}
	return nil
}

func startOf(rows [][]string) (wal.Position, wal.Timeline, error) {
	if len(rows) != 1 || len(rows[0]) < 2 {
		return 0, 0, errors.New("the server did not say at which position")
	}
	p, err := wal.ParsePosition(rows[0][0])
	if err != nil {
		return 0, 0, err
	}
	t, err := strconv.ParseUint(rows[0][1], 10, 32)
	return p, wal.Timeline(t), err
}

// Next goes to the next archive; what is left of the present one is passed over. io.EOF: there is none, call End.
func (b *Backup) Next() (Archive, error) {
	for !b.ended && b.err == nil {
		b.fill()
	}
	for b.next == nil && b.err == nil && !b.over {
		b.fill()
	}
	switch {
	case b.err != nil:
		return Archive{}, b.err
	case b.next == nil:
		return Archive{}, io.EOF
	}
	a := *b.next
	b.next, b.ended, b.data = nil, false, nil
	return a, nil
}

// Read reads the present archive.
func (b *Backup) Read(p []byte) (int, error) {
	for len(b.data) == 0 {
		if b.err != nil {
			return 0, b.err
		}
		if b.ended {
			return 0, io.EOF
		}
		b.fill()
	}
	n := copy(p, b.data)
	b.data = b.data[n:]
	return n, nil
}

// fill takes the next message.
func (b *Backup) fill() {
	b.data = nil
	m, err := b.c.receive()
	if err != nil {
		b.fail(err)
		return
	}
	modern := b.c.version >= 150000
	switch m := m.(type) {
	case *pgproto3.CopyOutResponse:
		if !modern {
			b.openOld()
		}
	case *pgproto3.CopyData:
		if modern {
			b.message(m.Data)
		} else {
			b.data = m.Data
		}
	case *pgproto3.CopyDone:
		b.ended = true
		b.over = modern || b.count > len(b.Tablespaces)+1
	default:
		b.fail(fmt.Errorf("the server sent %T within a backup", m))
	}
}

func (b *Backup) fail(err error) {
	if cause := b.stop(); cause != nil {
		err = cause
	}
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	b.err = fmt.Errorf("base backup: %w", err)
}

// message takes one of the messages that one COPY holds since version 15.
func (b *Backup) message(m []byte) {
	if len(m) == 0 {
		b.fail(errors.New("the server sent an empty message"))
		return
	}
	switch m[0] {
	case 'd':
		b.data = m[1:]
	case 'n': // a new archive: its file name, and the path of the tablespace or nothing
		b.ended = true
		name, rest, _ := strings.Cut(string(m[1:]), "\x00")
		b.next = &Archive{}
		if location, _, _ := strings.Cut(rest, "\x00"); location != "" {
			oid, _ := strconv.ParseUint(strings.TrimSuffix(name, ".tar"), 10, 32)
			b.next.Tablespace = b.tablespace(uint32(oid))
			if b.next.Tablespace == nil {
				b.fail(fmt.Errorf("the server sent archive %q of no tablespace that it named", name))
			}
		}
	case 'm':
		b.ended = true
		b.next = &Archive{Manifest: true}
	case 'p':
	default:
		b.fail(fmt.Errorf("the server sent a message of kind %q", m[0]))
	}
}

func (b *Backup) tablespace(oid uint32) *Tablespace {
	for i := range b.Tablespaces {
		if b.Tablespaces[i].OID == oid {
			return &b.Tablespaces[i]
		}
	}
	return nil
}

// openOld begins the next COPY of a server before 15: the tablespaces in their order, then the main directory, then the
// manifest.
func (b *Backup) openOld() {
	a := &Archive{}
	if b.count < len(b.Tablespaces) {
		a.Tablespace = &b.Tablespaces[b.count]
	}
	a.Manifest = b.count > len(b.Tablespaces)
	b.count++
	b.next, b.ended = a, true
}

// End concludes the backup and returns where it ends: replay must reach this position before the copy is consistent. An
// error that is ErrCorrupt comes with a position, and everything that was read is good to keep.
func (b *Backup) End() (wal.Position, wal.Timeline, error) {
	if b.err != nil {
		return 0, 0, b.err
	}
	end, timeline, err := b.end()
	if cause := b.stop(); cause != nil {
		err = cause
	}
	if err != nil {
		b.err = fmt.Errorf("base backup: %w", err)
		return end, timeline, b.err
	}
	b.err = io.EOF
	return end, timeline, nil
}

func (b *Backup) end() (end wal.Position, timeline wal.Timeline, err error) {
	rows, err := b.c.rows()
	if err != nil {
		return 0, 0, err
	}
	if end, timeline, err = startOf(rows); err != nil {
		return 0, 0, err
	}
	for {
		m, err := b.c.receive()
		if err != nil {
			return end, timeline, err
		}
		if _, ok := m.(*pgproto3.ReadyForQuery); ok {
			return end, timeline, nil
		}
	}
}
