package postgres

import (
	"crypto/sha256"
	"fmt"
	"strconv"
	"strings"

	"github.com/trivet-ha/trivet/backup/stream"
	"github.com/trivet-ha/trivet/systems/postgres/wal"
)

// engine is what lines of PostgreSQL are marked with.
const engine = "postgres"

// leg is the part of a cluster's history that one timeline is.
type leg struct {
	timeline wal.Timeline
	line     stream.Line
	id       stream.LineID
	begin    wal.Position // where it leaves the one before; 0 for the first
	end      wal.Position // where the next one leaves it; the largest position if none does
}

// lineage is the history of a cluster as lines of a log, the oldest first.
func lineage(log *stream.Log, system string, h wal.History) ([]leg, error) {
	var legs []leg
	for i := range len(h.Ancestors) + 1 {
		l := leg{timeline: h.Timeline, end: ^wal.Position(0)}
		if i < len(h.Ancestors) {
			l.timeline, l.end = h.Ancestors[i].Timeline, h.Ancestors[i].End
		}
		l.line = stream.Line{Engine: engine, System: system, Timeline: uint64(l.timeline), History: historyHash(h.Ancestors[:i])}
		if i > 0 {
			l.begin = legs[i-1].end
			l.line.Branch = stream.Branch{Parent: legs[i-1].id, At: stream.Position(l.begin)}
		}
		id, err := log.Identify(l.line)
		if err != nil {
			return nil, err
		}
		l.id = id
		legs = append(legs, l)
	}
	return legs, nil
}

// historyHash tells timelines of one number apart that branched off elsewhere. Reasons do not count: they are for people.
func historyHash(ancestors []wal.Ancestor) (sum [32]byte) {
	if len(ancestors) == 0 {
		return sum
	}
	h := sha256.New()
	for _, a := range ancestors {
		fmt.Fprintf(h, "%d %v\n", a.Timeline, a.End)
	}
	h.Sum(sum[:0])
	return sum
}

// historyText is the history file of the last of legs: what is known from before, and a line for each that others left. The
// reasons are not known any more.
func historyText(before string, legs []leg) []byte {
	var b strings.Builder
	first := legs[0].line.Branch
	switch parent, err := strconv.ParseUint(strings.SplitN(string(first.Parent), "-", 2)[0], 16, 32); {
	case before != "":
		fmt.Fprintf(&b, "%s\n", strings.TrimRight(before, "\n"))
	case err == nil: // the log does not have what was before its first line, but its number
		fmt.Fprintf(&b, "%d\t%v\tbefore this log\n", parent, wal.Position(first.At))
	}
	for _, l := range legs[:len(legs)-1] {
		fmt.Fprintf(&b, "%d\t%v\tthe next timeline begins\n", l.timeline, l.end)
	}
	return []byte(b.String())
}

// legsOf follows a line of a view back to its oldest ancestor that the log has.
func legsOf(view *stream.View, leaf stream.LineID) ([]leg, error) {
	var legs []leg
	end := ^wal.Position(0)
	for id := leaf; ; {
		status, err := view.Line(id)
		if err != nil {
			if len(legs) > 0 {
				return legs, nil // older history is not in this log
			}
			return nil, err
		}
		legs = append([]leg{{
			timeline: wal.Timeline(status.Timeline), line: status.Line, id: id, begin: wal.Position(status.Branch.At), end: end,
		}}, legs...)
		if status.Branch.Parent == "" || len(legs) > maxLegs {
			return legs, nil
		}
		id, end = status.Branch.Parent, wal.Position(status.Branch.At)
	}
}

// maxLegs bounds the number of promotions that are followed back.
const maxLegs = 10_000
