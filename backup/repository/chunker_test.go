package repository

import (
	"math/rand/v2"
	"slices"
	"testing"
)

func chunks(g *gearTable, data []byte) (lengths []int, ids []ID) {
	for len(data) > 0 {
		n := g.cut(data)
		lengths, ids = append(lengths, n), append(ids, Hash(data[:n]))
		data = data[n:]
	}
	return lengths, ids
}

func TestChunksAreWithinTheirBounds(t *testing.T) {
	g := newGearTable([32]byte{1})
	for name, data := range map[string][]byte{"noise": noise(rand.New(rand.NewPCG(1, 1)), 16<<20), "zeros": make([]byte, 9<<20), "small": make([]byte, 5), "none": nil} {
		lengths, _ := chunks(g, data)
		sum := 0
		for i, n := range lengths {
			if n > maxChunkBytes || (n < minChunkBytes && i+1 < len(lengths)) || n <= 0 {
				t.Errorf("%s: chunk of %d bytes", name, n)
			}
			sum += n
		}
		if sum != len(data) {
			t.Errorf("%s: chunks have %d bytes of %d", name, sum, len(data))
		}
		if mean := sum / max(len(lengths), 1); name == "noise" && (mean < 256<<10 || mean > 512<<10) {
			t.Errorf("mean chunk is %d bytes", mean)
		}
	}
}

func TestAnInsertionChangesFewChunks(t *testing.T) {
	g := newGearTable([32]byte{1})
	data := noise(rand.New(rand.NewPCG(2, 1)), 12<<20)
	_, before := chunks(g, data)
	_, after := chunks(g, slices.Insert(slices.Clone(data), 5<<20, []byte("inserted")...))
	known := make(map[ID]bool)
	for _, id := range before {
		known[id] = true
	}
	changed := 0
	for _, id := range after {
		if !known[id] {
			changed++
		}
	}
	if changed == 0 || changed > 4 {
		t.Errorf("%d of %d chunks changed", changed, len(after))
	}
}

func TestCutsDependOnTheKey(t *testing.T) {
	data := noise(rand.New(rand.NewPCG(3, 1)), 8<<20)
	a, _ := chunks(newGearTable([32]byte{1}), data)
	b, _ := chunks(newGearTable([32]byte{2}), data)
	again, _ := chunks(newGearTable([32]byte{1}), data)
	if slices.Equal(a, b) {
		t.Error("two keys cut alike: the sizes of chunks would give files away")
	}
	if !slices.Equal(a, again) {
		t.Error("one key cuts differently each time")
	}
}

// The table is part of what deduplicates between versions of this program: it must never change by accident.
func TestTheGearTableIsFixed(t *testing.T) {
	lengths, _ := chunks(newGearTable([32]byte{1}), noise(rand.New(rand.NewPCG(3, 1)), 4<<20))
	want := []int{296270, 291426, 373821, 284563, 282404, 367166, 275564, 238155, 463313, 343928, 270223, 323903, 306504, 77064}
	if !slices.Equal(lengths, want) {
		t.Errorf("cuts at %v, want %v", lengths, want)
	}
}
