package backup

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/trivet-ha/trivet/backup/repository"
	"github.com/trivet-ha/trivet/backup/retention"
	"github.com/trivet-ha/trivet/backup/store/storetest"
)

func schedule(t *testing.T, spec string) Schedule {
	t.Helper()
	s, err := ParseSchedule(spec)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestSchedules(t *testing.T) {
	day := time.Date(2030, 5, 1, 12, 0, 0, 0, time.Local) // a Wednesday
	for _, c := range []struct {
		spec      string
		last, now time.Time
		want      time.Time
	}{
		{"every 1h", day, day.Add(time.Minute), day.Add(time.Hour)},
		{"90m", day, day, day.Add(90 * time.Minute)},
		{"every 1h", time.Time{}, day, day},
		{"every 1h", day.Add(-5 * time.Hour), day, day.Add(-4 * time.Hour)},
		{"0 2 * * *", day, day, day.Add(14 * time.Hour)},
		{"0 2 * * sun", time.Time{}, day, time.Date(2030, 5, 5, 2, 0, 0, 0, time.Local)},
		{"@daily", day.Add(-48 * time.Hour), day, time.Date(2030, 4, 30, 0, 0, 0, 0, time.Local)},
		{"", day, day, time.Time{}},
	} {
		if got := schedule(t, c.spec).Next("x", c.last, c.now); !got.Equal(c.want) {
			t.Errorf("%q after %v: %v, want %v", c.spec, c.last, got, c.want)
		}
	}
	for _, bad := range []string{"nonsense", "every", "every 5s", "* * *", "61 * * * *"} {
		if s, err := ParseSchedule(bad); err == nil {
			t.Errorf("%q: %v", bad, s)
		}
	}
}

func TestIntervalsAreWrittenShortly(t *testing.T) {
	for d, want := range map[time.Duration]string{
		7 * 24 * time.Hour: "every 7d", time.Hour: "every 1h", 90 * time.Minute: "every 1h30m", 10 * time.Minute: "every 10m", 61 * time.Second: "every 1m1s",
		time.Second: "every 1m", time.Hour + time.Second: "every 1h0m1s",
	} {
		if got := Every(d).String(); got != want {
			t.Errorf("%v: %q, want %q", d, got, want)
		}
	}
}

func TestJitterIsItsNamesOwn(t *testing.T) {
	s := schedule(t, "0 2 * * *").WithJitter(time.Hour)
	now := time.Date(2030, 5, 1, 12, 0, 0, 0, time.Local)
	base := schedule(t, "0 2 * * *").Next("", now, now)
	seen := map[time.Duration]bool{}
	for i := range 20 {
		late := s.Next(fmt.Sprint("job", i), now, now).Sub(base)
		if late < 0 || late >= time.Hour || late != s.Next(fmt.Sprint("job", i), now, now).Sub(base) {
			t.Errorf("late by %v", late)
		}
		seen[late] = true
	}
	if len(seen) < 15 {
		t.Errorf("only %d different times for 20 names", len(seen))
	}
}

// diary writes down what happens.
type diary struct {
	mu    sync.Mutex
	began time.Time
	lines []string
}

func (d *diary) add(format string, args ...any) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lines = append(d.lines, fmt.Sprintf("%v ", time.Since(d.began).Round(time.Second))+fmt.Sprintf(format, args...))
}

func (d *diary) String() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return strings.Join(d.lines, "\n")
}

// keep runs a keeper for a time inside a bubble.
func keep(t *testing.T, d *diary, length time.Duration, jobs ...Job) *Keeper {
	t.Helper()
	d.began = time.Now()
	k := NewKeeper(KeeperConfig{})
	if err := k.Change(jobs); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), length)
	defer cancel()
	if err := k.Run(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("run: %v", err)
	}
	return k
}

func TestJobsRunWhenTheyAreDue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &diary{}
		k := keep(t, d, 3*time.Hour+time.Minute, Job{Name: "a", When: schedule(t, "every 1h"), Do: func(context.Context, *Progress) (Outcome, error) {
			d.add("a")
			return Outcome{Text: "fine"}, nil
		}})
		if got, want := d.String(), "0s a\n1h0m0s a\n2h0m0s a\n3h0m0s a"; got != want {
			t.Errorf("got\n%s\nwant\n%s", got, want)
		}
		s := k.Status()[0]
		if s.State != Idle || s.Error != "" || s.Outcome.Text != "fine" || s.Succeeded.Sub(d.began) != 3*time.Hour || s.When != "every 1h" || s.Run != 4 || s.Done != 4 {
			t.Errorf("%+v", s)
		}
	})
}

func TestAMissedRunIsMadeUpOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &diary{}
		begin := time.Now()
		keep(t, d, 2*time.Hour, Job{
			Name: "a", When: schedule(t, "every 24h"),
			Last: func(context.Context) (time.Time, error) { return begin.Add(-100 * time.Hour), nil },
			Do:   func(context.Context, *Progress) (Outcome, error) { d.add("a"); return Outcome{}, nil },
		}, Job{
			Name: "b", When: schedule(t, "every 24h"),
			Last: func(context.Context) (time.Time, error) { return begin.Add(-23 * time.Hour), nil },
			Do:   func(context.Context, *Progress) (Outcome, error) { d.add("b"); return Outcome{}, nil },
		})
		if got, want := d.String(), "0s a\n1h0m0s b"; got != want {
			t.Errorf("got\n%s\nwant\n%s", got, want)
		}
	})
}

func TestAFailureIsTriedAgainSoonerAndLessAndLessOften(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &diary{}
		k := keep(t, d, time.Hour, Job{Name: "a", When: schedule(t, "every 24h"), Do: func(context.Context, *Progress) (Outcome, error) {
			d.add("a")
			return Outcome{}, errors.New("no")
		}})
		if got, want := d.String(), "0s a\n5m0s a\n15m0s a\n35m0s a"; got != want {
			t.Errorf("got\n%s\nwant\n%s", got, want)
		}
		if s := k.Status()[0]; s.Failures != 4 || s.Error != "no" || !s.Succeeded.IsZero() {
			t.Errorf("%+v", s)
		}
	})
}

func TestOneRepositoryHasOneJobAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &diary{}
		job := func(name, repo string) Job {
			return Job{Name: name, Uses: []string{repo}, When: schedule(t, "every 24h"), Do: func(ctx context.Context, _ *Progress) (Outcome, error) {
				d.add("begin %s", repo)
				select {
				case <-time.After(10 * time.Minute):
				case <-ctx.Done():
				}
				d.add("end %s", repo)
				return Outcome{}, nil
			}}
		}
		keep(t, d, time.Hour, job("a", "one"), job("b", "one"), job("c", "two"))
		text := d.String()
		for _, want := range []string{"0s begin one", "10m0s begin one", "20m0s end one", "0s begin two", "10m0s end two"} {
			if !strings.Contains(text, want) {
				t.Errorf("%q is not in\n%s", want, text)
			}
		}
	})
}

var errTest = errors.New("test")

// note is a source of one small file.
type note struct {
	text    string
	missing int
	err     error
	commits int
}

func (n *note) Paths() []string { return []string{"/note"} }

func (n *note) Save(_ context.Context, t Target) (Saved, error) {
	if n.err != nil {
		return Saved{}, n.err
	}
	s := t.Writer.Session()
	id, _, err := s.SaveBlob(repository.DataBlob, []byte(n.text))
	if err != nil {
		return Saved{}, err
	}
	b := repository.NewTreeBuilder()
	if err := b.Add(&repository.Node{Name: "note", Type: repository.TypeFile, Mode: 0o600, Size: uint64(len(n.text)), Content: []repository.ID{id}}); err != nil {
		return Saved{}, err
	}
	for range n.missing {
		t.Report(Problem{Missing, "/note", errTest})
	}
	saved := Saved{Summary: repository.Summary{FilesNew: 1, TotalFilesProcessed: 1, TotalBytesProcessed: uint64(len(n.text))}}
	if !t.Fresh {
		parent, err := t.Parent(context.Background())
		if err != nil {
			return Saved{}, err
		}
		if parent != nil {
			saved.Parent = parent.ID()
		}
	}
	saved.Tree, err = s.SaveTree(b)
	return saved, err
}

func (n *note) Committed(context.Context, *repository.Snapshot) error { n.commits++; return nil }

