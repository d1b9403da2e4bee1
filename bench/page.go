package main

import (
	"cmp"
	"fmt"
	"maps"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// page writes what was measured as a page of Markdown.
func (l *lab) page(began time.Time) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# Measured %s\n\n", began.Format("2 January 2006, 15:04"))
	b.WriteString(machine())
	for _, p := range l.compared() {
		fmt.Fprintf(&b, "%s: %s.\n", p, l.version(p))
	}
	fmt.Fprintf(&b, "\n%d rounds of %g s, interleaved, after 1 s to warm up. Figures are medians; ratios are medians of the ratios within a round.\n", l.rounds, l.seconds)
	if bad, all := l.disturbed(); bad > 0 {
		fmt.Fprintf(&b, "**%d of %d measurements were disturbed**: others used more than %.0f %% of the machine. Their rounds are left out where a case has quiet ones.\n", bad, all, l.quiet)
	}
	b.WriteString("Load, proxy and backends share the machine, so CPU per request of the proxy's processes is the steadiest figure.\n")
	b.WriteString("The configurations are in [peers](../peers/). Trivet runs with metrics, access control, time-outs and health probes on;\nthe other proxies without checks, metrics and access control. Name servers all have their checks, as far as they have any.\n")
	for _, c := range cases() {
		l.speedTable(&b, c)
		l.idleTable(&b, c)
		l.faultTable(&b, c)
		l.dnsTable(&b, c)
		l.deathTable(&b, c)
	}
	l.barTable(&b)
	return b.String()
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

// compared lists whoever was measured, each once.
func (l *lab) compared() []string {
	var all []string
	for _, c := range cases() {
		if !slices.Contains(l.cases, c.name) {
			continue
		}
		peers := l.peers
		if isDNS(c.name) {
			peers = l.dnsPeers
		}
		for _, p := range peers {
			if !slices.Contains(all, p) {
				all = append(all, p)
			}
		}
	}
	return all
}

// of returns the samples of a peer in a case, in order of rounds. Rounds in which others disturbed anyone are left out,
// for all alike, if there are any that nobody disturbed.
func (l *lab) of(name, peer string) (out []sample) {
	disturbed, rounds := make(map[int]bool), make(map[int]bool)
	for _, s := range l.samples {
		if s.name == name {
			rounds[s.round] = true
			disturbed[s.round] = disturbed[s.round] || s.foreign > l.quiet
		}
	}
	maps.DeleteFunc(disturbed, func(_ int, bad bool) bool { return !bad })
	allBad := len(disturbed) == len(rounds)
	for _, s := range l.samples {
		if s.name == name && s.peer == peer && (allBad || !disturbed[s.round]) {
			out = append(out, s)
		}
	}
	return out
}

// disturbed returns how many measurements others have disturbed, and of how many.
func (l *lab) disturbed() (bad, all int) {
	for _, s := range l.samples {
		all++
		if s.foreign > l.quiet {
			bad++
		}
	}
	return bad, all
}

// median returns the median of what get takes from each; 0 for none.
func median[T any, V cmp.Ordered](all []T, get func(T) V) (m V) {
	values := make([]V, len(all))
	for i, x := range all {
		values[i] = get(x)
	}
	slices.Sort(values)
	if len(values) > 0 {
		m = values[(len(values)-1)/2]
	}
	return m
}

func perSecond(s sample) float64 { return s.perSecond }
func cpu(s sample) float64       { return float64(s.cpuPerRequest) }
func p99(s sample) float64       { return float64(s.p99) }
func memory(s sample) float64    { return s.memoryBytes }

// ratio returns the median of the ratios of two peers within a round.
func (l *lab) ratio(name, peer, other string, get func(sample) float64) float64 {
	type pair struct{ a, b sample }
	var pairs []pair
	a, b := l.of(name, peer), l.of(name, other)
	for i := range min(len(a), len(b)) {
		if get(b[i]) != 0 {
			pairs = append(pairs, pair{a[i], b[i]})
		}
	}
	return median(pairs, func(p pair) float64 { return get(p.a) / get(p.b) })
}

func (l *lab) speedTable(b *strings.Builder, c benchCase) {
	var peers []string
	for _, p := range l.peers {
		if len(l.of(c.name, p)) > 0 {
			peers = append(peers, p)
		}
	}
	if c.path == "" && c.window == 0 || len(peers) == 0 {
		return
	}
	fmt.Fprintf(b, "\n## %s\n\n", c.title)
	first := peers[0]
	fmt.Fprintf(b, "| | requests/s | × %s | CPU µs/request | × %s | p50 ms | p99 ms | memory MiB | errors | others %% |\n|---|---|---|---|---|---|---|---|---|---|\n", first, first)
	for _, peer := range peers {
		all := l.of(c.name, peer)
		fmt.Fprintf(b, "| %s | %.0f | %.2f | %.1f | %.2f | %.2f | %.2f | %.0f | %.0f | %.0f |\n", peer,
			median(all, perSecond), l.ratio(c.name, peer, first, perSecond),
			median(all, cpu)/float64(time.Microsecond), l.ratio(c.name, peer, first, cpu),
			float64(median(all, func(s sample) time.Duration { return s.p50 }))/float64(time.Millisecond),
			median(all, p99)/float64(time.Millisecond),
			median(all, memory)/(1<<20), sum(all, func(s sample) float64 { return s.errors }), median(all, func(s sample) float64 { return s.foreign }))
	}
}

func sum(all []sample, get func(sample) float64) (total float64) {
	for _, s := range all {
		total += get(s)
	}
	return total
}

func (l *lab) idleTable(b *strings.Builder, c benchCase) {
	if c.name != "idle" && c.name != "tcp-idle" || len(l.of(c.name, l.peers[0])) == 0 {
		return
	}
	fmt.Fprintf(b, "\n## %s\n\n%d connections that have carried one request each.\n\n| | bytes per connection |\n|---|---|\n", c.title, l.idle)
	for _, peer := range l.peers {
		fmt.Fprintf(b, "| %s | %.0f |\n", peer, median(l.of(c.name, peer), memory))
	}
}

func (l *lab) faultTable(b *strings.Builder, c benchCase) {
	if c.signal == 0 || !slices.ContainsFunc(l.faults, func(f faultSample) bool { return f.name == c.name }) {
		return
	}
	fmt.Fprintf(b, "\n## %s\n\nTrivet with its defaults; the others tuned. Watched for %v after the fault.\n\n", c.title, stormFor)
	b.WriteString("| | requests | failed | last failure, s after | over 1 s | last of these, s after | p99 ms before | p99 ms after | max ms |\n|---|---|---|---|---|---|---|---|---|\n")
	for _, f := range l.faults {
		if f.name != c.name {
			continue
		}
		fmt.Fprintf(b, "| %s | %d | %d | %.2f | %d | %.2f | %.1f | %.1f | %.0f |\n", f.peer, f.after.Requests, f.after.Failures(),
			f.lastAfter(f.after.LastFailure).Seconds(), f.after.Slow, f.lastAfter(f.after.LastSlow).Seconds(),
			inMS(f.before.Latency.Quantile(0.99)), inMS(f.after.Latency.Quantile(0.99)), inMS(f.after.Latency.Max()))
	}
}

func inMS(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
