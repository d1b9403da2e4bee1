package simulate

import (
	"math/rand/v2"

	"github.com/trivet-ha/trivet/avail"
)

// Queue is one line before several servers, first come, first served: GI/G/c, and with Places GI/G/c/K.
type Queue struct {
	Between Draw // time from one arrival to the next
	Service Draw
	Servers int
	Places  int // in service and waiting; 0 is no limit
}

// Waits is how requests fared.
type Waits struct {
	Mean   Estimate // seconds before service, of those let in
	Waited Estimate // share of those let in that waited at all
	Longer Estimate // share of those let in that waited longer than the time asked for
	Turned Estimate // share of all that found no room
}

// Run plays so many requests (at least 100; after a tenth of them to forget that it began empty), and counts those that
// wait longer than a time.
func (q Queue) Run(requests int, longer avail.Seconds, rnd *rand.Rand) Waits {
	free := make([]avail.Seconds, q.Servers) // a heap of when servers are free
	var leaving []avail.Seconds              // a heap of when those present leave, if there is a limit
	now, each := avail.Seconds(0), requests/batches
	one := func() (wait avail.Seconds, in bool) {
		now += q.Between(rnd)
		for len(leaving) > 0 && leaving[0] <= now {
			leaving = pop(leaving)
		}
		if q.Places > 0 && len(leaving) >= q.Places {
			return 0, false
		}
		wait = max(0, free[0]-now)
		end := now + wait + q.Service(rnd)
		free[0] = end
		sink(free)
		if q.Places > 0 {
			leaving = push(leaving, end)
		}
		return wait, true
	}
	for range requests / 10 {
		one()
	}
	mean, waited, late, turned := make([]float64, batches), make([]float64, batches), make([]float64, batches), make([]float64, batches)
	for b := range batches {
		sum, let, some, long := 0.0, 0.0, 0.0, 0.0
		for range each {
			wait, in := one()
			if !in {
				continue
			}
			let++
			sum += float64(wait)
			if wait > 0 {
				some++
			}
			if wait > longer {
				long++
			}
		}
		mean[b], waited[b], late[b], turned[b] = sum/let, some/let, long/let, 1-let/float64(each)
	}
	return Waits{Mean: fromBatches(mean), Waited: fromBatches(waited), Longer: fromBatches(late), Turned: fromBatches(turned)}
}

// sink restores a heap whose first element has grown.
func sink(h []avail.Seconds) {
	for i := 0; ; {
		least := i
		for _, child := range [2]int{2*i + 1, 2*i + 2} {
			if child < len(h) && h[child] < h[least] {
				least = child
			}
		}
		if least == i {
			return
		}
		h[i], h[least] = h[least], h[i]
		i = least
	}
}

func push(h []avail.Seconds, t avail.Seconds) []avail.Seconds {
	h = append(h, t)
	for i := len(h) - 1; i > 0 && h[(i-1)/2] > h[i]; i = (i - 1) / 2 {
		h[(i-1)/2], h[i] = h[i], h[(i-1)/2]
	}
	return h
}

func pop(h []avail.Seconds) []avail.Seconds {
	h[0] = h[len(h)-1]
	h = h[:len(h)-1]
	sink(h)
	return h
}
