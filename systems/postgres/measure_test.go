package postgres

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/trivet-ha/trivet/backup/repository/repotest"
	"github.com/trivet-ha/trivet/backup/stream"
)

// Figures, not claims: TRIVET_TEST_MEASURE=1 go test -run MeasuresWhatItCosts -v ./systems/postgres
func TestMeasuresWhatItCosts(t *testing.T) {
	if os.Getenv("TRIVET_TEST_MEASURE") == "" {
		t.Skip("takes minutes and proves nothing: set TRIVET_TEST_MEASURE")
	}
	b := newBench(t)
	b.Run(t, "pgbench", "--initialize", "--scale=150", "--quiet")
	b.SQL(t, "checkpoint")
	for range 2 {
		b.timed("pg_basebackup plain", func() {
			dir := b.Folder(t, "plain")
			b.Run(t, "pg_basebackup", "--pgdata", dir, "--checkpoint=fast", "--wal-method=none", "--manifest-checksums=CRC32C")
			_ = os.RemoveAll(dir)
		})
	}
	for range 3 {
		b.dir, b.repo = repotest.New(t)
		b.timed("trivet base, new repository", func() { b.save(Config{NoWAL: true}) })
	}
	b.stream(StreamConfig{}).stop() // from here on the slot keeps what recovery needs
	b.timed("trivet base, nothing changed", func() { b.save(Config{NoWAL: true}) })
	bench := func(what string) {
		out := b.Run(t, "pgbench", "--client=8", "--jobs=2", "--time=12", "--no-vacuum")
		t.Logf("pgbench %s: %s", what, regexp.MustCompile(`tps = [0-9.]+`).FindString(out))
	}
	bench("warm-up")
	for range 2 {
		bench("alone")
		s := b.stream(StreamConfig{Writer: stream.Options{Flush: time.Second}})
		bench("streamed")
		s.stop()
	}
	var lost []time.Duration
	for range 7 {
		lost = append(lost, b.lostByKill(t))
	}
	slices.Sort(lost)
	t.Logf("lost by kill -9 of the streamer, in time: median %v, worst %v", lost[len(lost)/2], lost[len(lost)-1])
	b.timed("recovery", func() { b.bringBack(Recovery{}) })
}

// lostByKill is how far behind the log is when the streamer dies under load.
func (b *bench) lostByKill(t *testing.T) time.Duration {
	streamer := b.child(false)
	var load sync.WaitGroup
	load.Go(func() { _, _ = b.Try("pgbench", "--client=8", "--jobs=2", "--time=6", "--no-vacuum") })
	b.SQL(t, "select pg_sleep(3 + random())")
	kill(streamer)
	at := time.Now()
	load.Wait()
	view, err := b.log().View(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	spans := view.Lines()[0].Spans
	return at.Sub(spans[len(spans)-1].Last)
}

func (b *bench) timed(what string, do func()) {
	var before, after syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &before)
	began := time.Now()
	do()
	took := time.Since(began)
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &after)
	cpu := time.Duration(after.Utime.Nano() + after.Stime.Nano() - before.Utime.Nano() - before.Stime.Nano())
	size := int64(0)
	_ = filepath.WalkDir(b.dir, func(_ string, d os.DirEntry, _ error) error {
		if i, err := d.Info(); err == nil && !d.IsDir() {
			size += i.Size()
		}
		return nil
	})
	b.t.Logf("%s: %v, our CPU %v, peak RSS %d MiB, repository %d MiB", what, took.Round(time.Millisecond), cpu.Round(time.Millisecond), after.Maxrss>>10, size>>20)
}
