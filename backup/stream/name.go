package stream

import (
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Levels of objects: how much time one covers.
const levels = 4

// extent is what the name of an object says about it.
type extent struct {
	level    int
	seq, end uint64   // the numbers of its records: seq ≤ n < end
	from, to Position // where they lead
	// earliest and latest commit, and the time up to which the source had no more; in nanoseconds since 1970, 0 for none.
	first, last, through int64
	// before and after are the beginnings of the chain's hashes.
	before, after uint64
}

// name is the last two parts of an object's path.
func (e *extent) name() string {
	return fmt.Sprintf("%d/%012x-%012x-%016x-%016x-%016x-%016x-%016x-%016x-%016x",
		e.level, e.seq, e.end, uint64(e.from), uint64(e.to), e.first, e.last, e.through, e.before, e.after)
}

// parseExtent reads what name wrote, and nothing else.
func parseExtent(name string) (e extent, ok bool) {
	level, rest, found := strings.Cut(name, "/")
	if !found || len(level) != 1 || level[0] < '0' || level[0] >= '0'+levels {
		return e, false
	}
	e.level = int(level[0] - '0')
	words := strings.Split(rest, "-")
	if len(words) != 9 {
		return e, false
	}
	var n [9]uint64
	for i, w := range words {
		var err error
		if n[i], err = strconv.ParseUint(w, 16, 64); err != nil {
			return e, false
		}
	}
	e.seq, e.end, e.from, e.to = n[0], n[1], Position(n[2]), Position(n[3])
	e.first, e.last, e.through = int64(n[4]), int64(n[5]), int64(n[6])
	e.before, e.after = n[7], n[8]
	sound := e.seq < e.end && e.from <= e.to && e.first >= 0 && e.first <= e.last && e.through > 0
	return e, sound && e.name() == name
}

func short(sum [32]byte) uint64 { return binary.BigEndian.Uint64(sum[:]) }

// covers reports whether it covers o.
func (e *extent) covers(o *extent) bool { return e.seq <= o.seq && o.end <= e.end }

func nanos(ns int64) time.Time {
	if ns == 0 {
		return time.Time{}
	}
	return time.Unix(0, ns)
}

// appendTo writes the extent for the header of its object.
func (e *extent) appendTo(dst []byte) []byte {
	for _, n := range []uint64{e.seq, e.end, uint64(e.from), uint64(e.to), uint64(e.first), uint64(e.last), uint64(e.through)} {
		dst = binary.BigEndian.AppendUint64(dst, n)
	}
	return dst
}

// String is the extent for messages.
func (e *extent) String() string {
	return fmt.Sprintf("records %d to %d (positions %d to %d)", e.seq, e.end, e.from, e.to)
}
