package avail

import "math"

// Load is what servers are needed for.
type Load struct {
	Arrivals   PerSecond // λ, at least 0
	Service    Seconds   // S, the mean, above 0
	ArrivalSCV float64   // squared coefficient of variation of the time between arrivals; 1 for Poisson
	ServiceSCV float64   // and of the time of service; 1 for exponential
}

// Poisson is a load with exponential times, M/M/c.
func Poisson(arrivals PerSecond, service Seconds) Load {
	return Load{Arrivals: arrivals, Service: service, ArrivalSCV: 1, ServiceSCV: 1}
}

// On is the queue of the load at so many servers.
func (l Load) On(servers int) GGC {
	return GGC{MMC: MMC{Arrivals: l.Arrivals, Service: l.Service, Servers: servers}, ArrivalSCV: l.ArrivalSCV, ServiceSCV: l.ServiceSCV}
}

// Want is what a client is promised. The zero Want is that the queue does not grow without end.
type Want struct {
	// Wait is met by a share Share of requests: P(wait ≤ Wait) ≥ Share.
	Wait  Seconds // at least 0
	Share float64 // 0 to below 1
	// Utilisation is the most that servers are busy; 0 is no limit below 1.
	Utilisation float64 // 0 to 1
}

// maxServers is where a search ends.
const maxServers = 100_000_000

// Servers is the least number of servers that gives what is wanted, by Erlang's formula in one pass and, if times are
// not exponential, Allen and Cunneen's; at least floor(a)+1 for an offered load a. −1 is that no number up to 10⁸
// does, or that an argument is outside its domain.
func Servers(l Load, w Want) int {
	a, factor := l.On(1).Offered(), l.On(1).factor()
	if !(a < maxServers) || math.IsNaN(factor) || !(w.Wait >= 0) || !(w.Share >= 0 && w.Share < 1) || !(w.Utilisation >= 0 && w.Utilisation <= 1) {
		return -1
	}
	busiest := w.Utilisation
	if busiest == 0 {
		busiest = 1
	}
	least := max(int(math.Ceil(a/busiest)), int(a)+1)
	b := 1.0
	for n := 1; n <= maxServers; n++ {
		b = erlangStep(a, b, n)
		if n < least {
			continue
		}
		tail := 0.0
		if factor > 0 {
			spare := (float64(n) - a) / float64(l.Service) / factor
			tail = waitFromBlocking(a, n, b) * math.Exp(-spare*float64(w.Wait))
		}
		if tail <= 1-w.Share {
			return n
		}
	}
	return -1
}

// ArrivalsFor is the load in erlangs that a number of servers (at least 1) carry with a chance of loss or of waiting of
// at most p: the inverse of ErlangB or ErlangC, found by bisection. p is above 0 and below 1.
func ArrivalsFor(servers int, p float64, chance func(offered float64, servers int) float64) float64 {
	if servers < 1 || !(p > 0 && p < 1) {
		return math.NaN()
	}
	high := float64(servers)
	for chance(high, servers) < p {
		high *= 2
	}
	return bisect(0, high, func(a float64) bool { return chance(a, servers) < p })
}
