package balance

import (
	"math"
	"sync/atomic"
	"time"
)

// tick is the resolution of the time stamps beside an average: about a
// millisecond.
const tick = 20 // bits of a nanosecond count

// peakLatency is a moving average of latencies that follows a higher sample at
// once and lower ones with a time constant, so that trouble is seen immediately
// and forgotten slowly. It is kept in one word: the average in nanoseconds as a
// float32 above, the tick of the last change below.
type peakLatency struct{ word atomic.Uint64 }

func packLatency(ns float32, now time.Duration) uint64 {
	return uint64(math.Float32bits(ns))<<32 | uint64(uint32(now>>tick))
}

func unpackLatency(w uint64) (ns float32, stamp uint32) {
	return math.Float32frombits(uint32(w >> 32)), uint32(w)
}

// observe takes a sample into the average.
func (l *peakLatency) observe(sample, now, decay time.Duration) {
	x := float32(sample)
	for {
		old := l.word.Load()
		ns, stamp := unpackLatency(old)
		if x <= ns {
			age := int32(uint32(now>>tick) - stamp)
			if age <= 0 {
				return // weighs nothing yet
			}
			ns = x + (ns-x)*fading(age, decay)
		} else {
			ns = x
		}
		if l.word.CompareAndSwap(old, packLatency(ns, now)) {
			return
		}
	}
}

// at returns the average as it is now: without samples it decays towards
// nothing, so that an endpoint avoided for its slowness is tried again.
func (l *peakLatency) at(now, decay time.Duration) float32 {
	ns, stamp := unpackLatency(l.word.Load())
	age := int32(uint32(now>>tick) - stamp)
	if age <= 0 {
		return ns
	}
	return ns * fading(age, decay)
}

func (l *peakLatency) last() time.Duration {
	ns, _ := unpackLatency(l.word.Load())
	return time.Duration(ns)
}

// fading is the weight of a value that old: e to the minus age over decay.
func fading(age int32, decay time.Duration) float32 {
	x := float32(age) / (float32(decay) / (1 << tick))
	if x < 1.0/64 {
		return 1 - x // within 0.013 % of the exponential
	}
	return float32(math.Exp(-float64(x)))
}
