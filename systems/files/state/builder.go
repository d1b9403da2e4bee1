package state

import (
	"encoding/binary"

	"github.com/trivet-ha/trivet/systems/files/scan"
)

// Builder makes one record after another. It is for one goroutine.
type Builder struct {
	head    [recordHead]byte
	fixed   []byte
	names   []byte
	extra   []byte
	n       uint32
	subtree uint64
	out     []byte // frame and record
}

// Reset begins a record.
func (b *Builder) Reset(dev uint64) {
	b.head = [recordHead]byte{}
	binary.LittleEndian.PutUint64(b.head[40:], dev)
	b.fixed, b.names, b.extra, b.n, b.subtree = b.fixed[:0], b.names[:0], b.extra[:0], 0, 0
}

// SetTree says which tree was saved for the directory.
func (b *Builder) SetTree(tree [32]byte) { copy(b.head[:], tree[:]) }

// Add appends an entry. Names come in ascending order.
func (b *Builder) Add(name string, s *scan.Stat, flags Flags, x *Extra) {
	b.extra = x.append(b.extra)
	b.add(name, s, flags, 0)
}

// AddRaw is Add with an Extra as it was.
func (b *Builder) AddRaw(name string, s *scan.Stat, flags Flags, raw []byte) {
	b.extra = append(b.extra, raw...)
	b.add(name, s, flags, 0)
}

// AddDir appends a subdirectory with its record, and the size of that with all below it.
func (b *Builder) AddDir(name string, s *scan.Stat, flags Flags, x *Extra, child Ref, subtreeBytes uint64) {
	b.subtree += subtreeBytes
	b.extra = x.append(b.extra)
	b.add(name, s, flags, child)
}

func (b *Builder) add(name string, s *scan.Stat, flags Flags, child Ref) {
	b.n++
	b.names = append(b.names, name...)
	f := b.fixed
	f = binary.LittleEndian.AppendUint64(f, s.Ino)
	f = binary.LittleEndian.AppendUint64(f, uint64(s.Ctime.Sec))
	f = binary.LittleEndian.AppendUint64(f, uint64(s.Mtime.Sec))
	f = binary.LittleEndian.AppendUint64(f, uint64(s.Size))
	f = binary.LittleEndian.AppendUint64(f, uint64(child))
	f = binary.LittleEndian.AppendUint32(f, s.Mode)
	f = binary.LittleEndian.AppendUint32(f, s.UID)
	f = binary.LittleEndian.AppendUint32(f, s.GID)
	f = binary.LittleEndian.AppendUint32(f, s.Links)
	f = binary.LittleEndian.AppendUint32(f, s.Ctime.Nsec)
	f = binary.LittleEndian.AppendUint32(f, s.Mtime.Nsec)
	f = binary.LittleEndian.AppendUint32(f, uint32(len(b.names)))
	f = binary.LittleEndian.AppendUint32(f, uint32(len(b.extra)))
	f = binary.LittleEndian.AppendUint32(f, uint32(flags))
	b.fixed = binary.LittleEndian.AppendUint32(f, 0)
}

func (x *Extra) append(b []byte) []byte {
	if x == nil {
		x = &Extra{}
	}
	b = binary.AppendUvarint(b, uint64(len(x.Content)))
	for i := range x.Content {
		b = append(b, x.Content[i][:]...)
	}
	b = append(binary.AppendUvarint(b, uint64(len(x.Target))), x.Target...)
	b = binary.AppendUvarint(b, uint64(len(x.Xattrs)))
	for _, a := range x.Xattrs {
		b = append(binary.AppendUvarint(b, uint64(len(a.Name))), a.Name...)
		b = append(binary.AppendUvarint(b, uint64(len(a.Value))), a.Value...)
	}
	return b
}

// SubtreeBytes is the size that the record under construction will have in the file, with all below it.
func (b *Builder) SubtreeBytes() uint64 {
	return b.subtree + frameBytes + recordHead + uint64(len(b.fixed)+len(b.names)+len(b.extra))
}

// finish assembles the record; false if it is too large for its length field.
func (b *Builder) finish() ([]byte, bool) {
	size := recordHead + uint64(len(b.fixed)) + uint64(len(b.names)) + uint64(len(b.extra))
	if size > maxRecord {
		return nil, false
	}
	binary.LittleEndian.PutUint64(b.head[32:], b.SubtreeBytes())
	binary.LittleEndian.PutUint32(b.head[48:], b.n)
	binary.LittleEndian.PutUint32(b.head[52:], uint32(len(b.names)))
	b.out = append(b.out[:0], make([]byte, frameBytes)...)
	b.out = append(b.out, b.head[:]...)
	b.out = append(b.out, b.fixed...)
	b.out = append(b.out, b.names...)
	b.out = append(b.out, b.extra...)
	return b.out[frameBytes:], true
}

func (b *Builder) frame() []byte { return b.out }
