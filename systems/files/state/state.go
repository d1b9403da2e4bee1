// Package state keeps, on the local disk, what a backup knew of the file system when it ended: for each directory its
// entries, their times and content, and the tree that was saved for it. The next backup of the same source compares with it,
// and an unchanged directory costs neither JSON nor a look into the repository.
//
// The file is a persistent tree in an append-only log: a directory that did not change keeps its record, so an
// unchanged source writes two hundred bytes. Nothing in it is precious: each record carries a checksum, and a state that is
// missing, damaged or of another source is simply empty. It never vouches for the repository: the caller
// checks that Snapshot is still there before it trusts anything.
package state

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"
)

// Ref is the place of a directory's record in the file. Zero is none.
type Ref uint64

// Identity says what a state is of. A state of another identity is empty.
type Identity struct {
	Repository [32]byte
	Source     [32]byte // what is backed up, and every option that changes what is saved
}

// ErrDamaged is returned by Load for a record whose checksum is wrong.
var ErrDamaged = errors.New("state: record is damaged")

const (
	magic = "trivet files 1\n\x00" // 16 bytes; another format gets another number

	slotBytes   = 256
	headerBytes = 2 * slotBytes // two slots, written in turn: one of them is always whole
	frameBytes  = 8             // before a record: its length and its checksum, 4 bytes each
	maxRecord   = 1<<32 - 1

	// wasteFactor and wasteFloorBytes: a file is rewritten once records that nothing refers to any more are
	// twice the live ones, and worth the trouble.
	wasteFactor     = 2
	wasteFloorBytes = 1 << 20
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// File is an open state. All methods but Close and Commit may be called from several goroutines at once.
type File struct {
	path string
	id   Identity
	f    *os.File // nil for a state that is kept nowhere

	head header // as it was when the file was opened

	mu  sync.Mutex
	end uint64
}

// header is what a slot says.
type header struct {
	generation uint64
	snapshot   [32]byte
	tree       [32]byte
	root       Ref
	end        uint64 // records beyond it do not count
}

// Open opens the state at path, or begins one. An empty path, or one that another backup holds, gives a state that is empty and
// keeps nothing. The error tells why a state cannot be kept; the File works all the same.
func Open(path string, id Identity) (*File, error) {
	s := &File{path: path, id: id, end: headerBytes}
	if path == "" {
		return s, nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return s, fmt.Errorf("open state: %w", err)
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return s, fmt.Errorf("open state: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		if err == unix.EWOULDBLOCK {
			return s, nil // another backup of the same source is running
		}
		return s, fmt.Errorf("lock state: %w", err)
	}
	s.f = f
	s.head = s.readHeader()
	if s.head.generation > 0 {
		s.end = s.head.end
	}
	return s, nil
}

// readHeader returns the younger whole slot; the zero header if there is none.
func (s *File) readHeader() (best header) {
	var slots [headerBytes]byte
	if n, _ := s.f.ReadAt(slots[:], 0); n < headerBytes {
		return header{}
	}
	info, err := s.f.Stat()
	if err != nil {
		return header{}
	}
	for i := range 2 {
		h, ok := decodeHeader(slots[i*slotBytes:(i+1)*slotBytes], s.id)
		if ok && h.generation > best.generation && h.end <= uint64(info.Size()) {
			best = h
		}
	}
	return best
}

func decodeHeader(b []byte, id Identity) (h header, ok bool) {
	sum := binary.LittleEndian.Uint32(b[slotBytes-4:])
	if sum != crc32.Checksum(b[:slotBytes-4], castagnoli) || string(b[:16]) != magic {
		return h, false
	}
	if [32]byte(b[16:48]) != id.Repository || [32]byte(b[48:80]) != id.Source {
		return h, false
	}
	h.generation = binary.LittleEndian.Uint64(b[80:])
	h.root = Ref(binary.LittleEndian.Uint64(b[88:]))
	h.end = binary.LittleEndian.Uint64(b[96:])
	copy(h.snapshot[:], b[104:])
	copy(h.tree[:], b[136:])
	return h, true
}

func (h header) encode(id Identity) []byte {
	b := make([]byte, 0, slotBytes)
	b = append(b, magic...)
	b = append(b, id.Repository[:]...)
	b = append(b, id.Source[:]...)
	b = binary.LittleEndian.AppendUint64(b, h.generation)
	b = binary.LittleEndian.AppendUint64(b, uint64(h.root))
	b = binary.LittleEndian.AppendUint64(b, h.end)
	b = append(b, h.snapshot[:]...)
	b = append(b, h.tree[:]...)
	b = append(b, make([]byte, slotBytes-4-len(b))...)
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

// Snapshot is the snapshot that the state is of, and Tree its root tree; zero if the state is empty.
func (s *File) Snapshot() [32]byte { return s.head.snapshot }

// Tree is the root tree of the snapshot that the state is of; zero if the state is empty.
func (s *File) Tree() [32]byte { return s.head.tree }

// Root is the record of the root directory; zero if the state is empty.
func (s *File) Root() Ref { return s.head.root }

// Forget empties the state: its snapshot is gone.
func (s *File) Forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.head = header{generation: s.head.generation}
	s.end = headerBytes
}

// Load reads a record into d, whose memory is used again.
func (s *File) Load(ref Ref, d *Dir) error {
	if s.f == nil || ref < headerBytes {
		return ErrDamaged
	}
	var frame [frameBytes]byte
	if _, err := s.f.ReadAt(frame[:], int64(ref)); err != nil {
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	size := binary.LittleEndian.Uint32(frame[:])
	s.mu.Lock()
	end := s.end
	s.mu.Unlock()
	if uint64(size) > end-min(end, uint64(ref)) {
		return ErrDamaged
	}
	if cap(d.raw) < int(size) {
		d.raw = make([]byte, size)
	}
	d.raw = d.raw[:size]
	if _, err := s.f.ReadAt(d.raw, int64(ref)+frameBytes); err != nil {
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	if checksum(ref, d.raw) != binary.LittleEndian.Uint32(frame[4:]) {
		return ErrDamaged
	}
	return d.parse()
}

// checksum covers the place, too: a record that was written elsewhere is not this one.
func checksum(ref Ref, record []byte) uint32 {
	var place [8]byte
	binary.LittleEndian.PutUint64(place[:], uint64(ref))
	return crc32.Update(crc32.Checksum(place[:], castagnoli), castagnoli, record)
}

// Append writes a record and returns its place; zero if the state is kept nowhere, or the record is too large for it.
func (s *File) Append(b *Builder) (Ref, error) {
	record, ok := b.finish()
	if s.f == nil || !ok {
		return 0, nil
	}
	return s.appendRecord(record, b.frame())
}

// appendRecord writes record, which lies in framed after frameBytes.
func (s *File) appendRecord(record, framed []byte) (Ref, error) {
	s.mu.Lock()
	ref := Ref(s.end)
	s.end += uint64(len(framed))
	s.mu.Unlock()
	binary.LittleEndian.PutUint32(framed, uint32(len(record)))
	binary.LittleEndian.PutUint32(framed[4:], checksum(ref, record))
	if _, err := s.f.WriteAt(framed, int64(ref)); err != nil {
		return 0, fmt.Errorf("write state: %w", err)
	}
	return ref, nil
}

// Commit makes root the state's root: what was appended since Open counts from now on. It rewrites the file if most of it
// is waste.
func (s *File) Commit(snapshot, tree [32]byte, root Ref) error {
	if s.f == nil || root == 0 {
		return nil
	}
	var d Dir
	if err := s.Load(root, &d); err != nil {
		return err
	}
	next := header{generation: s.head.generation + 1, snapshot: snapshot, tree: tree, root: root, end: s.end}
	if live := d.SubtreeBytes(); s.end > wasteFactor*live+wasteFloorBytes {
		return s.rewrite(next)
	}
	if err := s.f.Truncate(int64(s.end)); err != nil {
		return fmt.Errorf("write state: %w", err)
	}
	slot := int64(next.generation%2) * slotBytes
	if _, err := s.f.WriteAt(next.encode(s.id), slot); err != nil {
		return fmt.Errorf("write state: %w", err)
	}
	s.head = next
	return nil
}

// Close gives the file, and its lock, back.
func (s *File) Close() error {
	if s.f == nil {
		return nil
	}
	err := s.f.Close()
	s.f = nil
	return err
}
