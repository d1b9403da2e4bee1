package repository

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/trivet-ha/trivet/backup/store/local"
)

// childEnv makes the test binary do one job in a repository and announce snapshots on standard output.
const childEnv = "TRIVET_REPOSITORY_TEST_CHILD"

func TestMain(m *testing.M) {
	if job := os.Getenv(childEnv); job != "" {
		if err := child(job); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// child runs "backup|prune|copy <dir> <master key in JSON> <seed> [<source dir>]" until it is killed.
func child(job string) error {
	part := strings.Split(job, " ")
	var master MasterKey
	if err := master.UnmarshalJSON([]byte(part[2])); err != nil {
		return err
	}
	seed, err := strconv.ParseUint(part[3], 10, 64)
	if err != nil {
		return err
	}
	r, err := childRepo(part[1], master)
	if err != nil {
		return err
	}
	random := rand.New(rand.NewPCG(seed, 1))
	for err == nil {
		switch part[0] {
		case "prune":
			err = forgetSome(r, random)
		case "copy":
			err = copySome(r, part[4], master, random)
		default:
			content := random.Uint64N(12)
			var id ID
			if id, err = saveFiles(r, contentOf(content)); err == nil {
				fmt.Println(id, content)
			}
		}
	}
	return err
}

func childRepo(dir string, master MasterKey) (*Repository, error) {
	st, err := local.Open(dir)
	if err != nil {
		return nil, err
	}
	r, err := OpenMaster(context.Background(), st, master, Options{LockWait: time.Minute})
	if err == nil {
		r.options.PackBytes = 256 << 10
	}
	return r, err
}

// contentOf is what a snapshot of that number holds.
func contentOf(number uint64) []file { return someFiles(number, 12, 60_000) }

func forgetSome(r *Repository, random *rand.Rand) error {
	ctx := context.Background()
	all, err := r.Snapshots(ctx)
	if err != nil {
		return err
	}
	var goes []*Snapshot
	for _, s := range all {
		if random.IntN(3) == 0 {
			goes = append(goes, s)
		}
	}
	for _, s := range goes { // announced before, so that nobody misses them
		fmt.Println("-" + s.ID().String())
	}
	if err := r.RemoveSnapshots(ctx, goes); err != nil {
		return err
	}
	_, err = r.Prune(ctx, thorough)
	if isLocked(err) {
		err = nil
	}
	return err
}

// copySome copies one snapshot of the source. Its tag is the number of its content.
func copySome(r *Repository, source string, master MasterKey, random *rand.Rand) error {
	ctx := context.Background()
	src, err := childRepo(source, master)
	if err != nil {
		return err
	}
	all, err := src.Snapshots(ctx)
	if err != nil {
		return err
	}
	s := all[random.IntN(len(all))]
	s.Time = time.Now() // another one for the destination
	_, err = Copy(ctx, r, src, []*Snapshot{s}, CopyOptions{Done: func(_ *Snapshot, copied ID) {
		fmt.Println(copied, userTags(s.Tags)[0])
	}})
	return err
}

// Two writers, a copy and a prune are killed at random moments. Every snapshot announced and not forgotten is there and holds what was
// saved, bit for bit, and stock restic finds nothing wrong. TRIVET_KILLS sets the number of kills.
func TestKilledProcessesLoseNothing(t *testing.T) {
	kills := 16
	if testing.Short() {
		kills = 4
	}
	if n, err := strconv.Atoi(os.Getenv("TRIVET_KILLS")); err == nil {
		kills = n
	}
	r, dir := newRepo(t)
	k := &killing{t: t, r: r, dir: dir, source: copySource(t, r.master), random: rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 1))}
	for k.kills < kills {
		k.round()
	}
	t.Logf("%d kills, %d snapshots announced, %d forgotten, %d read back", k.kills, k.announced, k.forgotten, k.readBack)
}

