package repository

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// The encoder may write more than its result before it settles on a smaller form, and move to other memory for that.
func TestBlobsOfEverySizeOpenAgain(t *testing.T) {
	r, _ := newMemRepo(t)
	w, err := r.NewWriter(t.Context(), WriterOptions{Reopen: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	s := w.Session()
	src := rand.New(rand.NewPCG(1, 2))
	for size := range 3000 {
		data := fmt.Appendf(nil, "%d ", size)
		for len(data) < size {
			data = append(data, byte('a'+src.IntN(1+size%26)))
		}
		if _, _, err := s.SaveBlob(DataBlob, data); err != nil {
			t.Fatalf("%d bytes: %v", size, err)
		}
	}
}
