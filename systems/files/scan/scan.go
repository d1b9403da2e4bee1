// Package scan reads directories as fast as Linux gives them: names in large blocks (getdents64), then one fstatat for
// each, relative to the open directory, so that no path is ever looked up from the root again.
//
// It never follows a symbolic link, never opens what it lists, and knows nothing of backups.
package scan

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Stat is what the file system says of an entry. Its fields are those of stat(2).
type Stat struct {
	Dev, Ino     uint64
	Mode         uint32 // type and permission bits, as in st_mode
	UID, GID     uint32
	Links        uint32
	Rdev         uint64
	Size         int64
	Blocks       int64 // of 512 bytes
	Mtime, Ctime Time
}

// Time is a time as file systems keep it: seconds since 1970, which may be hundreds of years away, and nanoseconds.
type Time struct {
	Sec  int64
	Nsec uint32
}

// Time is t in the local time zone, as restic writes it.
func (t Time) Time() time.Time { return time.Unix(t.Sec, int64(t.Nsec)) }

// IsDir reports whether the entry is a directory.
func (s *Stat) IsDir() bool { return s.Mode&unix.S_IFMT == unix.S_IFDIR }

// IsRegular reports whether the entry is a regular file.
func (s *Stat) IsRegular() bool { return s.Mode&unix.S_IFMT == unix.S_IFREG }

// IsSymlink reports whether the entry is a symbolic link.
// IsSymlink reports whether the entry is a symbolic link.
func (s *Stat) IsSymlink() bool { return s.Mode&unix.S_IFMT == unix.S_IFLNK }

// FileMode is the mode in Go's bits: permissions, type, setuid, setgid and sticky.
func (s *Stat) FileMode() fs.FileMode {
	mode := fs.FileMode(s.Mode & 0o777)
	switch s.Mode & unix.S_IFMT {
	case unix.S_IFBLK:
		mode |= fs.ModeDevice
	case unix.S_IFCHR:
		mode |= fs.ModeDevice | fs.ModeCharDevice
	case unix.S_IFDIR:
		mode |= fs.ModeDir
	case unix.S_IFIFO:
		mode |= fs.ModeNamedPipe
	case unix.S_IFLNK:
		mode |= fs.ModeSymlink
	case unix.S_IFSOCK:
		mode |= fs.ModeSocket
	}
	if s.Mode&unix.S_ISUID != 0 {
		mode |= fs.ModeSetuid
	}
	if s.Mode&unix.S_ISGID != 0 {
		mode |= fs.ModeSetgid
	}
	if s.Mode&unix.S_ISVTX != 0 {
		mode |= fs.ModeSticky
	}
	return mode
}

func (s *Stat) from(st *unix.Stat_t) {
	*s = Stat{
		Dev: st.Dev, Ino: st.Ino, Mode: st.Mode, UID: st.Uid, GID: st.Gid, Links: uint32(min(uint64(st.Nlink), 1<<32-1)), Rdev: st.Rdev,
		Size: st.Size, Blocks: st.Blocks,
		Mtime: Time{st.Mtim.Sec, uint32(st.Mtim.Nsec)}, Ctime: Time{st.Ctim.Sec, uint32(st.Ctim.Nsec)},
	}
}

// Entry is one name in a directory.
type Entry struct {
	Name string
	Stat Stat
}

// Reader lists directories, one after another; its buffers are used again. It is for one goroutine.
type Reader struct {
	block []byte
	arena []byte // the names of one directory, end to end
	ends  []nameEnd
	raw   unix.Stat_t
}

type nameEnd struct{ start, end int }

// blockBytes is how much is read per getdents64: 32 KiB is what the C library uses; more saves calls in large directories.
const blockBytes = 128 << 10

// Names returns the names in the directory fd in ascending order of their bytes, without "." and "..". The names
// share one new string.
func (r *Reader) Names(fd int) ([]string, error) {
	if r.block == nil {
		r.block = make([]byte, blockBytes)
	}
	r.arena, r.ends = r.arena[:0], r.ends[:0]
	for {
		n, err := getdents(fd, r.block)
		if err != nil {
			return nil, fmt.Errorf("read directory: %w", err)
		}
		if n == 0 {
			break
		}
		if err := r.take(r.block[:n]); err != nil {
			return nil, err
		}
	}
	all := string(r.arena)
	names := make([]string, len(r.ends))
	for i, e := range r.ends {
		names[i] = all[e.start:e.end]
	}
	slices.SortFunc(names, strings.Compare)
	return names, nil
}

func getdents(fd int, block []byte) (int, error) {
	for {
		n, err := unix.Getdents(fd, block)
		if err != unix.EINTR {
			return n, err
		}
	}
}

// Offsets in struct linux_dirent64 (getdents64(2)).
const (
	direntReclen = 16
	direntName   = 19
)

// take keeps the names of a block.
func (r *Reader) take(block []byte) error {
	for len(block) > 0 {
		if len(block) < direntName {
			return errors.New("read directory: the kernel's answer is cut short")
		}
		size := int(binary.NativeEndian.Uint16(block[direntReclen:]))
		if size < direntName || size > len(block) {
			return errors.New("read directory: the kernel's answer has an impossible length")
		}
		name := block[direntName:size]
		if end := bytes.IndexByte(name, 0); end >= 0 {
			name = name[:end]
		}
		block = block[size:]
		if len(name) == 0 || string(name) == "." || string(name) == ".." {
			continue
		}
		start := len(r.arena)
		r.arena = append(r.arena, name...)
		r.ends = append(r.ends, nameEnd{start, len(r.arena)})
	}
	return nil
}

// At stats name in the directory dir, not following it. It does not allocate unless name is very long.
func (r *Reader) At(dir int, name string, s *Stat) error {
	if err := fstatat(dir, name, &r.raw); err != nil {
		return err
	}
	s.from(&r.raw)
	return nil
}

// fstatat is unix.Fstatat without its allocation for the name.
func fstatat(dir int, name string, st *unix.Stat_t) error {
	var short [256]byte // NAME_MAX and the final zero
	if len(name) >= len(short) || strings.IndexByte(name, 0) >= 0 {
		return unix.Fstatat(dir, name, st, unix.AT_SYMLINK_NOFOLLOW)
	}
	copy(short[:], name)
	for {
		_, _, errno := unix.Syscall6(sysFstatat, uintptr(dir), uintptr(unsafe.Pointer(&short[0])), uintptr(unsafe.Pointer(st)), unix.AT_SYMLINK_NOFOLLOW, 0, 0)
		if errno == 0 {
			return nil
		}
		if errno != unix.EINTR {
			return errno
		}
	}
}

// FD stats an open file.
func FD(fd int, s *Stat) error {
	var raw unix.Stat_t
	if err := unix.Fstat(fd, &raw); err != nil {
		return err
	}
	s.from(&raw)
	return nil
}

// Path stats a path. A symbolic link at its end is followed if follow is set.
func Path(path string, follow bool, s *Stat) error {
	stat := unix.Lstat
	if follow {
		stat = unix.Stat
	}
	var raw unix.Stat_t
	if err := stat(path, &raw); err != nil {
		return err
	}
	s.from(&raw)
	return nil
}
