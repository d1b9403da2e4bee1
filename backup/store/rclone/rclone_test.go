package rclone

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"go.uber.org/goleak"

	"github.com/trivet-ha/trivet/backup/store"
	"github.com/trivet-ha/trivet/backup/store/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t *testing.T, c Config) *Store {
	t.Helper()
	c.Env = append(c.Env, "RCLONE_CONFIG=/dev/null")
	s, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func TestOnALocalDirectory(t *testing.T) {
	opts := storetest.Options{
		Without: []store.Kind{store.Log, store.Record}, LastWriterWins: true, HalfFilesShow: true, LargeBytes: 32 << 20,
	}
	storetest.Run(t, opts, func(t *testing.T) storetest.Opener {
		dir := t.TempDir()
		return func() store.Store { return open(t, Config{Remote: dir}) }
	})
}

func TestAProcessThatEndedIsStartedAnew(t *testing.T) {
	s := open(t, Config{Remote: t.TempDir()})
	data := []byte("x")
	h := storetest.HandleOf(store.Snapshot, data)
	if err := s.Save(t.Context(), h, data); err != nil {
		t.Fatal(err)
	}
	first := s.runner.live[0]
	if err := first.cmd.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-first.ended
	for range 3 { // the first call may still meet the dead connection
		if _, err := s.Stat(t.Context(), h); err == nil {
			return
		}
	}
	t.Error("no call succeeds after the process ended")
}

func TestTheLastWordsExplainAFailure(t *testing.T) {
	script := filepath.Join(t.TempDir(), "rclone")
	if err := os.WriteFile(script, []byte("#!/bin/sh\necho didn\\'t find section in config file >&2\nexit 1\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	s := open(t, Config{Remote: "nowhere:x", Program: script})
	_, err := s.Stat(t.Context(), store.Handle{Kind: store.Config})
	if err == nil || !strings.Contains(err.Error(), "didn't find section") {
		t.Errorf("got %v", err)
	}
}

func TestBadConfigurationsAreRefused(t *testing.T) {
	for _, c := range []Config{{}, {Remote: "--rc"}, {Remote: "x:", Program: "/does/not/exist"}} {
		if _, err := New(c); err == nil {
			t.Errorf("%+v: no error", c)
		}
	}
}
