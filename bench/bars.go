package main

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// A bar is what Trivet asks of itself in one case. Ratios are Trivet's figure over another's.
type bar struct {
	name, what string
	// got returns the figure and whether there is one.
	got func(*lab) (float64, bool)
	ok  func(float64) bool
	say string // the bar in words
}

func atLeast(v float64) func(float64) bool { return func(got float64) bool { return got >= v } }
func atMost(v float64) func(float64) bool  { return func(got float64) bool { return got <= v } }

// againstBest compares with whichever peer is best in the case: the highest rate, or the lowest cost.
func againstBest(name string, get func(sample) float64, higherIsBetter bool) func(*lab) (float64, bool) {
	return func(l *lab) (float64, bool) {
		var ratios []float64
		for _, peer := range []string{"haproxy", "nginx"} {
			if r := l.ratio(name, "trivet", peer, get); r > 0 {
				ratios = append(ratios, r)
			}
		}
		if len(ratios) == 0 {
			return 0, false
		}
		if higherIsBetter {
			return slices.Min(ratios), true
		}
		return slices.Max(ratios), true
	}
}

func against(name, peer string, get func(sample) float64) func(*lab) (float64, bool) {
	return func(l *lab) (float64, bool) {
		r := l.ratio(name, "trivet", peer, get)
		return r, r > 0
	}
}

// ofFault takes the worst figure of Trivet's rounds.
func ofFault(name string, get func(*faultSample) float64) func(*lab) (float64, bool) {
	return func(l *lab) (worst float64, found bool) {
		for i := range l.faults {
			if f := &l.faults[i]; f.name == name && f.peer == "trivet" {
				worst, found = max(worst, get(f)), true
			}
		}
		return worst, found
	}
}

func bars() (all []bar) {
	all = dnsBars()
	for _, b := range []struct {
		name  string
		ratio float64
	}{{"128-c64", 1.05}, {"128-c512", 1.20}, {"16k-c64", 1.10}, {"1m-c16", 1.00}, {"close-c64", 1.00}} {
		all = append(all,
			bar{b.name, "requests/s against the better of HAProxy and nginx", againstBest(b.name, perSecond, true), atLeast(b.ratio), fmt.Sprintf("≥ %.2f ×", b.ratio)},
			bar{b.name, "CPU per request against the better of both", againstBest(b.name, cpu, false), atMost(1), "≤ 1.00 ×"},
			bar{b.name, "p99 against HAProxy", against(b.name, "haproxy", p99), atMost(1), "≤ 1.00 ×"})
	}
	for _, b := range []struct {
		name  string
		ratio float64
	}{{"tcp-128-c64", 1.05}, {"tcp-1m-c16", 1.00}, {"tcp-close-c64", 1.00}} {
		all = append(all,
			bar{b.name, "requests/s against the better of HAProxy and nginx", againstBest(b.name, perSecond, true), atLeast(b.ratio), fmt.Sprintf("≥ %.2f ×", b.ratio)},
			bar{b.name, "CPU per request against the better of both", againstBest(b.name, cpu, false), atMost(1), "≤ 1.00 ×"})
	}
	for _, name := range []string{"udp-c64", "udp-c512"} {
		all = append(all, bar{name, "datagrams/s against nginx", against(name, "nginx", perSecond), atLeast(1.2), "≥ 1.20 ×"})
	}
	failures := func(f *faultSample) float64 { return float64(f.after.Failures()) }
	return append(all,
		bar{"open-2000", "CPU per request against the better of both", againstBest("open-2000", cpu, false), atMost(1), "≤ 1.00 ×"},
		bar{"open-2000", "p99 against HAProxy", against("open-2000", "haproxy", p99), atMost(1), "≤ 1.00 ×"},
		bar{"idle", "memory per connection against HAProxy", against("idle", "haproxy", memory), atMost(1), "≤ 1.00 ×"},
		bar{"tcp-idle", "memory per session against HAProxy", against("tcp-idle", "haproxy", memory), atMost(1), "≤ 1.00 ×"},
		bar{"kill", "failed requests", ofFault("kill", failures), atMost(0), "0"},
		bar{"kill", "p99 after over p99 before", ofFault("kill", func(f *faultSample) float64 {
			return float64(f.after.Latency.Quantile(0.99)) / max(float64(f.before.Latency.Quantile(0.99)), 1)
		}), atMost(1.5), "unchanged: ≤ 1.5 × is noise"},
		bar{"stop", "failed requests", ofFault("stop", failures), atMost(0), "0"},
		bar{"stop", "requests over 1 s", ofFault("stop", func(f *faultSample) float64 { return float64(f.after.Slow) }), atMost(49), "< 50"},
		bar{"stop", "last request over 1 s, seconds after the fault", ofFault("stop", func(f *faultSample) float64 {
			return float64(f.lastAfter(f.after.LastSlow)) / float64(time.Second)
		}), atMost(0.5), "≤ 0.5"},
	)
}

// barTable says which bars are met; it is empty unless Trivet was measured.
func (l *lab) barTable(b *strings.Builder) {
	if !slices.Contains(l.peers, "trivet") {
		return
	}
	b.WriteString("\n## The bars\n\n| case | what | bar | measured | |\n|---|---|---|---|---|\n")
	for _, bar := range bars() {
		got, ok := bar.got(l)
		if !ok {
			continue
		}
		verdict := "met"
		if !bar.ok(got) {
			verdict = "**missed**"
		}
		fmt.Fprintf(b, "| %s | %s | %s | %.2f | %s |\n", bar.name, bar.what, bar.say, got, verdict)
	}
}
