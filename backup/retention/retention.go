// Package retention decides which snapshots to keep, by restic's rules: the last, one per hour, day, week, month or
// year, those within a span, those with a tag. It answers only; it deletes nothing and reads no clock.
//
// It never lets a snapshot dated in the future decide about others: spans are measured back from the newest
// snapshot that is not later than now.
package retention

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// All keeps every snapshot of a bucket, where a count is asked for.
const All = -1

// Snapshot is what a decision needs to know.
type Snapshot struct {
	Time     time.Time // in the zone whose hours and days count
	Hostname string
	Paths    []string
	Tags     []string
}

// Policy says what to keep. A snapshot stays if any rule keeps it. The zero policy has no rule and keeps all.
type Policy struct {
	Last    int // the newest
	Hourly  int // the newest of each of so many hours that have one
	Daily   int
	Weekly  int // weeks of ISO 8601
	Monthly int
	Yearly  int

	Within        Span // all within the span before the newest
	WithinHourly  Span // the newest of each hour within the span
	WithinDaily   Span
	WithinWeekly  Span
	WithinMonthly Span
	WithinYearly  Span

	Tags [][]string // those that have all tags of one of the lists
}

// Empty reports whether the policy has no rule.
func (p Policy) Empty() bool {
	return p.Last == 0 && p.Hourly == 0 && p.Daily == 0 && p.Weekly == 0 && p.Monthly == 0 && p.Yearly == 0 &&
		p.Within.IsZero() && p.WithinHourly.IsZero() && p.WithinDaily.IsZero() && p.WithinWeekly.IsZero() &&
		p.WithinMonthly.IsZero() && p.WithinYearly.IsZero() && len(p.Tags) == 0
}

// Check reports counts and spans that make no sense.
func (p Policy) Check() error {
	for _, c := range []struct {
		name string
		n    int
	}{{"last", p.Last}, {"hourly", p.Hourly}, {"daily", p.Daily}, {"weekly", p.Weekly}, {"monthly", p.Monthly}, {"yearly", p.Yearly}} {
		if c.n < All {
			return fmt.Errorf("keep %s: %d is negative", c.name, c.n)
		}
	}
	for _, s := range []struct {
		name string
		span Span
	}{{"within", p.Within}, {"within hourly", p.WithinHourly}, {"within daily", p.WithinDaily}, {"within weekly", p.WithinWeekly}, {"within monthly", p.WithinMonthly}, {"within yearly", p.WithinYearly}} {
		if s.span.Years < 0 || s.span.Months < 0 || s.span.Days < 0 || s.span.Hours < 0 {
			return fmt.Errorf("keep %s: %v is negative", s.name, s.span)
		}
	}
	return nil
}

// Decision is what happens to one snapshot, and why.
type Decision struct {
	Keep    bool
	Reasons []string // of keeping: "daily snapshot", "within 7d", …
}

// bucket is a rule that keeps the newest snapshot of each value.
type bucket struct {
	value  func(t time.Time, i int) int
	left   int // All: no bound
	since  time.Time
	last   int
	reason string
}

// Apply decides about snapshots, which belong together: callers group them first. The decisions are in the order of
// the snapshots given.
func Apply(p Policy, snapshots []Snapshot, now time.Time) []Decision {
	decisions := make([]Decision, len(snapshots))
	if p.Empty() {
		for i := range decisions {
			decisions[i] = Decision{true, []string{"no policy"}}
		}
		return decisions
	}
	order := newestFirst(snapshots)
	newest := newestNotAfter(snapshots, now)
	buckets := p.buckets(newest)
	for i, at := range order {
		s, d := &snapshots[at], &decisions[at]
		for _, tags := range p.Tags {
			if hasAll(s.Tags, tags) {
				d.add("has tags " + strings.Join(tags, ","))
			}
		}
		if !p.Within.IsZero() && s.Time.After(p.Within.before(newest)) {
			d.add("within " + p.Within.String())
		}
		for k := range buckets {
			buckets[k].decide(s.Time, i, i == len(order)-1, d)
		}
	}
	return decisions
}

func (d *Decision) add(reason string) {
	d.Keep = true
	d.Reasons = append(d.Reasons, reason)
}

// decide keeps a snapshot that opens a new value. The oldest of all is kept while the rule has counts left: it reaches
// as far back as there is history.
func (b *bucket) decide(t time.Time, i int, oldest bool, d *Decision) {
	if b.left == 0 || !t.After(b.since) {
		return
	}
	value := b.value(t, i)
	switch {
	case value != b.last:
		d.add(b.reason)
	case oldest:
		d.add("oldest " + b.reason)
	default:
		return
	}
	b.last = value
	if b.left > 0 {
		b.left--
	}
}

func (p Policy) buckets(newest time.Time) []bucket {
	var out []bucket
	for _, c := range []struct {
		n      int
		value  func(time.Time, int) int
		reason string
	}{
		{p.Last, each, "last snapshot"}, {p.Hourly, hour, "hourly snapshot"}, {p.Daily, day, "daily snapshot"},
		{p.Weekly, week, "weekly snapshot"}, {p.Monthly, month, "monthly snapshot"}, {p.Yearly, year, "yearly snapshot"},
	} {
		if c.n != 0 {
			// No time is before the year 1.
			out = append(out, bucket{value: c.value, left: c.n, since: time.Time{}.Add(-time.Hour), last: -1, reason: c.reason})
		}
	}
	for _, c := range []struct {
		span   Span
		value  func(time.Time, int) int
		reason string
	}{
		{p.WithinHourly, hour, "hourly within "}, {p.WithinDaily, day, "daily within "}, {p.WithinWeekly, week, "weekly within "},
		{p.WithinMonthly, month, "monthly within "}, {p.WithinYearly, year, "yearly within "},
	} {
		if !c.span.IsZero() {
			out = append(out, bucket{value: c.value, left: All, since: c.span.before(newest), last: -1, reason: c.reason + c.span.String()})
		}
	}
	return out
}

