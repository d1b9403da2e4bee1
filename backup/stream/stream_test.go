package stream

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/trivet-ha/trivet/backup/store"
	"github.com/trivet-ha/trivet/backup/store/storetest"
)

var (
	testKey  = [32]byte{1, 2, 3}
	testLine = Line{Engine: "test", System: "one", Timeline: 1}
)

// faultStore is a store that can fail, lie and hang.
type faultStore struct {
	*storetest.Memory
	mu     sync.Mutex
	calls  int
	failAt int // the call that fails; 0 for none
	after  bool
	dead   bool // with failAt: all later calls fail, too
	lie    func(store.Handle) bool
	hang   chan struct{}
}

var errInjected = errors.New("injected failure")

func (f *faultStore) step() (do bool, err error) {
	f.mu.Lock()
	hang := f.hang
	f.calls++
	failed := f.failAt > 0 && (f.calls == f.failAt || f.dead && f.calls > f.failAt)
	after := f.after && f.calls == f.failAt
	f.mu.Unlock()
	if hang != nil {
		<-hang
	}
	if failed {
		return after, errInjected
	}
	return true, nil
}

func (f *faultStore) Save(ctx context.Context, h store.Handle, data []byte) error {
	do, err := f.step()
	if f.lie != nil && f.lie(h) {
		return nil
	}
	if do {
		if err := f.Memory.Save(ctx, h, data); err != nil {
			return err
		}
	}
	return err
}

func (f *faultStore) Open(ctx context.Context, h store.Handle, offset, length int64) (io.ReadCloser, error) {
	if _, err := f.step(); err != nil {
		return nil, err
	}
	return f.Memory.Open(ctx, h, offset, length)
}

func (f *faultStore) List(ctx context.Context, k store.Kind, prefix string, fn func(store.Info) error) error {
	if _, err := f.step(); err != nil {
		return err
	}
	return f.Memory.List(ctx, k, prefix, fn)
}

func (f *faultStore) Remove(ctx context.Context, h store.Handle) error {
	do, err := f.step()
	if do {
		if err := f.Memory.Remove(ctx, h); err != nil {
			return err
		}
	}
	return err
}

// history makes n records with commits, each a second after the one before, from a position on.
func history(seed uint64, n int, from Position, begin time.Time) (out []Record) {
	random := rand.New(rand.NewPCG(seed, 1))
	at, id := from, uint64(from)
	for range n {
		r := Record{From: at, To: at + Position(random.IntN(5000)), Data: make([]byte, random.IntN(3000))}
		for i := range r.Data {
			r.Data[i] = byte(random.IntN(4))
		}
		for c := r.From; c < r.To && random.IntN(3) > 0; {
			c += 1 + Position(random.IntN(int(r.To-c)))
			id++
			begin = begin.Add(time.Duration(random.IntN(2_000_000)) * time.Microsecond)
			r.Commits = append(r.Commits, Commit{Position: c, Time: begin, ID: id, Origin: uint64(random.IntN(2))})
		}
		at = r.To
		out = append(out, r)
	}
	return out
}

