package postgres

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/trivet-ha/trivet/backup/repository"
	"github.com/trivet-ha/trivet/backup/store/local"
	"github.com/trivet-ha/trivet/backup/stream"
	"github.com/trivet-ha/trivet/systems/postgres/wal"
)

// The test's own program is, by order, a streamer that can be killed, or PostgreSQL's restore_command.
func TestMain(m *testing.M) {
	switch os.Getenv("TRIVET_TEST_AS") {
	case "streamer":
		childStream()
	case "fetch":
		childFetch()
	default:
		goleak.VerifyTestMain(m)
	}
}

// childOrder is what a child process is told, as JSON in its environment.
type childOrder struct {
	Dir, Conninfo string
	Master        repository.MasterKey
	Synchronous   bool
}

func childLog() (childOrder, *stream.Log) {
	var o childOrder
	err := json.Unmarshal([]byte(os.Getenv("TRIVET_TEST_ORDER")), &o)
	var st *local.Store
	if err == nil {
		st, err = local.Open(o.Dir)
	}
	var log *stream.Log
	if err == nil {
		log, err = stream.New(st, o.Master.Subkey("stream"), "orders")
	}
	if err != nil {
		fail(err)
	}
	return o, log
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

func childStream() {
	o, log := childLog()
	s, err := NewStreamer(StreamConfig{Conninfo: o.Conninfo, Log: log, Synchronous: o.Synchronous, Report: func(err error) { fmt.Fprintln(os.Stderr, "streamer:", err) },
		Writer: stream.Options{Flush: 500 * time.Millisecond}})
	if err != nil {
		fail(err)
	}
	fail(s.Run(context.Background()))
}

func childFetch() {
	_, log := childLog()
	err := Fetch(context.Background(), log, wal.DefaultSegments, os.Args[1], os.Args[2])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	os.Exit(FetchExitCode(err))
}