func each(_ time.Time, i int) int  { return i }
func hour(t time.Time, i int) int  { return day(t, i)*100 + t.Hour() }
func day(t time.Time, i int) int   { return month(t, i)*100 + t.Day() }
func month(t time.Time, _ int) int { return t.Year()*100 + int(t.Month()) }
func year(t time.Time, _ int) int  { return t.Year() }
func week(t time.Time, _ int) int {
	y, w := t.ISOWeek()
	return y*100 + w
}

func newestFirst(snapshots []Snapshot) []int {
	order := make([]int, len(snapshots))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return snapshots[b].Time.Compare(snapshots[a].Time) })
	return order
}

func newestNotAfter(snapshots []Snapshot, now time.Time) (newest time.Time) {
	for _, s := range snapshots {
		if s.Time.After(newest) && !s.Time.After(now) {
			newest = s.Time
		}
	}
	return newest
}

func hasAll(have, want []string) bool {
	for _, tag := range want {
		if !slices.Contains(have, tag) {
			return false
		}
	}
	return true
}

// Span is a stretch of the calendar: "7d", "1y6m", "12h". A month is as long as that month was.
type Span struct{ Years, Months, Days, Hours int }

// ParseSpan reads numbers with the units y, m, d and h.
func ParseSpan(s string) (Span, error) {
	var out Span
	rest := strings.TrimSpace(s)
	if rest == "" {
		return Span{}, fmt.Errorf("span %q: empty", s)
	}
	for rest != "" {
		i := 0
		for i < len(rest) && rest[i] >= '0' && rest[i] <= '9' {
			i++
		}
		n, err := strconv.Atoi(rest[:i])
		if err != nil || i == len(rest) {
			return Span{}, fmt.Errorf("span %q: want numbers with units, like 1y6m, 7d or 12h", s)
		}
		switch rest[i] {
		case 'y':
			out.Years = n
		case 'm':
			out.Months = n
		case 'd':
			out.Days = n
		case 'h':
			out.Hours = n
		default:
			return Span{}, fmt.Errorf("span %q: unknown unit %q (y, m, d and h are known)", s, rest[i:i+1])
		}
		rest = rest[i+1:]
	}
	return out, nil
}

// String is the form that ParseSpan reads.
func (s Span) String() string {
	var b strings.Builder
	for _, part := range []struct {
		n    int
		unit byte
	}{{s.Years, 'y'}, {s.Months, 'm'}, {s.Days, 'd'}, {s.Hours, 'h'}} {
		if part.n != 0 {
			b.WriteString(strconv.Itoa(part.n))
			b.WriteByte(part.unit)
		}
	}
	return b.String()
}

// IsZero reports whether the span has no length.
func (s Span) IsZero() bool { return s == Span{} }

func (s Span) before(t time.Time) time.Time {
	return t.AddDate(-s.Years, -s.Months, -s.Days).Add(-time.Duration(s.Hours) * time.Hour)
}

// By says which snapshots belong together.
type By struct{ Host, Paths, Tags bool }

// DefaultBy groups by host and paths, as restic does.
func DefaultBy() By { return By{Host: true, Paths: true} }

// ParseBy reads a list like "host,paths"; "" groups everything together.
func ParseBy(s string) (By, error) {
	var by By
	for part := range strings.SplitSeq(s, ",") {
		switch part {
		case "host", "hosts":
			by.Host = true
		case "path", "paths":
			by.Paths = true
		case "tag", "tags":
			by.Tags = true
		case "":
		default:
			return By{}, fmt.Errorf("group by %q: want host, paths or tags", part)
		}
	}
	return by, nil
}

// Group is snapshots that belong together, by their positions in the list given to Groups.
type Group struct {
	Hostname    string   // where grouped by it
	Paths, Tags []string // sorted; where grouped by them
	Snapshots   []int
}

// Groups sorts snapshots into groups; the groups are ordered by host, paths and tags. The order of paths and tags within
// a snapshot does not matter.
func Groups(snapshots []Snapshot, by By) []Group {
	var groups []Group
	for i, s := range snapshots {
		g := Group{}
		if by.Host {
			g.Hostname = s.Hostname
		}
		if by.Paths {
			g.Paths = slices.Sorted(slices.Values(s.Paths))
		}
		if by.Tags {
			g.Tags = slices.Sorted(slices.Values(s.Tags))
		}
		at, found := slices.BinarySearchFunc(groups, g, compareGroups)
		if !found {
			groups = slices.Insert(groups, at, g)
		}
		groups[at].Snapshots = append(groups[at].Snapshots, i)
	}
	return groups
}

func compareGroups(a, b Group) int {
	return cmp.Or(cmp.Compare(a.Hostname, b.Hostname), slices.Compare(a.Paths, b.Paths), slices.Compare(a.Tags, b.Tags))
}
