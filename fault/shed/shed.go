// Package shed answers which requests are given up so that the others are
// served: when a service can't cope, each request to it is refused with a certain
// probability before it costs anything, the less important ones first.
//
// How much is shed follows from how many of the latest requests the service
// accepted, or is said by somebody who watches something else, like a queue or a
// processor ([Shedder.Press]).
//
// Sources: B. Beyer et al., "Site Reliability Engineering", 2016, chapter 21,
// "Client-Side Throttling" and "Criticality"; Envoy's admission control filter.
//
// The package sends nothing, starts no goroutine and reads no clock.
package shed

import (
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/trivet-ha/trivet/fault/internal/window"
)

// Throttle is the probability with which a client refuses a request by itself,
// after so many requests (the refused ones included) of which so many were
// accepted: max(0, (requests − K × accepted) / (requests + 1)).
func Throttle(requests, accepted int, k float64) float64 {
	return max(0, (float64(requests)-k*float64(accepted))/float64(requests+1))
}

// Admission is the probability with which a request is refused, after so many
// requests (without the refused ones) of which so many had good answers:
// max(0, (requests − good / threshold) / (requests + 1)) to the power of
// 1 / aggression.
func Admission(requests, good int, threshold, aggression float64) float64 {
	p := max(0, (float64(requests)-float64(good)/threshold)/float64(requests+1))
	if aggression == 1 {
		return p
	}
	return math.Pow(p, 1/aggression)
}

// Priority is how important a request is; the criticalities of the SRE book. The
// zero Priority is that of requests which say nothing.
type Priority int8

// The priorities, the first ones shed first.
const (
	// Sheddable: batches and the like; frequently refused and repeated later.
	Sheddable Priority = iota - 2
	// SheddablePlus: may be refused for minutes; what can be computed anew.
	SheddablePlus
	// Critical: users notice its loss.
	Critical
	// CriticalPlus: its loss is a serious failure.
	CriticalPlus
)

const priorities = 4

func (p Priority) String() string {
	return [...]string{"sheddable", "sheddable plus", "critical", "critical plus"}[p.index()]
}

// index is 0 for what is shed first.
func (p Priority) index() int { return int(min(max(p, Sheddable), CriticalPlus) - Sheddable) }

// Outcome is how a request went.
type Outcome uint8

// The outcomes.
const (
	// Accepted: the service coped with it.
	Accepted Outcome = iota
	// Refused: it did not, by its own account or none.
	Refused
	// Ignored: it says nothing about the service.
	Ignored
)

func (o Outcome) String() string { return [...]string{"accepted", "refused", "ignored"}[o] }

// Shedder decides for the requests to one service. Its methods may be called
// concurrently, wait for no lock and allocate nothing.
type Shedder struct {
	config Config
	scale  window.Scale

	asked    [priorities]window.Counter
	ended    window.Counter
	accepted window.Counter

	pressed   atomic.Uint64 // float64
	refreshAt atomic.Int64  // time.Duration
	shares    [priorities]atomic.Uint64
	shedding  atomic.Uint64 // float64: of all requests
	mu        sync.Mutex    // of who computes the shares
}

// refreshes is how often within a window the shares are computed.
const refreshes = 300

// New returns a shedder that has seen no request. The caller has checked c.
func New(c Config) *Shedder {
	c = c.WithDefaults()
	s := &Shedder{config: c, scale: window.NewScale(c.Window)}
	s.refreshAt.Store(math.MinInt64)
	return s
}

// Config returns the rules, defaults filled in.
func (s *Shedder) Config() Config { return s.config }

// Admit reports whether a request may be made. If so, [Shedder.Done] must be
// called exactly once. random is any random number, a new one for each request.
func (s *Shedder) Admit(now time.Duration, p Priority, random uint64) bool {
	i := p.index()
	s.asked[i].Add(s.scale.Slot(now), 1)
	if int64(now) >= s.refreshAt.Load() && s.mu.TryLock() {
		s.refresh(now)
		s.mu.Unlock()
	}
	share := s.shares[i].Load()
	return share == 0 || random >= share && share != math.MaxUint64
}

// Done reports how a request that was admitted went.
func (s *Shedder) Done(now time.Duration, o Outcome) {
	if o == Ignored {
		return
	}
	slot := s.scale.Slot(now)
	s.ended.Add(slot, 1)
	if o == Accepted {
		s.accepted.Add(slot, 1)
	}
}

// Press makes the shedder refuse at least this share (0..1) of all requests, from
// the next ones on and until it is called again.
func (s *Shedder) Press(share float64) {
	s.pressed.Store(math.Float64bits(share))
	s.refreshAt.Store(math.MinInt64)
}

// Shedding returns the share of all requests that is being shed.
func (s *Shedder) Shedding() float64 { return math.Float64frombits(s.shedding.Load()) }

// refresh computes what is shed. The caller holds mu.
func (s *Shedder) refresh(now time.Duration) {
	s.refreshAt.Store(int64(now + s.config.Window/refreshes))
	slot := s.scale.Slot(now)
	var asked [priorities]int
	total := 0
	for i := range asked {
		asked[i] = s.asked[i].Sum(slot)
		total += asked[i]
	}
	p := max(s.learned(slot, total), math.Float64frombits(s.pressed.Load()))
	p = min(p, s.config.MaxShed)
	s.shedding.Store(math.Float64bits(p))
	for i, share := range distribute(p, asked) {
		s.shares[i].Store(scaled(share))
	}
}

// learned is the share to shed by what became of the latest requests.
func (s *Shedder) learned(slot uint32, asked int) float64 {
	requests := asked
	if s.config.Algorithm == AdmissionControl {
		requests = s.ended.Sum(slot)
	}
	switch accepted := s.accepted.Sum(slot); {
	case requests < s.config.MinRequests:
		return 0
	case s.config.Algorithm == AdmissionControl:
		return Admission(requests, accepted, s.config.Threshold, s.config.Aggression)
	default:
		return Throttle(requests, accepted, s.config.K)
	}
}

// distribute divides the share p of all requests among the priorities, so that
// none loses anything before the lower ones have lost all.
func distribute(p float64, asked [priorities]int) (shares [priorities]float64) {
	total := 0
	for _, n := range asked {
		total += n
	}
	left := p * float64(total)
	for i, n := range asked {
		if n == 0 { // who begins now is treated as one of the lower
			if left > 0 {
				shares[i] = 1
			}
			continue
		}
		shares[i] = min(1, left/float64(n))
		left = max(0, left-float64(n))
	}
	return shares
}

// scaled returns the number below which a share of all random numbers is.
func scaled(share float64) uint64 {
	if share >= 1 {
		return math.MaxUint64
	}
	return uint64(share * (1 << 63) * 2)
}
