package keyring

import (
	"context"
	"crypto/tls"
	"log/slog"
	"os"
	"slices"
	"sync/atomic"
	"syscall"
	"time"
)

// files are what a configuration is made of; it is made anew when one of them changes.
type files struct {
	names   []string
	make    func() (*tls.Config, error)
	current atomic.Pointer[tls.Config]
	stamps  []stamp // of the files that current was made of, or that were refused last
}

// open reads the files for the first time.
func (f *files) open(names []string, read func() (*tls.Config, error)) error {
	f.names, f.make = names, read
	f.stamps = f.look()
	now, err := read()
	if err != nil {
		return err
	}
	f.current.Store(now)
	return nil
}

// lookEvery is how often files are looked at.
const lookEvery = 2 * time.Second

// Run takes up files that change, until ctx ends.
func (f *files) Run(ctx context.Context, log *slog.Logger) {
	if len(f.names) == 0 {
		return
	}
	t := time.NewTicker(lookEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		switch changed, err := f.Refresh(); {
		case err != nil:
			log.Error("certificates not renewed; the old ones stay", "error", err)
		case changed:
			log.Info("certificates renewed", "file", f.names[0])
		}
	}
}

// Refresh reads the files again if one of them has changed. On an error, which is told once for each change, everything
// stays as it was.
func (f *files) Refresh() (changed bool, err error) {
	stamps := f.look()
	if slices.Equal(stamps, f.stamps) {
		return false, nil
	}
	f.stamps = stamps
	now, err := f.make()
	if err != nil {
		return false, err
	}
	f.current.Store(now)
	return true, nil
}

// stamp tells one state of a file from another: a file that is written in the same tick of the clock as the one whose
// place it takes has another number.
type stamp struct {
	inode uint64
	size  int64
	mod   time.Time
}

func (f *files) look() []stamp {
	var all []stamp
	for _, name := range f.names {
		s := stamp{size: -1}
		if info, err := os.Stat(name); err == nil {
			s = stamp{size: info.Size(), mod: info.ModTime()}
			if sys, ok := info.Sys().(*syscall.Stat_t); ok {
				s.inode = sys.Ino
			}
		}
		all = append(all, s)
	}
	return all
}
