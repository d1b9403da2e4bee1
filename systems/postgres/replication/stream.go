package replication

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/trivet-ha/trivet/systems/postgres/wal"
)

// Stream is a server's log on its way. One goroutine calls Next; another may call Acknowledge.
type Stream struct {
	// Timeline is the one that is streamed. It never changes: at its end Next says what comes after.
	Timeline wal.Timeline

	c    *Conn
	stop func() error
	end  *TimelineEnd // already at the start

	mu  sync.Mutex // one writer
	buf []byte
}

// Piece is what Next returns: a part of the log, or none and only how the server stands.
type Piece struct {
	At   wal.Position // of the first byte of Data
	Data []byte       // valid until the next call of Next
	// Server is the end of the server's log, ServerTime its clock.
	Server     wal.Position
	ServerTime time.Time
	// Reply: the server wants to hear an Acknowledge now.
	Reply bool
}

// TimelineEnd is the error of Next when the timeline is over: the server was promoted, or follows one that was.
type TimelineEnd struct {
	Next wal.Timeline
	// At is where Next begins. What was streamed beyond is not part of the server's history.
	At wal.Position
}

// Error is the end for people.
func (e *TimelineEnd) Error() string { return fmt.Sprintf("timeline %d begins at %v", e.Next, e.At) }

// StartStream asks for the log of a timeline from a position on. slot may be empty: then nothing keeps the server from
// removing what was not streamed yet. ctx bounds the whole stream.
func (c *Conn) StartStream(ctx context.Context, slot string, t wal.Timeline, from wal.Position) (*Stream, error) {
	command := "START_REPLICATION "
	if slot != "" {
		command += "SLOT " + quoteName(slot) + " "
	}
	command += fmt.Sprintf("PHYSICAL %v TIMELINE %d", from, t)
	s := &Stream{Timeline: t, c: c, stop: c.until(ctx)}
	err := c.send(command)
	if err == nil {
		err = s.begin()
	}
	if err != nil {
		c.afterError(err)
		if cause := s.stop(); cause != nil {
			err = cause
		}
		return nil, fmt.Errorf("%s: %w", command, err)
	}
	return s, nil
}

func (s *Stream) begin() error {
	m, err := s.c.receive()
	if err != nil {
		return err
	}
	switch m := m.(type) {
	case *pgproto3.CopyBothResponse:
		return nil
	case *pgproto3.RowDescription: // the timeline ends where we want to begin
		s.end, err = s.readEnd()
		return err
	default:
		return fmt.Errorf("the server sent %T", m)
	}
}

// Next returns the next piece. Its error is a *TimelineEnd when the timeline is over; the connection can then be used for
// another stream.
func (s *Stream) Next() (Piece, error) {
	if s.end != nil {
		s.stop()
		return Piece{}, s.end
	}
	for {
		m, err := s.c.receive()
		if err != nil {
			return Piece{}, s.failed(err)
		}
		switch m := m.(type) {
		case *pgproto3.CopyData:
			p, ok := parsePiece(m.Data)
			if !ok {
				return Piece{}, s.failed(fmt.Errorf("the server sent a message of %d bytes that means nothing", len(m.Data)))
			}
			return p, nil
		case *pgproto3.CopyDone:
			if err := s.write((&pgproto3.CopyDone{}).Encode); err != nil {
				return Piece{}, s.failed(err)
			}
		case *pgproto3.RowDescription:
			if s.end, err = s.readEnd(); err != nil {
				return Piece{}, s.failed(err)
			}
			s.stop()
			return Piece{}, s.end
		case *pgproto3.CommandComplete:
			return Piece{}, s.failed(errors.New("the server ended the stream"))
		default:
			return Piece{}, s.failed(fmt.Errorf("the server sent %T within a stream", m))
		}
	}
}

func (s *Stream) failed(err error) error {
	if cause := s.stop(); cause != nil {
		return cause
	}
	return fmt.Errorf("stream: %w", err)
}

// readEnd reads the row behind a timeline, and all that follows it up to where the server is ready again.
func (s *Stream) readEnd() (*TimelineEnd, error) {
	rows, err := s.c.rows()
	if err != nil {
		return nil, err
	}
	if len(rows) != 1 || len(rows[0]) < 2 {
		return nil, errors.New("the server did not say which timeline comes next")
	}
	t, err := strconv.ParseUint(rows[0][0], 10, 32)
	if err != nil {
		return nil, err
	}
	at, err := wal.ParsePosition(rows[0][1])
	if err != nil {
		return nil, err
	}
	for {
		m, err := s.c.receive()
		if err != nil {
			return nil, err
		}
		if _, ok := m.(*pgproto3.ReadyForQuery); ok {
			return &TimelineEnd{wal.Timeline(t), at}, nil
		}
	}
}

// parsePiece reads XLogData ('w') and a keepalive ('k').
func parsePiece(m []byte) (p Piece, ok bool) {
	switch {
	case len(m) >= 25 && m[0] == 'w':
		p = Piece{At: position(m[1:]), Server: position(m[9:]), ServerTime: clock(m[17:]), Data: m[25:]}
	case len(m) >= 18 && m[0] == 'k':
		p = Piece{Server: position(m[1:]), ServerTime: clock(m[9:]), Reply: m[17] != 0}
	default:
		return p, false
	}
	return p, true
}

func position(b []byte) wal.Position { return wal.Position(binary.BigEndian.Uint64(b)) }

// epochMicros is PostgreSQL's 2000-01-01.
const epochMicros = 946_684_800_000_000

func clock(b []byte) time.Time {
	return time.UnixMicro(int64(binary.BigEndian.Uint64(b)) + epochMicros)
}

// Acknowledge tells the server that its log was received up to written, and is durable up to flushed: what the slot has
// kept before, it may remove, and commits that wait for a synchronous standby go on. reply asks the server for a sign
// of life.
func (s *Stream) Acknowledge(written, flushed wal.Position, reply bool) error {
	var m [34]byte
	m[0] = 'r'
	binary.BigEndian.PutUint64(m[1:], uint64(written))
	binary.BigEndian.PutUint64(m[9:], uint64(flushed))
	binary.BigEndian.PutUint64(m[17:], uint64(flushed)) // nothing is applied: a commit that waits for that waits for durability
	binary.BigEndian.PutUint64(m[25:], uint64(time.Now().UnixMicro()-epochMicros))
	if reply {
		m[33] = 1
	}
	return s.write((&pgproto3.CopyData{Data: m[:]}).Encode)
}

func (s *Stream) write(encode func([]byte) ([]byte, error)) (err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.buf, err = encode(s.buf[:0]); err != nil {
		return err
	}
	_, err = s.c.pg.Conn().Write(s.buf)
	return err
}