func newRepo(t *testing.T) *repository.Repository {
	t.Helper()
	repo, err := repository.Init(t.Context(), storetest.NewMemory(), "pw", repository.InitOptions{Options: repository.Options{CacheDir: t.TempDir()}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { repo.Close() })
	return repo
}

func TestSaveMakesASnapshotAndChainsItToItsParent(t *testing.T) {
	repo := newRepo(t)
	n := &note{text: "one"}
	first, err := Save(t.Context(), repo, n, Options{Tags: []string{"x"}, Host: "here", Program: "test"})
	if err != nil || first.Snapshot == nil || first.Parent != nil || n.commits != 1 {
		t.Fatalf("%+v, %v, %d commits", first, err, n.commits)
	}
	s, err := repo.LoadSnapshot(t.Context(), first.Snapshot.ID())
	if err != nil || s.Hostname != "here" || !s.HasTag("x") || s.ProgramVersion != "test" || s.Summary.TotalFilesProcessed != 1 || s.Paths[0] != "/note" {
		t.Errorf("%+v, %v", s, err)
	}
	n.text = "two"
	second, err := Save(t.Context(), repo, n, Options{Host: "here"})
	if err != nil || second.Snapshot.Parent == nil || *second.Snapshot.Parent != first.Snapshot.ID() {
		t.Errorf("%+v, %v", second, err)
	}
	third, err := Save(t.Context(), repo, n, Options{Host: "here", SkipUnchanged: true})
	if err != nil || third.Snapshot != nil || third.Tree != second.Tree || n.commits != 2 {
		t.Errorf("%+v, %v, %d commits", third, err, n.commits)
	}
	other, err := Save(t.Context(), repo, n, Options{Host: "elsewhere"})
	if err != nil || other.Parent != nil {
		t.Errorf("a snapshot of another machine is the parent: %+v, %v", other, err)
	}
}

func TestAFailedSaveMakesNoSnapshot(t *testing.T) {
	repo := newRepo(t)
	if _, err := Save(t.Context(), repo, &note{err: errTest}, Options{}); !errors.Is(err, errTest) {
		t.Errorf("got %v", err)
	}
	list, err := repo.Snapshots(t.Context())
	if err != nil || len(list) != 0 {
		t.Errorf("%d snapshots, %v", len(list), err)
	}
	locks, err := repo.Locks(t.Context())
	if err != nil || len(locks) != 0 {
		t.Errorf("%d locks are left, %v", len(locks), err)
	}
}

func TestAPlanKeepsWhatItsPolicyKeeps(t *testing.T) {
	repo := newRepo(t)
	open := func(context.Context) (*repository.Repository, func(), error) { return repo, func() {}, nil }
	n := &note{text: "x"}
	job := Plan{Name: "notes", Source: func() (Source, error) { return n, nil }, Keep: retention.Policy{Last: 2}, Options: Options{Host: "here"}}.Job("vault", open)
	if job.Name != "notes@vault" {
		t.Error(job.Name)
	}
	if last, err := job.Last(t.Context()); err != nil || !last.IsZero() {
		t.Errorf("before the first: %v, %v", last, err)
	}
	if _, err := Save(t.Context(), repo, n, Options{Host: "here"}); err != nil { // not of this plan
		t.Fatal(err)
	}
	for i := range 4 {
		n.text = fmt.Sprint(i)
		n.missing = i % 2
		o, err := job.Do(t.Context(), &Progress{})
		if err != nil || o.Partial != (i%2 == 1) || !strings.Contains(o.Text, "snapshot") {
			t.Fatalf("%+v, %v", o, err)
		}
	}
	list, err := repo.Snapshots(t.Context())
	if err != nil || len(list) != 3 {
		t.Errorf("%d snapshots, want two of the plan and the other one; %v", len(list), err)
	}
	if last, err := job.Last(t.Context()); err != nil || !last.Equal(list[2].Time) {
		t.Errorf("last: %v, %v", last, err)
	}
	upkeep := Upkeep{Repository: "vault", Open: open}
	for _, j := range []Job{PruneJob(upkeep, repository.PruneOptions{MaxUnusedPercent: -1}), VerifyJob(upkeep, 2)} {
		if o, err := j.Do(t.Context(), &Progress{}); err != nil || o.Text == "" {
			t.Errorf("%s: %+v, %v", j.Name, o, err)
		}
		if last, err := j.Last(t.Context()); err != nil || time.Since(last) > time.Minute {
			t.Errorf("%s: last %v, %v", j.Name, last, err)
		}
	}
}

func TestHooks(t *testing.T) {
	dir := t.TempDir()
	out := filepath.Join(dir, "out")
	script := filepath.Join(dir, "hook")
	if err := os.WriteFile(script, []byte("#!/bin/sh\necho \"$1 $TRIVET_RESULT\" >> "+out+"\necho said this\n[ \"$1\" != fail ]\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	hook := func(arg string) Hook { return Hook{Argv: []string{script, arg}} }
	ran := 0
	do := func(r Result, err error) func(context.Context) (Result, error) {
		return func(context.Context) (Result, error) { ran++; return r, err }
	}
	if _, err := Between(t.Context(), hook("before"), hook("after"), do(Result{Missing: 1}, nil)); err != nil {
		t.Error(err)
	}
	if _, err := Between(t.Context(), Hook{}, hook("after"), do(Result{}, errTest)); !errors.Is(err, errTest) {
		t.Error(err)
	}
	if _, err := Between(t.Context(), hook("fail"), hook("after"), do(Result{}, nil)); err == nil || !strings.Contains(err.Error(), "said this") || ran != 2 {
		t.Errorf("%v, ran %d times", err, ran)
	}
	if _, err := Between(t.Context(), Hook{}, hook("fail"), do(Result{}, nil)); err == nil {
		t.Error("a hook that fails afterwards: no error")
	}
	text, err := os.ReadFile(out)
	if err != nil || string(text) != "before \nafter partial\nafter failed\nfail \nfail ok\n" {
		t.Errorf("%q, %v", text, err)
	}
	slow := Hook{Argv: []string{"sleep", "60"}, Timeout: 50 * time.Millisecond}
	if err := slow.Run(t.Context()); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

func TestWhatIsUnusual(t *testing.T) {
	mib := uint64(1 << 20)
	snapshot := func(s repository.Summary) *repository.Snapshot { return &repository.Snapshot{Summary: &s} }
	before := repository.Summary{TotalFilesProcessed: 1000, TotalBytesProcessed: 1000 * mib, DataAdded: 1000 * mib, DataAddedPacked: 400 * mib}
	for name, c := range map[string]struct {
		now  repository.Summary
		want []NoticeKind
	}{
		"as ever":        {repository.Summary{TotalFilesProcessed: 1010, FilesUnmodified: 1000, FilesNew: 10, TotalBytesProcessed: 1010 * mib}, nil},
		"half is gone":   {repository.Summary{TotalFilesProcessed: 400, FilesUnmodified: 400, TotalBytesProcessed: 400 * mib}, []NoticeKind{Shrunk}},
		"bytes are gone": {repository.Summary{TotalFilesProcessed: 1000, FilesUnmodified: 900, FilesChanged: 100, TotalBytesProcessed: 100 * mib}, []NoticeKind{Shrunk}},
		"all is gone":    {repository.Summary{}, []NoticeKind{NothingNow}},
		"grown":          {repository.Summary{TotalFilesProcessed: 9000, FilesUnmodified: 1000, FilesNew: 8000, TotalBytesProcessed: 9000 * mib}, []NoticeKind{Grown}},
		"rewritten":      {repository.Summary{TotalFilesProcessed: 1000, FilesChanged: 900, FilesUnmodified: 100, TotalBytesProcessed: 1000 * mib, DataAdded: 900 * mib, DataAddedPacked: 350 * mib}, []NoticeKind{Rewritten}},
		"encrypted":      {repository.Summary{TotalFilesProcessed: 1000, FilesChanged: 900, FilesUnmodified: 100, TotalBytesProcessed: 1000 * mib, DataAdded: 900 * mib, DataAddedPacked: 901 * mib}, []NoticeKind{Rewritten, Scrambled}},
	} {
		var got []NoticeKind
		for _, n := range (Canary{}).Compare(snapshot(c.now), snapshot(before)) {
			got = append(got, n.Kind)
			if n.Text == "" {
				t.Errorf("%s: no text", name)
			}
		}
		if fmt.Sprint(got) != fmt.Sprint(c.want) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
	if (Canary{}).Compare(nil, nil) != nil || (Canary{}).Compare(snapshot(before), &repository.Snapshot{}) != nil {
		t.Error("without summaries there is nothing to say")
	}
}

func TestProgressTellsRateAndTimeLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var p Progress
		p.Expect(10, 1000)
		time.Sleep(10 * time.Second)
		p.Done(2, 250)
		p.Problem()
		at := "/x"
		p.At(&at)
		s := p.Look()
		if s.Files != 2 || s.Bytes != 250 || s.Problems != 1 || s.Current != "/x" || s.Elapsed != 10*time.Second || s.BytesPerSecond() != 25 {
			t.Errorf("%+v", s)
		}
		if left, ok := s.Left(); !ok || left != 30*time.Second {
			t.Errorf("%v, %t", left, ok)
		}
		if _, ok := (ProgressSnapshot{}).Left(); ok {
			t.Error("nothing is known of nothing")
		}
		var nobody *Progress
		nobody.Done(1, 1)
		nobody.At(&at)
		nobody.Problem()
	})
}
