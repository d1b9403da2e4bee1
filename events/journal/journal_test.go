package journal

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/trivet-ha/trivet/events"
	"github.com/trivet-ha/trivet/events/stream"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t testing.TB, path string, keep Retention) *Journal {
	t.Helper()
	j, err := Open(t.Context(), path, keep, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := j.Close(); err != nil {
			t.Error(err)
		}
	})
	return j
}

// sample makes n events that differ in everything.
func sample(n int, from time.Time) []events.Event {
	kinds := events.Kinds()
	var all []events.Event
	for i := range n {
		at := from.Add(time.Duration(i) * time.Second).UTC()
		e := events.Event{
			ID: at.UnixMicro(), At: at, Kind: kinds[i%len(kinds)],
			Where:    events.Where{Pool: []string{"site", "api"}[i%2], Endpoint: fmt.Sprint(i % 3), Process: []string{"", "p/0"}[i%2], Listener: []string{"web", ""}[i%2], Backup: []string{"", "etc"}[i/2%2], Repository: []string{"vault", ""}[i/4%2]},
			Evidence: fmt.Sprintf("evidence %d", i), Took: events.Span(time.Duration(i) * time.Millisecond), Incident: int64(i % 5),
		}
		e.Level = e.Kind.Level()
		all = append(all, e)
	}
	return all
}

func TestEventsOutliveTheProcess(t *testing.T) {
	path := filepath.Join(t.TempDir(), "deep", "state file?.db")
	want := sample(50, time.Now().Add(-time.Hour))
	func() {
		j, err := Open(t.Context(), path, Retention{}, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		defer j.Close()
		if err := j.Append(t.Context(), want, nil); err != nil {
			t.Fatal(err)
		}
		if err := j.Append(t.Context(), want[40:], nil); err != nil {
			t.Errorf("what is there already is refused: %v", err)
		}
	}()
	j := open(t, path, Retention{})
	got, err := j.List(t.Context(), events.Filter{})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-written +read):\n%s", diff)
	}
	if j.Written() != want[49].ID || j.Path() != path {
		t.Errorf("last is %d of %s", j.Written(), j.Path())
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file is %v, %v", info.Mode(), err)
	}
}

// The filter means the same on disk as in memory.
func TestAFilterOnDiskIsTheFilterInMemory(t *testing.T) {
	j := open(t, filepath.Join(t.TempDir(), "state.db"), Retention{})
	from := time.Now().Add(-time.Hour)
	all := sample(200, from)
	if err := j.Append(t.Context(), all, nil); err != nil {
		t.Fatal(err)
	}
	moment := func(r *rapid.T, name string) time.Time {
		if rapid.Bool().Draw(r, "no "+name) {
			return time.Time{}
		}
		return from.Add(time.Duration(rapid.IntRange(0, 200).Draw(r, name)) * time.Second)
	}
	text := func(r *rapid.T, name string, values ...string) string {
		return rapid.SampledFrom(append(values, "", "")).Draw(r, name)
	}
	rapid.Check(t, func(r *rapid.T) {
		f := events.Filter{
			Since: moment(r, "since"), Until: moment(r, "until"), Pool: text(r, "pool", "site", "x'y"), Endpoint: text(r, "endpoint", "1"),
			Process: text(r, "process", "p/0"), Listener: text(r, "listener", "web"), Backup: text(r, "backup", "etc"), Repository: text(r, "repository", "vault"), Level: events.Level(text(r, "level", "info", "warn", "error")),
			Kinds: rapid.SliceOfN(rapid.SampledFrom([]string{"endpoint.*", "node.started", "p*", "*", "e_dpoint.*"}), 0, 2).Draw(r, "kinds"),
			Limit: rapid.SampledFrom([]int{0, 1, 7}).Draw(r, "limit"), Incident: rapid.SampledFrom([]int64{0, 0, 3}).Draw(r, "incident"),
		}
		if rapid.Bool().Draw(r, "after") {
			f.After = all[100].ID
		}
		var want []events.Event
		for _, e := range all {
			if f.Match(&e) {
				want = append(want, e)
			}
		}
		want = events.Newest(want, f.Limit)
		got, err := j.List(t.Context(), f)
		if err != nil {
			r.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			r.Fatalf("%+v (-memory +disk):\n%s", f, diff)
		}
	})
}

