// Command faults compares what clients see of Trivet, HAProxy and nginx when backends fail: killed, hung, slow,
// flapping, answering with errors, breaking off, all gone for a while, and overloaded. Each proxy gets the same
// load and the same faults in turn; HAProxy and nginx are tuned for failing backends, Trivet has its defaults and
// what a row says beside it.
//
// Everything listens on loopback, and only what was started here is ever signalled.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "faults:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	var s settings
	var peers, only, listen, control string
	var work time.Duration
	var workers int
	flag.StringVar(&s.trivet, "trivet", "bin/trivet", "the trivet binary")
	flag.StringVar(&s.configs, "configs", "bench/peers", "folder of the configurations")
	flag.StringVar(&s.out, "out", "docs/explanation/faults-compared.md", "the page to write; empty for none")
	flag.StringVar(&s.results, "results", "bench/results/faults.json", "where the figures are kept; those of other cases stay")
	flag.StringVar(&peers, "peers", "haproxy,nginx,trivet", "who is compared")
	flag.StringVar(&only, "cases", "", "which cases; empty for all")
	flag.StringVar(&listen, "backend", "", "be a backend at this address (used by the runner itself)")
	flag.StringVar(&control, "control", "", "where the backend is steered")
	flag.DurationVar(&work, "work", 0, "what a request takes")
	flag.IntVar(&workers, "workers", 1000, "requests served at a time")
	flag.Parse()
	if listen != "" {
		return runBackend(ctx, listen, control, work, workers)
	}
	s.peers = strings.Split(peers, ",")
	if only != "" {
		s.cases = strings.Split(only, ",")
	}
	l, err := newLab(s)
	if err != nil {
		return err
	}
	defer l.close()
	if err := errors.Join(l.load(), l.all(ctx), l.save()); err != nil {
		return err
	}
	page := l.page()
	fmt.Print(page)
	if s.out == "" {
		return nil
	}
	return os.WriteFile(s.out, []byte(page), 0o644)
}
