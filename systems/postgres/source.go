package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/trivet-ha/trivet/backup"
	"github.com/trivet-ha/trivet/backup/repository"
	"github.com/trivet-ha/trivet/systems/postgres/replication"
)

// Config says which cluster a Source saves, and how. Name and Conninfo are needed.
type Config struct {
	// Name is what the cluster is called in the repository.
	Name string
	// Conninfo tells how to reach the server, as for psql, as a role with REPLICATION.
	Conninfo string
	// NoWAL leaves the log of the time of the backup out, for clusters whose log is streamed anyway. Without a stream such
	// a snapshot is worth nothing.
	NoWAL bool
	// Spread lets the checkpoint before the backup take its time.
	Spread bool
	// RateBytes bounds what the server sends in a second; no bound if 0.
	RateBytes int64
	// BlockBytes is the size of the pieces that files are cut into, a multiple of 8 KiB up to 2 MiB; 256 KiB if 0. Smaller
	// ones find more that has not changed, and take more memory: 65 bytes each.
	BlockBytes int
	// Workers is the number of goroutines that store; one per core if 0.
	Workers int
}

// defaultBlockBytes: of a database that changes one page in a hundred, a quarter of such blocks changes.
const defaultBlockBytes = 256 << 10

// Source takes base backups of one cluster. It implements backup.Source.
type Source struct {
	config Config
	base   *Base
}

var _ backup.Source = (*Source)(nil)

// New checks the configuration. It does not connect.
func New(c Config) (*Source, error) {
	switch {
	case !validName(c.Name):
		return nil, fmt.Errorf("postgres: %q cannot name a cluster", c.Name)
	case c.Conninfo == "":
		return nil, fmt.Errorf("postgres %s: it is not said how to reach the server", c.Name)
	case c.BlockBytes%8192 != 0 || c.BlockBytes < 0 || c.BlockBytes > repository.MaxChunkBytes:
		return nil, fmt.Errorf("postgres %s: blocks of %d bytes: want a multiple of 8 KiB up to 2 MiB", c.Name, c.BlockBytes)
	}
	if c.BlockBytes == 0 {
		c.BlockBytes = defaultBlockBytes
	}
	if c.Workers <= 0 {
		c.Workers = runtime.GOMAXPROCS(0)
	}
	return &Source{config: c}, nil
}

func validName(name string) bool {
	return name != "" && name != "." && fs.ValidPath(name) && !strings.ContainsAny(name, `/\`)
}

// Paths is one path, /postgres/<name>.
func (s *Source) Paths() []string { return []string{snapshotPath(s.config.Name)} }

// Base is what the last Save made; nil before.
func (s *Source) Base() *Base { return s.base }

// Save takes a base backup. Damaged pages that the server finds are reported as Missing, and saved as they are.
func (s *Source) Save(ctx context.Context, t backup.Target) (backup.Saved, error) {
	saved, err := s.save(ctx, t)
	if err != nil {
		return saved, fmt.Errorf("postgres %s: %w", s.config.Name, err)
	}
	return saved, nil
}

func (s *Source) save(ctx context.Context, t backup.Target) (backup.Saved, error) {
	var damaged []string
	conn, err := replication.Connect(ctx, s.config.Conninfo, replication.Options{Name: "trivet base", Notice: func(severity, message string) {
		if severity == "WARNING" {
			damaged = append(damaged, message)
		}
	}})
	if err != nil {
		return backup.Saved{}, err
	}
	defer conn.Close()
	base, err := describe(ctx, conn)
	if err != nil {
		return backup.Saved{}, err
	}
	base.WithWAL = !s.config.NoWAL
	r := newReceiver(ctx, s.config, t)
	if err := r.receive(conn, base); err != nil {
		return backup.Saved{}, err
	}
	for _, text := range damaged {
		t.Report(backup.Problem{Severity: backup.Missing, Path: s.Paths()[0], Err: errors.New(text)})
	}
	base.Damaged, base.Ended = len(damaged), time.Now().UTC()
	saved, err := r.finish(s.config.Name, base)
	if err == nil {
		s.base = base
	}
	return saved, err
}

// describe asks the server what a Base has to know of it.
func describe(ctx context.Context, conn *replication.Conn) (*Base, error) {
	id, err := conn.Identify(ctx)
	if err != nil {
		return nil, err
	}
	b := &Base{System: id.System, Version: conn.Version(), Began: time.Now().UTC()}
	if b.Segments, err = conn.Segments(ctx); err != nil {
		return nil, err
	}
	page, err := conn.Show(ctx, "wal_block_size")
	if err != nil {
		return nil, err
	}
	if b.PageBytes, err = strconv.Atoi(page); err != nil {
		return nil, fmt.Errorf("wal_block_size is %q", page)
	}
	return b, nil
}

func (b *Base) json() ([]byte, error) {
	text, err := json.MarshalIndent(b, "", "  ")
	return append(text, '\n'), err
}
