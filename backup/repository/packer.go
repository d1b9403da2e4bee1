package repository

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"unsafe"

	"github.com/klauspost/compress/zstd"

	"github.com/trivet-ha/trivet/backup/store"
)

// How a pack leaves memory: in pieces, each written while the next one fills.
const (
	dataPieceBytes = 2 << 20
	treePieceBytes = 256 << 10
)

// encoderSlack is room for what the encoder writes and takes back before it settles on a smaller form.
const encoderSlack = 1 << 10

var errSelfCheck = errors.New("a sealed blob does not open to what was sealed: suspect this machine's memory or processor")

// packer fills packs of one kind of blob for one session. Blobs are compressed and sealed in place in its buffer,
// hashed once on the way (the hash is the pack's name), and handed to the packer's own disk goroutine
// a piece at a time. Everything but disk runs on the session's goroutine.
type packer struct {
	w          *Writer
	kind       BlobKind
	pieceBytes int

	hash    hash.Hash
	buf     []byte // the piece being filled; starts at a multiple of store.AlignBytes of memory and of the file
	size    int64  // bytes of the pack so far, those in buf included
	entries []packEntry
	handed  bool // a piece of this pack is with disk already

	jobs    chan packJob
	free    chan []byte // buffers that disk gives back
	buffers int
}

type packJob struct {
	data   []byte
	buf    []byte // to be given back
	finish *finishedPack
	idle   chan<- struct{} // told when all before it is done
}

type finishedPack struct {
	indexPack
	bytes int64
}

func newPacker(w *Writer, kind BlobKind) *packer {
	p := &packer{w: w, kind: kind, pieceBytes: dataPieceBytes, hash: sha256.New(), jobs: make(chan packJob, 1), free: make(chan []byte, 2)}
	if kind == TreeBlob {
		p.pieceBytes = treePieceBytes
	}
	w.disks.Go(p.disk)
	return p
}

// bufferBytes is the usual size of a buffer: a piece, and the largest chunk that may be added to it before it
// is handed over.
func (p *packer) bufferBytes() int {
	if p.kind == TreeBlob {
		return 2 * p.pieceBytes
	}
	return p.pieceBytes + maxChunkBytes + maxChunkBytes/64
}

// room returns the buffer with space for n more bytes behind its length.
func (p *packer) room(n int) []byte {
	if cap(p.buf)-len(p.buf) >= n {
		return p.buf
	}
	grown := alignedBuffer(max(p.bufferBytes(), len(p.buf)+n))
	if p.buf == nil {
		p.buffers++
	}
	p.buf = append(grown, p.buf...)
	return p.buf
}

// add compresses, seals and appends one blob. check is whether to open it again.
func (p *packer) add(id ID, data []byte, enc *zstd.Encoder, check func(sealed []byte, e packEntry) error) error {
	bound := len(data)
	if enc != nil {
		bound = max(bound, enc.MaxEncodedSize(len(data)))
	}
	buf := p.room(bound + encoderSlack + sealedOverhead)
	start := len(buf)
	body := buf[:start+ivBytes]
	plain := uint32(0)
	if enc != nil && len(data) > 0 {
		body = enc.EncodeAll(data, body)
		plain = uint32(len(data))
		if &body[0] != &buf[:1][0] {
			// It needed more room on the way than its result does, and moved.
			body = append(buf[:start+ivBytes], body[start+ivBytes:]...)
		}
	}
	if plain == 0 || len(body)-start-ivBytes >= len(data) {
		body, plain = append(buf[:start+ivBytes], data...), 0
	}
	sealed := buf[start : len(body)+macBytes]
	p.w.r.sealer.sealInPlace(sealed)
	e := packEntry{id: id, kind: p.kind, offset: uint32(p.size), length: uint32(len(sealed)), plain: plain}
	if check != nil {
		if err := check(sealed, e); err != nil {
			return err
		}
	}
	p.take(sealed, e)
	return p.advance()
}

// take counts sealed, which lies behind the buffer's end already, as part of the pack.
func (p *packer) take(sealed []byte, e packEntry) {
	p.hash.Write(sealed)
	p.buf = p.buf[:len(p.buf)+len(sealed)]
	p.size += int64(len(sealed))
	p.entries = append(p.entries, e)
}

// advance hands over what is ready.
func (p *packer) advance() error {
	if p.size >= int64(p.w.r.options.PackBytes) || len(p.entries) >= maxPackBlobs {
		return p.finish()
	}
	if len(p.buf) >= p.pieceBytes {
		whole := len(p.buf) &^ (store.AlignBytes - 1)
		p.handed = true
		return p.hand(packJob{data: p.buf[:whole], buf: p.buf}, p.buf[whole:])
	}
	return nil
}

// finish closes the pack, if there is one, with its header.
func (p *packer) finish() error {
	if len(p.entries) == 0 {
		return nil
	}
	p.room(headerBytes(p.entries))
	start := len(p.buf)
	p.buf = appendHeader(p.buf, p.w.r.sealer, p.entries)
	p.hash.Write(p.buf[start:])
	done := &finishedPack{bytes: p.size + int64(len(p.buf)-start)}
	p.hash.Sum(done.id[:0])
	done.entries = p.entries
	p.hash.Reset()
	p.entries, p.size, p.handed = make([]packEntry, 0, len(p.entries)), 0, false
	return p.hand(packJob{data: p.buf, buf: p.buf, finish: done}, nil)
}

