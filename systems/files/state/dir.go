package state

import (
	"encoding/binary"
	"sort"

	"github.com/trivet-ha/trivet/systems/files/scan"
)

// A record:
//
//	tree 32, subtree bytes 8, device 8, count 4, names length 4,
//	count fixed parts of entryBytes, the names end to end, the extras end to end.
const (
	recordHead = 56
	entryBytes = 80
)

// Entry is the fixed part of what is known of one name.
type Entry struct {
	Ino                   uint64
	Ctime, Mtime          scan.Time
	Size                  int64
	Child                 Ref // of a directory: its record
	Mode, UID, GID, Links uint32
	Flags                 Flags
}

// Flags say more of an entry.
type Flags uint32

const (
	// Uncertain: the file was changed so shortly before, or while, it was read that its times may not show
	// another change. It is read again next time.
	Uncertain Flags = 1 << iota
)

// Same reports whether the entry, seen again as s, is as it was: its content and all metadata of it. ctime says so
// by itself; where it can't be trusted the rest has to.
func (e *Entry) Same(s *scan.Stat, ignoreInode, ignoreCtime bool) bool {
	return e.Flags&Uncertain == 0 && e.Size == s.Size && e.Mtime == s.Mtime && e.Mode == s.Mode && e.UID == s.UID && e.GID == s.GID &&
		e.Links == s.Links && (ignoreCtime || e.Ctime == s.Ctime) && (ignoreInode || e.Ino == s.Ino)
}

// Dir is a loaded record. The zero Dir is an empty directory.
type Dir struct {
	raw   []byte
	n     int
	names []byte
	extra []byte
}

// parse checks that every part lies within the record.
func (d *Dir) parse() error {
	if len(d.raw) < recordHead {
		return ErrDamaged
	}
	n, names := binary.LittleEndian.Uint32(d.raw[48:]), binary.LittleEndian.Uint32(d.raw[52:])
	fixed := recordHead + uint64(n)*entryBytes
	if fixed+uint64(names) > uint64(len(d.raw)) {
		return ErrDamaged
	}
	d.n = int(n)
	d.names = d.raw[fixed : fixed+uint64(names)]
	d.extra = d.raw[fixed+uint64(names):]
	lastName, lastExtra := uint32(0), uint32(0)
	for i := range d.n {
		b := d.fixed(i)
		name, extra := binary.LittleEndian.Uint32(b[64:]), binary.LittleEndian.Uint32(b[68:])
		if name < lastName || name > names || extra < lastExtra || uint64(extra) > uint64(len(d.extra)) {
			return ErrDamaged
		}
		lastName, lastExtra = name, extra
	}
	return nil
}

func (d *Dir) fixed(i int) []byte { return d.raw[recordHead+i*entryBytes:][:entryBytes] }

// Reset makes d empty and keeps its memory.
func (d *Dir) Reset() { d.n, d.names, d.extra = 0, nil, nil }

// Tree is the tree that was saved for the directory.
func (d *Dir) Tree() (id [32]byte) {
	copy(id[:], d.raw)
	return id
}

// SubtreeBytes is the size in the file of this record and all below it.
func (d *Dir) SubtreeBytes() uint64 { return binary.LittleEndian.Uint64(d.raw[32:]) }

// Dev is the device that the directory was on.
func (d *Dir) Dev() uint64 { return binary.LittleEndian.Uint64(d.raw[40:]) }

// Len is the number of entries.
func (d *Dir) Len() int { return d.n }

// Entry decodes the fixed part of the i-th entry.
func (d *Dir) Entry(i int, e *Entry) {
	b := d.fixed(i)
	e.Ino = binary.LittleEndian.Uint64(b)
	e.Ctime.Sec = int64(binary.LittleEndian.Uint64(b[8:]))
	e.Mtime.Sec = int64(binary.LittleEndian.Uint64(b[16:]))
	e.Size = int64(binary.LittleEndian.Uint64(b[24:]))
	e.Child = Ref(binary.LittleEndian.Uint64(b[32:]))
	e.Mode = binary.LittleEndian.Uint32(b[40:])
	e.UID = binary.LittleEndian.Uint32(b[44:])
	e.GID = binary.LittleEndian.Uint32(b[48:])
	e.Links = binary.LittleEndian.Uint32(b[52:])
	e.Ctime.Nsec = binary.LittleEndian.Uint32(b[56:])
	e.Mtime.Nsec = binary.LittleEndian.Uint32(b[60:])
	e.Flags = Flags(binary.LittleEndian.Uint32(b[72:]))
}

// Name is the i-th name. It is valid as long as the record.
func (d *Dir) Name(i int) []byte {
	start := uint32(0)
	if i > 0 {
		start = binary.LittleEndian.Uint32(d.fixed(i - 1)[64:])
	}
	return d.names[start:binary.LittleEndian.Uint32(d.fixed(i)[64:])]
}

// Find returns the position of a name.
func (d *Dir) Find(name string) (int, bool) {
	i := sort.Search(d.n, func(i int) bool { return string(d.Name(i)) >= name })
	return i, i < d.n && string(d.Name(i)) == name
}

// Extra is the part of an entry that has no fixed size: a file's blobs, a link's target, extended attributes.
type Extra struct {
	Content [][32]byte
	Target  string
	Xattrs  []Xattr
}

// Xattr is an extended attribute.
type Xattr struct {
	Name  string
	Value []byte
}

// RawExtra is the encoded Extra of the i-th entry, for Builder.AddRaw. It is valid as long as the record.
func (d *Dir) RawExtra(i int) []byte {
	start := uint32(0)
	if i > 0 {
		start = binary.LittleEndian.Uint32(d.fixed(i - 1)[68:])
	}
	return d.extra[start:binary.LittleEndian.Uint32(d.fixed(i)[68:])]
}

// DecodeExtra decodes what RawExtra gave. The result does not share memory with raw.
func DecodeExtra(raw []byte) (x Extra, err error) {
	r := reader{b: raw}
	if n := r.count(32); n > 0 {
		x.Content = make([][32]byte, n)
		for i := range x.Content {
			copy(x.Content[i][:], r.take(32))
		}
	}
	x.Target = string(r.take(r.count(1)))
	if n := r.count(2); n > 0 {
		x.Xattrs = make([]Xattr, n)
		for i := range x.Xattrs {
			x.Xattrs[i].Name = string(r.take(r.count(1)))
			x.Xattrs[i].Value = append([]byte{}, r.take(r.count(1))...)
		}
	}
	if r.failed || len(r.b) > 0 {
		return Extra{}, ErrDamaged
	}
	return x, nil
}

// reader decodes. After an error all it gives is empty.
type reader struct {
	b      []byte
	failed bool
}

// count reads the number of items that follow, each of at least size bytes.
func (r *reader) count(size int) int {
	v, n := binary.Uvarint(r.b)
	if n <= 0 || v > uint64(len(r.b)-n)/uint64(size) {
		r.b, r.failed = nil, true
		return 0
	}
	r.b = r.b[n:]
	return int(v)
}

func (r *reader) take(n int) []byte {
	if n > len(r.b) {
		r.b, r.failed = nil, true
		return nil
	}
	out := r.b[:n]
	r.b = r.b[n:]
	return out
}
