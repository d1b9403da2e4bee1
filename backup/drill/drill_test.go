package drill

import (
	"context"
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	_ "modernc.org/sqlite" // the driver's only way in
)

// fake is a subject, its recovery and what it restores to.
type fake struct {
	bytes      int64
	planErr    error
	gaps       int // times that cannot be gone back to, at first
	restoreErr error
	through    time.Time
	answers    map[string]string
	dir        string
	closed     bool
	at         time.Time
	slow       bool
}

func (f *fake) Plan(_ context.Context, at time.Time) (Recovery, error) {
	f.at = at
	if f.gaps > 0 {
		f.gaps--
		return nil, errors.New("a gap")
	}
	return f, f.planErr
}

func (f *fake) Range(context.Context) (time.Time, time.Time, error) {
	return time.Unix(1000, 0), time.Unix(2000, 0), nil
}
func (f *fake) Bytes() int64 { return f.bytes }

func (f *fake) Restore(ctx context.Context, dir string) (Opened, error) {
	f.dir = dir
	if f.slow {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return f, errors.Join(os.WriteFile(filepath.Join(dir, "x"), nil, 0o600), f.restoreErr)
}

func (f *fake) Facts() Facts { return Facts{Last: "7", Through: f.through, Bytes: f.bytes, Applied: 3} }
func (f *fake) Close() error { f.closed = true; return nil }

func (f *fake) Ask(_ context.Context, q string) (string, bool, error) {
	a, known := f.answers[q]
	if !known {
		return "", false, errors.New("no such table")
	}
	return a, a != "0", nil
}

func TestADrillPassesOnlyIfAllIsAsPromised(t *testing.T) {
	for _, c := range []struct {
		name   string
		fake   fake
		change func(*Config)
		want   string // part of the error; empty if it passes
	}{
		{name: "as promised"},
		{name: "checks", fake: fake{answers: map[string]string{"a": "1", "b": "5"}}, change: func(c *Config) { c.Checks = []string{"a", "b"} }},
		{name: "a false answer", fake: fake{answers: map[string]string{"a": "0"}}, change: func(c *Config) { c.Checks = []string{"a"} }, want: `check "a"`},
		{name: "no answer", change: func(c *Config) { c.Checks = []string{"a"} }, want: "no such table"},
		{name: "no plan", fake: fake{planErr: errors.New("no base")}, want: "no base"},
		{name: "too large", fake: fake{bytes: 11}, change: func(c *Config) { c.MaxBytes = 10 }, want: "11 bytes"},
		{name: "not sound", fake: fake{restoreErr: errors.New("corrupt")}, want: "corrupt"},
		{name: "too slow", change: func(c *Config) { c.RecoveryTime = 1 }, want: "is promised"},
		{name: "too old", fake: fake{through: time.Now().Add(-time.Hour)}, change: func(c *Config) { c.RecoveryPoint = time.Minute }, want: "would have been lost"},
		{name: "too long", fake: fake{slow: true}, change: func(c *Config) { c.Timeout = time.Millisecond }, want: "longer than 1ms"},
		{name: "a random time", change: func(c *Config) { c.Random = true }},
		{name: "a random time after some gaps", fake: fake{gaps: 7}, change: func(c *Config) { c.Random = true }},
		{name: "gaps everywhere", fake: fake{gaps: 1 << 30}, change: func(c *Config) { c.Random = true }, want: "a gap"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := c.fake
			config := Config{Name: "d", Of: "shop", Subject: &f, Scratch: t.TempDir()}
			if f.through.IsZero() {
				f.through = time.Now().Add(-time.Second)
			}
			if c.change != nil {
				c.change(&config)
			}
			r := Run(t.Context(), config)
			if (c.want == "") != r.Passed() || !strings.Contains(r.Error, c.want) || r.Text() == "" {
				t.Errorf("%+v, want %q", r, c.want)
			}
			if r.Passed() && (!f.closed || r.Last != "7" || r.RecoveryTime <= 0 || len(r.Checks) != len(config.Checks)) {
				t.Errorf("%+v", r)
			}
			if config.Random && r.Passed() && (f.at.Before(time.Unix(1000, 0)) || f.at.After(time.Unix(2000, 0)) || !r.Target.Equal(f.at) || r.RecoveryPoint != 0) {
				t.Errorf("it went back to %v; %+v", f.at, r)
			}
			if left, _ := filepath.Glob(filepath.Join(config.Scratch, "*")); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

func TestHistoryIsSummedUp(t *testing.T) {
	db, err := sql.Open("sqlite", filepath.Join(t.TempDir(), "state.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	h, err := OpenHistory(t.Context(), db)
	if err != nil {
		t.Fatal(err)
	}
	begin := time.Unix(1e9, 0)
	for i, e := range []string{"", "broken", "", ""} {
		r := Result{Drill: "d", Of: "shop", Began: begin.Add(time.Duration(i) * time.Hour), RecoveryTime: time.Duration(10 - i), RecoveryPoint: time.Duration(i), Error: e}
		if i == 3 {
			r.Target = begin
		}
		if err := h.Add(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	if err := h.Add(t.Context(), Result{Drill: "other", Began: begin}); err != nil {
		t.Fatal(err)
	}
	all, err := h.List(t.Context(), "", time.Time{})
	if err != nil || len(all) != 5 {
		t.Fatalf("%d, %v", len(all), err)
	}
	if late, err := h.List(t.Context(), "d", begin.Add(2*time.Hour)); err != nil || len(late) != 2 {
		t.Errorf("%d since two hours, %v", len(late), err)
	}
	s := Summarize(all)
	if len(s) != 2 || s[0].Drill != "d" || s[0].Runs != 4 || s[0].Passed != 3 || !s[0].LastPassed.Equal(begin.Add(3*time.Hour)) {
		t.Fatalf("%+v", s)
	}
	if got := s[0].RecoveryTimes; len(got) != 3 || got[0] != 7 || got[2] != 10 {
		t.Errorf("recovery times %v", got)
	}
	if got := s[0].RecoveryPoints; len(got) != 2 || got[1] != 2 {
		t.Errorf("recovery points %v", got)
	}
}
