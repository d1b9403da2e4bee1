package state

import (
	"encoding/binary"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// rewrite copies the live records to a new file, which takes the place of the old one.
func (s *File) rewrite(next header) error {
	temp := s.path + ".new"
	f, err := os.OpenFile(temp, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("rewrite state: %w", err)
	}
	out := &File{path: s.path, id: s.id, f: f, end: headerBytes}
	next.root, err = s.copyTo(out, next.root)
	next.end = out.end
	if err == nil {
		_, err = f.WriteAt(next.encode(s.id), int64(next.generation%2)*slotBytes)
	}
	if err == nil {
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	}
	if err == nil {
		err = os.Rename(temp, s.path)
	}
	if err != nil {
		f.Close()
		os.Remove(temp)
		return fmt.Errorf("rewrite state: %w", err)
	}
	old := s.f
	s.f, s.head, s.end = f, next, out.end
	return old.Close()
}

// copyTo copies a record and all below it, children first. The depth of the recursion is that of the directories.
func (s *File) copyTo(out *File, ref Ref) (Ref, error) {
	var d Dir // not shared: the children are copied while it is in use
	if err := s.Load(ref, &d); err != nil {
		return 0, err
	}
	for i := range d.n {
		child := d.fixed(i)[32:40]
		if old := Ref(binary.LittleEndian.Uint64(child)); old != 0 {
			if old >= ref { // children are written before their parents: this would be a circle
				return 0, ErrDamaged
			}
			moved, err := s.copyTo(out, old)
			if err != nil {
				return 0, err
			}
			binary.LittleEndian.PutUint64(child, uint64(moved))
		}
	}
	framed := append(make([]byte, frameBytes), d.raw...)
	return out.appendRecord(framed[frameBytes:], framed)
}
