package load

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

// A Failure says why a request did not get a good answer; "" means that it did. Answers of 400 and above are
// failures named "status 502".
type Failure string

// The failures that are not an answer.
const (
	Connect   Failure = "connect"      // no connection could be made
	Reset     Failure = "reset"        // the connection was reset
	Closed    Failure = "closed"       // the connection was closed before the answer was complete
	Timeout   Failure = "timeout"      // no complete answer in time
	Malformed Failure = "malformed"    // what came back was not HTTP
	Wrong     Failure = "wrong answer" // the check refused it
	Full      Failure = "full"         // all connections that the generator may open were waiting for answers
)

// A Result is what became of one request.
type Result struct {
	Seq     uint64        // its number, from 0
	Due     time.Time     // when it should have been sent
	Latency time.Duration // from Due to the last byte of the answer, or to the failure
	Status  int           // 0 when there was no answer
	Failure Failure       // "" when all was well
	Resent  bool          // it was sent again because an idle connection turned out to be closed
}

// A Summary adds up the results that were due in one phase.
type Summary struct {
	Phase    string
	From, To time.Time // To is zero while the phase lasts

	Requests uint64
	Resent   uint64
	Failed   map[Failure]uint64
	Latency  Histogram // of all requests, failed ones too
	Good     Histogram // of those that did not fail

	Slow        uint64    // requests that took longer than the recorder's slow limit
	LastSlow    time.Time // when the last of them was due
	LastFailure time.Time // when the last request that failed was due
}

// Failures returns how many requests failed, for whatever reason.
func (s *Summary) Failures() (n uint64) {
	for _, k := range s.Failed {
		n += k
	}
	return n
}

// Why lists the failures by kind, most frequent first: "12 timeout, 3 status 502".
func (s *Summary) Why() string {
	kinds := slices.SortedFunc(maps.Keys(s.Failed), func(a, b Failure) int {
		if s.Failed[a] != s.Failed[b] {
			return int(s.Failed[b]) - int(s.Failed[a])
		}
		return strings.Compare(string(a), string(b))
	})
	parts := make([]string, len(kinds))
	for i, k := range kinds {
		parts[i] = fmt.Sprintf("%d %s", s.Failed[k], k)
	}
	return strings.Join(parts, ", ")
}

func (s *Summary) add(r Result, slow time.Duration) {
	s.Requests++
	s.Latency.Record(r.Latency)
	if r.Resent {
		s.Resent++
	}
	if r.Failure != "" {
		s.Failed[r.Failure]++
		s.LastFailure = later(s.LastFailure, r.Due)
	} else {
		s.Good.Record(r.Latency)
	}
	if slow > 0 && r.Latency > slow {
		s.Slow++
		s.LastSlow = later(s.LastSlow, r.Due)
	}
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// A Recorder sorts results into phases by the moment they were due, so that a request of the calm which is answered
// late does not darken the storm, nor the other way round. It is safe for concurrent use.
type Recorder struct {
	slow time.Duration

	mu     sync.Mutex
	phases []*Summary // in order of From
}

// NewRecorder returns a recorder that counts requests longer than slow; 0 counts none.
func NewRecorder(slow time.Duration) *Recorder { return &Recorder{slow: slow} }

// Phase ends the current phase, if any, and begins another. Results due before the first phase are not recorded.
func (r *Recorder) Phase(name string) *Summary {
	now := time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	if n := len(r.phases); n > 0 && r.phases[n-1].To.IsZero() {
		r.phases[n-1].To = now
	}
	s := &Summary{Phase: name, From: now, Failed: make(map[Failure]uint64)}
	r.phases = append(r.phases, s)
	return s
}

// End ends the current phase. Results due after it are not recorded until the next begins.
func (r *Recorder) End() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if n := len(r.phases); n > 0 && r.phases[n-1].To.IsZero() {
		r.phases[n-1].To = time.Now()
	}
}

// Observe adds a result to the phase in which it was due.
func (r *Recorder) Observe(res Result) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range slices.Backward(r.phases) {
		if res.Due.Before(s.From) {
			continue
		}
		if s.To.IsZero() || res.Due.Before(s.To) {
			s.add(res, r.slow)
		}
		return
	}
}

// Summaries returns a copy of every phase so far.
func (r *Recorder) Summaries() []Summary {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make([]Summary, len(r.phases))
	for i, s := range r.phases {
		out[i] = *s
		out[i].Failed = maps.Clone(s.Failed)
	}
	return out
}

// Total returns how many requests were recorded in all phases, and how many of them failed.
func (r *Recorder) Total() (requests, failed uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.phases {
		requests += s.Requests
		failed += s.Failures()
	}
	return requests, failed
}
