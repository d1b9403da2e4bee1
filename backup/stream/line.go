package stream

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/trivet-ha/trivet/backup/store"
)

// Position is a place in the history of a database: the state before whatever comes next. Larger is later, within a
// line. PostgreSQL's LSNs are positions as they are; SQLite's and MariaDB's are numbers that their engines give.
type Position uint64

// LineID names a line within its log: the timeline in hexadecimal, and a hash of the rest.
type LineID string

// Line says whose history it is. Two lines are the same only if all of Engine, System, Timeline and History are.
type Line struct {
	Engine   string `json:"engine"`   // "postgres", "sqlite", ...
	System   string `json:"system"`   // the identity of the database: its system identifier, a random number
	Timeline uint64 `json:"timeline"` // counts forks: promotions, restores
	// History is a hash of what led to this timeline. Two servers may number two different timelines alike.
	History [32]byte `json:"history"`
	// Branch says where the line left another. Zero for the first.
	Branch Branch `json:"branch,omitzero"`
	// Began is when the line was first written.
	Began time.Time `json:"began,omitzero"`

	id LineID
}

// Branch is the place where a line leaves its parent: the parent's records before At are its own past.
type Branch struct {
	Parent LineID   `json:"parent"`
	At     Position `json:"at"`
}

// ID is the line's name in its log; empty for a line that did not come from one.
func (l Line) ID() LineID { return l.id }

func (l *Line) check() error {
	switch {
	case l.Engine == "" || l.System == "":
		return errors.New("a line needs an engine and a system")
	case l.Timeline > 0xffffffff:
		return fmt.Errorf("timeline %d is beyond 32 bits", l.Timeline)
	}
	return nil
}

// identify gives the line the name that it always has in logs of this key.
func (k *keys) identify(l *Line) LineID {
	text := []byte{byte(len(l.Engine))}
	text = append(text, l.Engine...)
	text = binary.BigEndian.AppendUint32(text, uint32(len(l.System)))
	text = append(text, l.System...)
	text = binary.BigEndian.AppendUint64(text, l.Timeline)
	text = append(text, l.History[:]...)
	sum := k.hash("line", text)
	return LineID(fmt.Sprintf("%08x-%x", l.Timeline, sum[:8]))
}

func validLineID(id LineID) bool {
	timeline, rest, ok := strings.Cut(string(id), "-")
	return ok && len(timeline) == 8 && len(rest) == 16 && isHex(timeline) && isHex(rest)
}

func isHex(s string) bool { return strings.Trim(s, "0123456789abcdef") == "" }

// saveLine writes the description of a line, unless it is there. It returns what is there.
func (l *Log) saveLine(ctx context.Context, line Line) (Line, error) {
	if err := line.check(); err != nil {
		return line, err
	}
	line.id = l.keys.identify(&line)
	old, err := l.loadLine(ctx, line.id)
	if err == nil || !errors.Is(err, store.ErrNotExist) {
		return old, err
	}
	if line.Began.IsZero() {
		line.Began = time.Now()
	}
	line.Began = line.Began.UTC().Truncate(time.Millisecond)
	text, err := json.Marshal(&line)
	if err != nil {
		return line, err
	}
	h := l.handle(line.id, "line")
	if err := l.store.Save(ctx, h, l.keys.sealSmall(h.Name, text)); err != nil {
		return line, err
	}
	return l.loadLine(ctx, line.id)
}

func (l *Log) loadLine(ctx context.Context, id LineID) (Line, error) {
	h := l.handle(id, "line")
	sealed, err := store.ReadAll(ctx, l.store, h)
	if err != nil {
		return Line{}, err
	}
	text, err := l.keys.openSmall(h.Name, sealed)
	if err != nil {
		return Line{}, fmt.Errorf("%v: %w", h, err)
	}
	var line Line
	if err := json.Unmarshal(text, &line); err != nil {
		return Line{}, fmt.Errorf("%v: %w: %w", h, ErrDamaged, err)
	}
	if line.id = l.keys.identify(&line); line.id != id {
		return Line{}, fmt.Errorf("%v: %w: it describes line %s", h, ErrDamaged, line.id)
	}
	return line, nil
}
