package avail

import "math"

// InSystem is Little's law: L = λW, what is in a system on average, from how often something enters it and how long
// it stays. It holds for every stable system, whatever is random in it (Little, "A Proof for the Queuing Formula
// L = λW", Operations Research 9, 1961). Both are at least 0.
func InSystem(arrivals PerSecond, stay Seconds) float64 {
	if !(arrivals >= 0) || !(stay >= 0) {
		return math.NaN()
	}
	return float64(arrivals) * float64(stay)
}

// Utilisation is ρ = λS/c: the share of their time in which servers are busy, from arrivals, the mean time of service
// and the number of servers (at least 1). From 1 on the queue grows without end, and 1 is returned: no server is
// busier than always.
func Utilisation(arrivals PerSecond, service Seconds, servers int) float64 {
	if servers < 1 {
		return math.NaN()
	}
	return min(InSystem(arrivals, service)/float64(servers), 1)
}

// ErlangB is the chance that a call finds all servers busy and is lost, if nothing waits (M/G/c/c), for an offered
// load a = λS in erlangs and servers, both at least 0. Formula: B(0) = 1, B(n) = aB(n−1) / (n + aB(n−1)); each step
// halves earlier rounding, so that it is exact to the last digits for any number of servers. Source: Erlang 1917; the
// recursion is in Iversen, "Teletraffic Engineering Handbook", ITU-D SG 2, §7.3. It takes a few nanoseconds a server.
func ErlangB(offered float64, servers int) float64 {
	if !(offered >= 0) || servers < 0 {
		return math.NaN()
	}
	if math.IsInf(offered, 1) {
		return 1
	}
	b := 1.0
	for n := 1; n <= servers && b > 0; n++ {
		b = erlangStep(offered, b, n)
	}
	return b
}

// erlangStep is B(n) from B(n−1).
func erlangStep(offered, b float64, n int) float64 {
	return offered * b / (float64(n) + offered*b)
}

// ErlangC is the chance that a request must wait, if all wait as long as it takes (M/M/c), for an offered load a in
// erlangs and at least one server; 1 if a is not below the number of servers. Formula: C = B / (1 − ρ(1 − B)),
// ρ = a/c. Source: Erlang 1917; Iversen §9.2.
func ErlangC(offered float64, servers int) float64 {
	if servers < 1 || !(offered >= 0) {
		return math.NaN()
	}
	return waitFromBlocking(offered, servers, ErlangB(offered, servers))
}

func waitFromBlocking(offered float64, servers int, b float64) float64 {
	rho := offered / float64(servers)
	if rho >= 1 {
		return 1
	}
	return b / (1 - rho + rho*b)
}

// MMC is a queue with Poisson arrivals, exponential service and Servers servers, first come, first served, none of whom
// gives up: M/M/c. Requests that come from many independent clients are Poisson; service that varies about as much as
// its mean is near enough to exponential, and GGC is for what is not.
type MMC struct {
	Arrivals PerSecond // λ, at least 0
	Service  Seconds   // S, the mean, above 0
	Servers  int       // c, at least 1
}

// Offered is a = λS in erlangs: the number of servers busy on average.
func (q MMC) Offered() float64 {
	if !(q.Service > 0) {
		return math.NaN()
	}
	return InSystem(q.Arrivals, q.Service)
}

// Utilisation is ρ = a/c, at most 1.
func (q MMC) Utilisation() float64 { return Utilisation(q.Arrivals, q.Service, q.Servers) }

// WaitChance is P(wait > 0): ErlangC.
func (q MMC) WaitChance() float64 { return ErlangC(q.Offered(), q.Servers) }

// spare is cμ − λ: how much faster the queue is served than it grows; 0 or less if it is overloaded.
func (q MMC) spare() float64 { return (float64(q.Servers) - q.Offered()) / float64(q.Service) }

// MeanWait is Wq = C/(cμ − λ), the mean time before service; +Inf if overloaded. Source: Gross and Harris,
// "Fundamentals of Queueing Theory", §2.3.
func (q MMC) MeanWait() Seconds {
	if q.spare() <= 0 {
		return Seconds(math.Inf(1))
	}
	return Seconds(q.WaitChance() / q.spare())
}

// MeanResponse is W = Wq + S.
func (q MMC) MeanResponse() Seconds { return q.MeanWait() + q.Service }

// QueueLength is Lq = λWq, how many wait on average.
func (q MMC) QueueLength() float64 { return InSystem(q.Arrivals, q.MeanWait()) }

// WaitTail is P(wait > t) = C·e^−(cμ−λ)t, for t of at least 0. Source: Gross and Harris §2.3.
func (q MMC) WaitTail(t Seconds) float64 {
	switch {
	case !(t >= 0):
		return math.NaN()
	case q.spare() <= 0:
		return 1
	}
	return q.WaitChance() * math.Exp(-q.spare()*float64(t))
}

// WaitQuantile is the time that a share p (0 to 1) of requests wait at most: ln(C/(1−p))/(cμ − λ), or 0.
func (q MMC) WaitQuantile(p float64) Seconds {
	switch {
	case !isProbability(p):
		return Seconds(math.NaN())
	case q.spare() <= 0:
		return Seconds(math.Inf(1))
	}
	return Seconds(max(0, math.Log(q.WaitChance()/(1-p))) / q.spare())
}

// ResponseTail is P(wait + service > t) = e^−μt (1 + C(1 − e^−μt(c−1−a))/(c−1−a)), for t of at least 0. Source: Gross
// and Harris §2.3.
func (q MMC) ResponseTail(t Seconds) float64 {
	switch {
	case !(t >= 0):
		return math.NaN()
	case q.spare() <= 0:
		return 1
	}
	x, gap := float64(t/q.Service), float64(q.Servers)-1-q.Offered()
	// (1 − e^−x·gap)/gap, which tends to x; times e^−x before it can overflow.
	if math.Abs(x*gap) < 1e-8 {
		return math.Exp(-x) * (1 + q.WaitChance()*x)
	}
	if gap > 0 {
		return math.Exp(-x) * (1 - q.WaitChance()*math.Expm1(-x*gap)/gap)
	}
	return math.Exp(-x) + q.WaitChance()*(math.Exp(-x)-math.Exp(-x*(1+gap)))/gap
}

// ResponseQuantile is the time within which a share p (0 to 1) of requests are answered, found by bisection.
func (q MMC) ResponseQuantile(p float64) Seconds {
	switch {
	case !isProbability(p):
		return Seconds(math.NaN())
	case q.spare() <= 0 || p == 1:
		return Seconds(math.Inf(1))
	}
	high := q.Service
	for q.ResponseTail(high) > 1-p {
		high *= 2
	}
	return Seconds(bisect(0, float64(high), func(t float64) bool { return q.ResponseTail(Seconds(t)) > 1-p }))
}
