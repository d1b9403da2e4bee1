package state

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"

	"github.com/trivet-ha/trivet/systems/files/scan"
)

var me = Identity{Repository: [32]byte{1}, Source: [32]byte{2}}

func open(t testing.TB, path string) *File {
	t.Helper()
	s, err := Open(path, me)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func stat(i int) scan.Stat {
	return scan.Stat{Ino: uint64(i), Mode: 0o100644, UID: 1, GID: 2, Links: 1, Size: int64(i) * 10, Mtime: scan.Time{Sec: int64(i) << 33, Nsec: 5}, Ctime: scan.Time{Sec: int64(i) * 1000, Nsec: 7}}
}

// save writes a directory of n files, with a subdirectory if sub is set, and returns its record.
func save(t testing.TB, s *File, b *Builder, n int, sub Ref, subBytes uint64) Ref {
	t.Helper()
	b.Reset(5)
	for i := range n {
		st := stat(i)
		x := Extra{Content: [][32]byte{{byte(i)}, {byte(i), 1}}}
		if i%3 == 0 {
			x = Extra{Target: "to/where", Xattrs: []Xattr{{Name: "user.a", Value: []byte("v")}, {Name: "user.b", Value: []byte{}}}}
		}
		b.Add(fmt.Sprintf("name-%05d", i), &st, Flags(i%2), &x)
	}
	if sub != 0 {
		st := stat(n)
		b.AddDir("zzz", &st, 0, nil, sub, subBytes)
	}
	b.SetTree([32]byte{9, byte(n)})
	ref, err := s.Append(b)
	if err != nil || ref == 0 {
		t.Fatal(ref, err)
	}
	return ref
}

func check(t testing.TB, s *File, ref Ref, n int) *Dir {
	t.Helper()
	d := &Dir{}
	if err := s.Load(ref, d); err != nil {
		t.Fatal(err)
	}
	if d.Tree() != [32]byte{9, byte(n)} || d.Dev() != 5 || d.Len() < n {
		t.Fatalf("tree %v, device %d, %d entries", d.Tree(), d.Dev(), d.Len())
	}
	for i := range n {
		var e Entry
		d.Entry(i, &e)
		st := stat(i)
		if at, ok := d.Find(fmt.Sprintf("name-%05d", i)); !ok || at != i {
			t.Fatalf("entry %d is found at %d", i, at)
		}
		if e.Ino != st.Ino || e.Ctime != st.Ctime || e.Mtime != st.Mtime || e.Size != st.Size || e.Mode != st.Mode || e.Flags != Flags(i%2) || e.UID != 1 || e.GID != 2 {
			t.Fatalf("entry %d: %+v", i, e)
		}
		x, err := DecodeExtra(d.RawExtra(i))
		if err != nil {
			t.Fatal(err)
		}
		want := Extra{Content: [][32]byte{{byte(i)}, {byte(i), 1}}}
		if i%3 == 0 {
			want = Extra{Target: "to/where", Xattrs: []Xattr{{Name: "user.a", Value: []byte("v")}, {Name: "user.b", Value: []byte{}}}}
		}
		if !reflect.DeepEqual(x, want) {
			t.Fatalf("entry %d: %+v", i, x)
		}
	}
	if _, ok := d.Find("none"); ok {
		t.Error("a name that is not there is found")
	}
	return d
}

func TestWhatIsCommittedIsThereNextTime(t *testing.T) {
	path := filepath.Join(t.TempDir(), "some/where/state")
	s := open(t, path)
	if s.Root() != 0 || s.Snapshot() != [32]byte{} {
		t.Error("a new state is empty")
	}
	var b Builder
	sub := save(t, s, &b, 10, 0, 0)
	root := save(t, s, &b, 100, sub, b.SubtreeBytes())
	if err := s.Commit([32]byte{7}, [32]byte{8}, root); err != nil {
		t.Fatal(err)
	}
	s.Close()
	s = open(t, path)
	if s.Snapshot() != [32]byte{7} || s.Tree() != [32]byte{8} || s.Root() != root {
		t.Fatal("the header is not what was committed")
	}
	d := check(t, s, s.Root(), 100)
	var e Entry
	d.Entry(100, &e)
	check(t, s, e.Child, 10)
}

func TestWhatIsNotCommittedIsGone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	s := open(t, path)
	var b Builder
	first := save(t, s, &b, 3, 0, 0)
	if err := s.Commit([32]byte{1}, [32]byte{1}, first); err != nil {
		t.Fatal(err)
	}
	save(t, s, &b, 50, 0, 0)
	s.Close() // as if the process had ended here
	s = open(t, path)
	check(t, s, s.Root(), 3)
	second := save(t, s, &b, 4, 0, 0)
	if err := s.Commit([32]byte{2}, [32]byte{2}, second); err != nil {
		t.Fatal(err)
	}
	s.Close()
	s = open(t, path)
	check(t, s, s.Root(), 4)
	if s.Snapshot() != [32]byte{2} {
		t.Error("the younger header must win")
	}
}

