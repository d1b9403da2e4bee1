package main

import (
	"fmt"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"time"
)

func (l *lab) page() string {
	var b strings.Builder
	fmt.Fprintf(&b, `# Faults, compared

What clients see when backends fail. Three backends, an open loop of 2 000 requests a second (the overload: see there), one run of each
case, all on one machine of %d processors, %s. HAProxy and nginx are tuned for failing backends ([their files](../../bench/peers/)); Trivet has its
defaults, and beside them what a case says. Made by `+"`go run ./bench/faults`"+`.

- "Last trouble" is when, after the fault, the last request that failed or took over a second was due: the time to recover.
- The 99th percentiles are those of the requests that did not fail; "longest" is of all.
- "Asked" is how many requests the backends got for each that a client made: 1.20 would be one retry in five.

Versions: %s.

`, runtime.NumCPU(), time.Now().Format("2 January 2006"), l.versions())
	for _, c := range faultCases() {
		var rows []row
		for _, r := range l.rows {
			if r.Case == c.name {
				rows = append(rows, r)
			}
		}
		if len(rows) == 0 {
			continue
		}
		slices.SortFunc(rows, func(a, b row) int { return strings.Compare(a.Peer, b.Peer) })
		fmt.Fprintf(&b, "## %s%s\n\n", strings.ToUpper(c.title[:1]), c.title[1:])
		if c.note != "" {
			fmt.Fprintf(&b, "%s\n\n", c.note)
		}
		b.WriteString("| | requests | failed | why | over 1 s | last trouble | p99 before | p99 after | longest | good/s | asked |\n|---|---|---|---|---|---|---|---|---|---|---|\n")
		for _, r := range rows {
			fmt.Fprintf(&b, "| %s | %d | %d | %s | %d | %.1f s | %s | %s | %s | %.0f | %.2f |\n", r.Peer, r.Requests, r.Failed, r.Why, r.Slow,
				r.Trouble.Seconds(), ms(r.Before), ms(r.After), ms(r.Longest), r.Good, r.Asked)
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
