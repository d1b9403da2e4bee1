// Package storetest proves that a store.Store keeps its promises: the same tests run against every store of
// this project, and anyone who writes a store of their own can run them too.
//
// It never looks behind the interface: what a store keeps is judged by what it says and gives back.
package storetest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/trivet-ha/trivet/backup/store"
)

// Options says what the store under test is asked to do.
type Options struct {
	// Without names the kinds that the store has no place for: it must answer store.ErrUnsupported.
	Without []store.Kind
	// LargeBytes is the size of the largest file; 64 MiB when zero, and at most 4 MiB in short mode.
	LargeBytes int
	// Files is how many files a long listing has; 1200 when zero: more than one page of S3's.
	Files int
	// LastWriterWins is set for stores that cannot refuse to overwrite when two writers meet in the same
	// instant. That two files meet one after the other is tested all the same.
	LastWriterWins bool
	// HalfFilesShow is set for servers that show a file while it is still being written. A repository bears
	// that: it reads only what an index names, and an index is written after its packs.
	HalfFilesShow bool
}

// Opener opens the store under test. Each call within one test reaches the same place; the place of a new
// test is empty.
type Opener func() store.Store

// Run runs the suite. It calls place once per test for a new, empty place.
func Run(t *testing.T, opts Options, place func(t *testing.T) Opener) {
	if opts.LargeBytes == 0 {
		opts.LargeBytes = 64 << 20
	}
	if testing.Short() {
		opts.LargeBytes = min(opts.LargeBytes, 4<<20)
	}
	if opts.Files == 0 {
		opts.Files = 1200
	}
	for _, c := range []struct {
		name string
		run  func(*suite)
	}{
		{"WhatIsSavedIsReadBack", (*suite).readBack},
		{"RangesAreExact", (*suite).ranges},
		{"ALargeFileIsWhole", (*suite).large},
		{"AMissingFileIsNotThere", (*suite).missing},
		{"AFileIsNeverOverwritten", (*suite).neverOverwritten},
		{"RemovedFilesAreGone", (*suite).removed},
		{"AListingIsComplete", (*suite).listing},
		{"AListingEndsWithItsCallback", (*suite).listingStops},
		{"NamesThatLeaveTheirPlaceAreRefused", (*suite).names},
		{"PathsMayBeDeep", (*suite).paths},
		{"ACancelledCallLeavesNothing", (*suite).cancelled},
		{"ManyAtOnce", (*suite).concurrent},
		{"AReaderSeesAllOrNothing", (*suite).atomic},
		{"TwoWritersOfOneFileBothSucceed", (*suite).sameFileTwice},
		{"AnotherOpeningSeesTheSame", (*suite).reopened},
		{"StagedFilesAppearWhenCommitted", (*suite).staged},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := &suite{T: t, opts: opts, open: place(t)}
			s.st = s.open()
			t.Cleanup(func() { closeStore(t, s.st) })
			c.run(s)
		})
	}
}

type suite struct {
	*testing.T
	opts Options
	open Opener
	st   store.Store
}

func closeStore(t *testing.T, st store.Store) {
	if c, ok := st.(io.Closer); ok {
		if err := c.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	}
}

// Bytes gives n bytes that are the same for the same seed, and compress badly.
func Bytes(n int, seed uint64) []byte {
	data := make([]byte, n)
	src := rand.New(rand.NewPCG(seed, uint64(n)))
	for i := 0; i < n; i += 8 {
		v := src.Uint64()
		for j := i; j < min(i+8, n); j++ {
			data[j] = byte(v)
			v >>= 8
		}
	}
	return data
}

// HandleOf gives data the name that a repository would give it: the hash of its content.
func HandleOf(kind store.Kind, data []byte) store.Handle {
	sum := sha256.Sum256(data)
	name := hex.EncodeToString(sum[:])
	switch kind {
	case store.Config:
		name = ""
	case store.Log, store.Record:
		name = "some/where/" + name
	}
	return store.Handle{Kind: kind, Name: name}
}

// has reports whether the store has a place for the kind.
func (s *suite) has(k store.Kind) bool { return !slices.Contains(s.opts.Without, k) }

// kinds lists the kinds that the store has a place for.
func (s *suite) kinds() []store.Kind {
	return slices.DeleteFunc(store.Kinds(), func(k store.Kind) bool { return !s.has(k) })
}

