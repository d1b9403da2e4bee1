package wal

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestPositionsAreWrittenAsPostgresDoes(t *testing.T) {
	for text, want := range map[string]Position{"0/0": 0, "16/B374D848": 0x16_B374D848, "FFFFFFFF/FFFFFFFF": ^Position(0), "1/A": 0x1_0000000A} {
		got, err := ParsePosition(text)
		if err != nil || got != want || got.String() != text {
			t.Errorf("%s is %#x (%v), written %v", text, uint64(got), err, got)
		}
	}
	for _, text := range []string{"", "/", "1", "1/", "/1", "1/2/3", "g/0", "100000000/0", "-1/0", "+1/0"} {
		if p, err := ParsePosition(text); err == nil {
			t.Errorf("%q is %v", text, p)
		}
	}
}

func TestSegmentNamesAreThoseOfPostgres(t *testing.T) {
	for _, c := range []struct {
		size Segments
		at   Position
		want string
	}{
		{16 << 20, 0, "000000030000000000000000"},
		{16 << 20, 0x16_B374D848, "0000000300000016000000B3"},
		{16 << 20, 0x16_FF000000, "0000000300000016000000FF"},
		{1 << 20, 0x16_B374D848, "000000030000001600000B37"},
		{1 << 30, 0x16_C0000000, "000000030000001600000003"},
	} {
		if got := c.size.Name(3, c.at); got != c.want {
			t.Errorf("%v in segments of %d MiB is in %s, want %s", c.at, c.size>>20, got, c.want)
		}
		timeline, begin, err := c.size.Parse(c.want)
		if err != nil || timeline != 3 || begin != c.size.Begin(c.at) {
			t.Errorf("%s begins at %d %v (%v)", c.want, timeline, begin, err)
		}
	}
	for _, name := range []string{"", "00000003.history", "0000000300000016000000B3.partial", "000000000000001600000001", "0000000300000016000001FF", "0000000300000016000000b3"} {
		if _, at, err := DefaultSegments.Parse(name); err == nil {
			t.Errorf("%q begins at %v", name, at)
		}
	}
}

func TestHistoryTellsWhichTimelineHoldsWhat(t *testing.T) {
	h, err := ParseHistory(4, []byte("1\t0/3000000\tno recovery target specified\n\n2\t0/5000060\tbefore 2026\n# a comment\n3 0/5000060 at once\n"))
	if err != nil {
		t.Fatal(err)
	}
	want := History{Timeline: 4, Ancestors: []Ancestor{{1, 0x3000000, "no recovery target specified"}, {2, 0x5000060, "before 2026"}, {3, 0x5000060, "at once"}}}
	if diff := cmp.Diff(want, h); diff != "" {
		t.Errorf("history (-want +got):\n%s", diff)
	}
	for at, timeline := range map[Position]Timeline{0: 1, 0x2FFFFFF: 1, 0x3000000: 2, 0x500005F: 2, 0x5000060: 4, ^Position(0): 4} {
		if got := h.At(at); got != timeline {
			t.Errorf("%v is on timeline %d, want %d", at, got, timeline)
		}
	}
	if h.Begin() != 0x5000060 || h.Parent() != 3 {
		t.Errorf("it begins at %v, behind %d", h.Begin(), h.Parent())
	}
	if end, ok := h.End(2); !ok || end != 0x5000060 {
		t.Errorf("timeline 2 ends at %v, %v", end, ok)
	}
	if _, ok := h.End(5); ok {
		t.Error("timeline 5 is in a history that ends with 4")
	}
}

func FuzzHistoryThatParsesIsInOrder(f *testing.F) {
	f.Add(uint32(3), []byte("1\t0/3000000\tx\n2\t0/5000060\ty\n"))
	f.Fuzz(func(t *testing.T, timeline uint32, text []byte) {
		h, err := ParseHistory(Timeline(timeline), text)
		if err != nil {
			return
		}
		for i, a := range h.Ancestors {
			if a.Timeline >= h.Timeline || i > 0 && (a.Timeline <= h.Ancestors[i-1].Timeline || a.End < h.Ancestors[i-1].End) {
				t.Errorf("%+v is out of order", h)
			}
		}
	})
}
