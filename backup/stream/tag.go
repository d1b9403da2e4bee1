package stream

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/trivet-ha/trivet/backup/repository"
)

// Tag ties a snapshot of a repository to a log. Tags survive copies and rewrites of the snapshot, and stock restic shows
// them.
type Tag struct {
	Kind     TagKind
	Database string
	Line     LineID
	// Of a base: replay must begin at From, and the database is whole from To on. Of a seal: what its files hold.
	From, To Position
	// Time is the last commit before To; the base serves for no earlier target.
	Time time.Time
}

// TagKind is what a snapshot is to a log.
type TagKind string

// The kinds.
const (
	// Base: the whole database.
	Base TagKind = "base"
	// Seal: a part of the log, as files that the database's own tools read.
	Seal TagKind = "seal"
)

const tagPrefix = "pitr:"

// String is the tag as the snapshot carries it: "pitr:base:orders:00000001-…:from:to:time".
func (t Tag) String() string {
	return fmt.Sprintf("%s%s:%s:%s:%x:%x:%x", tagPrefix, t.Kind, t.Database, t.Line, uint64(t.From), uint64(t.To), max(0, unixNano(t.Time)))
}

func unixNano(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

// ParseTag reads what String wrote; false for any other tag.
func ParseTag(text string) (Tag, bool) {
	words := strings.Split(strings.TrimPrefix(text, tagPrefix), ":")
	if !strings.HasPrefix(text, tagPrefix) || len(words) != 6 {
		return Tag{}, false
	}
	var n [3]uint64
	for i := range n {
		var err error
		if n[i], err = strconv.ParseUint(words[3+i], 16, 64); err != nil {
			return Tag{}, false
		}
	}
	t := Tag{Kind: TagKind(words[0]), Database: words[1], Line: LineID(words[2]), From: Position(n[0]), To: Position(n[1]), Time: nanos(int64(n[2]))}
	sound := (t.Kind == Base || t.Kind == Seal) && validLineID(t.Line) && t.From <= t.To && int64(n[2]) >= 0
	return t, sound && t.String() == text
}

// IsTag reports whether a tag is one of a log.
func IsTag(text string) bool { return strings.HasPrefix(text, tagPrefix) }

// Anchor is a snapshot with its tag.
type Anchor struct {
	Tag
	Snapshot *repository.Snapshot
}

// Anchors lists the snapshots of one kind that are tied to the log of a database, the oldest first.
func Anchors(ctx context.Context, repo *repository.Repository, database string, kind TagKind) ([]Anchor, error) {
	all, err := repo.Snapshots(ctx)
	if err != nil {
		return nil, err
	}
	var out []Anchor
	for _, s := range all {
		for _, text := range s.Tags {
			if t, ok := ParseTag(text); ok && t.Kind == kind && t.Database == database {
				out = append(out, Anchor{t, s})
			}
		}
	}
	slices.SortStableFunc(out, func(a, b Anchor) int { return a.Snapshot.Time.Compare(b.Snapshot.Time) })
	return out, nil
}
