package repository

import (
	"encoding/hex"
	"fmt"
	"strconv"
	"time"
)

// The JSON of index files. restic design, "Indexing". Beside "packs" an index of ours may carry
// "packs_to_delete" and "trivet_waiting_for" (see prune.go): restic ignores both.

// indexPack is one pack of an index file.
type indexPack struct {
	id      ID
	entries []packEntry
}

// condemnedPack is a pack that no index lists any more and that is deleted once no writer can rely on it.
type condemnedPack struct {
	indexPack
	since time.Time
	bytes int64
}

// indexFile is a parsed index.
type indexFile struct {
	supersedes []ID
	packs      []indexPack
	condemned  []condemnedPack
	waitingFor []string // sessions that were alive when the packs were condemned
}

// appendIndexJSON writes an index file.
func appendIndexJSON(b []byte, f *indexFile) []byte {
	b = append(b, '{')
	if len(f.supersedes) > 0 {
		b = append(b, `"supersedes":[`...)
		for i, id := range f.supersedes {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendID(b, id)
		}
		b = append(b, `],`...)
	}
	b = append(b, `"packs":[`...)
	for i := range f.packs {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(appendIndexPack(b, &f.packs[i]), '}')
	}
	b = append(b, ']')
	if len(f.condemned) > 0 {
		b = append(b, `,"packs_to_delete":[`...)
		for i := range f.condemned {
			c := &f.condemned[i]
			if i > 0 {
				b = append(b, ',')
			}
			b = appendIndexPack(b, &c.indexPack)
			b = appendTime(b, `,"time":"`, c.since)
			b = strconv.AppendInt(append(b, `,"size":`...), c.bytes, 10)
			b = append(b, '}')
		}
		b = append(b, `],"trivet_waiting_for":[`...)
		for i, s := range f.waitingFor {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendString(b, s)
		}
		b = append(b, ']')
	}
	return append(b, '}')
}

func appendID(b []byte, id ID) []byte { return append(hex.AppendEncode(append(b, '"'), id[:]), '"') }

func appendIndexPack(b []byte, p *indexPack) []byte {
	b = appendID(append(b, `{"id":`...), p.id)
	b = append(b, `,"blobs":[`...)
	for i := range p.entries {
		e := &p.entries[i]
		if i > 0 {
			b = append(b, ',')
		}
		b = appendID(append(b, `{"id":`...), e.id)
		b = append(append(b, `,"type":"`...), e.kind.String()...)
		b = strconv.AppendUint(append(b, `","offset":`...), uint64(e.offset), 10)
		b = strconv.AppendUint(append(b, `,"length":`...), uint64(e.length), 10)
		b = appendUint(b, `,"uncompressed_length":`, uint64(e.plain))
		b = append(b, '}')
	}
	return append(b, ']')
}

// parseIndex reads an index file.
func parseIndex(data []byte) (*indexFile, error) {
	f := &indexFile{}
	s := scanner{data: data}
	err := s.object(func(key []byte) error {
		switch string(key) {
		case "supersedes":
			return s.array(func() error {
				f.supersedes = append(f.supersedes, ID{})
				return s.id(&f.supersedes[len(f.supersedes)-1])
			})
		case "packs":
			return s.array(func() error {
				var c condemnedPack
				err := c.scan(&s)
				f.packs = append(f.packs, c.indexPack)
				return err
			})
		case "packs_to_delete":
			return s.array(func() error {
				var c condemnedPack
				err := c.scan(&s)
				f.condemned = append(f.condemned, c)
				return err
			})
		case "trivet_waiting_for":
			return s.array(func() error {
				text, err := s.text()
				f.waitingFor = append(f.waitingFor, text)
				return err
			})
		}
		return s.skip()
	})
	if err == nil {
		err = s.end()
	}
	if err != nil {
		return nil, fmt.Errorf("parse index: %w", err)
	}
	return f, nil
}

func (c *condemnedPack) scan(s *scanner) error {
	err := s.object(func(key []byte) (err error) {
		switch string(key) {
		case "id":
			return s.id(&c.id)
		case "blobs":
			return s.array(func() error {
				c.entries = append(c.entries, packEntry{})
				return c.entries[len(c.entries)-1].scan(s)
			})
		case "time":
			return s.time(&c.since)
		case "size":
			var n uint64
			n, err = s.uint()
			c.bytes = int64(n)
			return err
		}
		return s.skip()
	})
	if err == nil && c.id.IsZero() {
		err = s.fail("a pack with an id")
	}
	return err
}

func (e *packEntry) scan(s *scanner) error {
	known := false
	err := s.object(func(key []byte) (err error) {
		switch string(key) {
		case "id":
			return s.id(&e.id)
		case "type":
			var text []byte
			if text, err = s.str(); err != nil {
				return err
			}
			switch string(text) {
			case "data":
				e.kind, known = DataBlob, true
			case "tree":
				e.kind, known = TreeBlob, true
			}
		case "offset":
			e.offset, err = s.uint32()
		case "length":
			e.length, err = s.uint32()
		case "uncompressed_length":
			e.plain, err = s.uint32()
		default:
			err = s.skip()
		}
		return err
	})
	if err != nil {
		return err
	}
	if !known || e.id.IsZero() || e.length < sealedOverhead || uint64(e.offset)+uint64(e.length) > maxPackBytes {
		return s.fail("a blob with id, type, offset and length")
	}
	return nil
}
