package edge

import (
	"bytes"
	"testing"
)

func TestBuffersComeBackOnce(t *testing.T) {
	var b Buffers
	for _, n := range []int{0, 1, 1 << 10, 1<<10 + 1, 100 << 10, 512 << 10, 512<<10 + 1} {
		p := b.Get(n)
		if len(p) != 0 || cap(p) < n {
			t.Fatalf("for %d came %d of %d", n, len(p), cap(p))
		}
		b.Put(p)
		q := b.Get(n)
		if n <= 512<<10 && &q[:1][0] != &p[:1][0] {
			t.Errorf("a buffer of %d is not used again", n)
		}
		if r := b.Get(n); &r[:1][0] == &q[:1][0] {
			t.Errorf("a buffer of %d was given out twice", n)
		}
	}
	b.Put(nil)
	b.Put(make([]byte, 0, 3000)) // not one of ours
	for range 100 {
		b.Put(make([]byte, 0, 1<<20>>1))
	}
	kept := 0
	for _, class := range b.free {
		for _, p := range class {
			kept += cap(p)
		}
	}
	if kept > keptPerClass+64<<10 {
		t.Errorf("%d bytes are kept", kept)
	}
}

func TestBufferGrowsAndKeepsItsBytes(t *testing.T) {
	var b Buffers
	var want []byte
	p := b.Get(1)
	for i := range 3000 {
		piece := bytes.Repeat([]byte{byte(i)}, i%700)
		p = b.Add(p, piece)
		want = append(want, piece...)
	}
	if !bytes.Equal(p, want) {
		t.Errorf("%d bytes became %d others", len(want), len(p))
	}
}