func TestAnotherIdentityIsEmpty(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	s := open(t, path)
	var b Builder
	if err := s.Commit([32]byte{1}, [32]byte{1}, save(t, s, &b, 3, 0, 0)); err != nil {
		t.Fatal(err)
	}
	s.Close()
	other, err := Open(path, Identity{Repository: [32]byte{1}, Source: [32]byte{3}})
	if err != nil || other.Root() != 0 {
		t.Errorf("root %d, %v", other.Root(), err)
	}
	other.Close()
}

func TestASecondOpeningKeepsNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	s := open(t, path)
	var b Builder
	if err := s.Commit([32]byte{1}, [32]byte{1}, save(t, s, &b, 3, 0, 0)); err != nil {
		t.Fatal(err)
	}
	second := open(t, path)
	if second.Root() != 0 {
		t.Error("a state in use is given twice")
	}
	b.Reset(0)
	if ref, err := second.Append(&b); ref != 0 || err != nil {
		t.Error(ref, err)
	}
	if err := second.Commit([32]byte{5}, [32]byte{5}, 0); err != nil {
		t.Error(err)
	}
}

func TestWasteIsRewritten(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	s := open(t, path)
	var b Builder
	var root Ref
	for range 40 {
		sub := save(t, s, &b, 500, 0, 0)
		root = save(t, s, &b, 20, sub, b.SubtreeBytes())
		if err := s.Commit([32]byte{3}, [32]byte{4}, root); err != nil {
			t.Fatal(err)
		}
		d := check(t, s, s.Root(), 20)
		var e Entry
		d.Entry(20, &e)
		check(t, s, e.Child, 500)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Size() > 2<<20 {
		t.Errorf("the file has grown to %d bytes", info.Size())
	}
	s.Close()
	s = open(t, path)
	d := check(t, s, s.Root(), 20)
	var e Entry
	d.Entry(20, &e)
	check(t, s, e.Child, 500)
}

func TestEveryFlippedBitIsNoticed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	s := open(t, path)
	var b Builder
	root := save(t, s, &b, 2, 0, 0)
	if err := s.Commit([32]byte{1}, [32]byte{1}, root); err != nil {
		t.Fatal(err)
	}
	s.Close()
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := slotBytes; i < len(whole); i++ { // the first slot is not in use after the first commit
		bad := append([]byte{}, whole...)
		bad[i] ^= 1 << (i % 8)
		if err := os.WriteFile(path, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := Open(path, me)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Load(s.Root(), &Dir{}); !errors.Is(err, ErrDamaged) {
			t.Fatalf("byte %d: %v", i, err)
		}
		s.Close()
	}
	for n := range whole {
		if err := os.WriteFile(path, whole[:n], 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := Open(path, me)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Load(s.Root(), &Dir{}); err == nil {
			t.Fatalf("cut to %d bytes: no error", n)
		}
		s.Close()
	}
}

func TestManyWritersAtOnce(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "state"))
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			var b Builder
			for i := range 50 {
				ref := save(t, s, &b, g*10+i%5, 0, 0)
				check(t, s, ref, g*10+i%5)
			}
		})
	}
	wg.Wait()
}

