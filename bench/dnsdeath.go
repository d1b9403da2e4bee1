package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"
)

// A deathSample is how long a server that was killed stayed in a name's answers.
type deathSample struct {
	peer  string
	round int
	gone  time.Duration // deathPatience if it never left
}

// deathPatience is longer than gdnsd takes with its defaults, ten failures ten seconds apart.
const deathPatience = 130 * time.Second

// runDeath kills one of the servers behind the name, for each peer that follows health, and waits until it has left the
// answers. Trivet is struck more often, since its bar is about the longest; peers that take long are struck once.
func runDeath(ctx context.Context, l *lab, _ benchCase) error {
	for _, peer := range l.dnsPeers {
		if peer == "coredns" {
			continue // it would never notice
		}
		deaths := l.rounds
		if peer == "trivet" {
			deaths *= deathsPerRound
		}
		for round := range deaths {
			d, err := l.death(ctx, peer)
			if err != nil {
				return fmt.Errorf("%s: %w", peer, err)
			}
			d.round = round
			l.deaths = append(l.deaths, d)
			fmt.Fprintf(os.Stderr, "  round %d  %-8s gone after %v\n", round+1, peer, d.gone.Round(10*time.Millisecond))
			if d.gone > deathLong {
				break
			}
		}
	}
	return nil
}

// deathsPerRound is how many servers die behind Trivet for each round of the other cases.
const deathsPerRound = 4

// deathLong is more than one wants to wait for more than once.
const deathLong = 20 * time.Second

func (l *lab) death(ctx context.Context, peer string) (d deathSample, err error) {
	ports, err := freePorts(1)
	if err != nil {
		return d, err
	}
	hosts, err := l.startHosts(ports[0])
	if err != nil {
		return d, err
	}
	n, err := l.raiseNames(ctx, peer, ports[0], hosts)
	if err != nil {
		return d, err
	}
	defer func() {
		n.child.Stop(time.Second)
		for _, c := range hosts {
			c.Kill()
		}
	}()
	const victim = "127.0.0.12"
	if err := n.until(ctx, victim, true, 60*time.Second); err != nil {
		return d, err
	}
	if err := pause(ctx, time.Duration(time.Now().UnixNano()%int64(3*time.Second))); err != nil { // at any moment between two probes
		return d, err
	}
	struck := time.Now()
	if err := hosts[victim].Signal(syscall.SIGKILL); err != nil {
		return d, err
	}
	<-hosts[victim].Exited()
	if err := n.until(ctx, victim, false, deathPatience); err != nil && ctx.Err() != nil {
		return d, err
	}
	d.peer, d.gone = peer, time.Since(struck)
	return d, nil
}

// until waits until an address is, or is not, among the answers. Where one answer does not name all that could be, it is gone
// when it was in none of fifty, which are asked within milliseconds.
func (n *nameServer) until(ctx context.Context, host string, wanted bool, patience time.Duration) error {
	deadline := time.Now().Add(patience)
	for time.Now().Before(deadline) {
		seen := false
		for range 50 {
			got, err := n.resolve()
			if err != nil { // a lost answer proves nothing
				seen = !wanted
				break
			}
			if slices.Contains(got, host) {
				seen = true
				break
			}
			if len(got) > 1 {
				break // all that could be are named
			}
		}
		if seen == wanted {
			return nil
		}
		if err := pause(ctx, 10*time.Millisecond); err != nil {
			return err
		}
	}
	return fmt.Errorf("%s: %s: not within %v", n.name, host, patience)
}

// deathTable writes how long dead servers stayed in the answers.
func (l *lab) deathTable(b *strings.Builder, c benchCase) {
	if c.name != "dns-death" || len(l.deaths) == 0 {
		return
	}
	fmt.Fprintf(b, "\n## %s\n\nEverybody with defaults. From the kill to the first answer without the dead server.\n\n| | deaths | median s | longest s |\n|---|---|---|---|\n", c.title)
	for _, peer := range l.dnsPeers {
		if all := l.deathsOf(peer); len(all) > 0 {
			fmt.Fprintf(b, "| %s | %d | %.2f | %.2f |\n", peer, len(all), median(all, time.Duration.Seconds), slices.Max(all).Seconds())
		}
	}
}

func (l *lab) deathsOf(peer string) (all []time.Duration) {
	for _, d := range l.deaths {
		if d.peer == peer {
			all = append(all, d.gone)
		}
	}
	return all
}
