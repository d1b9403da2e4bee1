package repository

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"
)

// A blob that does not fit into what is left of the buffer moves the blobs before it.
func TestABlobLargerThanTheBufferKeepsThoseBeforeIt(t *testing.T) {
	r, _ := newMemRepo(t)
	w, err := r.NewWriter(t.Context(), WriterOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	s := w.Session()
	src := rand.New(rand.NewPCG(1, 2))
	var blobs [][]byte
	for i, size := range []int{100, 1000, 700 << 10, 10, 3 << 20, 5} {
		data := fmt.Appendf(nil, "%d", i)
		for len(data) < size {
			data = append(data, byte(src.Uint32()))
		}
		blobs = append(blobs, data)
	}
	for _, kind := range []BlobKind{DataBlob, TreeBlob} {
		for _, data := range blobs {
			if _, _, err := s.SaveBlob(kind, data); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, kind := range []BlobKind{DataBlob, TreeBlob} {
		for i, data := range blobs {
			got, err := r.LoadBlob(t.Context(), BlobHandle{Hash(data), kind}, nil)
			if err != nil || !bytes.Equal(got, data) {
				t.Errorf("%v blob %d: %v", kind, i, err)
			}
		}
	}
}
