package files

import (
	"archive/tar"
	"archive/zip"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/trivet-ha/trivet/backup/repository"
)

// WriteTar writes a directory of a snapshot as a tar archive in the PAX format, with owners, times to the nanosecond,
// extended attributes and hard links. Names are relative to the directory.
func WriteTar(ctx context.Context, repo *repository.Repository, root repository.ID, w io.Writer) error {
	t := tarWriter{ctx: ctx, repo: repo, tar: tar.NewWriter(w), first: make(map[inode]string)}
	if err := repo.Walk(ctx, root, t.node); err != nil {
		return fmt.Errorf("write tar: %w", err)
	}
	return t.tar.Close()
}

type tarWriter struct {
	ctx   context.Context
	repo  *repository.Repository
	tar   *tar.Writer
	first map[inode]string
}

func (t *tarWriter) node(name string, n *repository.Node) error {
	name, err := archiveName(name, n)
	if err != nil || n.Type == repository.TypeSocket {
		return err
	}
	h := &tar.Header{
		Name: name, Mode: int64(modeBits(n.Mode, true)), Uid: int(n.UID), Gid: int(n.GID), Uname: n.User, Gname: n.Group,
		ModTime: n.ModTime, AccessTime: n.AccessTime, ChangeTime: n.ChangeTime, Format: tar.FormatPAX,
	}
	for _, x := range n.Xattrs {
		if h.PAXRecords == nil {
			h.PAXRecords = make(map[string]string)
		}
		h.PAXRecords["SCHILY.xattr."+x.Name] = string(x.Value)
	}
	t.kind(h, n)
	if err := t.tar.WriteHeader(h); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if h.Typeflag != tar.TypeReg {
		return nil
	}
	return writeContent(t.ctx, t.repo, n, t.tar)
}

// kind fills in what depends on the type.
func (t *tarWriter) kind(h *tar.Header, n *repository.Node) {
	if n.Links > 1 && n.Inode != 0 && n.Type != repository.TypeDir {
		key := inode{n.Inode, n.DeviceID}
		if first, ok := t.first[key]; ok {
			h.Typeflag, h.Linkname, h.PAXRecords = tar.TypeLink, first, nil
			return
		}
		t.first[key] = h.Name
	}
	switch n.Type {
	case repository.TypeFile:
		h.Typeflag, h.Size = tar.TypeReg, int64(n.Size)
	case repository.TypeDir:
		h.Typeflag = tar.TypeDir
		h.Name += "/"
	case repository.TypeSymlink:
		h.Typeflag, h.Linkname = tar.TypeSymlink, n.LinkTarget
	case repository.TypeFifo:
		h.Typeflag = tar.TypeFifo
	case repository.TypeDev:
		h.Typeflag = tar.TypeBlock
		h.Devmajor, h.Devminor = int64(unix.Major(n.Device)), int64(unix.Minor(n.Device))
	case repository.TypeCharDev:
		h.Typeflag = tar.TypeChar
		h.Devmajor, h.Devminor = int64(unix.Major(n.Device)), int64(unix.Minor(n.Device))
	}
}

// WriteZip writes a directory of a snapshot as a zip archive: files, directories and links, with modes and times.
func WriteZip(ctx context.Context, repo *repository.Repository, root repository.ID, w io.Writer) error {
	z := zip.NewWriter(w)
	err := repo.Walk(ctx, root, func(name string, n *repository.Node) error {
		name, err := archiveName(name, n)
		if err != nil {
			return err
		}
		h := &zip.FileHeader{Name: name, Modified: n.ModTime, Method: zip.Deflate}
		h.SetMode(n.Mode)
		switch n.Type {
		case repository.TypeDir:
			h.Name += "/"
			_, err = z.CreateHeader(h)
			return err
		case repository.TypeFile, repository.TypeSymlink:
		default:
			return nil // zip knows no devices and no pipes
		}
		out, err := z.CreateHeader(h)
		if err != nil {
			return err
		}
		if n.Type == repository.TypeSymlink {
			_, err = io.WriteString(out, n.LinkTarget)
			return err
		}
		return writeContent(ctx, repo, n, out)
	})
	if err != nil {
		return fmt.Errorf("write zip: %w", err)
	}
	return z.Close()
}

// archiveName is a path without its first slash. A name that would lead elsewhere is refused: it is up to the
// reader of the archive where it goes.
func archiveName(name string, n *repository.Node) (string, error) {
	if !validName(n.Name) || path.Clean(name) != name {
		return "", fmt.Errorf("%q: %w", name, errBadName)
	}
	return strings.TrimPrefix(name, "/"), nil
}

func writeContent(ctx context.Context, repo *repository.Repository, n *repository.Node, w io.Writer) error {
	f, err := repo.OpenFile(ctx, n)
	if err != nil {
		return err
	}
	if f.Size() != int64(n.Size) {
		return errors.New("its blobs have another size than it")
	}
	_, err = f.WriteTo(w)
	return err
}
