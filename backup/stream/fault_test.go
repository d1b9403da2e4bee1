package stream

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/trivet-ha/trivet/backup/store"
	"github.com/trivet-ha/trivet/backup/store/storetest"
)

func TestWhateverCallFailsNothingDurableIsLost(t *testing.T) {
	for _, c := range []struct {
		name        string
		after, dead bool
	}{{"clean", false, false}, {"after", true, false}, {"killed", false, true}} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				codec := newCodec()
				n := 1
				for !failAt(t, codec, n, c.after, c.dead) && !t.Failed() {
					n++
				}
				if n < 25 {
					t.Errorf("only %d calls", n)
				}
			})
		})
	}
}

// failAt lets the n-th call fail; true if there were fewer.
func failAt(t *testing.T, c codec, n int, after, dead bool) (ended bool) {
	st := &faultStore{Memory: storetest.NewMemory(), failAt: n, after: after, dead: dead}
	l := newLog(t, st)
	l.codec = c
	all := history(7, 20, 0, time.Now())
	w, err := l.Writer(t.Context(), testLine, 0, Options{})
	if err != nil {
		if !errors.Is(err, errInjected) {
			t.Fatalf("call %d: %v", n, err)
		}
		return false
	}
	ctx, cancel := testContext(t)
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	for i := range all {
		appendAll(t, w, all[i:i+1])
		<-time.After(3 * time.Second)
	}
	<-time.After(2 * time.Minute)
	durable := w.Durable()
	cancel()
	if err := <-done; err != nil {
		t.Fatalf("call %d: %v", n, err)
	}
	sound := newLog(t, st.Memory)
	sound.codec = c
	v := view(t, sound)
	for _, p := range v.Problems() {
		t.Errorf("call %d: %v", n, p)
	}
	got, err := readAll(v, w.Line().id, 0, durable.Position)
	if err != nil {
		t.Fatalf("call %d: %v", n, err)
	}
	for i, r := range plain(got) {
		if want := plain(all)[i]; !bytes.Equal(want.Data, r.Data) || want.To != r.To {
			t.Fatalf("call %d: record %d is another", n, i)
		}
	}
	if !dead && durable.Position != all[19].To {
		t.Errorf("call %d: durable up to %d of %d", n, durable.Position, all[19].To)
	}
	again, err := sound.Writer(t.Context(), testLine, 0, Options{Known: durable})
	if err != nil || again.Next() < durable.Position {
		t.Errorf("call %d: opened again: %v", n, err)
	}
	return st.calls < n
}

func TestEachMissingObjectIsNoticed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := storetest.NewMemory()
		l := newLog(t, st)
		w, stop := running(t, l, 0, Options{})
		for _, r := range history(8, 20, 0, time.Now()) {
			appendAll(t, w, []Record{r})
			time.Sleep(2 * time.Second)
		}
		stop()
		known := w.Durable()
		list := objects(t, st)
		if len(list) < 5 {
			t.Fatalf("%d objects", len(list))
		}
		for i, h := range list {
			data, err := store.ReadAll(t.Context(), st, h)
			if err != nil {
				t.Fatal(err)
			}
			st.Remove(t.Context(), h)
			v, err := l.Verify(t.Context(), func(error) {})
			if err != nil {
				t.Fatal(err)
			}
			_, openErr := l.Writer(t.Context(), testLine, 0, Options{Known: known})
			first := false
			if line, err := view(t, l).Line(w.Line().id); err != nil || len(line.Spans) > 0 && line.Spans[0].From > 0 {
				first = true // nothing before it: as after a trim
			}
			if v.Gaps == 0 && !errors.Is(openErr, ErrCutOff) && !first {
				t.Errorf("object %d of %d (%s) is gone: verify found %+v, and the writer %v", i, len(list), h.Name, v, openErr)
			}
			st.Save(t.Context(), h, data)
		}
	})
}

func TestEachChangedObjectIsNoticed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := storetest.NewMemory()
		l := newLog(t, st)
		w, stop := running(t, l, 0, Options{})
		appendAll(t, w, history(9, 30, 0, time.Now()))
		time.Sleep(2 * time.Second)
		appendAll(t, w, []Record{{From: w.Next(), To: w.Next() + 1, Data: []byte("x")}})
		stop()
		list := objects(t, st)
		damaged := func(what string, h store.Handle, data []byte) {
			old, _ := store.ReadAll(t.Context(), st, h)
			st.Remove(t.Context(), h)
			if err := st.Save(t.Context(), h, data); err != nil {
				t.Fatal(err)
			}
			var first error
			v, err := l.Verify(t.Context(), func(err error) { first = err })
			if err != nil || v.Damaged != 1 || !errors.Is(first, ErrDamaged) && !errors.Is(first, ErrUnauthenticated) {
				t.Errorf("%s: %+v, %v, %v", what, v, err, first)
			}
			st.Remove(t.Context(), h)
			st.Save(t.Context(), h, old)
		}
		whole, _ := store.ReadAll(t.Context(), st, list[0])
		random := rand.New(rand.NewPCG(1, 1))
		for range 200 {
			at := random.IntN(len(whole))
			data := bytes.Clone(whole)
			data[at] ^= 1 << random.IntN(8)
			damaged(fmt.Sprintf("byte %d", at), list[0], data)
		}
		for _, n := range []int{0, 7, 40, preludeBytes, len(whole) - 1} {
			damaged(fmt.Sprintf("cut to %d", n), list[0], bytes.Clone(whole[:n]))
		}
		damaged("longer", list[0], append(bytes.Clone(whole), 0))
		other, _ := store.ReadAll(t.Context(), st, list[1])
		damaged("another object under its name", list[0], other)
	})
}

