package repository

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/trivet-ha/trivet/backup/store/local"
)

func BenchmarkSeal(b *testing.B) {
	s := newMasterKey().sealer()
	for _, size := range []int{4 << 10, 256 << 10} {
		b.Run(fmt.Sprintf("%dKiB", size>>10), func(b *testing.B) {
			buf := make([]byte, size+sealedOverhead)
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				s.sealInPlace(buf)
			}
		})
	}
}

func BenchmarkOpen(b *testing.B) {
	s := newMasterKey().sealer()
	for _, size := range []int{4 << 10, 256 << 10} {
		b.Run(fmt.Sprintf("%dKiB", size>>10), func(b *testing.B) {
			sealed := s.seal(make([]byte, size))
			dst := make([]byte, size)
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := s.openTo(dst, sealed); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkChunker(b *testing.B) {
	gear := newGearTable([32]byte{1})
	data := noise(rand.New(rand.NewPCG(1, 2)), 64<<20)
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	chunks := 0
	for b.Loop() {
		chunks = 0
		for rest := data; len(rest) > 0; chunks++ {
			rest = rest[gear.cut(rest):]
		}
	}
	b.ReportMetric(float64(len(data)/chunks)/1024, "KiB/chunk")
}

// zipfText is log-like text: words by Zipf's law.
func zipfText(seed uint64, n int) []byte {
	random := rand.New(rand.NewPCG(seed, 3))
	zipf := rand.NewZipf(random, 1.1, 4, 50_000)
	var b bytes.Buffer
	for b.Len() < n {
		fmt.Fprintf(&b, "w%x ", zipf.Uint64()*2654435761%(1<<28))
		if random.IntN(12) == 0 {
			b.WriteByte('\n')
		}
	}
	return b.Bytes()[:n]
}

func BenchmarkPipeline(b *testing.B) {
	const size = 64 << 20
	text := zipfText(1, size)
	random := noise(rand.New(rand.NewPCG(1, 4)), size)
	mixed := append(bytes.Clone(text[:size/2]), random[:size/2]...)
	small := text[:16<<10]
	for _, c := range []struct {
		name string
		data []byte
		o    Options
	}{{"random", random, Options{}}, {"text", text, Options{}}, {"mixed", mixed, Options{}}, {"random-off", random, Options{Compression: Off}}, {"small-text", small, Options{}}} {
		b.Run(c.name, func(b *testing.B) {
			r, _ := newRepo(b)
			r.options.Compression = c.o.Compression
			ctx := context.Background()
			w, err := r.NewWriter(ctx, WriterOptions{})
			if err != nil {
				b.Fatal(err)
			}
			defer w.Close()
			workers := runtime.GOMAXPROCS(0)
			sessions := make([]*Session, workers)
			for i := range sessions {
				sessions[i] = w.Session()
			}
			b.SetBytes(int64(len(c.data) * workers))
			b.ReportAllocs()
			round, before := uint64(0), cpuTime()
			for b.Loop() {
				round++
				var wg sync.WaitGroup
				for i, s := range sessions {
					wg.Go(func() {
						src := &salted{data: c.data, salt: round*64 + uint64(i)}
						if _, _, err := s.SaveReader(src, nil); err != nil {
							b.Error(err)
						}
					})
				}
				wg.Wait()
			}
			if err := w.Flush(ctx); err != nil {
				b.Fatal(err)
			}
			moved := float64(round) * float64(len(c.data)*workers)
			b.ReportMetric(moved/1e6/(cpuTime()-before).Seconds(), "MB/cpu-s")
		})
	}
}

// cpuTime is the processor time of this process: steadier than the wall clock on a shared machine.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// salted yields data with a number written over every 64 KiB, so that no chunk is known.
type salted struct {
	data []byte
	salt uint64
	pos  int
}

func (s *salted) Read(p []byte) (int, error) {
	if s.pos == len(s.data) {
		return 0, errEOF
	}
	n := copy(p, s.data[s.pos:])
	for at := (s.pos + 65535) &^ 65535; at+8 <= s.pos+n; at += 65536 {
		binary.LittleEndian.PutUint64(p[at-s.pos:], s.salt)
	}
	s.pos += n
	return n, nil
}

func BenchmarkIndexLookup(b *testing.B) {
	for _, n := range []int{100_000, 10_000_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			t, ids := bigTable(n)
			b.ReportMetric(float64(t.sizeBytes())/float64(n), "B/blob")
			b.Run("known", func(b *testing.B) {
				b.ReportAllocs()
				i := 0
				for b.Loop() {
					h := BlobHandle{ID: ids(i % n)}
					i += 7919
					if e, _ := t.find(&h, 0); e == nil {
						b.Fatal("lost")
					}
				}
				b.ReportMetric(float64(t.sizeBytes())/float64(n), "B/blob")
			})
			b.Run("unknown", func(b *testing.B) {
				b.ReportAllocs()
				i := n
				for b.Loop() {
					h := BlobHandle{ID: ids(i)}
					i++
					if e, _ := t.find(&h, 0); e != nil {
						b.Fatal("found")
					}
				}
			})
		})
	}
}

func bigTable(n int) (*blobTable, func(int) ID) {
	ids := func(i int) (id ID) {
		x := uint64(i)*0x9e3779b97f4a7c15 + 1
		for k := range 4 {
			x ^= x >> 30
			x *= 0xbf58476d1ce4e5b9
			x ^= x >> 27
			x *= 0x94d049bb133111eb
			x ^= x >> 31
			binary.LittleEndian.PutUint64(id[8*k:], x)
		}
		return id
	}
	t := newBlobTable()
	var pack []packEntry
	for i := range n {
		pack = append(pack, packEntry{id: ids(i), offset: uint32(len(pack)) * 1000, length: 1000})
		if len(pack) == 64 || i == n-1 {
			t.addPack(ID{byte(i), byte(i >> 8), byte(i >> 16), byte(i >> 24)}, pack)
			pack = pack[:0]
		}
	}
	return t, ids
}

func BenchmarkParseIndex(b *testing.B) {
	f := &indexFile{packs: make([]indexPack, 800)}
	for i := range f.packs {
		f.packs[i].id = randomID()
		for k := range 64 {
			f.packs[i].entries = append(f.packs[i].entries, packEntry{id: randomID(), offset: uint32(k) * 300_000, length: 300_000, plain: 600_000})
		}
	}
	data := appendIndexJSON(nil, f)
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := parseIndex(data); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkTree(b *testing.B) {
	t := &Tree{}
	for i := range 1000 {
		n := sampleNode()
		n.Name = fmt.Sprintf("file-%06d.txt", i)
		t.Nodes = append(t.Nodes, n)
	}
	data, err := t.AppendJSON(nil)
	if err != nil {
		b.Fatal(err)
	}
	b.Run("write", func(b *testing.B) {
		tb := NewTreeBuilder()
		b.SetBytes(int64(len(data)))
		b.ReportAllocs()
		for b.Loop() {
			tb.Reset()
			for _, n := range t.Nodes {
				if err := tb.Add(n); err != nil {
					b.Fatal(err)
				}
			}
			tb.json()
		}
	})
	b.Run("parse", func(b *testing.B) {
		b.SetBytes(int64(len(data)))
		b.ReportAllocs()
		for b.Loop() {
			if _, err := ParseTree(data); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkCheckData reads a repository of half text, half noise as a whole. With TRIVET_BENCH_REPOSITORY it is
// left in that directory, for stock restic to do the same.
func BenchmarkCheckData(b *testing.B) {
	const size = 64 << 20
	mixed := append(zipfText(1, size/2), noise(rand.New(rand.NewPCG(1, 4)), size/2)...)
	dir := os.Getenv("TRIVET_BENCH_REPOSITORY")
	var r *Repository
	if dir == "" {
		r, _ = newRepo(b)
	} else {
		st, err := local.Create(dir)
		if err != nil {
			b.Fatal(err)
		}
		r = initIn(b, st)
	}
	ctx := context.Background()
	w, err := r.NewWriter(ctx, WriterOptions{})
	if err != nil {
		b.Fatal(err)
	}
	s := w.Session()
	tree := NewTreeBuilder()
	for i := range 16 {
		n := sampleNode()
		n.Name, n.Size = fmt.Sprintf("f%02d", i), size
		if n.Content, _, err = s.SaveReader(&salted{data: mixed, salt: uint64(i)}, nil); err != nil {
			b.Fatal(err)
		}
		if err := tree.Add(n); err != nil {
			b.Fatal(err)
		}
	}
	root, err := s.SaveTree(tree)
	if err != nil {
		b.Fatal(err)
	}
	if _, err := w.SaveSnapshot(ctx, snapshotOf(root, "/bench")); err != nil {
		b.Fatal(err)
	}
	w.Close()
	b.SetBytes(16 * size)
	b.ReportAllocs()
	rounds, before := 0, cpuTime()
	for b.Loop() {
		rounds++
		stats, err := r.Check(ctx, CheckOptions{Data: AllData()}, func(p Problem) { b.Error(p) })
		if err != nil || stats.Problems > 0 {
			b.Fatal(stats, err)
		}
	}
	b.ReportMetric((cpuTime()-before).Seconds()/float64(rounds), "cpu-s/op")
}
