package wal

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var noon = time.Date(2026, 11, 23, 12, 0, 0, 123456000, time.UTC)

// scan feeds a log in one piece and returns what the scanner found.
func scan(b *builder) ([]Event, *Scanner) {
	var got []Event
	s := NewScanner(testSegments, testPage, func(e Event) { got = append(got, e) })
	s.Feed(b.begin, b.data)
	return got, s
}

// sample is a log with records of all sizes, over pages and segments.
func sample(seed uint64) *builder {
	r := rand.New(rand.NewPCG(seed, 2))
	b := newBuilder(Position(testSegments) * 5)
	for i := range 600 {
		if r.IntN(3) == 0 {
			b.commit(uint32(i+1), noon.Add(time.Duration(i)*time.Millisecond), r.IntN(30_000)*r.IntN(2))
		} else {
			b.filler(r.IntN(20_000) * r.IntN(2))
		}
	}
	return b
}

func TestFindsEveryCommitWhereverItIsCut(t *testing.T) {
	for seed := range uint64(8) {
		b := sample(seed)
		got, s := scan(b)
		if diff := cmp.Diff(b.want, got); diff != "" {
			t.Fatalf("events (-want +got):\n%s", diff)
		}
		if s.Damaged() != 0 || s.End() != b.at() || s.At() != b.at() {
			t.Errorf("damaged %d, end %v, at %v; the log ends at %v", s.Damaged(), s.End(), s.At(), b.at())
		}
	}
}

func TestPiecesOfAnySizeGiveTheSame(t *testing.T) {
	b := sample(99)
	r := rand.New(rand.NewPCG(1, 1))
	for _, most := range []int{1, 7, 100, 8192, 100_000} {
		var got []Event
		s := NewScanner(testSegments, testPage, func(e Event) { got = append(got, e) })
		at, data := b.begin, b.data
		for len(data) > 0 {
			n := min(1+r.IntN(most), len(data))
			back := min(r.IntN(3), int(at-b.begin)) // some comes twice
			s.Feed(at-Position(back), b.data[int(at-b.begin)-back:int(at-b.begin)+n])
			at, data = at+Position(n), data[n:]
		}
		if diff := cmp.Diff(b.want, got); diff != "" {
			t.Fatalf("pieces up to %d (-want +got):\n%s", most, diff)
		}
		if s.Damaged() != 0 {
			t.Errorf("pieces up to %d: damaged %d", most, s.Damaged())
		}
	}
}

func TestAfterABreakOrDamageItGoesOnWithTheNextPage(t *testing.T) {
	b := newBuilder(Position(testSegments))
	for i := range 400 {
		b.commit(uint32(i+1), noon, 100)
	}
	t.Run("break", func(t *testing.T) {
		var got []Event
		s := NewScanner(testSegments, testPage, func(e Event) { got = append(got, e) })
		s.Feed(b.begin+100, b.data[100:])
		if len(got) == 0 || s.Damaged() != 0 {
			t.Fatalf("%d events, damaged %d", len(got), s.Damaged())
		}
		if first := got[0]; first.Begin < b.begin+testPage || first.Begin > b.begin+testPage+400 {
			t.Errorf("the first event is at %v", first.Begin)
		}
		if diff := cmp.Diff(b.want[len(b.want)-len(got):], got); diff != "" {
			t.Errorf("events (-want +got):\n%s", diff)
		}
	})
	t.Run("damage", func(t *testing.T) {
		bad := *b
		bad.data = append([]byte{}, b.data...)
		bad.data[3*testPage+5000] ^= 1
		got, s := scan(&bad)
		if s.Damaged() != 1 {
			t.Errorf("damaged %d, want 1", s.Damaged())
		}
		if lost := len(b.want) - len(got); lost < 1 || lost > testPage/100 {
			t.Errorf("%d commits of %d were lost", lost, len(b.want))
		}
		if diff := cmp.Diff(b.want[len(b.want)-1], got[len(got)-1]); diff != "" {
			t.Errorf("last event (-want +got):\n%s", diff)
		}
	})
}

func TestTheRestOfASegmentBehindASwitchIsNothing(t *testing.T) {
	b := newBuilder(Position(testSegments))
	b.commit(1, noon, 0)
	begin, _ := b.record(managerXLOG, infoSwitch, 0, nil)
	next := 2 * Position(testSegments)
	b.want = append(b.want, Event{Kind: Switch, Begin: begin, End: next})
	b.data = append(b.data, make([]byte, next-b.at())...)
	b.commit(2, noon, 0)
	got, s := scan(b)
	if diff := cmp.Diff(b.want, got); diff != "" || s.Damaged() != 0 {
		t.Errorf("damaged %d; events (-want +got):\n%s", s.Damaged(), diff)
	}
}

func TestARecordThatACrashCutOffIsForgotten(t *testing.T) {
	b := newBuilder(Position(testSegments))
	b.commit(1, noon, 0)
	// A long record begins, the server crashes, and the next page says that the rest never comes.
	rec := make([]byte, recordHeader+3*testPage)
	binary.LittleEndian.PutUint32(rec, uint32(len(rec)))
	b.data = append(b.data, rec[:testPage-int(b.at()%testPage)]...)
	b.page(0, firstIsOverwritten)
	b.commit(2, noon, 0)
	got, s := scan(b)
	if diff := cmp.Diff(b.want, got); diff != "" || s.Damaged() != 0 {
		t.Errorf("damaged %d; events (-want +got):\n%s", s.Damaged(), diff)
	}
}

