package avail

import "math"

// Series is a chain of parts that are all needed and fail independently: 1 − Π(1 − dᵢ); nothing is never down. Six
// parts at 99.95 % each are 99.70 %. Source: Barlow and Proschan 1975, §2.1.
//
// It misleads where parts fail together: then it is too pessimistic.
func Series(parts ...Down) Down {
	sum := 0.0
	for _, d := range parts {
		if !isProbability(float64(d)) {
			return Down(math.NaN())
		}
		sum += math.Log1p(-float64(d))
	}
	return Down(-math.Expm1(sum))
}

// Parallel is parts of which one is enough, that fail independently and are found out at once: Π dᵢ. Source: Barlow and
// Proschan 1975, §2.1.
//
// It is too optimistic nearly always: see CommonCause, and Coverage in Repairable.
func Parallel(parts ...Down) Down {
	product := 1.0
	for _, d := range parts {
		if !isProbability(float64(d)) {
			return Down(math.NaN())
		}
		product *= float64(d)
	}
	return Down(product)
}

// KOfN is n equal parts of which k must be up, that fail and are repaired independently of each other:
// Σ C(n,i) dⁱ(1−d)ⁿ⁻ⁱ over i = n−k+1..n, which is the regularised incomplete beta function I_d(n−k+1, k) (DLMF 8.17.5).
// 0 ≤ k ≤ n. With as many repair crews as parts it is what Repairable gives.
func KOfN(k, n int, part Down) Down {
	switch {
	case k < 0 || n < k || !isProbability(float64(part)):
		return Down(math.NaN())
	case k == 0:
		return 0
	}
	return Down(betaRegularized(float64(part), float64(n-k+1), float64(k)))
}

// KOf is KOfN for parts that differ, by adding them one after another. It takes n² steps.
func KOf(k int, parts ...Down) Down {
	n := len(parts)
	if k < 0 || k > n {
		return Down(math.NaN())
	}
	broken := make([]float64, n+1) // the chance of so many parts down
	broken[0] = 1
	for i, d := range parts {
		if !isProbability(float64(d)) {
			return Down(math.NaN())
		}
		for j := i + 1; j > 0; j-- {
			broken[j] = broken[j]*(1-float64(d)) + broken[j-1]*float64(d)
		}
		broken[0] *= 1 - float64(d)
	}
	sum := 0.0
	for _, p := range broken[n-k+1:] {
		sum += p
	}
	return Down(min(sum, 1))
}

// Quorum is n voters of which more than half must be up: KOfN(n/2+1, n, d). Two voters are worse than one.
func Quorum(n int, part Down) Down { return KOfN(n/2+1, n, part) }

// CommonCause is KOfN for parts of whose downtime a share beta (0 to 1) has causes that take all of them at once: a
// switch, a release, a certificate. U = KOfN(k, n, (1−β)d) + βd: redundancy never gains more than a factor of 1/β.
// Typical shares are 2 % to 10 %. Source: Fleming 1975; IEC 61508-6:2010, annex D.
func CommonCause(k, n int, part Down, beta float64) Down {
	if !isProbability(beta) || k < 1 {
		return Down(math.NaN())
	}
	return KOfN(k, n, part*Down(1-beta)) + part*Down(beta)
}

// Mission is the chance that fewer than k of n parts are left after a time without repair, for parts with exponential
// lives: KOfN(k, n, 1 − e^−t/MTTF). mttf is above 0, t at least 0.
func Mission(k, n int, mttf, t Seconds) Down {
	if !(mttf > 0) || !(t >= 0) {
		return Down(math.NaN())
	}
	return KOfN(k, n, Down(-math.Expm1(-float64(t/mttf))))
}

// MissionMTTF is the mean time until fewer than k of n parts are left, without repair: MTTF·Σ 1/i over i = k..n.
// 1 ≤ k ≤ n, mttf above 0. Source: Barlow and Proschan 1975, §3.3.
func MissionMTTF(k, n int, mttf Seconds) Seconds {
	if k < 1 || n < k || !(mttf > 0) {
		return Seconds(math.NaN())
	}
	sum := 0.0
	for i := n; i >= k; i-- { // the small ones first
		sum += 1 / float64(i)
	}
	return mttf * Seconds(sum)
}

// Switching is the downtime of failovers themselves: how often they happen, times how long each takes; at most 1. Four
// a year of 30 s are two minutes a year.
func Switching(failovers PerSecond, each Seconds) Down {
	if !(failovers >= 0) || !(each >= 0) {
		return Down(math.NaN())
	}
	return Down(min(InSystem(failovers, each), 1))
}

// Maintained is the downtime of something with windows of maintenance: a share f = lasts/every of the time it is
// during, and otherwise d: (1−f)d + f·during. during is 1 for a part that is taken down, and the downtime of what is
// left for one that has others beside it. 0 ≤ lasts ≤ every, every above 0.
//
// It misleads where planned downtime is not counted: clients do not know the plan.
func Maintained(d Down, every, lasts Seconds, during Down) Down {
	f := float64(lasts / every)
	if !isProbability(f) || !(every > 0) || !isProbability(float64(d)) || !isProbability(float64(during)) {
		return Down(math.NaN())
	}
	return d*Down(1-f) + during*Down(f)
}
