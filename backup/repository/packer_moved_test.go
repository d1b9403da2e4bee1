package repository

import (
	"go/build"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

// The encoder may write more than its result before it settles on a smaller form, and moves to other memory for that: small texts
// make it do so.
func TestBlobsOpenAgainWhereTheEncoderMoved(t *testing.T) {
	r, _ := newMemRepo(t)
	w, err := r.NewWriter(t.Context(), WriterOptions{Reopen: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	s := w.Session()
	texts := 0
	err = filepath.WalkDir(filepath.Join(build.Default.GOROOT, "src", "cmd"), func(p string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() || texts >= 3000 {
			return err
		}
		data, err := os.ReadFile(p)
		if err != nil || len(data) > 4<<10 {
			return err
		}
		texts++
		_, _, err = s.SaveBlob(DataBlob, data)
		return err
	})
	if err != nil || texts < 100 {
		t.Fatalf("after %d texts: %v", texts, err)
	}
}
