package avail

import "math"

// Three formulas that everybody knows, under their names. Each is right in what it says and misleads in what it is
// taken for; beside each stands the one to use.

// ServerRatio is n/m = s/t solved for n: the servers that m requests keep busy if each takes s of a server's time and
// they come within t. It is the offered load a = λS in erlangs, with λ = m/t. m is at least 0, s at least 0, t above 0.
//
// It misleads where it is taken for the number of servers to buy: with exactly n servers every one is busy all the
// time, and as arrivals are random the queue grows without end. 200 requests a second of 50 ms are 10 erlangs; ten
// servers never catch up, eleven let 9.2 % of requests wait longer than 100 ms, twelve 0.8 %, fourteen 0.006 %. And
// if s is read as requests per second (a server's performance) instead of as seconds per request, it asks for more
// servers the faster they are. Use [Servers].
func ServerRatio(requests float64, each, within Seconds) float64 {
	if !(requests >= 0) || !(each >= 0) || !(within > 0) {
		return math.NaN()
	}
	return requests * float64(each) / float64(within)
}

// SuccessChance is P(success) = 1 − P(failure), for a chance of failure from 0 to 1.
//
// It is true and says nothing about a design: not per what (a request, a moment, a year: see [Down] and
// [Repairable.MTTF]), and not how parts combine. It misleads where it is multiplied over parts that fail together, over
// a failover that may fail, or over retries that meet the same fault. Use [Series], [Parallel], [KOfN], [Repairable].
func SuccessChance(failure float64) float64 { return probability(1 - failure) }

// RecoveryRatio is R = T(recovery)/T(failure): the mean time to repair over the mean time to failure, which is the odds
// of being down. Recovery is at least 0, failure above 0.
//
// It misleads where it is taken for a share of time, which is R/(1+R) ([FromOdds]): with a repair as long as the time
// between failures R says 100 %, and the truth is 50 %. And a ratio of means says nothing about the one recovery that
// takes a day: objectives for recovery need the distribution ([Sample]). Use [FromTimes].
func RecoveryRatio(recovery, failure Seconds) float64 {
	if !(recovery >= 0) || !(failure > 0) {
		return math.NaN()
	}
	return float64(recovery / failure)
}