func (s *suite) save(h store.Handle, data []byte) {
	s.Helper()
	if err := s.st.Save(s.Context(), h, data); err != nil {
		s.Fatalf("save %v (%d bytes): %v", h, len(data), err)
	}
}

func (s *suite) put(kind store.Kind, data []byte) store.Handle {
	s.Helper()
	h := HandleOf(kind, data)
	s.save(h, data)
	return h
}

func (s *suite) want(h store.Handle, data []byte) {
	s.Helper()
	got, err := store.ReadAll(s.Context(), s.st, h)
	if err != nil {
		s.Fatalf("read %v: %v", h, err)
	}
	if !bytes.Equal(got, data) {
		s.Fatalf("read %v: %d bytes that differ from the %d saved", h, len(got), len(data))
	}
}

func (s *suite) list(kind store.Kind, prefix string) map[string]int64 {
	s.Helper()
	files := map[string]int64{}
	err := s.st.List(s.Context(), kind, prefix, func(i store.Info) error {
		if _, twice := files[i.Name]; twice {
			s.Errorf("list %v: %q comes twice", kind, i.Name)
		}
		files[i.Name] = i.SizeBytes
		return nil
	})
	if err != nil {
		s.Fatalf("list %v: %v", kind, err)
	}
	return files
}

func (s *suite) readBack() {
	for _, kind := range s.kinds() {
		for i, size := range []int{1, 4095, 4096, 4097, 70_001, 1<<20 + 3} {
			if kind == store.Config && i > 0 {
				break
			}
			data := Bytes(size, uint64(kind))
			h := HandleOf(kind, data)
			s.save(h, data)
			kept := bytes.Clone(data)
			clear(data) // Save may not keep its argument
			s.want(h, kept)
			info, err := s.st.Stat(s.Context(), h)
			if err != nil || info.SizeBytes != int64(size) || info.Name != h.Name {
				s.Errorf("stat %v: %+v, %v; want %d bytes", h, info, err, size)
			}
		}
	}
	for _, kind := range s.opts.Without {
		h := HandleOf(kind, []byte("x"))
		if err := s.st.Save(s.Context(), h, []byte("x")); !errors.Is(err, store.ErrUnsupported) {
			s.Errorf("save %v: got %v, want ErrUnsupported", h, err)
		}
	}
}

func (s *suite) ranges() {
	data := Bytes(100_000, 7)
	h := s.put(store.Pack, data)
	size := int64(len(data))
	for _, r := range []struct{ offset, length int64 }{
		{0, -1}, {0, size}, {0, 1}, {1, 1}, {size - 1, 1}, {size - 1, -1}, {4096, 8192}, {12345, 54321}, {size, -1}, {5, 0}, {size, 0},
	} {
		end := r.offset + r.length
		if r.length < 0 {
			end = size
		}
		got, err := s.read(h, r.offset, r.length)
		if err != nil || !bytes.Equal(got, data[r.offset:end]) {
			s.Errorf("open %d+%d: %d bytes, %v; want %d", r.offset, r.length, len(got), err, end-r.offset)
		}
	}
	for _, r := range []struct{ offset, length int64 }{{0, size + 1}, {size - 10, 11}, {size, 1}, {size + 10, 5}} {
		if got, err := s.read(h, r.offset, r.length); !errors.Is(err, io.ErrUnexpectedEOF) {
			s.Errorf("open %d+%d past the end: %d bytes, %v; want io.ErrUnexpectedEOF", r.offset, r.length, len(got), err)
		}
	}
	p := make([]byte, 333)
	if err := store.ReadAt(s.Context(), s.st, h, p, 777); err != nil || !bytes.Equal(p, data[777:1110]) {
		s.Errorf("ReadAt: %v", err)
	}
	r, err := s.st.Open(s.Context(), h, 0, -1)
	if err != nil {
		s.Fatal(err)
	}
	if _, err := io.ReadFull(r, p); err != nil {
		s.Error(err)
	}
	r.Close() // with most of the file unread
	s.want(h, data)
}

func (s *suite) read(h store.Handle, offset, length int64) ([]byte, error) {
	r, err := s.st.Open(s.Context(), h, offset, length)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}

func (s *suite) large() {
	data := Bytes(s.opts.LargeBytes+17, 3)
	h := s.put(store.Pack, data)
	s.want(h, data)
	tail, err := s.read(h, int64(len(data)-100), -1)
	if err != nil || !bytes.Equal(tail, data[len(data)-100:]) {
		s.Errorf("the tail of a large file: %v", err)
	}
	if n := s.list(store.Pack, "")[h.Name]; n != int64(len(data)) {
		s.Errorf("listed with %d bytes, want %d", n, len(data))
	}
}