func newLog(t *testing.T, st store.Store) *Log {
	t.Helper()
	l, err := New(st, testKey, "orders")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// running starts a writer; stop ends it, and waits.
func running(t *testing.T, l *Log, from Position, o Options) (w *Writer, stop func() error) {
	t.Helper()
	w, err := l.Writer(t.Context(), testLine, from, o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	return w, sync.OnceValue(func() error { cancel(); return <-done })
}

func appendAll(t *testing.T, w *Writer, records []Record) {
	t.Helper()
	for _, r := range records {
		if err := w.Append(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
}

func readAll(v *View, id LineID, from, to Position) (out []Record, err error) {
	for r, err := range v.Records(context.Background(), id, from, to) {
		if err != nil {
			return out, err
		}
		r.Data, r.Commits = bytes.Clone(r.Data), slices.Clone(r.Commits)
		out = append(out, r)
	}
	return out, nil
}

// plain drops records that say only that time has passed, and makes times comparable.
func plain(records []Record) (out []Record) {
	for _, r := range records {
		if r.From == r.To && len(r.Data) == 0 {
			continue
		}
		r.Commits = slices.Clone(r.Commits)
		for i := range r.Commits {
			r.Commits[i].Time = r.Commits[i].Time.UTC().Round(0)
		}
		if len(r.Data) == 0 {
			r.Data = nil
		}
		if len(r.Commits) == 0 {
			r.Commits = nil
		}
		out = append(out, r)
	}
	return out
}

func view(t *testing.T, l *Log) *View {
	t.Helper()
	v, err := l.View(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// wantRecords fails unless the line holds exactly these.
func wantRecords(t *testing.T, l *Log, want []Record) {
	t.Helper()
	v := view(t, l)
	id := l.keys.identify(&testLine)
	got, err := readAll(v, id, want[0].From, want[len(want)-1].To)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(plain(want), plain(got)); diff != "" {
		t.Fatalf("what is read is not what was appended (-want +got):\n%.2000s", diff)
	}
}

func objects(t *testing.T, st store.Store) (out []store.Handle) {
	t.Helper()
	err := st.List(t.Context(), store.Log, "", func(i store.Info) error {
		if len(i.Name) > 60 {
			out = append(out, store.Handle{Kind: store.Log, Name: i.Name})
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestWhatIsAppendedIsReadBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLog(t, storetest.NewMemory())
		w, stop := running(t, l, 1000, Options{})
		all := history(1, 400, 1000, time.Now())
		big := Record{From: all[399].To, To: all[399].To, Data: bytes.Repeat([]byte("part of a large change "), MaxRecordBytes/23)}
		all = append(all, big, Record{From: big.To, To: big.To + 7, Data: []byte("its end")})
		for i, r := range all {
			appendAll(t, w, all[i:i+1])
			if i%50 == 0 {
				time.Sleep(3 * time.Second)
			}
			if w.Next() != r.To {
				t.Fatalf("next is %d after a record to %d", w.Next(), r.To)
			}
		}
		if err := w.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		if d := w.Durable(); d.Position != w.Next() || d.Records < 402 || d.Last.ID == 0 {
			t.Errorf("durable is %+v after a flush", d)
		}
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		wantRecords(t, l, all)
		v := view(t, l)
		id := v.lines[0].line.id
		from, to := all[100].From+1, all[200].To-1
		got, err := readAll(v, id, from, to)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(plain(all[100:201]), plain(got)); diff != "" {
			t.Errorf("from %d to %d (-want +got):\n%.1000s", from, to, diff)
		}
		verified, err := l.Verify(t.Context(), func(err error) { t.Error(err) })
		if err != nil || !verified.Sound() || verified.Records < 402 {
			t.Errorf("verify: %+v, %v", verified, err)
		}
	})
}

func TestCommitsAreListedWithoutTheirRecords(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLog(t, storetest.NewMemory())
		w, stop := running(t, l, 0, Options{FlushBytes: 30_000})
		all := history(2, 300, 0, time.Now())
		appendAll(t, w, all)
		stop()
		var want, got []Commit
		from, to := all[30].To, all[250].From
		for _, r := range plain(all) {
			for _, c := range r.Commits {
				if c.Position > from && c.Position <= to {
					want = append(want, c)
				}
			}
		}
		for c, err := range view(t, l).Commits(t.Context(), w.Line().id, from, to) {
			if err != nil {
				t.Fatal(err)
			}
			c.Time = c.Time.UTC()
			got = append(got, c)
		}
		if diff := cmp.Diff(want, got); diff != "" || len(got) < 100 {
			t.Errorf("%d commits (-want +got):\n%.1000s", len(got), diff)
		}
	})
}

func TestARestartedWriterGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLog(t, storetest.NewMemory())
		all := history(3, 90, 5, time.Now())
		var known Mark
		for i := range 9 {
			w, stop := running(t, l, 5, Options{Known: known})
			if i > 0 && (w.Next() != known.Position || w.Durable().Chain != known.Chain) {
				t.Fatalf("it goes on at %d, want %d", w.Next(), known.Position)
			}
			appendAll(t, w, all[i*10:i*10+10])
			if err := stop(); err != nil {
				t.Fatal(err)
			}
			known = w.Durable()
			if err := w.Append(t.Context(), all[89]); !errors.Is(err, ErrStopped) {
				t.Errorf("append after the end: %v", err)
			}
		}
		wantRecords(t, l, all)
	})
}

func TestARecordOutOfPlaceIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLog(t, storetest.NewMemory())
		w, stop := running(t, l, 100, Options{})
		now := time.Now()
		for name, r := range map[string]Record{
			"gap":      {From: 101, To: 102},
			"overlap":  {From: 99, To: 102},
			"backward": {From: 100, To: 99},
			"large":    {From: 100, To: 101, Data: make([]byte, MaxRecordBytes+1)},
			"early":    {From: 100, To: 101, Commits: []Commit{{Position: 100, Time: now}}},
			"late":     {From: 100, To: 101, Commits: []Commit{{Position: 102, Time: now}}},
			"disorder": {From: 100, To: 109, Commits: []Commit{{Position: 105, Time: now}, {Position: 104, Time: now}}},
			"timeless": {From: 100, To: 101, Commits: []Commit{{Position: 101}}},
		} {
			err := w.Append(t.Context(), r)
			var gap *Gap
			if err == nil || (name == "gap") != (errors.As(err, &gap) && gap.From == 100 && gap.To == 101) && name != "overlap" {
				t.Errorf("%s: %v", name, err)
			}
		}
		if w.Next() != 100 {
			t.Errorf("something was taken: next is %d", w.Next())
		}
		stop()
	})
}

func TestASkippedPartIsAGapForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLog(t, storetest.NewMemory())
		w, stop := running(t, l, 0, Options{})
		before := history(4, 20, 0, time.Now())
		appendAll(t, w, before)
		end := before[19].To
		if err := w.Skip(t.Context(), end+500); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		after := history(5, 20, end+500, time.Now())
		appendAll(t, w, after)
		time.Sleep(3 * time.Hour)
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		status, err := view(t, l).Line(w.Line().id)
		if err != nil || len(status.Spans) != 2 || len(status.Gaps) != 1 || status.Gaps[0].From != end || status.Gaps[0].To != end+500 || status.Gaps[0].Records != 0 {
			t.Fatalf("%+v, %v", status, err)
		}
		wantRecords(t, l, before)
		wantRecords(t, l, after)
		var gap *Gap
		if _, err := readAll(view(t, l), w.Line().id, 0, after[19].To); !errors.As(err, &gap) || gap.From != end {
			t.Errorf("reading over the gap: %v", err)
		}
		if _, err := view(t, l).Find(t.Context(), w.Line().id, 0, Latest()); !errors.As(err, &gap) {
			t.Errorf("finding over the gap: %v", err)
		}
		if p, err := view(t, l).Find(t.Context(), w.Line().id, 0, AtPosition(end-1)); err != nil || p.Position > end {
			t.Errorf("finding before the gap: %+v, %v", p, err)
		}
	})
}

func TestTwoWritersOfALineAreNoticed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := storetest.NewMemory()
		l := newLog(t, st)
		w, stop := running(t, l, 0, Options{})
		appendAll(t, w, history(6, 5, 0, time.Now()))
		if err := w.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		var told error
		other, stopOther := running(t, newLog(t, st), 0, Options{Trouble: func(err error) { told = err }})
		at := w.Next()
		for i := range 40 {
			_ = w.Append(t.Context(), Record{From: at + Position(i), To: at + Position(i) + 1, Data: []byte("one")})
			_ = other.Append(t.Context(), Record{From: at + Position(i), To: at + Position(i) + 1, Data: []byte("other")})
			time.Sleep(900 * time.Millisecond)
		}
		time.Sleep(time.Minute)
		if a, b := stop(), stopOther(); !errors.Is(a, ErrForked) && !errors.Is(b, ErrForked) || told == nil {
			t.Errorf("they ended with %v and %v; told %v", a, b, told)
		}
		if p := view(t, l).Problems(); len(p) == 0 {
			t.Error("the listing shows no fork")
		}
		if _, err := l.Writer(t.Context(), testLine, 0, Options{}); !errors.Is(err, ErrForked) {
			t.Errorf("opened again: %v", err)
		}
		if v, err := l.Verify(t.Context(), func(error) {}); err != nil || v.Sound() {
			t.Errorf("verify: %+v, %v", v, err)
		}
	})
}