func TestZerosAreTheEnd(t *testing.T) {
	b := newBuilder(Position(testSegments))
	b.commit(1, noon, 0)
	end := b.at()
	b.data = append(b.data, make([]byte, 5*testPage)...)
	got, s := scan(b)
	if diff := cmp.Diff(b.want, got); diff != "" || s.Damaged() != 0 || s.End() != end {
		t.Errorf("damaged %d, end %v, want %v; events (-want +got):\n%s", s.Damaged(), s.End(), end, diff)
	}
}

func TestReadsWhatEndsAPreparedTransaction(t *testing.T) {
	list := func(n int, each int) []byte {
		return append(binary.LittleEndian.AppendUint32(nil, uint32(n)), make([]byte, n*each)...)
	}
	info := func(flags uint32, parts ...[]byte) []byte {
		data := binary.LittleEndian.AppendUint32(stamp(noon), flags)
		for _, p := range parts {
			data = append(data, p...)
		}
		return binary.LittleEndian.AppendUint32(data, 4711)
	}
	all := uint32(withDatabase | withChildren | withFiles | withStatistics | withMessages | withPrepared)
	for _, c := range []struct {
		operation uint8
		data      []byte
		want      Event
	}{
		{xactCommitPrepare, info(all, make([]byte, 8), list(3, 4), list(2, 12), list(5, 12), list(1, 16)), Event{Kind: Commit, Xid: 4711}},
		{xactAbortPrepare, info(withDatabase|withPrepared, make([]byte, 8)), Event{Kind: Abort, Xid: 4711}},
		{xactCommitPrepare, info(withChildren|withPrepared, []byte{255, 255, 255, 255}), Event{Kind: Commit}},
		{xactAbort, stamp(noon), Event{Kind: Abort, Xid: 9}},
	} {
		b := newBuilder(Position(testSegments))
		hasInfo := uint8(xactHasInfo)
		if c.operation == xactAbort {
			hasInfo = 0
		}
		c.want.Begin, c.want.End = b.record(managerXact, c.operation|hasInfo, 9, part(c.data))
		c.want.Time = noon
		got, _ := scan(b)
		if diff := cmp.Diff([]Event{c.want}, got); diff != "" {
			t.Errorf("operation %#x (-want +got):\n%s", c.operation, diff)
		}
	}
}

func TestReadsRestorePointsAndPromotions(t *testing.T) {
	b := newBuilder(Position(testSegments))
	name := make([]byte, 64)
	copy(name, "before the release")
	begin, end := b.record(managerXLOG, infoRestorePoint, 0, part(append(stamp(noon), name...)))
	b.want = append(b.want, Event{Kind: RestorePoint, Begin: begin, End: end, Time: noon, Name: "before the release"})
	begin, end = b.record(managerXLOG, infoEndOfRecovery, 0, part(append(stamp(noon), 3, 0, 0, 0, 2, 0, 0, 0)))
	b.want = append(b.want, Event{Kind: Promotion, Begin: begin, End: end, Time: noon, Timeline: 3, Parent: 2})
	begin, end = b.record(managerXLOG, infoShutdown, 0, part(make([]byte, 88)))
	b.want = append(b.want, Event{Kind: Shutdown, Begin: begin, End: end})
	got, _ := scan(b)
	if diff := cmp.Diff(b.want, got); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}

func FuzzScannerTakesAnythingInAnyPieces(f *testing.F) {
	small := newBuilder(Position(testSegments))
	small.commit(1, noon, 100)
	small.filler(9000)
	small.commit(2, noon, 0)
	f.Add(small.data, uint16(100))
	f.Add(small.data[50:], uint16(1))
	f.Fuzz(func(t *testing.T, data []byte, size uint16) {
		begin := Position(testSegments)
		var whole, pieces []Event
		a := NewScanner(testSegments, testPage, func(e Event) { whole = append(whole, e) })
		a.Feed(begin, data)
		b := NewScanner(testSegments, testPage, func(e Event) { pieces = append(pieces, e) })
		b.Feed(begin, nil)
		for at := 0; at < len(data); {
			n := min(int(size)+1, len(data)-at)
			b.Feed(begin+Position(at), data[at:at+n])
			at += n
		}
		if diff := cmp.Diff(whole, pieces); diff != "" {
			t.Errorf("in pieces of %d (-whole +pieces):\n%s", int(size)+1, diff)
		}
		if a.Damaged() != b.Damaged() || a.At() != b.At() || a.End() != b.End() {
			t.Errorf("damaged %d and %d, at %v and %v, end %v and %v", a.Damaged(), b.Damaged(), a.At(), b.At(), a.End(), b.End())
		}
		for _, e := range whole {
			if e.Begin < begin || e.End <= e.Begin {
				t.Errorf("event from %v to %v", e.Begin, e.End)
			}
		}
	})
}

func BenchmarkScanner(b *testing.B) {
	log := sample(1)
	b.SetBytes(int64(len(log.data)))
	b.ReportAllocs()
	n := 0
	s := NewScanner(testSegments, testPage, func(Event) { n++ })
	for b.Loop() {
		s.started = false
		s.Feed(log.begin, log.data)
	}
}