func (s *suite) missing() {
	s.put(store.Config, []byte("{}")) // the place exists
	for _, kind := range s.kinds() {
		if kind == store.Config {
			continue
		}
		h := HandleOf(kind, []byte("never saved"))
		if _, err := s.st.Stat(s.Context(), h); !errors.Is(err, store.ErrNotExist) {
			s.Errorf("stat %v: got %v, want ErrNotExist", h, err)
		}
		if _, err := store.ReadAll(s.Context(), s.st, h); !errors.Is(err, store.ErrNotExist) {
			s.Errorf("read %v: got %v, want ErrNotExist", h, err)
		}
		if err := s.st.Remove(s.Context(), h); err != nil {
			s.Errorf("remove %v: got %v, want no error", h, err)
		}
		if files := s.list(kind, ""); len(files) != 0 {
			s.Errorf("an empty %v listing has %d files", kind, len(files))
		}
	}
}

func (s *suite) neverOverwritten() {
	for _, kind := range s.kinds() {
		data := Bytes(1000, uint64(kind))
		h := s.put(kind, data)
		s.save(h, data) // the same again is a repeated attempt
		if err := s.st.Save(s.Context(), h, data[:999]); !errors.Is(err, store.ErrExist) {
			s.Errorf("save another %v: got %v, want ErrExist", h, err)
		}
		s.want(h, data)
	}
}

func (s *suite) removed() {
	for _, kind := range s.kinds() {
		data := Bytes(500, uint64(kind))
		h := s.put(kind, data)
		if err := s.st.Remove(s.Context(), h); err != nil {
			s.Fatalf("remove %v: %v", h, err)
		}
		if _, err := s.st.Stat(s.Context(), h); !errors.Is(err, store.ErrNotExist) {
			s.Errorf("stat removed %v: got %v, want ErrNotExist", h, err)
		}
		if files := s.list(kind, ""); len(files) != 0 {
			s.Errorf("removed %v is listed", h)
		}
		s.save(h, data) // the name is free again
		s.want(h, data)
	}
}

func (s *suite) listing() {
	want := map[string]int64{}
	var mu sync.Mutex
	s.workers(8, s.opts.Files, func(i int) error {
		data := fmt.Appendf(nil, "file %d of the listing%s", i, strings.Repeat(".", i%50))
		h := HandleOf(store.Pack, data)
		mu.Lock()
		want[h.Name] = int64(len(data))
		mu.Unlock()
		return s.st.Save(s.Context(), h, data)
	})
	s.put(store.Snapshot, []byte("another kind"))
	got := s.list(store.Pack, "")
	if len(got) != len(want) {
		s.Errorf("%d files listed, %d saved", len(got), len(want))
	}
	for name, size := range want {
		if got[name] != size {
			s.Fatalf("%s: listed with %d bytes, saved with %d", name, got[name], size)
		}
	}
	for name := range want {
		for _, n := range []int{1, 2, 3, 64} {
			prefix := name[:n]
			listed := s.list(store.Pack, prefix)
			for other := range want {
				if _, ok := listed[other]; ok != strings.HasPrefix(other, prefix) {
					s.Fatalf("prefix %q: %s is listed: %t", prefix, other, ok)
				}
			}
		}
		break
	}
}

func (s *suite) listingStops() {
	for i := range 20 {
		s.put(store.Index, fmt.Appendf(nil, "index %d", i))
	}
	stop := errors.New("enough")
	calls := 0
	err := s.st.List(s.Context(), store.Index, "", func(store.Info) error {
		calls++
		if calls == 3 {
			return stop
		}
		return nil
	})
	if err != stop || calls != 3 {
		s.Errorf("got %v after %d calls, want the callback's own error after 3", err, calls)
	}
}

