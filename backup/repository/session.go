package repository

import (
	"fmt"
	"io"
	"math/rand/v2"
	"sync"

	"github.com/klauspost/compress/zstd"
)

// readBufferBytes lets the chunker see the largest chunk, and most files whole.
const readBufferBytes = 2 * maxChunkBytes

// Session is one goroutine's way into a Writer: it reads, cuts, hashes, looks up, compresses, seals and packs a blob
// without handing it to another goroutine. Its memory is about 16 MiB, stated so that callers can
// choose how many they use; it takes it when it is first needed.
//
// Its methods must not be called concurrently.
type Session struct {
	w *Writer

	mu       sync.Mutex         // held by each method, so that Flush may come from another goroutine
	packers  [2]*packer         // by BlobKind
	encoders [Off]*zstd.Encoder // by Compression
	read     []byte
	random   *rand.Rand
	opened   []byte // of blobs that are opened again
	plain    []byte
}

// Session makes a new session.
func (w *Writer) Session() *Session {
	s := &Session{w: w, random: rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64()))}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sessions = append(w.sessions, s)
	return s
}

// SaveBlob stores data, unless the repository or this backup has that blob already, and reports which it
// was. The blob is durable, and safe to be named in a snapshot, after Flush. Data is not kept.
func (s *Session) SaveBlob(kind BlobKind, data []byte) (id ID, known bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.save(kind, data)
}

func (s *Session) save(kind BlobKind, data []byte) (id ID, known bool, err error) {
	if int64(len(data)) > maxBlobBytes {
		return ID{}, false, fmt.Errorf("save blob: %d bytes are more than %d", len(data), int64(maxBlobBytes))
	}
	id = Hash(data)
	known, err = s.w.claim(BlobHandle{id, kind})
	if err != nil {
		return ID{}, false, err
	}
	if known {
		s.w.stats.known(kind, len(data))
		return id, true, nil
	}
	return id, false, s.add(kind, id, data)
}

// store stores a blob whether or not it is known: prune moves blobs to new packs.
func (s *Session) store(h BlobHandle, data []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.w.ctx.Err() != nil {
		return s.w.err()
	}
	return s.add(h.Kind, h.ID, data)
}

func (s *Session) add(kind BlobKind, id ID, data []byte) error {
	p := s.packers[kind]
	if p == nil {
		p = newPacker(s.w, kind)
		s.packers[kind] = p
	}
	if err := p.add(id, data, s.encoder(len(data)), s.check()); err != nil {
		s.w.fail(err) // others may count on the blob
		return err
	}
	s.w.stats.added(kind, len(data))
	return nil
}

// encoder returns the one for a blob of n bytes, nil for no compression.
func (s *Session) encoder(n int) *zstd.Encoder {
	if s.w.r.options.Compression == Off {
		return nil
	}
	level := s.w.r.options.Compression.forBlob(n)
	if s.encoders[level] == nil {
		s.encoders[level] = level.newEncoder()
	}
	return s.encoders[level]
}

// check returns, for the share of blobs that is opened again, the function that does it.
func (s *Session) check() func([]byte, packEntry) error {
	if s.w.reopen <= 0 || (s.w.reopen < 1 && s.random.Float64() >= s.w.reopen) {
		return nil
	}
	return s.openAgain
}

func (s *Session) openAgain(sealed []byte, e packEntry) (err error) {
	if s.opened, err = s.w.r.sealer.openTo(s.opened, sealed); err != nil {
		return fmt.Errorf("%w: %w", errSelfCheck, err)
	}
	plain := s.opened
	if e.plain > 0 {
		if s.plain, err = s.w.r.codecs.decodeBlob(s.plain, s.opened, int(e.plain)); err != nil {
			return fmt.Errorf("%w: %w", errSelfCheck, err)
		}
		plain = s.plain
	}
	if Hash(plain) != e.id {
		return errSelfCheck
	}
	s.w.stats.reopened.Add(1)
	return nil
}

// SaveReader stores what rd yields up to io.EOF, cut where the content says so, and appends the blobs' IDs to ids.
// It returns the number of bytes. A file of no bytes has no blobs.
func (s *Session) SaveReader(rd io.Reader, ids []ID) ([]ID, int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.saveCut(rd, ids, maxChunkBytes, s.w.gear.cut)
}

// SaveFixed is SaveReader with cuts at every multiple of blockBytes: for files that are changed in place, like
// those of databases. blockBytes is between 4 KiB and 2 MiB.
func (s *Session) SaveFixed(rd io.Reader, blockBytes int, ids []ID) ([]ID, int64, error) {
	if blockBytes < 4<<10 || blockBytes > maxChunkBytes {
		return ids, 0, fmt.Errorf("save: block size %d is not between 4 KiB and 2 MiB", blockBytes)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.saveCut(rd, ids, blockBytes, func(data []byte) int { return min(len(data), blockBytes) })
}

// saveCut cuts with cut, which is given most bytes at least, or all that are left.
func (s *Session) saveCut(rd io.Reader, ids []ID, most int, cut func([]byte) int) ([]ID, int64, error) {
	if s.read == nil {
		s.read = make([]byte, readBufferBytes)
	}
	buf := s.read
	start, end, total := 0, 0, int64(0)
	for eof := false; ; {
		if !eof && end-start < most {
			end = copy(buf, buf[start:end])
			start = 0
			n, err := readFull(rd, buf[end:], most-end)
			end += n
			total += int64(n)
			if err == io.EOF {
				eof = true
			} else if err != nil {
				return ids, total, err
			}
		}
		if start == end {
			return ids, total, nil
		}
		n := cut(buf[start:end])
		id, _, err := s.save(DataBlob, buf[start:start+n])
		if err != nil {
			return ids, total, err
		}
		ids = append(ids, id)
		start += n
	}
}

// readFull reads at least least bytes into p. It returns io.EOF if the end came first, together with the
// bytes before it.
func readFull(rd io.Reader, p []byte, least int) (n int, err error) {
	idle := 0
	for n < least && err == nil {
		var m int
		m, err = rd.Read(p[n:])
		n += m
		if m > 0 {
			idle = 0
		} else if idle++; idle > 100 && err == nil {
			return n, io.ErrNoProgress
		}
	}
	if err == io.EOF && n >= least {
		err = nil
	}
	return n, err
}

// SaveTree stores the directory that b holds and returns its ID.
func (s *Session) SaveTree(b *TreeBuilder) (ID, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	id, _, err := s.save(TreeBlob, b.json())
	return id, err
}

// Close gives up the session. Its blobs are not lost: the next Flush stores them. It is needed only where
// sessions come and go during the life of a Writer.
func (s *Session) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.read, s.opened, s.plain, s.encoders = nil, nil, nil, [Off]*zstd.Encoder{}
	return nil
}