func TestLinesNeverMix(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLog(t, storetest.NewMemory())
		seen := map[LineID]bool{}
		for i, line := range []Line{
			testLine,
			{Engine: "test", System: "one", Timeline: 2},
			{Engine: "test", System: "two", Timeline: 1},
			{Engine: "other", System: "one", Timeline: 1},
			{Engine: "test", System: "one", Timeline: 1, History: [32]byte{1}, Branch: Branch{Parent: l.keys.identify(&testLine), At: 9}},
		} {
			w, err := l.Writer(t.Context(), line, Position(i), Options{})
			if err != nil {
				t.Fatal(err)
			}
			if id, err := l.Identify(line); err != nil || id != w.Line().ID() || seen[id] || !validLineID(id) {
				t.Errorf("line %d is named %s, %v", i, id, err)
			}
			seen[w.Line().ID()] = true
			if w.Next() != Position(i) {
				t.Errorf("line %d begins at %d", i, w.Next())
			}
			again, err := l.loadLine(t.Context(), w.Line().ID())
			if err != nil || again.Branch != line.Branch || again.System != line.System || again.Began.IsZero() {
				t.Errorf("line %d is described as %+v, %v", i, again, err)
			}
		}
		if n := len(view(t, l).Lines()); n != 5 {
			t.Errorf("%d lines", n)
		}
	})
}

func TestIdleTimeIsKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLog(t, storetest.NewMemory())
		w, stop := running(t, l, 0, Options{})
		appendAll(t, w, []Record{{From: 0, To: 1, Commits: []Commit{{Position: 1, Time: time.Now(), ID: 1}}}})
		for range 600 {
			w.Idle()
			time.Sleep(time.Second)
		}
		at := time.Now().Add(-5 * time.Minute)
		p, err := view(t, l).Find(t.Context(), w.Line().id, 0, At(at))
		if err != nil || p.Last.ID != 1 || p.Position != 1 || p.Through.Before(at) {
			t.Errorf("five minutes ago: %+v, %v", p, err)
		}
		p, err = view(t, l).Find(t.Context(), w.Line().id, 0, At(time.Now().Add(time.Hour)))
		if !errors.Is(err, ErrBeyond) || p.Position != 1 {
			t.Errorf("in an hour: %+v, %v", p, err)
		}
		stop()
	})
}

func TestMemoryIsBoundedWhileTheStoreHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := &faultStore{Memory: storetest.NewMemory()}
		l := newLog(t, st)
		w, stop := running(t, l, 0, Options{FlushBytes: 100_000})
		st.mu.Lock()
		st.hang = make(chan struct{})
		st.mu.Unlock()
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		taken := 0
		noise := storetest.Bytes(10_000, 1)
		for at := Position(0); ; at++ {
			if err := w.Append(ctx, Record{From: at, To: at + 1, Data: noise}); err != nil {
				if !errors.Is(err, context.DeadlineExceeded) {
					t.Fatal(err)
				}
				break
			}
			taken += len(noise)
		}
		if taken > 2*110_000 {
			t.Errorf("%d bytes were taken while nothing was stored", taken)
		}
		if d := w.Durable(); d.Records != 0 {
			t.Errorf("%+v is said to be durable", d)
		}
		close(st.hang)
		if err := w.Flush(t.Context()); err != nil {
			t.Error(err)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
		if v, err := l.Verify(t.Context(), func(err error) { t.Error(err) }); err != nil || v.Records != uint64(taken/10_000) {
			t.Errorf("%+v, %v", v, err)
		}
	})
}

func Example() {
	st := storetest.NewMemory()
	log, _ := New(st, [32]byte{}, "shop")
	w, _ := log.Writer(context.Background(), Line{Engine: "example", System: "1"}, 0, Options{})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- w.Run(ctx) }()
	_ = w.Append(ctx, Record{From: 0, To: 10, Data: []byte("a change"), Commits: []Commit{{Position: 10, Time: time.Unix(1e9, 0), ID: 7}}})
	_ = w.Flush(ctx)
	fmt.Println("durable up to", w.Durable().Position)
	view, _ := log.View(ctx)
	line := w.Line()
	point, _ := view.Find(ctx, line.ID(), 0, At(time.Unix(1e9, 0)))
	for r := range view.Records(ctx, line.ID(), 0, point.Position) {
		fmt.Printf("%s, transaction %d\n", r.Data, r.Commits[0].ID)
	}
	cancel()
	<-done
	// Output:
	// durable up to 10
	// a change, transaction 7
}