// copySource makes a repository to copy from, with the same key.
func copySource(t *testing.T, master MasterKey) string {
	t.Helper()
	src, dir := newRepo(t)
	src.master, src.sealer = master, master.sealer()
	text, err := json.Marshal(src.config)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "config"), src.sealer.seal(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for content := range uint64(3) {
		w, err := src.NewWriter(context.Background(), WriterOptions{})
		if err != nil {
			t.Fatal(err)
		}
		s := snapshotOf(mustTree(t, w, contentOf(20+content)), "/made/up")
		s.Tags = []string{strconv.FormatUint(20+content, 10)}
		if _, err := w.SaveSnapshot(context.Background(), s); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// killing is a repository under attack.
type killing struct {
	t           *testing.T
	r           *Repository
	dir, source string
	random      *rand.Rand

	kills, announced, forgotten, readBack int
}

func (k *killing) round() {
	t := k.t
	master, err := k.r.master.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	var jobs []*exec.Cmd
	var outs []*bytes.Buffer
	for i, what := range []string{"backup", "backup", "copy", "prune"} {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s %s %s %d %s", childEnv, what, k.dir, master, k.kills+i, k.source))
		out := new(bytes.Buffer)
		cmd.Stdout, cmd.Stderr = out, out
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		jobs, outs = append(jobs, cmd), append(outs, out)
	}
	for _, i := range k.random.Perm(len(jobs)) {
		time.Sleep(time.Duration(50+k.random.IntN(700)) * time.Millisecond)
		if err := jobs[i].Process.Kill(); err != nil {
			t.Fatal(err)
		}
		k.kills++
	}
	for i, cmd := range jobs {
		_ = cmd.Wait()
		if status := cmd.ProcessState.Sys().(syscall.WaitStatus); !status.Signaled() {
			t.Fatalf("job %d ended by itself: %s", i, outs[i])
		}
	}
	k.check(outs)
}

// check looks at what is left. What the processes said are lines: "<snapshot> <content>", or "-<snapshot>" before it is forgotten.
func (k *killing) check(outs []*bytes.Buffer) {
	t := k.t
	r := reopen(t, k.r)
	ctx := context.Background()
	// The killed processes were of this kernel: their locks are known to be dead.
	l, err := r.Lock(ctx, Exclusive)
	if err != nil {
		t.Fatalf("locks of the dead: %v", err)
	}
	if err := l.Unlock(); err != nil {
		t.Fatal(err)
	}
	all, problems, err := verifyAll(r)
	if err != nil {
		t.Fatal(err)
	}
	expect(t, "after the kills", problems, false)
	there := make(map[string]*Snapshot)
	for _, s := range all {
		there[s.ID().String()] = s
	}
	forgotten := make(map[string]bool)
	for _, line := range strings.Fields(outs[3].String()) {
		forgotten[strings.TrimPrefix(line, "-")] = true
	}
	k.forgotten += len(forgotten)
	for _, out := range outs[:3] {
		for _, line := range splitLines(out.String()) {
			var id string
			var content uint64
			if n, _ := fmt.Sscan(line, &id, &content); n != 2 || len(id) != 64 {
				continue // the kill cut it short
			}
			k.announced++
			switch s := there[id]; {
			case s != nil:
				k.compare(r, s, contentOf(content))
			case !forgotten[id]:
				t.Errorf("%s was announced and is gone", id[:8])
			}
		}
	}
	needRestic(t)
	if out := restic(t, k.dir, "check", "--read-data"); !strings.Contains(out, "no errors were found") {
		t.Errorf("restic check:\n%s", out)
	}
}

// compare reads a snapshot as a whole.
func (k *killing) compare(r *Repository, s *Snapshot, files []file) {
	k.t.Helper()
	want := make(map[string][]byte)
	for _, f := range files {
		want[f.name] = f.data
	}
	err := r.Walk(context.Background(), *s.Tree, func(path string, n *Node) error {
		if n.Type != TypeFile {
			return nil
		}
		var data []byte
		for _, id := range n.Content {
			blob, err := r.LoadBlob(context.Background(), BlobHandle{id, DataBlob}, nil)
			if err != nil {
				return err
			}
			data = append(data, blob...)
		}
		path = strings.TrimPrefix(path, "/")
		if !bytes.Equal(data, want[path]) {
			return fmt.Errorf("%s is not what was saved", path)
		}
		delete(want, path)
		return nil
	})
	if err == nil && len(want) > 0 {
		err = fmt.Errorf("%d files are missing", len(want))
	}
	if err != nil {
		k.t.Errorf("snapshot %s: %v", s.id.Short(), err)
	}
	k.readBack++
}
