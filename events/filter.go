package events

import (
	"slices"
	"time"
)

// Filter chooses events; the zero Filter chooses all.
type Filter struct {
	After    int64     // ID, not included
	Since    time.Time // included
	Until    time.Time // not included; zero is no end
	Pool     string
	Endpoint string
	Process  string
	Listener string
	// Backup and Repository are as in Where.
	Backup     string
	Repository string
	Kinds      []string // patterns as "endpoint.down" or "process.*"; one must match
	Level      Level    // the least
	Incident   int64
	// Limit keeps the newest so many; 0 is no limit. Match does not look at it.
	Limit int
}

// Match reports whether e is chosen.
func (f *Filter) Match(e *Event) bool {
	return e.ID > f.After && !e.At.Before(f.Since) && (f.Until.IsZero() || e.At.Before(f.Until)) &&
		same(f.Pool, e.Pool) && same(f.Endpoint, e.Endpoint) && same(f.Process, e.Process) && same(f.Listener, e.Listener) &&
		same(f.Backup, e.Backup) && same(f.Repository, e.Repository) &&
		f.kind(e.Kind) && e.Level.AtLeast(f.Level) && (f.Incident == 0 || f.Incident == e.Incident)
}

func (f *Filter) kind(k Kind) bool {
	return len(f.Kinds) == 0 || slices.ContainsFunc(f.Kinds, k.Matches)
}

// IncidentFilter chooses incidents; the zero IncidentFilter chooses all.
type IncidentFilter struct {
	Since    time.Time // that were open then or later
	Pool     string
	Endpoint string
	Process  string
	// Backup and Repository are as in Where.
	Backup     string
	Repository string
	Open       bool // only those that are not over
	Limit      int  // keeps the newest so many; 0 is no limit. Match does not look at it.
}

// Match reports whether i is chosen.
func (f *IncidentFilter) Match(i *Incident) bool {
	return (i.Ended.IsZero() || !i.Ended.Before(f.Since)) && same(f.Pool, i.Pool) && same(f.Endpoint, i.Endpoint) &&
		same(f.Process, i.Process) && same(f.Backup, i.Backup) && same(f.Repository, i.Repository) && (!f.Open || i.State == Open)
}

// same reports whether got is what is wanted, which may be anything.
func same(want, got string) bool { return want == "" || want == got }

// Newest returns the last limit of a list; all if limit is 0.
func Newest[T any](list []T, limit int) []T {
	if limit > 0 && len(list) > limit {
		return list[len(list)-limit:]
	}
	return list
}
