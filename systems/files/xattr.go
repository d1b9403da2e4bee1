package files

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/trivet-ha/trivet/systems/files/state"
)

// xattrReader reads extended attributes; its buffers are used again. It is for one goroutine.
type xattrReader struct {
	list  []byte
	value []byte
}

// xattrSource is an open file, or a path: symbolic links and devices are not opened.
type xattrSource struct {
	fd   int
	path string // used when not empty; not followed
}

func (s xattrSource) list(buf []byte) (int, error) {
	if s.path != "" {
		return unix.Llistxattr(s.path, buf)
	}
	return unix.Flistxattr(s.fd, buf)
}

func (s xattrSource) get(name string, buf []byte) (int, error) {
	if s.path != "" {
		return unix.Lgetxattr(s.path, name, buf)
	}
	return unix.Fgetxattr(s.fd, name, buf)
}

// read returns the attributes in the order of their names; none where the file system has none.
func (r *xattrReader) read(s xattrSource) ([]state.Xattr, error) {
	list, err := grow(&r.list, s.list)
	if errors.Is(err, unix.ENOTSUP) || errors.Is(err, unix.ENOSYS) || err == nil && len(list) == 0 {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list extended attributes: %w", err)
	}
	var xattrs []state.Xattr
	for raw := range bytes.SplitSeq(list, []byte{0}) {
		if len(raw) == 0 {
			continue
		}
		name := string(raw)
		value, err := grow(&r.value, func(buf []byte) (int, error) { return s.get(name, buf) })
		if errors.Is(err, unix.ENODATA) || errors.Is(err, unix.ENOTSUP) {
			continue // removed since it was listed, or listed only (some of NFS and FUSE)
		}
		if err != nil {
			return nil, fmt.Errorf("read extended attribute %s: %w", name, err)
		}
		xattrs = append(xattrs, state.Xattr{Name: name, Value: append([]byte{}, value...)})
	}
	slices.SortFunc(xattrs, func(a, b state.Xattr) int { return strings.Compare(a.Name, b.Name) })
	return xattrs, nil
}

// grow calls get with a buffer that is large enough.
func grow(buf *[]byte, get func([]byte) (int, error)) ([]byte, error) {
	if *buf == nil {
		*buf = make([]byte, 256)
	}
	for {
		n, err := get(*buf)
		if err == nil {
			return (*buf)[:n], nil
		}
		if !errors.Is(err, unix.ERANGE) || len(*buf) > 1<<20 {
			return nil, err
		}
		*buf = make([]byte, 4*len(*buf)) // XATTR_SIZE_MAX is 64 KiB, XATTR_LIST_MAX too
	}
}