func TestSameLooksAtEverythingThatMatters(t *testing.T) {
	base := stat(3)
	e := Entry{Ino: base.Ino, Ctime: base.Ctime, Mtime: base.Mtime, Size: base.Size, Mode: base.Mode, UID: base.UID, GID: base.GID, Links: base.Links}
	if !e.Same(&base, false, false) {
		t.Error("equal entries must be the same")
	}
	for name, change := range map[string]func(*scan.Stat){
		"ino": func(s *scan.Stat) { s.Ino++ }, "ctime": func(s *scan.Stat) { s.Ctime.Nsec++ }, "mtime": func(s *scan.Stat) { s.Mtime.Sec++ },
		"size": func(s *scan.Stat) { s.Size++ }, "mode": func(s *scan.Stat) { s.Mode ^= 1 }, "uid": func(s *scan.Stat) { s.UID++ },
		"gid": func(s *scan.Stat) { s.GID++ }, "links": func(s *scan.Stat) { s.Links++ },
	} {
		s := base
		change(&s)
		if e.Same(&s, false, false) {
			t.Errorf("another %s is not seen", name)
		}
		if got := e.Same(&s, true, true); got != (name == "ino" || name == "ctime") {
			t.Errorf("another %s, with inode and ctime ignored: %t", name, got)
		}
	}
	e.Flags = Uncertain
	if e.Same(&base, false, false) {
		t.Error("an uncertain entry is never the same")
	}
}

func TestNoPlaceToKeepIt(t *testing.T) {
	s := open(t, "")
	var b Builder
	b.Reset(1)
	ref, err := s.Append(&b)
	if ref != 0 || err != nil || s.Commit([32]byte{1}, [32]byte{1}, ref) != nil {
		t.Error(ref, err)
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s, err = Open(filepath.Join(file, "below"), me)
	if err == nil || s == nil || s.Root() != 0 {
		t.Error("an impossible place: want an error and a state that works")
	}
}

func FuzzRecords(f *testing.F) {
	var b Builder
	b.Reset(1)
	st := stat(1)
	b.Add("a", &st, 0, &Extra{Target: "t", Content: [][32]byte{{1}}, Xattrs: []Xattr{{"n", []byte("v")}}})
	b.AddDir("b", &st, 0, nil, 600, 100)
	record, _ := b.finish()
	f.Add(record)
	f.Fuzz(func(_ *testing.T, record []byte) {
		d := Dir{raw: record}
		if d.parse() != nil {
			return
		}
		var e Entry
		for i := range d.Len() {
			d.Entry(i, &e)
			d.Find(string(d.Name(i)))
			_, _ = DecodeExtra(d.RawExtra(i))
		}
		d.Tree()
		d.SubtreeBytes()
	})
}

func FuzzFile(f *testing.F) {
	path := filepath.Join(f.TempDir(), "state")
	s := open(f, path)
	var b Builder
	root := save(f, s, &b, 2, 0, 0)
	if err := s.Commit([32]byte{1}, [32]byte{1}, root); err != nil {
		f.Fatal(err)
	}
	s.Close()
	whole, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(whole)
	f.Fuzz(func(t *testing.T, data []byte) {
		path := filepath.Join(t.TempDir(), "state")
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := Open(path, me)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		var d Dir
		_ = s.Load(s.Root(), &d)
		_ = s.Commit([32]byte{1}, [32]byte{1}, s.Root())
	})
}

func BenchmarkLoadAndCompare(b *testing.B) {
	s := open(b, filepath.Join(b.TempDir(), "state"))
	var builder Builder
	builder.Reset(1)
	var stats []scan.Stat
	for i := range 100 {
		stats = append(stats, stat(i))
		builder.Add(strings.Repeat("n", 10)+fmt.Sprintf("%03d", i), &stats[i], 0, &Extra{Content: make([][32]byte, 1)})
	}
	ref, err := s.Append(&builder)
	if err != nil {
		b.Fatal(err)
	}
	var d Dir
	b.ReportAllocs()
	for b.Loop() {
		if err := s.Load(ref, &d); err != nil {
			b.Fatal(err)
		}
		var e Entry
		for i := range d.Len() {
			if d.Entry(i, &e); !e.Same(&stats[i], false, false) {
				b.Fatal(i)
			}
		}
	}
}