func (s *suite) names() {
	good := HandleOf(store.Pack, []byte("x")).Name
	for _, h := range []store.Handle{
		{}, {Kind: 99, Name: good}, {Kind: store.Config, Name: "x"}, {Kind: store.Pack}, {Kind: store.Pack, Name: "ab"},
		{Kind: store.Pack, Name: "../" + good[3:]}, {Kind: store.Key, Name: strings.ToUpper(good)},
		{Kind: store.Record, Name: "../up"}, {Kind: store.Record, Name: "/abs"}, {Kind: store.Log, Name: "a//b"}, {Kind: store.Log, Name: ""},
	} {
		if err := s.st.Save(s.Context(), h, []byte("x")); err == nil {
			s.Errorf("save %+v: no error", h)
		}
		if _, err := store.ReadAll(s.Context(), s.st, h); err == nil {
			s.Errorf("open %+v: no error", h)
		}
		if _, err := s.st.Stat(s.Context(), h); err == nil {
			s.Errorf("stat %+v: no error", h)
		}
		if err := s.st.Remove(s.Context(), h); err == nil {
			s.Errorf("remove %+v: no error", h)
		}
	}
}

func (s *suite) paths() {
	for _, kind := range []store.Kind{store.Log, store.Record} {
		if !s.has(kind) {
			continue
		}
		names := []string{"a", "b/c", "b/d/e", "b.c", "odd name with spaces & ünïcode/+%25", "x/" + strings.Repeat("y", 200)}
		for _, name := range names {
			s.save(store.Handle{Kind: kind, Name: name}, []byte(name))
		}
		for _, name := range names {
			s.want(store.Handle{Kind: kind, Name: name}, []byte(name))
		}
		if got := s.list(kind, ""); len(got) != len(names) {
			s.Errorf("list %v: %v, want %v", kind, got, names)
		}
		for prefix, n := range map[string]int{"b/": 2, "b": 3, "b/d/": 1, "nothing/": 0, "b/d/e": 1} {
			if got := s.list(kind, prefix); len(got) != n {
				s.Errorf("list %v %q: %v, want %d files", kind, prefix, got, n)
			}
		}
	}
}

func (s *suite) cancelled() {
	ctx, cancel := context.WithCancel(s.Context())
	cancel()
	data := Bytes(100_000, 5)
	h := HandleOf(store.Pack, data)
	if err := s.st.Save(ctx, h, data); !errors.Is(err, context.Canceled) {
		s.Errorf("save: got %v, want context.Canceled", err)
	}
	if _, err := s.st.Stat(s.Context(), h); !errors.Is(err, store.ErrNotExist) {
		s.Errorf("stat after a cancelled save: got %v, want ErrNotExist", err)
	}
	s.save(h, data)
	if _, err := store.ReadAll(ctx, s.st, h); !errors.Is(err, context.Canceled) {
		s.Errorf("read: got %v, want context.Canceled", err)
	}
	if err := s.st.List(ctx, store.Pack, "", func(store.Info) error { return nil }); !errors.Is(err, context.Canceled) {
		s.Errorf("list: got %v, want context.Canceled", err)
	}
}

