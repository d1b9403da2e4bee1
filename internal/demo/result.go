package demo

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

// A Result is what the story came to.
type Result struct {
	Phases   []PhaseResult `json:"phases"`
	Requests uint64        `json:"requests"`
	Failed   uint64        `json:"failed"`

	OrdersAcknowledged int `json:"orders_acknowledged"`
	OrdersFound        int `json:"orders_found"`        // of those acknowledged
	OrdersStoredTwice  int `json:"orders_stored_twice"` // the same order under the same id in two ledgers
}

// A PhaseResult is one row of the table. Latencies are measured from when a request was due.
type PhaseResult struct {
	Chapter       string            `json:"chapter"`
	Phase         string            `json:"phase"`
	Requests      uint64            `json:"requests"`
	Failed        uint64            `json:"failed"`
	Why           map[string]uint64 `json:"why,omitempty"` // failures by kind
	P50           float64           `json:"p50_ms"`
	P99           float64           `json:"p99_ms"`
	Max           float64           `json:"max_ms"`
	OverOneSecond uint64            `json:"over_1s"` // requests that took longer than a second
}

// verdict returns nil if all went well, and what did not otherwise.
func (r *Result) verdict() error {
	var errs []error
	if r.Failed > 0 {
		errs = append(errs, fmt.Errorf("%d of %d requests failed", r.Failed, r.Requests))
	}
	if lost := r.OrdersAcknowledged - r.OrdersFound; lost > 0 {
		errs = append(errs, fmt.Errorf("%d of %d acknowledged orders are lost", lost, r.OrdersAcknowledged))
	}
	return errors.Join(errs...)
}

// result adds everything up, and looks every acknowledged order up in the ledgers themselves.
func (s *Stage) result(ctx context.Context) (r Result, err error) {
	for i, sum := range s.recorder.Summaries() {
		p := PhaseResult{
			Chapter: s.rows[i].chapter, Phase: sum.Phase, Requests: sum.Requests, Failed: sum.Failures(),
			P50: inMS(sum.Latency.Quantile(0.5)), P99: inMS(sum.Latency.Quantile(0.99)), Max: inMS(sum.Latency.Max()), OverOneSecond: sum.Slow,
		}
		for kind, n := range sum.Failed {
			if p.Why == nil {
				p.Why = make(map[string]uint64)
			}
			p.Why[string(kind)] = n
		}
		r.Phases = append(r.Phases, p)
		r.Requests += p.Requests
		r.Failed += p.Failed
	}
	reader, err := openLedger(ctx, s.ledgers(), "")
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, reader.close()) }()
	for _, id := range s.customers.acknowledged() {
		n, err := reader.copies(ctx, id)
		if err != nil {
			return r, err
		}
		r.OrdersAcknowledged++
		if n > 0 {
			r.OrdersFound++
		}
		if n > 1 {
			r.OrdersStoredTwice++
		}
	}
	return r, nil
}

func inMS(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// printTable ends the story.
func (s *Stage) printTable(r Result) {
	s.story.title(fmt.Sprintf("%-38s %-7s %9s %7s %10s %10s %10s", "How the customers fared", "", "requests", "failed", "p50", "p99", "max"))
	last := ""
	for _, p := range r.Phases {
		name := p.Chapter
		if name == last {
			name = ""
		}
		last = p.Chapter
		line := fmt.Sprintf("%-38s %-7s %9s %7s %7.1f ms %7.1f ms %7.1f ms", name, p.Phase, grouped(p.Requests), grouped(p.Failed), p.P50, p.P99, p.Max)
		if p.Failed > 0 {
			line = s.story.paint(red, line)
		}
		s.story.print(line)
	}
	total := fmt.Sprintf("%-38s %-7s %9s %7s", "In all", "", grouped(r.Requests), grouped(r.Failed))
	colour := green
	if r.verdict() != nil {
		colour = red
	}
	s.story.print(s.story.paint(dim, strings.Repeat("─", 96)))
	s.story.print(s.story.paint(colour, total))
	s.story.print("")
	s.story.print(fmt.Sprintf("%s orders were acknowledged; %s of them are in the ledgers.", grouped(uint64(r.OrdersAcknowledged)), grouped(uint64(r.OrdersFound))))
	s.story.print("Latency counts from when a request was due, so that no stall can hide the requests it delayed.")
}
