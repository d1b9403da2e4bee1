// Package mountfs shows the snapshots of a repository as directories, through FUSE: by ID, by time, by machine and by tag.
//
// Everything is read-only, and read when it is asked for. It never writes to the repository, and holds no more of it in memory
// than the repository's own caches do.
package mountfs

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/trivet-ha/trivet/backup/repository"
)

// refresh is how old a list of snapshots may become before it is read again.
const refresh = 30 * time.Second

// Options change what is shown. The zero Options works.
type Options struct {
	// Filter selects snapshots.
	Filter repository.SnapshotFilter
	// AllowOther lets other users look (user_allow_other in /etc/fuse.conf is needed unless root mounts).
	AllowOther bool
	// NoDefaultPermissions lets all who may look read every file, whatever its mode says.
	NoDefaultPermissions bool
	// Ready is called when the file system can be used.
	Ready func()
	// Report hears of what could not be read.
	Report func(error)
}

// Run mounts at dir and returns when ctx has ended or somebody unmounted it.
func Run(ctx context.Context, repo *repository.Repository, dir string, o Options) error {
	if o.Report == nil {
		o.Report = func(error) {}
	}
	if err := repo.LoadIndex(ctx); err != nil {
		return err
	}
	s := &system{ctx: ctx, repo: repo, options: o}
	server, err := fs.Mount(dir, s.root(), &fs.Options{MountOptions: fuse.MountOptions{
		AllowOther: o.AllowOther, FsName: "trivet", Name: "trivet", DisableReadDirPlus: true, MaxReadAhead: 1 << 20,
		Options: mountOptions(o),
	}})
	if err != nil {
		return fmt.Errorf("mount %s: %w", dir, err)
	}
	ended := make(chan struct{})
	go func() { // ends when the file system is unmounted, which is awaited below
		server.Wait()
		close(ended)
	}()
	if o.Ready != nil {
		o.Ready()
	}
	select {
	case <-ended:
		return nil
	case <-ctx.Done():
	}
	if err := unmount(server); err != nil {
		return fmt.Errorf("unmount %s: %w (is a file in it still open?)", dir, err)
	}
	<-ended
	if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
		return cause
	}
	return nil
}

func mountOptions(o Options) []string {
	if o.NoDefaultPermissions {
		return []string{"ro"}
	}
	return []string{"ro", "default_permissions"}
}

// unmount tries for a while: somebody may be about to close a file.
func unmount(server *fuse.Server) (err error) {
	for range 20 {
		if err = server.Unmount(); err == nil {
			return nil
		}
		time.Sleep(100 * time.Millisecond)
	}
	return err
}

// system is what all nodes share.
type system struct {
	ctx     context.Context
	repo    *repository.Repository
	options Options

	mu     sync.Mutex
	listed time.Time
	list   []*repository.Snapshot
}

// snapshots lists the snapshots, from memory if that is fresh.
func (s *system) snapshots() []*repository.Snapshot {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.listed.IsZero() && time.Since(s.listed) < refresh {
		return s.list
	}
	all, err := s.repo.Snapshots(s.ctx)
	if err != nil {
		s.options.Report(err)
		if len(all) == 0 {
			return s.list
		}
	}
	s.list = slices.DeleteFunc(all, func(x *repository.Snapshot) bool { return !s.options.Filter.Match(x) || x.Tree == nil })
	s.listed = time.Now()
	if err := s.repo.LoadIndex(s.ctx); err != nil {
		s.options.Report(err)
	}
	return s.list
}

// failed reports an error and gives its number.
func (s *system) failed(err error) syscall.Errno {
	s.options.Report(err)
	return syscall.EIO
}

// entry is a name in a directory of our own making.
type entry struct {
	name string
	node fs.InodeEmbedder
	mode uint32
}

// root is the top: four ways to the snapshots.
func (s *system) root() *list {
	return &list{s: s, entries: func() []entry {
		return []entry{
			s.dir("ids", func() []entry {
				return s.named(s.snapshots(), func(x *repository.Snapshot) string { return x.ID().Short() }, false)
			}),
			s.dir("snapshots", func() []entry { return s.byTime(s.snapshots()) }),
			s.dir("hosts", func() []entry {
				return s.grouped(func(x *repository.Snapshot) []string { return []string{x.Hostname} })
			}),
			s.dir("tags", func() []entry { return s.grouped(func(x *repository.Snapshot) []string { return x.Tags }) }),
		}
	}}
}

func (s *system) dir(name string, entries func() []entry) entry {
	return entry{name, &list{s: s, entries: entries}, fuse.S_IFDIR}
}

// byTime names snapshots by their times, and the last one "latest".
func (s *system) byTime(list []*repository.Snapshot) []entry {
	return s.named(list, func(x *repository.Snapshot) string { return x.Time.Local().Format("2006-01-02T15:04:05") }, true)
}

func (s *system) named(list []*repository.Snapshot, name func(*repository.Snapshot) string, latest bool) []entry {
	var out []entry
	seen := map[string]int{}
	last := ""
	for _, x := range list {
		n := name(x)
		seen[n]++
		if k := seen[n]; k > 1 {
			n = fmt.Sprintf("%s-%d", n, k)
		}
		out = append(out, entry{n, s.snapshot(x), fuse.S_IFDIR})
		last = n
	}
	if latest && last != "" {
		out = append(out, entry{"latest", &linkTo{target: last}, fuse.S_IFLNK})
	}
	return out
}

// grouped makes a directory for each value.
func (s *system) grouped(values func(*repository.Snapshot) []string) []entry {
	groups := map[string][]*repository.Snapshot{}
	for _, x := range s.snapshots() {
		for _, v := range values(x) {
			if v = strings.ReplaceAll(v, "/", "_"); v != "" && v != "." && v != ".." && !repository.IsChainTag(v) {
				groups[v] = append(groups[v], x)
			}
		}
	}
	var out []entry
	for v, members := range groups {
		out = append(out, s.dir(v, func() []entry { return s.byTime(members) }))
	}
	slices.SortFunc(out, func(a, b entry) int { return strings.Compare(a.name, b.name) })
	return out
}

// snapshot is the root directory of a snapshot.
func (s *system) snapshot(x *repository.Snapshot) fs.InodeEmbedder {
	return &directory{node: node{s: s, n: &repository.Node{
		Type: repository.TypeDir, Mode: 0o555, ModTime: x.Time, AccessTime: x.Time, ChangeTime: x.Time, UID: x.UID, GID: x.GID, Subtree: x.Tree,
	}}}
}
