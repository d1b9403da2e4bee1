package config

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/txtar"
)

func typeOfConfig() reflect.Type { return reflect.TypeFor[Config]() }

// Whatever the file is: no panic, an error has a message and a place within the file, and what is right is right again.
func FuzzParse(f *testing.F) {
	examples, _ := filepath.Glob("../examples/*.yaml")
	for _, name := range examples {
		src, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(src)
	}
	golden, _ := filepath.Glob("testdata/errors/*.txtar")
	for _, name := range golden {
		archive, err := txtar.ParseFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(archive.Files[0].Data)
	}
	f.Fuzz(func(t *testing.T, src []byte) {
		began := time.Now()
		c, err := Parse("trivet.yaml", src)
		if took := time.Since(began); took > 5*time.Second {
			t.Fatalf("took %s for %d bytes", took, len(src))
		}
		if err == nil {
			again, err := Parse("trivet.yaml", src)
			if err != nil || !c.Equal(again) {
				t.Fatalf("a second reading differs: %v", err)
			}
			return
		}
		errs, invalid := IsInvalid(err)
		if !invalid || len(errs) == 0 {
			t.Fatalf("error is %T %v", err, err)
		}
		lines := len(splitLines(string(src)))
		for _, e := range errs {
			if e.Message == "" || e.Line > lines || e.File == "" || !strings.Contains(e.Text(), e.Message) {
				t.Fatalf("error is %#v", e)
			}
		}
	})
}
