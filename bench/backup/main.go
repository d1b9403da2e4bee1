// Command backup compares Trivet's file backup with restic and borg on this machine: the same data, the same disk, one tool after
// the other within each round, medians and ratios. It writes a page and says which of the project's own bars are met.
//
// The data is made by this program, the same for the same scale. Nothing outside of the working directory is written,
// and no process is signalled but those that it started.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == asTrivet {
		os.Exit(trivet(os.Args[2:]))
	}
	if len(os.Args) == 5 && os.Args[1] == asMaker {
		if err := makeData(os.Args[2], os.Args[3], os.Args[4]); err != nil {
			fmt.Fprintln(os.Stderr, "bench/backup:", err)
			os.Exit(1)
		}
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench/backup:", err)
		os.Exit(1)
	}
}

// settings are the flags.
type settings struct {
	tools   []string
	sets    []string
	rounds  int
	scale   float64
	dir     string
	from    string
	restic  string
	kopia   string
	out     string
	keep    bool
	timeout time.Duration
}

func parseFlags(args []string) (settings, error) {
	var s settings
	var tools, sets string
	f := flag.NewFlagSet("backup", flag.ContinueOnError)
	f.StringVar(&tools, "tools", "restic,borg,trivet", "who is compared: "+strings.Join(toolNames(), ","))
	f.StringVar(&sets, "sets", "small,mixed", "which data: small (many files), mixed (a few large ones), tree (a copy of --from), tiny (ten million files of a line: initial and unchanged only)")
	f.IntVar(&s.rounds, "rounds", 3, "rounds")
	f.Float64Var(&s.scale, "scale", 1, "size of the data: 1 is 70,000 files of 1 GB, and 4 GB in 8 files")
	f.StringVar(&s.dir, "dir", "", "working directory, on the disk to be measured (default: a temporary one)")
	f.StringVar(&s.from, "from", "/usr/local/go", "the directory that the data tree is a copy of")
	f.StringVar(&s.restic, "restic", "restic", "the restic program")
	f.StringVar(&s.kopia, "kopia", "kopia", "the kopia program")
	f.StringVar(&s.out, "out", "", "write the page to this file too")
	f.BoolVar(&s.keep, "keep", false, "keep the working directory")
	f.DurationVar(&s.timeout, "timeout", 10*time.Minute, "longest time of a single step")
	if err := f.Parse(args); err != nil {
		return s, err
	}
	s.tools, s.sets = strings.Split(tools, ","), strings.Split(sets, ",")
	for _, t := range s.tools {
		if !slices.Contains(toolNames(), t) {
			return s, fmt.Errorf("no tool %q; there are %s", t, strings.Join(toolNames(), ", "))
		}
	}
	for _, set := range s.sets {
		if set != "small" && set != "mixed" && set != "tree" && set != "tiny" {
			return s, fmt.Errorf("no data %q; there are small, mixed, tree and tiny", set)
		}
	}
	if s.rounds < 1 || s.scale <= 0 {
		return s, fmt.Errorf("%d rounds at scale %g: at least one, of something", s.rounds, s.scale)
	}
	return s, nil
}

func run(ctx context.Context, args []string) error {
	s, err := parseFlags(args)
	if err != nil {
		return err
	}
	if s.dir == "" {
		if s.dir, err = os.MkdirTemp("", "trivet-bench-backup-"); err != nil {
			return err
		}
	}
	if s.dir, err = filepath.Abs(s.dir); err != nil {
		return err
	}
	if !s.keep {
		defer os.RemoveAll(s.dir)
	}
	l := &lab{settings: s, results: map[cell][]sample{}}
	if err := l.prepare(); err != nil {
		return err
	}
	began := time.Now()
	for round := range s.rounds {
		for _, set := range s.sets {
			if err := l.round(ctx, round, set); err != nil {
				return err
			}
		}
	}
	page := l.page(began)
	fmt.Print(page)
	if s.out != "" {
		return os.WriteFile(s.out, []byte(page), 0o644)
	}
	return nil
}
