package avail

import "math"

// GGC is a queue whose times between arrivals and times of service have any distribution: GI/G/c. What counts beside
// the means is the squared coefficient of variation (variance over squared mean): 0 for a clock, 1 for exponential,
// above 1 for bursts. With ArrivalSCV = 1 it is M/G/c. The results are approximations: within some per cent of the
// truth near saturation, within tens of per cent at low load, where waits hardly matter.
type GGC struct {
	MMC
	ArrivalSCV float64 // Ca², at least 0; 1 for Poisson arrivals
	ServiceSCV float64 // Cs², at least 0; 1 for exponential service
}

// factor is (Ca² + Cs²)/2.
func (q GGC) factor() float64 {
	if !(q.ArrivalSCV >= 0) || !(q.ServiceSCV >= 0) {
		return math.NaN()
	}
	return (q.ArrivalSCV + q.ServiceSCV) / 2
}

// MeanWait is the Allen–Cunneen approximation Wq = Wq(M/M/c)·(Ca² + Cs²)/2; exact for M/M/c and for M/G/1, where it
// is Pollaczek and Khinchine's formula. Source: Allen, "Probability, Statistics, and Queueing Theory", 2nd ed. 1990,
// §5.2 and table 15.
func (q GGC) MeanWait() Seconds {
	f := q.factor()
	if f == 0 && q.spare() > 0 {
		return 0 // a clock serving a clock
	}
	return Seconds(f) * q.MMC.MeanWait()
}

// MeanResponse is W = Wq + S.
func (q GGC) MeanResponse() Seconds { return q.MeanWait() + q.Service }

// QueueLength is Lq = λWq.
func (q GGC) QueueLength() float64 { return InSystem(q.Arrivals, q.MeanWait()) }

// WaitTail is P(wait > t), with the wait of those that wait taken for exponential with the mean that Allen–Cunneen
// gives: C·e^(−tC/Wq). Source: Allen §5.2, percentiles of M/G/c.
func (q GGC) WaitTail(t Seconds) float64 {
	switch {
	case !(t >= 0) || math.IsNaN(q.factor()):
		return math.NaN()
	case q.spare() <= 0:
		return 1
	case q.factor() == 0:
		return 0
	}
	return q.WaitChance() * math.Exp(-q.spare()*float64(t)/q.factor())
}

// WaitQuantile is the time that a share p (0 to 1) of requests wait at most, from WaitTail.
func (q GGC) WaitQuantile(p float64) Seconds {
	if f := q.factor(); f > 0 || math.IsNaN(f) {
		return Seconds(f) * q.MMC.WaitQuantile(p)
	}
	if !isProbability(p) {
		return Seconds(math.NaN())
	}
	return q.MeanWait()
}

// Kingman is the mean wait at one server in heavy traffic, whatever the distributions:
// Wq ≈ ρ/(1−ρ) · (Ca² + Cs²)/2 · S. Source: Kingman, "The single server queue in heavy traffic", Proc. Cambridge Phil.
// Soc. 57, 1961. ρ is from 0 to below 1 (+Inf from 1 on), the SCVs at least 0; S is the mean time of service.
func Kingman(utilisation, arrivalSCV, serviceSCV float64, service Seconds) Seconds {
	return heavy(utilisation, utilisation, arrivalSCV, serviceSCV, service)
}

// KingmanBound is what the mean wait at one server never exceeds: λ(σa² + σs²)/(2(1−ρ)), which is
// (Ca²/ρ + ρCs²)/(2(1−ρ))·S. Source: Kingman, "Some inequalities for the queue GI/G/1", Biometrika 49, 1962. The domain
// is Kingman's, without 0.
func KingmanBound(utilisation, arrivalSCV, serviceSCV float64, service Seconds) Seconds {
	if !(utilisation > 0) {
		return Seconds(math.NaN())
	}
	return heavy(utilisation, 1, arrivalSCV/utilisation, serviceSCV*utilisation, service)
}

// Sakasegawa is the mean wait at c servers without Erlang's formula, good by head and good to a few per cent at high
// load: Wq ≈ ρ^(√(2(c+1))−1)/(c(1−ρ)) · (Ca² + Cs²)/2 · S. Source: Sakasegawa, "An approximation formula
// L_q ≃ α·ρ^β/(1−ρ)", Ann. Inst. Statist. Math. 29, 1977. The domain is Kingman's, with c at least 1.
func Sakasegawa(utilisation float64, servers int, arrivalSCV, serviceSCV float64, service Seconds) Seconds {
	if servers < 1 || !(utilisation >= 0) {
		return Seconds(math.NaN())
	}
	c := float64(servers)
	return heavy(utilisation, math.Pow(utilisation, math.Sqrt(2*(c+1))-1)/c, arrivalSCV, serviceSCV, service)
}

// heavy is load/(1−ρ) · (Ca² + Cs²)/2 · S.
func heavy(rho, load, arrivalSCV, serviceSCV float64, service Seconds) Seconds {
	switch {
	case !(rho >= 0) || !(arrivalSCV >= 0) || !(serviceSCV >= 0) || !(service >= 0):
		return Seconds(math.NaN())
	case rho >= 1:
		return Seconds(math.Inf(1))
	}
	return Seconds(load/(1-rho)*(arrivalSCV+serviceSCV)/2) * service
}
