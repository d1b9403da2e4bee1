package main

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// median of what a function says of the samples.
func median(samples []sample, of func(sample) float64) float64 {
	var values []float64
	for _, s := range samples {
		values = append(values, of(s))
	}
	if len(values) == 0 {
		return 0
	}
	slices.Sort(values)
	n := len(values)
	return (values[(n-1)/2] + values[n/2]) / 2
}

func wall(s sample) float64  { return s.wall.Seconds() }
func cpu(s sample) float64   { return s.cpu.Seconds() }
func rss(s sample) float64   { return s.rssMiB }
func added(s sample) float64 { return s.addedMB }

// ratio is the median over the rounds of other's figure over Trivet's: how many times faster, or lighter, Trivet is.
func (l *lab) ratio(set, step, mine, other string, of func(sample) float64) (float64, bool) {
	a, b := l.results[cell{set, mine, "trivet"}], l.results[cell{set, step, other}]
	var ratios []float64
	for i := range min(len(a), len(b)) {
		if v := of(a[i]); v > 0 {
			ratios = append(ratios, of(b[i])/v)
		}
	}
	if len(ratios) == 0 {
		return 0, false
	}
	slices.Sort(ratios)
	n := len(ratios)
	return (ratios[(n-1)/2] + ratios[n/2]) / 2, true
}

func (l *lab) page(began time.Time) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# Backup, measured %s\n\n%s", began.Format("2 January 2006, 15:04"), machine())
	for _, name := range l.tools {
		if v := l.version(name); v != "" {
			fmt.Fprintf(&b, "%s: %s.\n", name, v)
		}
	}
	if slices.Contains(l.tools, "restic-tuned") {
		fmt.Fprintf(&b, "restic-tuned: with %s.\n", strings.Join(l.tuned, " "))
	}
	fmt.Fprintf(&b, "\nScale %g, %d rounds; each round is every tool, step by step, on a fresh repository with encryption. Figures are medians:\nwall s / CPU s / peak MiB / MB added. Restored files are compared with their originals.\n", l.scale, l.rounds)
	for _, set := range l.sets {
		fmt.Fprintf(&b, "\n## %s\n\n| step | %s |\n|---|%s\n", set, strings.Join(l.tools, " | "), strings.Repeat("---|", len(l.tools)))
		for _, step := range steps {
			l.row(&b, set, step)
		}
	}
	l.bars(&b)
	return b.String()
}

func (l *lab) row(b *strings.Builder, set, step string) {
	any := false
	line := "| " + step + " |"
	for _, name := range l.tools {
		s := l.results[cell{set, step, name}]
		if len(s) == 0 {
			line += " |"
			continue
		}
		any = true
		line += fmt.Sprintf(" %.2f / %.2f / %.0f / %.1f |", median(s, wall), median(s, cpu), median(s, rss), median(s, added))
	}
	if any {
		fmt.Fprintln(b, line)
	}
}

func machine() string {
	model := "unknown CPU"
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(text)) {
			if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
				model = strings.TrimSpace(value)
				break
			}
		}
	}
	var u unix.Utsname
	release := "?"
	if unix.Uname(&u) == nil {
		release = unix.ByteSliceToString(u.Release[:])
	}
	return fmt.Sprintf("Machine: %d cores of %s, Linux %s, %s.\n", runtime.NumCPU(), model, release, runtime.Version())
}

// bar is what Trivet asks of itself: at least so many times the other's speed, or at most so much of its size.
type bar struct {
	what            string
	set, step, mine string
	other           string
	of              func(sample) float64
	least           float64 // of other / trivet
}

func bars() []bar {
	list := []bar{
		{"initial, against a tuned restic", "mixed", "initial", "initial", "restic-tuned", wall, 1.4},
		{"edited, against restic", "mixed", "edited", "edited", "restic", wall, 2.5},
		{"edited, bytes stored, against restic", "mixed", "edited", "edited", "restic", added, 1},
		{"restore of large files, against restic", "mixed", "restore", "restore", "restic", wall, 1.2},
	}
	for _, set := range []string{"small", "tree", "mixed"} {
		list = append(list, bar{"initial, against restic", set, "initial", "initial", "restic", wall, 2.2},
			bar{"initial, against borg", set, "initial", "initial", "borg", wall, 1.5},
			bar{"initial, against kopia", set, "initial", "initial", "kopia", wall, 1.5})
		if set != "mixed" {
			list = append(list, bar{"unchanged, by the daemon, against restic", set, "unchanged", "daemon", "restic", wall, 6},
				bar{"unchanged, from the command line, against restic", set, "unchanged", "unchanged", "restic", wall, 3},
				bar{"restore of small files, against restic", set, "restore", "restore", "restic", wall, 2})
		}
		list = append(list, bar{"full verify, against restic", set, "verify", "verify", "restic", wall, 1.5},
			bar{"size of the repository, against restic", set, "initial", "initial", "restic", added, 1 / 1.05},
			bar{"peak memory, against restic", set, "initial", "initial", "restic", rss, 1 / 1.2},
			bar{"peak memory of a restore, against restic", set, "restore", "restore", "restic", rss, 1 / 1.2})
	}
	return append(list,
		bar{"unchanged, from the command line, against restic", "tiny", "unchanged", "unchanged", "restic", wall, 5},
		bar{"peak memory of an unchanged run, against restic", "tiny", "unchanged", "unchanged", "restic", rss, 1},
		bar{"peak memory, against restic", "tiny", "initial", "initial", "restic", rss, 1})
}

// bars writes which are met. CPU time stands beside the wall's: on a busy machine it is the steadier figure.
func (l *lab) bars(b *strings.Builder) {
	fmt.Fprint(b, "\n## Bars\n\nRatios are the other's figure over Trivet's.\n\n| bar | data | wanted | measured | CPU | met |\n|---|---|---|---|---|---|\n")
	for _, x := range bars() {
		got, ok := l.ratio(x.set, x.step, x.mine, x.other, x.of)
		if !ok {
			continue
		}
		met := "no"
		if got >= x.least {
			met = "yes"
		}
		cpuRatio, _ := l.ratio(x.set, x.step, x.mine, x.other, cpu)
		fmt.Fprintf(b, "| %s | %s | %.2f | %.2f | %.2f | %s |\n", x.what, x.set, x.least, got, cpuRatio, met)
	}
}
