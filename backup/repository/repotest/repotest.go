// Package repotest gives tests a repository on the local disk, and stock restic to look at it with. It is for tests only.
//
// Deriving a key from a password takes long on purpose, so one empty repository is made in each process, and copied.
package repotest

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/trivet-ha/trivet/backup/repository"
	"github.com/trivet-ha/trivet/backup/store"
	"github.com/trivet-ha/trivet/backup/store/local"
	"github.com/trivet-ha/trivet/backup/store/storetest"
	"github.com/trivet-ha/trivet/internal/testserver"
)

// Password opens every repository of this package.
const Password = "correct horse"

type empty struct {
	files  map[store.Handle][]byte
	master repository.MasterKey
}

var seed = sync.OnceValues(func() (empty, error) {
	ctx, st := context.Background(), storetest.NewMemory()
	repo, err := repository.Init(ctx, st, Password, repository.InitOptions{})
	if err != nil {
		return empty{}, err
	}
	e := empty{files: map[store.Handle][]byte{}, master: repo.Master()}
	for _, kind := range store.Kinds() {
		err = errors.Join(err, st.List(ctx, kind, "", func(i store.Info) (err error) {
			h := store.Handle{Kind: kind, Name: i.Name}
			e.files[h], err = store.ReadAll(ctx, st, h)
			return err
		}))
	}
	return e, err
})

// Create makes an empty repository in a folder that is not there yet.
func Create(t testing.TB, dir string) {
	t.Helper()
	e, err := seed()
	if err != nil {
		t.Fatal(err)
	}
	st, err := local.Create(dir)
	if err != nil {
		t.Fatal(err)
	}
	for h, data := range e.files {
		if err := st.Save(t.Context(), h, data); err != nil {
			t.Fatal(err)
		}
	}
}

// Open opens a repository that Create made, without deriving its key again; it is closed when the test ends.
func Open(t testing.TB, dir string, o repository.Options) *repository.Repository {
	t.Helper()
	e, err := seed()
	if err != nil {
		t.Fatal(err)
	}
	st, err := local.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	repo, err := repository.OpenMaster(t.Context(), st, e.master, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { repo.Close() })
	return repo
}

// New makes an empty repository in a folder of the test's own and opens it.
func New(t testing.TB) (dir string, repo *repository.Repository) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "repository")
	Create(t, dir)
	return dir, Open(t, dir, repository.Options{})
}

// Restic runs stock restic on the repository and returns what it says; the test ends if restic fails.
func Restic(t testing.TB, dir string, args ...string) string {
	t.Helper()
	cmd := exec.Command(testserver.Program(t, "restic"), append([]string{"-r", dir, "--no-cache"}, args...)...)
	cmd.Env = append(os.Environ(), "RESTIC_PASSWORD="+Password)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("restic %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}
