package postgres

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/trivet-ha/trivet/backup/stream"
	"github.com/trivet-ha/trivet/systems/postgres/replication"
	"github.com/trivet-ha/trivet/systems/postgres/wal"
)

// StreamConfig says which server's log a Streamer follows. Conninfo and Log are needed.
type StreamConfig struct {
	// Conninfo tells how to reach the server, as for psql, as a role with REPLICATION. Several hosts may be named: after a
	// failover the new primary is found.
	Conninfo string
	Log      *stream.Log
	// Slot keeps the server from removing what was not streamed. It is made when it is missing; "trivet_<database>" if
	// empty.
	Slot string
	// Standby is the name that synchronous_standby_names may list; "trivet" if empty.
	Standby string
	// Synchronous makes each piece durable as soon as it comes, not only every Writer.Flush: for servers whose commits
	// wait for this standby.
	Synchronous bool
	// MaxLagBytes is how much of its log the server keeps for this slot at most. Beyond, the slot is given up, the log gets
	// a gap, and a new base is needed; the server goes on. 16 GiB if 0, no limit if negative. It works only while a
	// Streamer runs: max_slot_wal_keep_size in the server's configuration works always.
	MaxLagBytes int64
	// Writer says how the log is written.
	Writer stream.Options
	// Report hears of what a person should know: a connection that broke, a gap, a server of another cluster. Streaming goes
	// on, or is tried again.
	Report func(error)
}

const defaultMaxLag = 16 << 30

// Errors that Report hears.
var (
	// ErrOverrun: the server would have to keep more of its log than MaxLagBytes. The slot was given up.
	ErrOverrun = errors.New("the log in the repository is too far behind; the slot was given up to spare the server's disk")
	// ErrDiverged: what the server has of its log is not what is stored of the same timeline.
	ErrDiverged = errors.New("the server's log is not the one that is stored under this timeline")
	// ErrNoLimit: nothing on the server limits what it keeps for the slot.
	ErrNoLimit = errors.New("max_slot_wal_keep_size is not set: should Trivet not run for long, the server's disk may fill")
)

// Abandoned is what Report hears when the log has more of a timeline than the server: a standby was promoted that did not
// have all. What is stored stays, and is in no later timeline.
type Abandoned struct {
	Timeline wal.Timeline
	From, To wal.Position
	// Last is the last transaction in it that is known of; zero if there may be none.
	Last stream.Commit
}

// Error is the loss for people.
func (a *Abandoned) Error() string {
	return fmt.Sprintf("timeline %d goes on from %v to %v in the log, and not on the server: it was promoted without that", a.Timeline, a.From, a.To)
}

// Streamer follows a server's write-ahead log. Run does the work; State may be called at any time.
type Streamer struct {
	config StreamConfig

	// Of Run alone.
	known   map[stream.LineID]stream.Mark
	removed bool // the server has not what comes next

	mu    sync.Mutex
	state StreamState
}

// StreamState is how a Streamer stands.
type StreamState struct {
	Connected bool
	System    string
	Timeline  wal.Timeline
	// Server is the end of the server's log when it last said so; Received and Durable are how far it came here.
	Server, Received, Durable wal.Position
	// Through is the time up to which everything the server had is durable.
	Through time.Time
	// Last is the last transaction that is durable.
	Last stream.Commit
	// Damaged counts places where the server sent what is no valid log.
	Damaged int64
	// Err is why there is no connection.
	Err error
}

// LagBytes is how much the log in the repository is behind.
func (s StreamState) LagBytes() int64 { return max(0, int64(s.Server-s.Durable)) }

// NewStreamer checks the configuration. It does not connect.
func NewStreamer(c StreamConfig) (*Streamer, error) {
	if c.Conninfo == "" || c.Log == nil {
		return nil, errors.New("postgres: a stream needs a server and a log")
	}
	if c.Slot == "" {
		c.Slot = slotName(c.Log.Database())
	}
	if c.Standby == "" {
		c.Standby = "trivet"
	}
	if c.MaxLagBytes == 0 {
		c.MaxLagBytes = defaultMaxLag
	}
	if c.Report == nil {
		c.Report = func(error) {}
	}
	if c.Writer.Trouble == nil {
		c.Writer.Trouble = c.Report
	}
	return &Streamer{config: c, known: map[stream.LineID]stream.Mark{}}, nil
}

// slotName is a name that PostgreSQL takes: lower-case letters, digits and underscores, 63 at most.
func slotName(database string) string {
	name := "trivet_" + strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9':
			return r
		case r >= 'A' && r <= 'Z':
			return r + 'a' - 'A'
		}
		return '_'
	}, database)
	return name[:min(len(name), 63)]
}

// State tells how it stands.
func (s *Streamer) State() StreamState {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state
}

func (s *Streamer) update(change func(*StreamState)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(&s.state)
}

// Waits between attempts to connect.
const (
	firstWait   = 200 * time.Millisecond
	longestWait = 15 * time.Second
)

// Run streams until ctx ends. Whatever goes wrong it reports, and tries again.
func (s *Streamer) Run(ctx context.Context) error {
	wait := firstWait
	for last := ""; ctx.Err() == nil; {
		began := time.Now()
		err := s.session(ctx)
		if ctx.Err() != nil {
			break
		}
		if errors.Is(err, ErrOverrun) {
			err = errors.Join(err, s.giveUp(ctx))
		}
		s.update(func(st *StreamState) { st.Connected, st.Err = false, err })
		if time.Since(began) > longestWait || err == nil {
			wait, last = firstWait, ""
		}
		if err != nil && err.Error() != last { // what does not change is said once
			last = err.Error()
			s.config.Report(err)
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
		}
		wait = min(2*wait, longestWait)
	}
	s.update(func(st *StreamState) { st.Connected = false })
	return context.Cause(ctx)
}

// giveUp removes the slot. The server may need a moment to see that nobody uses it any more.
func (s *Streamer) giveUp(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for {
		err := s.dropSlot(ctx)
		if err == nil || errors.Is(err, replication.ErrNoSlot) {
			return nil
		}
		select {
		case <-time.After(firstWait):
		case <-ctx.Done():
			return fmt.Errorf("give up slot %s: %w", s.config.Slot, err)
		}
	}
}

func (s *Streamer) dropSlot(ctx context.Context) error {
	conn, err := replication.Connect(ctx, s.config.Conninfo, replication.Options{Name: s.config.Standby + " slot"})
	if err != nil {
		return err
	}
	defer conn.Close()
	return conn.DropSlot(ctx, s.config.Slot)
}

// DropSlot removes the slot from the server, for a database that is not to be streamed any more.
func (s *Streamer) DropSlot(ctx context.Context) error {
	if err := s.dropSlot(ctx); err != nil && !errors.Is(err, replication.ErrNoSlot) {
		return fmt.Errorf("postgres: %w", err)
	}
	return nil
}