func TestIncidentsAreKeptAsTheyStand(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.db")
	j := open(t, path, Retention{})
	s := stream.New(stream.Config{})
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 2)
	go func() { done <- j.Run(t.Context(), s) }()
	go func() { done <- s.Run(ctx) }()
	for _, endpoint := range []string{"a", "b", "c"} {
		s.Publish(events.Event{Kind: events.EndpointDown, Where: events.Where{Pool: "site", Endpoint: endpoint}})
	}
	s.Publish(events.Event{Kind: events.EndpointUp, Where: events.Where{Pool: "site", Endpoint: "b"}})
	waitFor(t, func() bool { return j.Stats().Written == 4 })
	stop()
	if err := errors.Join(<-done, <-done); err != nil {
		t.Fatal(err)
	}
	list := func(f events.IncidentFilter) (who string) {
		got, err := j.Incidents(t.Context(), f)
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range got {
			if !f.Match(&i) {
				t.Errorf("%+v chose %+v", f, i)
			}
			who += i.Endpoint + ":" + string(i.State) + " "
		}
		return who
	}
	for want, f := range map[string]events.IncidentFilter{
		"a:open b:recovered c:open ": {Pool: "site"},
		"a:open c:open ":             {Open: true},
		"b:recovered ":               {Endpoint: "b", Since: time.Now().Add(-time.Minute)},
		"c:open ":                    {Limit: 1},
		"":                           {Process: "p"},
	} {
		if got := list(f); got != want {
			t.Errorf("%+v chose %s, want %s", f, got, want)
		}
	}
	all := s.Incidents()
	if err := j.Settle(t.Context(), all[2:], time.Now()); err != nil || list(events.IncidentFilter{}) != "a:withdrawn b:recovered c:open " {
		t.Errorf("after settling: %s, %v", list(events.IncidentFilter{}), err)
	}
	j.Keep(Retention{Age: time.Nanosecond})
	if err := j.prune(t.Context(), time.Now().Add(time.Second)); err != nil || list(events.IncidentFilter{}) != "c:open " {
		t.Errorf("after all that is over is old: %s, %v", list(events.IncidentFilter{}), err)
	}
}

func TestOldEventsAndTooManyAreDeleted(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.db")
	j := open(t, path, Retention{})
	old, fresh := sample(10, time.Now().Add(-100*24*time.Hour)), sample(20, time.Now().Add(-time.Minute))
	if err := j.Append(t.Context(), append(old, fresh...), nil); err != nil {
		t.Fatal(err)
	}
	count := func() int {
		all, err := j.List(t.Context(), events.Filter{})
		if err != nil {
			t.Fatal(err)
		}
		return len(all)
	}
	if err := j.prune(t.Context(), time.Now()); err != nil || count() != 20 {
		t.Errorf("%d are left, %v", count(), err)
	}
	j.Keep(Retention{Events: 5})
	if err := j.prune(t.Context(), time.Now()); err != nil || count() != 5 {
		t.Errorf("%d are left, %v", count(), err)
	}
	if got, _ := j.List(t.Context(), events.Filter{}); got[4].ID != fresh[19].ID {
		t.Error("the newest are gone")
	}
}

func TestAStreamIsWrittenToItsEnd(t *testing.T) {
	j := open(t, filepath.Join(t.TempDir(), "state.db"), Retention{})
	s := stream.New(stream.Config{})
	ctx, stop := context.WithCancel(t.Context())
	written := make(chan error, 1)
	go func() { written <- j.Run(t.Context(), s) }()
	streamed := make(chan error, 1)
	go func() { streamed <- s.Run(ctx) }()
	for i := range 1000 {
		s.Publish(events.Event{Kind: events.EndpointDown, Where: events.Where{Endpoint: fmt.Sprint(i)}})
	}
	stop()
	if err := errors.Join(<-streamed, <-written); err != nil {
		t.Fatal(err)
	}
	got, err := j.List(t.Context(), events.Filter{})
	if err != nil || len(got) != 1000 {
		t.Errorf("%d are written, %v", len(got), err)
	}
	if st := j.Stats(); st.Written != 1000 || st.Errors != 0 || st.Lost != 0 {
		t.Errorf("stats %+v", st)
	}
}

