package main

import (
	"fmt"
	"os/exec"
	"runtime"
	"strings"
	"time"
)

// goodput is how many requests a second were answered well in the storm.
func (s *seen) goodput() float64 {
	return float64(s.after.Requests-s.after.Failures()) / s.after.To.Sub(s.after.From).Seconds()
}

// recovered is how long after the fault the last request failed or took over a second.
func (s *seen) recovered() time.Duration {
	last := s.after.LastFailure
	if s.after.LastSlow.After(last) {
		last = s.after.LastSlow
	}
	if last.Before(s.struck) {
		return 0
	}
	return last.Sub(s.struck)
}

func (s *seen) line() string {
	return fmt.Sprintf("%-8s %6d requests, %5d failed (%s), %5d over 1 s, last trouble after %.1f s, p99 %v then %v, max %v, %.0f good/s",
		s.peer, s.after.Requests, s.after.Failures(), s.after.Why(), s.after.Slow, s.recovered().Seconds(),
		s.before.Latency.Quantile(0.99).Round(100*time.Microsecond), s.after.Latency.Quantile(0.99).Round(100*time.Microsecond),
		s.after.Latency.Max().Round(time.Millisecond), s.goodput())
}

func (l *lab) page() string {
	var b strings.Builder
	fmt.Fprintf(&b, `# Faults, compared

What clients see when backends fail. Three backends, an open loop of 2 000 requests a second (the overload: see there), one run of each
case, all on one machine of %d processors, %s. HAProxy and nginx are tuned for failing backends ([their files](../../bench/peers/)); Trivet has its
defaults, and beside them what a row says. "Trouble" is a request that failed or took over a second. Made by `+"`go run ./bench/faults`"+`.

Versions: %s.

`, runtime.NumCPU(), time.Now().Format("2 January 2006"), l.versions())
	for _, c := range faultCases() {
		var rows []seen
		for _, s := range l.seen {
			if s.c.name == c.name {
				rows = append(rows, s)
			}
		}
		if len(rows) == 0 {
			continue
		}
		fmt.Fprintf(&b, "## %s%s\n\n", strings.ToUpper(c.title[:1]), c.title[1:])
		if c.note != "" {
			fmt.Fprintf(&b, "Trivet is told `%s`.\n\n", c.note)
		}
		b.WriteString("| | requests | failed | why | over 1 s | last trouble | p99 before | p99 after | longest | good/s |\n|---|---|---|---|---|---|---|---|---|---|\n")
		for _, s := range rows {
			fmt.Fprintf(&b, "| %s | %d | %d | %s | %d | %.1f s | %s | %s | %s | %.0f |\n", s.peer, s.after.Requests, s.after.Failures(), s.after.Why(), s.after.Slow,
				s.recovered().Seconds(), ms(s.before.Latency.Quantile(0.99)), ms(s.after.Latency.Quantile(0.99)), ms(s.after.Latency.Max()), s.goodput())
		}
		b.WriteString("\n")
	}
	return b.String()
}

func ms(d time.Duration) string { return fmt.Sprintf("%.1f ms", float64(d)/float64(time.Millisecond)) }

func (l *lab) versions() string {
	var all []string
	for _, p := range []struct {
		program string
		args    []string
	}{{find("haproxy"), []string{"-v"}}, {find("nginx"), []string{"-v"}}, {l.trivet, []string{"version"}}} {
		out, _ := exec.Command(p.program, p.args...).CombinedOutput()
		first, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
		if first != "" {
			all = append(all, first)
		}
	}
	return strings.Join(all, "; ")
}
