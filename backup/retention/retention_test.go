package retention

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

func at(s string) time.Time {
	t, err := time.Parse("2006-01-02 15:04", s)
	if err != nil {
		panic(err)
	}
	return t
}

func times(list ...string) (out []Snapshot) {
	for _, s := range list {
		out = append(out, Snapshot{Time: at(s)})
	}
	return out
}

var now = at("2026-06-30 12:00")

// kept is the positions kept, as digits.
func kept(d []Decision) string {
	var b strings.Builder
	for i, x := range d {
		if x.Keep {
			b.WriteByte(byte('0' + i))
		}
	}
	return b.String()
}

func TestRules(t *testing.T) {
	list := times(
		"2024-12-30 10:00", // 0: ISO week 1 of 2025
		"2025-01-02 10:00", // 1: the same ISO week, another month and year
		"2025-06-01 10:00", // 2
		"2026-06-01 09:00", // 3
		"2026-06-01 09:30", // 4: the same hour as 3
		"2026-06-01 11:00", // 5
		"2026-06-29 11:00", // 6
		"2026-06-30 11:00", // 7
	)
	for _, c := range []struct {
		name string
		p    Policy
		want string
	}{
		{"no rule keeps all", Policy{}, "01234567"},
		{"the last", Policy{Last: 2}, "67"},
		{"all of the last", Policy{Last: All}, "01234567"},
		{"more than there are", Policy{Last: 100}, "01234567"},
		{"the newest of each hour", Policy{Hourly: 4}, "4567"},
		{"the newest of each day", Policy{Daily: 3}, "567"},
		{"weeks are those of ISO 8601, and the oldest stays", Policy{Weekly: All}, "01257"},
		// 29 and 30 June are days of one week: its newest, then that of 1 June.
		{"a bounded count does not reach the oldest", Policy{Weekly: 2}, "57"},
		{"months", Policy{Monthly: 3}, "127"},
		{"years, and the oldest while counts are left", Policy{Yearly: 10}, "027"},
		{"within a span of the newest", Policy{Within: Span{Days: 1, Hours: 1}}, "67"},
		{"the end of the span is outside", Policy{Within: Span{Days: 1}}, "7"},
		{"days within a span", Policy{WithinDaily: Span{Months: 1}}, "567"},
		{"years within a span, and the oldest", Policy{WithinYearly: Span{Years: 10}}, "027"},
		{"any rule keeps", Policy{Last: 1, Yearly: 2}, "27"},
	} {
		got := kept(Apply(c.p, list, now))
		if got != c.want {
			t.Errorf("%s: kept %s, want %s", c.name, got, c.want)
		}
	}
}

func TestTagsKeepWhenAListMatchesWholly(t *testing.T) {
	list := times("2026-01-01 00:00", "2026-01-02 00:00", "2026-01-03 00:00")
	list[0].Tags = []string{"a", "b"}
	list[1].Tags = []string{"a"}
	if got := kept(Apply(Policy{Tags: [][]string{{"a", "b"}, {"c"}}}, list, now)); got != "0" {
		t.Errorf("kept %s", got)
	}
	d := Apply(Policy{Tags: [][]string{{"a"}}, Last: 3}, list, now)
	if !slices.Contains(d[1].Reasons, "has tags a") || !slices.Contains(d[1].Reasons, "last snapshot") {
		t.Errorf("reasons %q", d[1].Reasons)
	}
}

func TestASnapshotFromTheFutureDoesNotMoveTheSpan(t *testing.T) {
	list := times("2026-06-28 00:00", "2026-06-30 00:00", "2031-01-01 00:00")
	if got := kept(Apply(Policy{Within: Span{Days: 3}}, list, now)); got != "012" {
		t.Errorf("kept %s: a forged date must not push the others out", got)
	}
}

