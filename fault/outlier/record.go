package outlier

import (
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"time"
)

// buckets is the number of parts of the window; the oldest is dropped as a new
// one begins.
const buckets = 6

// forgiveness is the shortest time in good standing after which an endpoint's
// former ejections no longer lengthen the next.
const forgiveness = time.Minute

// Record is what is known about one endpoint. Its methods may be called
// concurrently. Success costs a few nanoseconds and takes no lock while the
// endpoint is in good standing and has not just failed.
type Record struct {
	good     atomic.Int64 // successes in the running bucket
	rotateAt atomic.Int64 // time.Duration at which the running bucket ends
	marked   atomic.Bool  // a success changes more than a count

	mu         sync.Mutex
	cfg        Config
	past       [buckets]Sample // complete buckets; past[at] is the running one's failures
	at         int
	run        int // failures since the last success
	standing   Standing
	until      time.Duration // end of the ejection
	cause      Cause
	reason     string
	remaining  int           // successes until the end of the probation
	ejections  int           // in a row
	lastLength time.Duration // of the last ejection
	trusted    time.Duration // when good standing was regained
	compareAt  time.Duration // when the failure rate is next compared
}

// compareEvery limits how often one endpoint's failure rate is held against its
// peers', which costs a look at each of them.
const compareEvery = 100 * time.Millisecond

// NewRecord returns the record of an endpoint in good standing. The caller has
// checked cfg.
func NewRecord(cfg Config) *Record {
	r := &Record{cfg: cfg.WithDefaults()}
	r.rotateAt.Store(math.MinInt64)
	return r
}

// SetConfig changes the rules; what is known, and a running ejection, stay.
func (r *Record) SetConfig(cfg Config) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cfg = cfg.WithDefaults()
}

// Success counts a request that went well. It reports true when the endpoint
// has just passed its probation.
func (r *Record) Success(now time.Duration) (trusted bool) {
	if int64(now) >= r.rotateAt.Load() {
		r.rotate(now)
	}
	r.good.Add(1)
	return r.marked.Load() && r.redeem(now)
}

func (r *Record) rotate(now time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.advance(now)
}

func (r *Record) redeem(now time.Duration) (trusted bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.run = 0
	if r.standing == Ejected {
		return false
	}
	if r.standing == Probation {
		if r.remaining--; r.remaining > 0 {
			return false
		}
		r.standing, r.trusted, trusted = Good, now, true
	}
	r.marked.Store(false)
	return trusted
}

// Failure counts a request that failed. It reports suspect when the evidence
// is worth holding against the endpoint; the caller then asks
// [Config.Convicts], [Config.MayEject], and calls [Record.Eject]. Failures of an
// endpoint that is already ejected are of requests sent before, and ignored.
func (r *Record) Failure(cause Cause, now time.Duration) (s Suspicion, suspect bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.standing == Ejected {
		return Suspicion{}, false
	}
	r.advance(now)
	r.past[r.at].Failures++
	r.run++
	r.marked.Store(true)
	s = Suspicion{Cause: cause, OnProbation: r.standing == Probation}
	switch {
	case cause.certain(), s.OnProbation:
		s.Sample = Sample{r.run, r.run}
		return s, true
	case r.run >= r.cfg.Consecutive:
		s.Sample = Sample{r.run, r.run}
	default:
		if s.Sample = r.sample(); s.Sample.Requests < r.cfg.MinRequests {
			return s, false
		}
	}
	if now < r.compareAt || lowerBound(s.Sample) <= r.cfg.Margin {
		return s, false
	}
	r.compareAt = now + compareEvery
	return s, true
}

// Sample returns the requests of the window that ends now.
func (r *Record) Sample(now time.Duration) Sample {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.advance(now)
	return r.sample()
}

// Eject puts the endpoint out on the evidence s and returns when the ejection
// ends.
func (r *Record) Eject(s Suspicion, now time.Duration) (until time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.standing == Good && now-r.trusted >= max(forgiveness, r.lastLength) {
		r.ejections = 0
	}
	r.ejections++
	r.lastLength = r.cfg.duration(s.Cause, r.ejections)
	r.until = now + r.lastLength
	r.cause, r.reason = s.Cause, r.describe(s)
	r.standing = Ejected
	r.forget()
	return r.until
}

// Release ends an ejection, be its time up or not, and puts the endpoint on
// probation. It reports false if the endpoint was not ejected.
func (r *Record) Release() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.standing != Ejected {
		return false
	}
	r.standing, r.remaining = Probation, r.cfg.Probation
	r.marked.Store(true)
	return true
}

// Reset clears the record: good standing, nothing known.
func (r *Record) Reset() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.standing, r.ejections, r.until, r.reason, r.lastLength = Good, 0, 0, "", 0
	r.forget()
	r.marked.Store(false)
}

// State is a copy of what a [Record] says, for people.
type State struct {
	Standing  Standing
	Until     time.Duration // end of the ejection, if ejected
	Cause     Cause         // of the last ejection
	Reason    string        // of the last ejection; empty if there was none
	Ejections int           // in a row
	Remaining int           // successes until trusted, if on probation
	Run       int           // failures since the last success
}

// State returns the present state.
func (r *Record) State() State {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := State{Standing: r.standing, Cause: r.cause, Reason: r.reason, Ejections: r.ejections, Run: r.run}
	switch r.standing {
	case Ejected:
		s.Until = r.until
	case Probation:
		s.Remaining = r.remaining
	}
	return s
}

func (r *Record) describe(s Suspicion) string {
	switch {
	case s.OnProbation && s.Cause == Errors:
		return "failed on probation"
	case s.Cause != Errors:
		return s.Cause.String()
	case s.Sample.Failures == s.Sample.Requests:
		return fmt.Sprintf("%d failures in a row", s.Sample.Failures)
	}
	return fmt.Sprintf("%d of %d requests failed within %v", s.Sample.Failures, s.Sample.Requests, r.cfg.Window)
}

// forget drops the window and the run: they belong to the time before.
func (r *Record) forget() {
	r.past = [buckets]Sample{}
	r.good.Store(0)
	r.run = 0
	r.compareAt = 0
}

// sample sums the window up. The caller holds mu and has advanced.
func (r *Record) sample() Sample {
	var s Sample
	for _, b := range r.past {
		s.Failures += b.Failures
		s.Requests += b.Requests + b.Failures
	}
	s.Requests += int(r.good.Load())
	return s
}

// advance closes the buckets that have ended by now. Requests counts only
// successes in past; sample adds the failures.
func (r *Record) advance(now time.Duration) {
	width := r.cfg.Window / buckets
	end := time.Duration(r.rotateAt.Load())
	if now < end {
		return
	}
	if r.rotateAt.Load() == math.MinInt64 {
		r.rotateAt.Store(int64(now + width))
		return
	}
	r.past[r.at].Requests = int(r.good.Swap(0))
	elapsed := 1 + int64(now-end)/int64(width)
	for range min(elapsed, buckets) {
		r.at = (r.at + 1) % buckets
		r.past[r.at] = Sample{}
	}
	r.rotateAt.Store(int64(end) + elapsed*int64(width))
}
