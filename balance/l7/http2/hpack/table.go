package hpack

// table is a dynamic table (RFC 7541 §2.3.2): a queue of fields, bounded by their size. Names and values stand one
// behind the other in one slice; what has been evicted lies in front and is overwritten from time to time.
type table struct {
	bytes    []byte
	base     uint32  // position of bytes[0]; positions count every byte that was ever added
	entries  []entry // the last is the newest
	dead     int     // entries[:dead] have been evicted
	size     uint32  // by RFC 7541 §4.1
	limit    uint32
	inserted uint32 // fields that were ever added
}

// entry is where a field stands.
type entry struct {
	at          uint32 // position of its name; the value follows
	name, value uint32 // lengths
}

func (e entry) size() uint32 { return e.name + e.value + Overhead }

// len returns the number of fields.
func (t *table) len() int { return len(t.entries) - t.dead }

// get returns the field that was added age fields ago; age is below len.
func (t *table) get(age int) (name, value []byte) {
	e := t.entries[len(t.entries)-1-age]
	i := e.at - t.base
	return t.bytes[i : i+e.name : i+e.name], t.bytes[i+e.name : i+e.name+e.value : i+e.name+e.value]
}

// setLimit changes the most bytes that the table may hold.
func (t *table) setLimit(n uint32) {
	t.limit = n
	t.evict(0)
}

// evict makes room for n bytes, as far as that is possible.
func (t *table) evict(n uint32) {
	for t.size+n > t.limit && t.dead < len(t.entries) {
		t.size -= t.entries[t.dead].size()
		t.dead++
	}
	if t.dead == len(t.entries) {
		t.base += uint32(len(t.bytes))
		t.bytes, t.entries, t.dead = t.bytes[:0], t.entries[:0], 0
	}
}

// add puts a field in front and reports whether it is there: one that is larger than the whole table empties it
// (RFC 7541 §4.4). Neither slice may be one of the table's own.
func (t *table) add(name, value []byte) bool {
	e := entry{name: uint32(len(name)), value: uint32(len(value))}
	t.evict(e.size())
	if e.size() > t.limit {
		return false
	}
	t.compact(len(name) + len(value))
	e.at = t.base + uint32(len(t.bytes))
	t.bytes = append(append(t.bytes, name...), value...)
	t.entries = append(t.entries, e)
	t.size += e.size()
	t.inserted++
	return true
}

// compact moves the table's fields over the evicted ones, if otherwise a slice had to grow and half of it is free.
func (t *table) compact(n int) {
	if len(t.bytes)+n > cap(t.bytes) && t.dead < len(t.entries) {
		if from := int(t.entries[t.dead].at - t.base); from >= len(t.bytes)/2 {
			t.bytes = t.bytes[:copy(t.bytes, t.bytes[from:])]
			t.base += uint32(from)
		}
	}
	if len(t.entries) == cap(t.entries) && t.dead >= len(t.entries)/2 {
		t.entries = t.entries[:copy(t.entries, t.entries[t.dead:])]
		t.dead = 0
	}
}