func TestAFailingDiskIsTriedAgain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.db")
	j := open(t, path, Retention{})
	block, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer block.Close()
	if _, err := block.Exec(`alter table event rename to away`); err != nil {
		t.Fatal(err)
	}
	s := stream.New(stream.Config{Size: 8})
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 2)
	go func() { done <- j.Run(t.Context(), s) }()
	go func() { done <- s.Run(ctx) }()
	s.Publish(events.Event{Kind: events.NodeStarted})
	waitFor(t, func() bool { return j.Stats().Errors > 0 })
	for range 20 {
		s.Publish(events.Event{Kind: events.NodeStopping})
	}
	waitFor(t, func() bool { return s.Stats().Events[events.NodeStopping] == 20 })
	if _, err := block.Exec(`alter table away rename to event`); err != nil {
		t.Fatal(err)
	}
	stop()
	if err := errors.Join(<-done, <-done); err != nil {
		t.Fatal(err)
	}
	got, err := j.List(t.Context(), events.Filter{})
	if err != nil || len(got) != 9 || got[0].Kind != events.NodeStarted || j.Stats().Lost != 12 {
		t.Errorf("%d are written, %d lost, %v", len(got), j.Stats().Lost, err)
	}
}

func waitFor(t *testing.T, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it does not come about")
		}
	}
}

func TestWritingEndsWithItsContext(t *testing.T) {
	j := open(t, filepath.Join(t.TempDir(), "state.db"), Retention{})
	s := stream.New(stream.Config{})
	ctx, stop := context.WithCancel(t.Context())
	stop()
	if err := j.Run(ctx, s); !errors.Is(err, context.Canceled) {
		t.Errorf("it ended with %v", err)
	}
}

func TestTwoProcessesMayWriteAtOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.db")
	a, b := open(t, path, Retention{}), open(t, path, Retention{})
	from := time.Now()
	done := make(chan error, 2)
	for i, j := range []*Journal{a, b} {
		go func() {
			for k := range 50 {
				if err := j.Append(t.Context(), sample(5, from.Add(time.Duration(100*k+50*i)*time.Second)), nil); err != nil {
					done <- err
					return
				}
			}
			done <- nil
		}()
	}
	if err := errors.Join(<-done, <-done); err != nil {
		t.Fatal(err)
	}
	if got, err := a.List(t.Context(), events.Filter{}); err != nil || len(got) != 500 {
		t.Errorf("%d are written, %v", len(got), err)
	}
}

func TestWhatIsNoStateFileIsNotOpened(t *testing.T) {
	dir := t.TempDir()
	log := slog.New(slog.DiscardHandler)
	text := filepath.Join(dir, "text")
	if err := os.WriteFile(text, []byte(strings.Repeat("precious ", 1000)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), text, Retention{}, log); err == nil || !strings.Contains(err.Error(), "not a database") {
		t.Errorf("a text: %v", err)
	}
	if _, err := Open(t.Context(), filepath.Join(text, "below"), Retention{}, log); err == nil {
		t.Error("below a file")
	}
	if _, err := Open(t.Context(), dir, Retention{}, log); !errors.As(err, new(*fs.PathError)) {
		t.Errorf("a folder: %v", err)
	}
	later := filepath.Join(dir, "later.db")
	open(t, later, Retention{})
	db, err := sql.Open("sqlite", later)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec(`update trivet_schema set version = 2`); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), later, Retention{}, log); err == nil || !strings.Contains(err.Error(), "later Trivet") {
		t.Errorf("a later version: %v", err)
	}
}

func BenchmarkAppend(b *testing.B) {
	j := open(b, filepath.Join(b.TempDir(), "state.db"), Retention{})
	batch := sample(100, time.Now())
	for b.Loop() {
		for i := range batch {
			batch[i].ID += 1000
		}
		if err := j.Append(b.Context(), batch, nil); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N*len(batch))/b.Elapsed().Seconds(), "events/s")
}