func TestAStoreThatForgetsIsNoticedWithinAStretch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		forget := 0
		st := &faultStore{Memory: storetest.NewMemory()}
		st.lie = func(h store.Handle) bool {
			forget++
			return forget == 5
		}
		var told error
		l := newLog(t, st)
		w, stop := running(t, l, 0, Options{Trouble: func(err error) { told = err }})
		for _, r := range history(10, 20, 0, time.Now()) {
			appendAll(t, w, []Record{r})
			time.Sleep(2 * time.Second)
		}
		var gap *Gap
		if !errors.As(told, &gap) && !errors.Is(told, ErrCutOff) {
			t.Errorf("told: %v", told)
		}
		stop()
	})
}

func TestCompactionKeepsEveryRecordAndFewObjects(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := storetest.NewMemory()
		l := newLog(t, st)
		w, stop := running(t, l, 0, Options{Compact: [levels - 1]time.Duration{5 * time.Second, 30 * time.Second, 5 * time.Minute}})
		all := history(11, 1500, 0, time.Now())
		most := 0
		for i := range all {
			appendAll(t, w, all[i:i+1])
			w.Idle()
			time.Sleep(time.Second)
			if i%100 == 0 {
				most = max(most, len(objects(t, st)))
			}
			if i == 1000 {
				wantRecords(t, l, all[:990])
			}
		}
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		// Of 25 minutes: 5 or 6 stretches of 5 minutes, at most 10 of 30 seconds, 6 of 5 seconds, and some seconds.
		if n := len(objects(t, st)); n > 40 || most > 40 {
			t.Errorf("%d objects at the end, %d at most", n, most)
		}
		wantRecords(t, l, all)
		if line, _ := view(t, l).Line(w.Line().id); line.Spare != 0 || len(line.Spans) != 1 {
			t.Errorf("%+v", line)
		}
	})
}

func TestReadersGoOnWhileObjectsAreCompacted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := storetest.NewMemory()
		l := newLog(t, st)
		w, stop := running(t, l, 0, Options{})
		all := history(12, 200, 0, time.Now())
		for i := range all {
			appendAll(t, w, all[i:i+1])
			time.Sleep(time.Second)
		}
		v := view(t, l)
		var got []Record
		for r, err := range v.Records(t.Context(), w.Line().id, 0, all[190].To) {
			if err != nil {
				t.Fatal(err)
			}
			r.Data, r.Commits = bytes.Clone(r.Data), append([]Commit(nil), r.Commits...)
			got = append(got, r)
			if len(got) == 100 {
				time.Sleep(2 * time.Hour)
			}
		}
		if len(plain(got)) != len(plain(all[:191])) {
			t.Errorf("%d records, want %d", len(plain(got)), len(plain(all[:191])))
		}
		for _, err := range v.Commits(t.Context(), w.Line().id, 0, all[190].To) {
			if err != nil {
				t.Fatal(err)
			}
		}
		stop()
	})
}

func TestTrimRemovesOnlyWhatIsBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := storetest.NewMemory()
		l := newLog(t, st)
		w, stop := running(t, l, 0, Options{})
		all := history(13, 100, 0, time.Now())
		for i := range all {
			appendAll(t, w, all[i:i+1])
			time.Sleep(time.Second)
		}
		stop()
		base := all[60].To
		if n, bytes, err := l.Trim(t.Context(), w.Line().id, base); err != nil || n == 0 || bytes == 0 {
			t.Fatalf("%d, %d, %v", n, bytes, err)
		}
		got, err := readAll(view(t, l), w.Line().id, base, all[99].To)
		if err != nil || len(plain(got)) != len(plain(all[61:])) {
			t.Errorf("%d records after the trim, %v", len(got), err)
		}
		if n := len(view(t, l).Problems()); n != 0 {
			t.Errorf("%d problems", n)
		}
		if _, _, err := l.Forget(t.Context(), w.Line().id); err != nil || len(view(t, l).Lines()) != 0 {
			t.Errorf("forget: %v", err)
		}
	})
}
