package postgres

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/trivet-ha/trivet/backup"
	"github.com/trivet-ha/trivet/backup/repository"
	"github.com/trivet-ha/trivet/backup/repository/repotest"
	"github.com/trivet-ha/trivet/internal/testserver"
)

// bench is a server, and a repository on the local disk.
type bench struct {
	*testserver.Postgres
	t    testing.TB
	dir  string // of the repository
	repo *repository.Repository
	// problems that the last save reported
	problems []backup.Problem
}

func newBench(t testing.TB) *bench {
	t.Helper()
	b := &bench{t: t, Postgres: testserver.StartPostgres(t, "scram-sha-256")}
	b.dir, b.repo = repotest.New(t)
	return b
}

// save takes a base backup.
func (b *bench) save(c Config) *Base {
	b.t.Helper()
	base, err := b.trySave(c)
	if err != nil {
		b.t.Fatal(err)
	}
	return base
}

func (b *bench) trySave(c Config) (*Base, error) {
	b.t.Helper()
	c.Name = "orders"
	if c.Conninfo == "" {
		c.Conninfo = b.Conninfo()
	}
	source, err := New(c)
	if err != nil {
		return nil, err
	}
	b.problems = nil
	result, err := backup.Save(b.t.Context(), b.repo, source, backup.Options{Host: "test", Report: func(p backup.Problem) { b.problems = append(b.problems, p) }})
	if err != nil {
		return nil, err
	}
	base := source.Base()
	base.Snapshot = result.Snapshot
	return base, nil
}

// restic runs stock restic on the repository.
func (b *bench) restic(args ...string) string {
	b.t.Helper()
	return repotest.Restic(b.t, b.dir, args...)
}

// give hands a directory tree to the server's user.
func (b *bench) give(dir string) {
	b.t.Helper()
	uid, gid := b.Owner()
	err := filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(path, uid, gid)
	})
	if err != nil {
		b.t.Fatal(err)
	}
}

// copyServer is an engine on a restored directory.
type copyServer struct{ *Server }

// startAt starts an engine on a restored directory.
func startAt(t testing.TB, b *bench, dir string) copyServer {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	s, err := StartServer(ctx, ServerConfig{Directory: dir, Programs: b.Programs(), User: b.User, Settings: map[string]string{"fsync": "off", "shared_buffers": "16MB"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return copyServer{s}
}

// sql runs a query and returns what psql -At would print.
func (s copyServer) sql(t testing.TB, query string) string {
	t.Helper()
	rows, err := s.Query(t.Context(), "postgres", query)
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	lines := make([]string, len(rows))
	for i, row := range rows {
		lines[i] = strings.Join(row, "|")
	}
	return strings.Join(lines, "\n")
}

// spaceOf is the name of the only tablespace of a restored directory.
func spaceOf(t testing.TB, data string) string {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(data, "pg_tblspc"))
	if err != nil || len(entries) != 1 {
		t.Fatalf("tablespaces: %v, %v", entries, err)
	}
	return entries[0].Name()
}

// open lets the server's user read a directory of the test.
func (b *bench) open(t testing.TB, dir string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Chmod(path, 0o755)
	})
	for up := filepath.Dir(dir); err == nil && strings.HasPrefix(up, os.TempDir()+"/"); up = filepath.Dir(up) {
		err = os.Chmod(up, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
}
