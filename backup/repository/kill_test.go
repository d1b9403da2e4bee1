package repository

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
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

// child runs "backup|prune <dir> <master key in JSON> <seed>".
func child(job string) error {
	part := strings.SplitN(job, " ", 4)
	var master MasterKey
	if err := master.UnmarshalJSON([]byte(part[2])); err != nil {
		return err
	}
	seed, err := strconv.ParseUint(part[3], 10, 64)
	if err != nil {
		return err
	}
	st, err := local.Open(part[1])
	if err != nil {
		return err
	}
	r, err := OpenMaster(context.Background(), st, master, Options{LockWait: time.Minute})
	if err != nil {
		return err
	}
	r.options.PackBytes = 256 << 10
	random := rand.New(rand.NewPCG(seed, 1))
	for {
		if part[0] == "prune" {
			if err := forgetSome(r, random); err != nil {
				return err
			}
			continue
		}
		id, err := saveFiles(r, someFiles(random.Uint64N(12), 12, 60_000))
		if err != nil {
			return err
		}
		fmt.Println(id)
	}
}

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

// Two writers and a prune are killed at random moments. Every snapshot announced and not forgotten is whole, and stock restic
// finds nothing wrong.
func TestKilledProcessesLoseNothing(t *testing.T) {
	rounds := 4
	if testing.Short() {
		rounds = 1
	}
	if n, err := strconv.Atoi(os.Getenv("TRIVET_KILLS")); err == nil {
		rounds = n
	}
	r, dir := newRepo(t)
	master, err := r.master.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 1))
	for round := range rounds {
		var jobs []*exec.Cmd
		var outs []*bytes.Buffer
		for i, what := range []string{"backup", "backup", "prune"} {
			cmd := exec.Command(os.Args[0])
			cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s %s %s %d", childEnv, what, dir, master, round*3+i))
			out := new(bytes.Buffer)
			cmd.Stdout, cmd.Stderr = out, out
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			jobs, outs = append(jobs, cmd), append(outs, out)
		}
		for _, cmd := range jobs {
			time.Sleep(time.Duration(50+random.IntN(700)) * time.Millisecond)
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
		for i, cmd := range jobs {
			_ = cmd.Wait()
			if status := cmd.ProcessState.Sys().(syscall.WaitStatus); !status.Signaled() {
				t.Fatalf("job %d ended by itself: %s", i, outs[i])
			}
		}
		afterKills(t, r, dir, outs)
	}
}

func afterKills(t *testing.T, r *Repository, dir string, outs []*bytes.Buffer) {
	t.Helper()
	r = reopen(t, r)
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
	there := make(map[string]bool)
	for _, s := range all {
		there[s.ID().String()] = true
	}
	forgotten := make(map[string]bool)
	for _, line := range strings.Fields(outs[2].String()) {
		forgotten[strings.TrimPrefix(line, "-")] = true
	}
	for _, out := range outs[:2] {
		for _, id := range strings.Fields(out.String()) {
			if len(id) == 64 && !there[id] && !forgotten[id] {
				t.Errorf("%s was announced and is gone", id[:8])
			}
		}
	}
	if _, err := exec.LookPath("restic"); err == nil {
		if out := restic(t, dir, "check", "--read-data"); !strings.Contains(out, "no errors were found") {
			t.Errorf("restic check:\n%s", out)
		}
	}
}