// workers calls do(0) to do(n-1) from several goroutines.
func (s *suite) workers(goroutines, n int, do func(i int) error) {
	s.Helper()
	next := make(chan int)
	errs := make(chan error, n)
	var wg sync.WaitGroup
	for range goroutines {
		wg.Go(func() {
			for i := range next {
				if err := do(i); err != nil {
					errs <- fmt.Errorf("call %d: %w", i, err)
				}
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	wg.Wait()
	close(errs)
	for err := range errs {
		s.Fatal(err)
	}
}

// commonPrefix is the number of bytes at which a and b begin to differ.
func commonPrefix(a, b []byte) int {
	n := min(len(a), len(b))
	for i := range n {
		if a[i] != b[i] {
			return i
		}
	}
	return n
}

func (s *suite) concurrent() {
	s.workers(16, 64, func(i int) error {
		data := Bytes(10_000+i*100, uint64(i))
		h := HandleOf(store.Pack, data)
		if err := s.st.Save(s.Context(), h, data); err != nil {
			return err
		}
		got, err := store.ReadAll(s.Context(), s.st, h)
		if err != nil {
			return err
		}
		if !bytes.Equal(got, data) {
			return fmt.Errorf("other bytes came back: %d, sent were %d; the first %d are the same", len(got), len(data), commonPrefix(got, data))
		}
		if i%4 == 0 {
			return s.st.Remove(s.Context(), h)
		}
		return s.st.List(s.Context(), store.Pack, "", func(store.Info) error { return nil })
	})
	if got := s.list(store.Pack, ""); len(got) != 48 {
		s.Errorf("%d files remain, want 48", len(got))
	}
}

func (s *suite) atomic() {
	if s.opts.HalfFilesShow {
		return
	}
	data := Bytes(min(8<<20, s.opts.LargeBytes), 9)
	h := HandleOf(store.Pack, data)
	done := make(chan error, 1)
	go func() { done <- s.st.Save(s.Context(), h, data) }() // ends before the test: its result is awaited below
	for saved := false; !saved; {
		select {
		case err := <-done:
			if err != nil {
				s.Fatal(err)
			}
			saved = true
		default:
		}
		if size, listed := s.list(store.Pack, "")[h.Name]; listed && size != int64(len(data)) {
			s.Fatalf("a file half written is listed, with %d of %d bytes", size, len(data))
		}
		got, err := store.ReadAll(s.Context(), s.st, h)
		if err == nil && !bytes.Equal(got, data) {
			s.Fatalf("a file half written is read: %d of %d bytes", len(got), len(data))
		}
		if err != nil && (saved || !errors.Is(err, store.ErrNotExist)) {
			s.Fatalf("read while it is written (saved: %t): %v", saved, err)
		}
	}
}

func (s *suite) sameFileTwice() {
	if s.opts.HalfFilesShow {
		return // one writer would meet the other's half
	}
	data := Bytes(300_000, 11)
	h := HandleOf(store.Pack, data)
	s.workers(6, 12, func(int) error { return s.st.Save(s.Context(), h, data) })
	s.want(h, data)
	if s.opts.LastWriterWins {
		return
	}
	var mu sync.Mutex
	won := -1
	s.workers(6, 12, func(i int) error {
		err := s.st.Save(s.Context(), store.Handle{Kind: store.Config}, Bytes(100+i, 1))
		mu.Lock()
		defer mu.Unlock()
		switch {
		case err == nil && won >= 0:
			return fmt.Errorf("both %d and %d were told that their file is the one", won, i)
		case err == nil:
			won = i
		case !errors.Is(err, store.ErrExist):
			return err
		}
		return nil
	})
	if won < 0 {
		s.Fatal("of twelve writers none succeeded")
	}
	s.want(store.Handle{Kind: store.Config}, Bytes(100+won, 1))
}

func (s *suite) reopened() {
	data := Bytes(12_345, 13)
	h := s.put(store.Snapshot, data)
	again := s.open()
	defer closeStore(s.T, again)
	got, err := store.ReadAll(s.Context(), again, h)
	if err != nil || !bytes.Equal(got, data) {
		s.Fatalf("a second opening reads %d bytes: %v", len(got), err)
	}
}

func (s *suite) staged() {
	stager, ok := s.st.(store.Stager)
	if !ok {
		return // the ability is optional
	}
	ctx := s.Context()
	data := Bytes(3<<20+100, 15)
	h := HandleOf(store.Pack, data)
	f, err := stager.Stage(ctx, store.Pack, int64(len(data)))
	if err != nil {
		s.Fatal(err)
	}
	for piece := range slices.Chunk(data, 1<<20) {
		if n, err := f.Write(piece); err != nil || n != len(piece) {
			s.Fatalf("write: %d, %v", n, err)
		}
	}
	if files := s.list(store.Pack, ""); len(files) != 0 {
		s.Errorf("a file is listed before its commit: %v", files)
	}
	if err := f.Commit(ctx, h.Name); err != nil {
		s.Fatal(err)
	}
	if err := f.Discard(); err != nil {
		s.Errorf("discard after commit: %v", err)
	}
	if err := stager.Barrier(ctx); err != nil {
		s.Fatal(err)
	}
	s.want(h, data)
	s.stagedAgain(stager, h, data)
}

// stagedAgain stages the same file once more, another under its name, and one that is dropped.
func (s *suite) stagedAgain(stager store.Stager, h store.Handle, data []byte) {
	ctx := s.Context()
	for _, c := range []struct {
		content []byte
		commit  bool
		want    error
	}{{data, true, nil}, {data[:100], true, store.ErrExist}, {data[:200], false, nil}} {
		f, err := stager.Stage(ctx, store.Pack, 0)
		if err != nil {
			s.Fatal(err)
		}
		if _, err := f.Write(c.content); err != nil {
			s.Fatal(err)
		}
		if c.commit {
			if err := f.Commit(ctx, h.Name); !errors.Is(err, c.want) {
				s.Errorf("commit %d bytes: got %v, want %v", len(c.content), err, c.want)
			}
		}
		if err := f.Discard(); err != nil {
			s.Errorf("discard: %v", err)
		}
	}
	s.want(h, data)
	if files := s.list(store.Pack, ""); len(files) != 1 {
		s.Errorf("%d files remain, want 1", len(files))
	}
}
