package wal

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Position is a byte address in the log (PostgreSQL's LSN). Zero is no position.
type Position uint64

// ParsePosition reads PostgreSQL's form: two hexadecimal halves, "16/B374D848".
func ParsePosition(s string) (Position, error) {
	high, low, ok := strings.Cut(s, "/")
	if ok {
		h, err1 := strconv.ParseUint(high, 16, 32)
		l, err2 := strconv.ParseUint(low, 16, 32)
		if err1 == nil && err2 == nil {
			return Position(h<<32 | l), nil
		}
	}
	return 0, fmt.Errorf("position %q: want two hexadecimal numbers, like 16/B374D848", s)
}

// String is PostgreSQL's form.
func (p Position) String() string { return fmt.Sprintf("%X/%X", uint32(p>>32), uint32(p)) }

// MarshalText is String.
func (p Position) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText is ParsePosition.
func (p *Position) UnmarshalText(text []byte) (err error) {
	*p, err = ParsePosition(string(text))
	return err
}

// Timeline numbers the histories of a cluster: each promotion begins one. The first is 1.
type Timeline uint32

// Segments says how the log is cut into files: at multiples of so many bytes, a power of two. The zero value is not valid.
type Segments int64

// DefaultSegments is what initdb chooses unless told otherwise.
const DefaultSegments Segments = 16 << 20

// Valid reports whether PostgreSQL allows the size: a power of two from 1 MiB to 1 GiB.
func (s Segments) Valid() bool { return s >= 1<<20 && s <= 1<<30 && s&(s-1) == 0 }

// Begin is where the segment that holds p begins.
func (s Segments) Begin(p Position) Position { return p &^ Position(s-1) }

// Name is the name of the file that holds p: "000000010000001600000032".
func (s Segments) Name(t Timeline, p Position) string {
	n := uint64(p) / uint64(s)
	per := uint64(1<<32) / uint64(s)
	return fmt.Sprintf("%08X%08X%08X", uint32(t), uint32(n/per), uint32(n%per))
}

// Parse reads a name that Name gave, and returns where the segment begins.
func (s Segments) Parse(name string) (Timeline, Position, error) {
	if len(name) == 24 && strings.Trim(name, "0123456789ABCDEF") == "" {
		t, _ := strconv.ParseUint(name[:8], 16, 32)
		high, _ := strconv.ParseUint(name[8:16], 16, 32)
		low, _ := strconv.ParseUint(name[16:], 16, 32)
		if per := uint64(1<<32) / uint64(s); t > 0 && low < per {
			return Timeline(t), Position(high<<32 | low*uint64(s)), nil
		}
	}
	return 0, 0, fmt.Errorf("%q is not the name of a segment of %d MiB", name, s>>20)
}

// History tells where a timeline comes from.
type History struct {
	Timeline Timeline
	// Ancestors are the timelines before it, the oldest first.
	Ancestors []Ancestor
}

// Ancestor is a timeline that others branched off.
type Ancestor struct {
	Timeline Timeline
	End      Position // where the next one begins
	Reason   string   // for people
}

// HistoryName is the name of a timeline's history file.
func HistoryName(t Timeline) string { return fmt.Sprintf("%08X.history", uint32(t)) }

// ParseHistoryName reads a name that HistoryName gave.
func ParseHistoryName(name string) (Timeline, bool) {
	hex, ok := strings.CutSuffix(name, ".history")
	if !ok || len(hex) != 8 || strings.Trim(hex, "0123456789ABCDEF") != "" {
		return 0, false
	}
	t, _ := strconv.ParseUint(hex, 16, 32)
	return Timeline(t), t > 0
}

var errHistory = errors.New("want a timeline, a position and a reason, each later than the one before")

// ParseHistory reads the history file of timeline t. The first timeline has none.
func ParseHistory(t Timeline, text []byte) (History, error) {
	h := History{Timeline: t}
	for n, line := range strings.Split(string(text), "\n") {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		fields := strings.Fields(line)
		if len(fields) < 2 {
			return History{}, fmt.Errorf("%s: line %d: %w", HistoryName(t), n+1, errHistory)
		}
		id, err := strconv.ParseUint(fields[0], 10, 32)
		end, err2 := ParsePosition(fields[1])
		last := Ancestor{}
		if len(h.Ancestors) > 0 {
			last = h.Ancestors[len(h.Ancestors)-1]
		}
		if err != nil || err2 != nil || Timeline(id) <= last.Timeline || Timeline(id) >= t || end < last.End {
			return History{}, fmt.Errorf("%s: line %d: %w", HistoryName(t), n+1, errHistory)
		}
		h.Ancestors = append(h.Ancestors, Ancestor{Timeline(id), end, strings.Join(fields[2:], " ")})
	}
	return h, nil
}

// Begin is where the timeline begins: zero for the first.
func (h History) Begin() Position {
	if len(h.Ancestors) == 0 {
		return 0
	}
	return h.Ancestors[len(h.Ancestors)-1].End
}

// Parent is the timeline that this one branched off; zero for the first.
func (h History) Parent() Timeline {
	if len(h.Ancestors) == 0 {
		return 0
	}
	return h.Ancestors[len(h.Ancestors)-1].Timeline
}

// At is the timeline whose log holds what is written at p.
func (h History) At(p Position) Timeline {
	for _, a := range h.Ancestors {
		if p < a.End {
			return a.Timeline
		}
	}
	return h.Timeline
}

// End is where the part of timeline t ends that belongs to this history, and whether t is in it at all. The newest
// timeline has no end: it is the largest position.
func (h History) End(t Timeline) (Position, bool) {
	if t == h.Timeline {
		return ^Position(0), true
	}
	for _, a := range h.Ancestors {
		if a.Timeline == t {
			return a.End, true
		}
	}
	return 0, false
}
