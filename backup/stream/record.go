package stream

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"time"
)

// MaxRecordBytes bounds the data of one record. A larger change is several records: all but the last stay where the
// change begins (From and To alike), and the last one goes to its end.
const MaxRecordBytes = 4 << 20

// Record takes a database from one position to the next.
type Record struct {
	// From must be where the record before ended. To may be the same: then the record is a part of what comes.
	From, To Position
	// Commits are the transactions that end within the record, in the order of their positions.
	Commits []Commit
	// Data is the engine's. Reading, it is valid only until the next record.
	Data []byte
}

// Commit is the end of a transaction.
type Commit struct {
	// Position is the first at which the transaction has happened: after the From of its record, and not after its To.
	Position Position
	Time     time.Time
	// ID is the engine's name for the transaction: an xid, the sequence number of a GTID. Origin is the rest of the name,
	// if there is one: domain and server.
	ID, Origin uint64
}

// IsZero reports whether it is no commit.
func (c Commit) IsZero() bool { return c.Position == 0 && c.Time.IsZero() && c.ID == 0 }

// Mark says how far a line is durable.
type Mark struct {
	Position Position
	// Records is how many records the line has, of all times.
	Records uint64
	// Chain is the hash of them all.
	Chain [32]byte
	// Through is the time up to which the source was known to have nothing more.
	Through time.Time
	// Last is the last transaction before the mark that this process knows of.
	Last Commit
}

var errRecordLarge = errors.New("a record is larger than MaxRecordBytes")

func (r *Record) check() error {
	if r.To < r.From {
		return fmt.Errorf("record from %d to %d goes backwards", r.From, r.To)
	}
	if len(r.Data) > MaxRecordBytes {
		return errRecordLarge
	}
	at := r.From + 1
	for _, c := range r.Commits {
		if c.Position < at || c.Position > r.To {
			return fmt.Errorf("record from %d to %d: a commit at %d is out of order", r.From, r.To, c.Position)
		}
		if c.Time.IsZero() || c.Time.Unix() < 0 || c.Time.Unix() > maxUnix {
			return fmt.Errorf("record from %d to %d: a commit's time %v is out of range", r.From, r.To, c.Time)
		}
		at = c.Position
	}
	return nil
}

// maxUnix keeps nanoseconds within 63 bits: the year 2262.
const maxUnix = (1<<63 - 1) / 1_000_000_000

// chainer hashes records, each with all before it.
type chainer struct {
	h   hash.Hash
	sum [32]byte
}

func newChainer(start [32]byte) *chainer { return &chainer{h: sha256.New(), sum: start} }

// add chains a record.
func (c *chainer) add(from, to Position, data []byte) {
	var head [56]byte
	copy(head[:32], c.sum[:])
	binary.BigEndian.PutUint64(head[32:], uint64(from))
	binary.BigEndian.PutUint64(head[40:], uint64(to))
	binary.BigEndian.PutUint64(head[48:], uint64(len(data)))
	c.h.Reset()
	c.h.Write(head[:])
	c.h.Write(data)
	c.h.Sum(c.sum[:0])
}

// appendCommit writes a commit as its difference to the one before.
func appendCommit(dst []byte, c, before *Commit) []byte {
	var last int64
	if !before.Time.IsZero() {
		last = before.Time.UnixNano()
	}
	dst = binary.AppendUvarint(dst, uint64(c.Position-before.Position))
	dst = binary.AppendVarint(dst, c.Time.UnixNano()-last)
	dst = binary.AppendVarint(dst, int64(c.ID-before.ID))
	return binary.AppendVarint(dst, int64(c.Origin-before.Origin))
}

// cutCommit reads what appendCommit wrote; false if it is no commit.
func cutCommit(text []byte, before *Commit) (c Commit, rest []byte, ok bool) {
	position, n := binary.Uvarint(text)
	if n <= 0 {
		return c, nil, false
	}
	text = text[n:]
	var numbers [3]int64
	for i := range numbers {
		if numbers[i], n = binary.Varint(text); n <= 0 {
			return c, nil, false
		}
		text = text[n:]
	}
	var last int64
	if !before.Time.IsZero() {
		last = before.Time.UnixNano()
	}
	c = Commit{
		Position: before.Position + Position(position), Time: time.Unix(0, last+numbers[0]),
		ID: before.ID + uint64(numbers[1]), Origin: before.Origin + uint64(numbers[2]),
	}
	return c, text, true
}