func TestTheOrderOfTheListDoesNotMatter(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 1))
	for range 200 {
		var list []Snapshot
		for range 30 {
			list = append(list, Snapshot{Time: now.Add(-time.Duration(random.IntN(3*365*24)) * time.Hour).Add(time.Duration(random.IntN(3600)) * time.Second)})
		}
		p := Policy{Last: random.IntN(3), Hourly: random.IntN(4), Daily: random.IntN(4), Weekly: random.IntN(4), Monthly: random.IntN(4) - 1, Yearly: random.IntN(3), Within: Span{Days: random.IntN(30)}}
		if p.Empty() {
			continue
		}
		keptTimes := func(list []Snapshot) (out []int64) {
			for i, d := range Apply(p, list, now) {
				if d.Keep {
					out = append(out, list[i].Time.Unix())
				}
				if d.Keep != (len(d.Reasons) > 0) {
					t.Fatalf("kept %v for reasons %q", d.Keep, d.Reasons)
				}
			}
			slices.Sort(out)
			return out
		}
		want := keptTimes(list)
		random.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
		if got := keptTimes(list); !slices.Equal(got, want) {
			t.Fatalf("policy %+v: kept %v, then %v", p, want, got)
		}
	}
}

func TestApplyingAPolicyAgainRemovesNothingMore(t *testing.T) {
	random := rand.New(rand.NewPCG(2, 1))
	for range 200 {
		var list []Snapshot
		for range 40 {
			list = append(list, Snapshot{Time: now.Add(-time.Duration(random.IntN(900*24)) * time.Hour)})
		}
		p := Policy{Last: random.IntN(3), Daily: random.IntN(6), Weekly: random.IntN(4), Monthly: random.IntN(5), WithinDaily: Span{Days: random.IntN(40)}}
		if p.Empty() {
			continue
		}
		var left []Snapshot
		for i, d := range Apply(p, list, now) {
			if d.Keep {
				left = append(left, list[i])
			}
		}
		for i, d := range Apply(p, left, now) {
			if !d.Keep {
				t.Fatalf("policy %+v: the second time it removes %v", p, left[i].Time)
			}
		}
	}
}

func TestSpans(t *testing.T) {
	for _, s := range []string{"7d", "1y6m", "12h", "1y2m3d4h"} {
		span, err := ParseSpan(s)
		if err != nil || span.String() != s {
			t.Errorf("ParseSpan(%q) = %v, %v", s, span, err)
		}
	}
	for _, s := range []string{"", "7", "d", "7x", "-1d", "1.5d", "99999999999999999999d"} {
		if span, err := ParseSpan(s); err == nil {
			t.Errorf("ParseSpan(%q) = %v", s, span)
		}
	}
	if got := (Span{Months: 1}).before(at("2026-03-31 00:00")); !got.Equal(at("2026-03-03 00:00")) {
		t.Errorf("a month before 31 March is %v", got)
	}
}

func TestPoliciesOfNonsenseAreRefused(t *testing.T) {
	for _, p := range []Policy{{Last: -2}, {Yearly: -5}, {Within: Span{Days: -1}}, {WithinYearly: Span{Hours: -1}}} {
		if p.Check() == nil {
			t.Errorf("%+v passes", p)
		}
	}
	if err := (Policy{Last: All, Within: Span{Days: 1}}).Check(); err != nil {
		t.Error(err)
	}
}

func TestGroups(t *testing.T) {
	list := []Snapshot{
		{Hostname: "b", Paths: []string{"/y", "/x"}, Tags: []string{"t"}},
		{Hostname: "a", Paths: []string{"/x"}},
		{Hostname: "b", Paths: []string{"/x", "/y"}, Tags: []string{"u"}},
	}
	if g := Groups(list, DefaultBy()); len(g) != 2 || g[0].Hostname != "a" || !slices.Equal(g[1].Snapshots, []int{0, 2}) || !slices.Equal(g[1].Paths, []string{"/x", "/y"}) {
		t.Errorf("by host and paths: %+v", g)
	}
	if g := Groups(list, By{}); len(g) != 1 || len(g[0].Snapshots) != 3 {
		t.Errorf("together: %+v", g)
	}
	if g := Groups(list, By{Tags: true}); len(g) != 3 {
		t.Errorf("by tags: %+v", g)
	}
	by, err := ParseBy("host,paths,tags")
	if err != nil || by != (By{true, true, true}) {
		t.Errorf("ParseBy: %+v, %v", by, err)
	}
	if _, err := ParseBy("colour"); err == nil {
		t.Error("grouped by colour")
	}
}

func FuzzParseSpan(f *testing.F) {
	f.Add("1y2m3d4h")
	f.Fuzz(func(t *testing.T, s string) {
		span, err := ParseSpan(s)
		if err != nil || span.IsZero() {
			return
		}
		if again, err := ParseSpan(span.String()); err != nil || again != span {
			t.Errorf("%q: %v, then %v, %v", s, span, again, err)
		}
	})
}
