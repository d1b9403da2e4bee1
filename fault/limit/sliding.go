package limit

import "time"

// sliding is the sliding window. Its state has the number of the window, the
// tokens taken in the one before, and those taken in it. Windows that are 2^24
// apart, more than half a year, look the same.
type sliding struct {
	length time.Duration
	micros int64 // the same in microseconds, so that products with a count fit
	limit  int64
}

const (
	countBits  = 20
	countMask  = 1<<countBits - 1
	numberBits = 64 - 2*countBits
)

func newSliding(c Config) sliding {
	return sliding{length: c.Per, micros: int64(c.Per / time.Microsecond), limit: int64(c.Tokens)}
}

// view is a state as it looks at some time.
type view struct {
	number       uint64
	before, here int64 // tokens taken
	rest         int64 // microseconds of the window before that still count
}

// at returns what the state says now. A thread that is behind a little sees its
// future's window from its beginning.
func (s *sliding) at(state uint64, now time.Duration) view {
	number, past := uint64(now/s.length), now%s.length
	if past < 0 {
		number, past = number-1, past+s.length
	}
	v := view{number: number & (1<<numberBits - 1), rest: s.micros - int64(past/time.Microsecond)}
	before, here := int64(state>>countBits&countMask), int64(state&countMask)
	age := int32(uint32(number-state>>(2*countBits))<<(32-numberBits)) >> (32 - numberBits)
	switch {
	case state&(1<<(2*countBits)-1) == 0: // nothing was taken
	case age == 0:
		v.before, v.here = before, here
	case age == 1:
		v.before = here
	case age < 0 && age >= -2:
		v.before, v.here, v.rest = before, here, s.micros
		v.number = state >> (2 * countBits)
	}
	return v
}

func (v view) pack() uint64 {
	return v.number<<(2*countBits) | uint64(v.before)<<countBits | uint64(v.here)
}

// used is the number of tokens taken in the stretch that ends at the view,
// rounded up.
func (s *sliding) used(state uint64, now time.Duration) int64 {
	v := s.at(state, now)
	return v.here + ceilDiv(v.before*v.rest, s.micros)
}

func (s *sliding) take(state uint64, now time.Duration, n int) (next uint64, wait time.Duration) {
	if int64(n) > s.limit {
		return state, Never
	}
	v := s.at(state, now)
	if micros := s.wait(v, int64(n)); micros > 0 {
		return state, time.Duration(micros) * time.Microsecond
	}
	v.here += int64(n)
	return v.pack(), 0
}

// wait returns the microseconds until n more are within the limit.
func (s *sliding) wait(v view, n int64) int64 {
	if free := s.limit - v.here - n; free >= 0 {
		if v.before*v.rest <= free*s.micros {
			return 0
		}
		return v.rest - free*s.micros/v.before
	}
	// Not in this window. In the next, when enough of this one is past.
	return v.rest + s.micros - (s.limit-n)*s.micros/v.here
}

func (s *sliding) put(state uint64, now time.Duration, n int) uint64 {
	v := s.at(state, now)
	v.here = max(0, v.here-int64(max(n, 0)))
	return v.pack()
}

func (s *sliding) remaining(state uint64, now time.Duration) int {
	return int(max(0, s.limit-s.used(state, now)))
}

func ceilDiv(a, b int64) int64 { return (a + b - 1) / b }