// hand gives a job to disk and goes on with another buffer, which begins with rest.
func (p *packer) hand(j packJob, rest []byte) error {
	if err := p.send(j); err != nil {
		return err
	}
	var next []byte
	if p.buffers < 2 {
		next = alignedBuffer(p.bufferBytes())
		p.buffers++
	} else {
		select {
		case next = <-p.free:
		case <-p.w.ctx.Done():
			return p.w.err()
		}
	}
	if cap(next) > 2*p.bufferBytes() {
		next = alignedBuffer(p.bufferBytes()) // one very large blob must not hold memory for ever
	}
	p.buf = append(next[:0], rest...)
	return nil
}

func (p *packer) send(j packJob) error {
	select {
	case p.jobs <- j:
		return nil
	case <-p.w.ctx.Done():
		return p.w.err()
	}
}

// absorb moves the blobs of another packer, none of which has left memory yet, into this one's pack.
func (p *packer) absorb(other *packer) error {
	at := 0
	for _, e := range other.entries {
		sealed := other.buf[at : at+int(e.length)]
		at += int(e.length)
		p.room(len(sealed))
		into := p.buf[len(p.buf) : len(p.buf)+len(sealed)]
		copy(into, sealed)
		e.offset = uint32(p.size)
		p.take(into, e)
		if err := p.advance(); err != nil {
			return err
		}
	}
	other.buf, other.entries, other.size = other.buf[:0], other.entries[:0], 0
	other.hash.Reset()
	return nil
}

// wait returns when disk has done all that it was given.
func (p *packer) wait() error {
	idle := make(chan struct{})
	if err := p.send(packJob{idle: idle}); err != nil {
		return err
	}
	select {
	case <-idle:
		return nil
	case <-p.w.ctx.Done():
		return p.w.err()
	}
}

// disk writes pieces in order until jobs is closed.
func (p *packer) disk() {
	var sink packSink
	for j := range p.jobs {
		if p.w.ctx.Err() == nil && j.idle == nil {
			if err := p.write(&sink, j); err != nil {
				p.w.fail(fmt.Errorf("write pack: %w", err))
			}
		}
		if j.idle != nil {
			close(j.idle)
			continue
		}
		p.free <- j.buf[:0] // never blocks: it has room for all buffers
	}
	if sink != nil {
		sink.discard()
	}
}

func (p *packer) write(sink *packSink, j packJob) error {
	if *sink == nil {
		s, err := p.w.newSink(p.w.ctx)
		if err != nil {
			return err
		}
		*sink = s
	}
	if err := (*sink).write(j.data); err != nil {
		return err
	}
	if j.finish == nil {
		return nil
	}
	done := *sink
	*sink = nil
	return done.finish(p.w.ctx, j.finish)
}

// packSink is one pack on its way to the store.
type packSink interface {
	write(p []byte) error
	finish(ctx context.Context, f *finishedPack) error
	discard()
}

func (w *Writer) newSink(ctx context.Context) (packSink, error) {
	if st, ok := w.r.store.(store.Stager); ok {
		f, err := st.Stage(ctx, store.Pack, int64(w.r.options.PackBytes)+maxChunkBytes)
		if err != nil {
			return nil, err
		}
		return &stagedSink{w, f}, nil
	}
	return &uploadSink{w: w}, nil
}

// stagedSink writes into a store that takes bytes before the name.
type stagedSink struct {
	w *Writer
	f store.Staged
}

func (s *stagedSink) write(p []byte) error {
	_, err := s.f.Write(p)
	return err
}

func (s *stagedSink) finish(ctx context.Context, f *finishedPack) error {
	if err := s.f.Commit(ctx, f.id.String()); err != nil {
		s.discard()
		return err
	}
	return s.w.packStored(ctx, f)
}

func (s *stagedSink) discard() { _ = s.f.Discard() }

// uploadSink collects the pack and sends it in the background, a few at a time.
type uploadSink struct {
	w    *Writer
	data []byte
}

func (s *uploadSink) write(p []byte) error {
	if s.data == nil {
		s.data = make([]byte, 0, max(len(p), s.w.r.options.PackBytes/4))
	}
	s.data = append(s.data, p...)
	return nil
}

func (s *uploadSink) finish(ctx context.Context, f *finishedPack) error {
	select {
	case s.w.uploads <- struct{}{}:
	case <-ctx.Done():
		return s.w.err()
	}
	s.w.sending.Add(1)
	s.w.disks.Go(func() {
		defer s.w.sending.Done()
		defer func() { <-s.w.uploads }()
		err := s.w.r.store.Save(ctx, store.Handle{Kind: store.Pack, Name: f.id.String()}, s.data)
		if err == nil {
			err = s.w.packStored(ctx, f)
		}
		if err != nil {
			s.w.fail(fmt.Errorf("upload pack: %w", err))
		}
	})
	return nil
}

func (s *uploadSink) discard() {}

// alignedBuffer allocates at least n bytes at an address fit for writing past the page cache.
func alignedBuffer(n int) []byte {
	n = (n + store.AlignBytes - 1) &^ (store.AlignBytes - 1)
	raw := make([]byte, n+store.AlignBytes)
	skip := int(-uintptr(unsafe.Pointer(unsafe.SliceData(raw))) % store.AlignBytes)
	return raw[skip : skip+n : skip+n][:0]
}
