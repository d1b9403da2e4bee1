package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"time"
)

// A row is what the page says of one proxy in one case.
type row struct {
	Case, Peer string
	Requests   uint64
	Failed     uint64
	Why        string        // the failures, by kind
	Slow       uint64        // over a second
	Trouble    time.Duration // after the fault, when the last request that failed or was slow was due
	Before     time.Duration // 99th percentile before the fault
	After      time.Duration // and after it, of the requests that did not fail
	Longest    time.Duration
	Good       float64 // answers that were well, per second of the storm
	Asked      float64 // requests that backends got for each of a client
}

func (s *seen) row() row {
	r := row{
		Case: s.c.name, Peer: s.peer, Requests: s.after.Requests, Failed: s.after.Failures(), Why: s.after.Why(), Slow: s.after.Slow,
		Trouble: s.recovered(), Before: s.before.Good.Quantile(0.99), After: s.after.Good.Quantile(0.99), Longest: s.after.Latency.Max(),
		Asked: float64(s.asked) / float64(max(1, s.after.Requests)),
	}
	r.Good = float64(r.Requests-r.Failed) / s.after.To.Sub(s.after.From).Seconds()
	return r
}

// recovered is how long after the fault the last request failed or took over a second.
func (s *seen) recovered() time.Duration {
	last := s.after.LastFailure
	if s.after.LastSlow.After(last) {
		last = s.after.LastSlow
	}
	return max(0, last.Sub(s.struck))
}

func (r *row) line() string {
	return fmt.Sprintf("%-8s %6d requests, %5d failed (%s), %5d over 1 s, last trouble after %.1f s, p99 %s then %s, longest %s, %.0f good/s, %.3f asked per request",
		r.Peer, r.Requests, r.Failed, r.Why, r.Slow, r.Trouble.Seconds(), ms(r.Before), ms(r.After), ms(r.Longest), r.Good, r.Asked)
}

// keep puts a row in the place of an older one of the same case and proxy.
func (l *lab) keep(r row) {
	l.rows = append(slices.DeleteFunc(l.rows, func(o row) bool { return o.Case == r.Case && o.Peer == r.Peer }), r)
}

// load reads what was seen before, so that cases can be run by themselves.
func (l *lab) load() error {
	text, err := os.ReadFile(l.results)
	if l.results == "" || errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return json.Unmarshal(text, &l.rows)
}

func (l *lab) save() error {
	if l.results == "" {
		return nil
	}
	text, err := json.MarshalIndent(l.rows, "", "\t")
	if err != nil {
		return err
	}
	return os.WriteFile(l.results, append(text, '\n'), 0o644)
}
