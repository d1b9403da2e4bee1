package trivet

import (
	"math"
	"math/rand/v2"
	"time"

	"github.com/trivet-ha/trivet/balance/l7"
	"github.com/trivet-ha/trivet/config"
	"github.com/trivet-ha/trivet/fault/breaker"
	"github.com/trivet-ha/trivet/fault/hedge"
	"github.com/trivet-ha/trivet/fault/limit"
	"github.com/trivet-ha/trivet/fault/limit/adaptive"
	"github.com/trivet-ha/trivet/fault/retry"
	"github.com/trivet-ha/trivet/fault/shed"
)

// policies keeps what policies have learned and counted over a reload: one that is written as before goes on,
// one that is written otherwise begins anew.
type policies struct {
	limits  map[limitKey]*limit.Keyed
	hedges  map[hedgeKey]*hedge.Hedge
	guards  map[config.Name]l7.Guards
	written map[config.Name]guardSpec
}

type limitKey struct {
	listener, route config.Name
	spec            config.RateLimit
}

type hedgeKey struct {
	listener, route config.Name
	spec            config.Hedge
}

// guardSpec is what the file says of a pool's guards.
type guardSpec struct {
	circuit     config.Circuit
	concurrency config.Concurrency
	shed        config.Shed
	has         [3]bool
}

func newPolicies() *policies {
	return &policies{
		limits: map[limitKey]*limit.Keyed{}, hedges: map[hedgeKey]*hedge.Hedge{},
		guards: map[config.Name]l7.Guards{}, written: map[config.Name]guardSpec{},
	}
}

// limiter returns the limiter of a rate limit: the one that there was, or a new one. It stands in the new set
// then, as what the other methods return does.
func (old *policies) limiter(into *policies, key limitKey) *limit.Keyed {
	l := old.limits[key]
	if l == nil {
		l = into.limits[key]
	}
	if l == nil {
		l = limit.NewKeyed(limitConfig(&key.spec))
	}
	into.limits[key] = l
	return l
}

// limitConfig turns a rate of the file into tokens: a rate below one a second is one token in a longer time.
func limitConfig(r *config.RateLimit) limit.KeyedConfig {
	perSecond := float64(r.Rate)
	tokens := int(math.Ceil(perSecond))
	per := time.Duration(float64(tokens) / perSecond * float64(time.Second))
	burst := r.Burst
	if burst == 0 {
		burst = tokens
	}
	keys := r.Keys
	if r.Key.All {
		keys = 1
	}
	return limit.KeyedConfig{Config: limit.Config{Tokens: tokens, Per: per, Burst: burst}, Keys: keys, Seed: rand.Uint64()}
}

func (old *policies) hedge(into *policies, key hedgeKey) *hedge.Hedge {
	h := old.hedges[key]
	if h == nil {
		h = hedge.New(hedge.Config{
			Quantile: key.spec.After.Fraction(), Delay: key.spec.Delay,
			Budget: retry.BudgetConfig{Ratio: key.spec.Budget.Fraction(), MinPerSecond: 1},
		})
	}
	into.hedges[key] = h
	return h
}

// guard returns the guards of a pool.
func (old *policies) guard(into *policies, p *config.Pool) l7.Guards {
	spec := specOf(p)
	g, ok := old.guards[p.Name]
	if !ok || old.written[p.Name] != spec {
		g = newGuards(p)
	}
	into.guards[p.Name], into.written[p.Name] = g, spec
	return g
}

func specOf(p *config.Pool) (s guardSpec) {
	s.has = [3]bool{p.Circuit != nil, p.Concurrency != nil, p.Shed != nil}
	if s.has[0] {
		s.circuit = *p.Circuit
	}
	if s.has[1] {
		s.concurrency = *p.Concurrency
	}
	if s.has[2] {
		s.shed = *p.Shed
	}
	return s
}

func newGuards(p *config.Pool) (g l7.Guards) {
	if c := p.Circuit; c != nil {
		g.Breaker = breaker.New(breaker.Config{
			Window: c.Window, MinCalls: c.MinRequests, FailureRate: c.FailureRate.Fraction(), Consecutive: c.Consecutive,
			SlowCall: c.Slow, SlowRate: c.SlowRate.Fraction(), OpenFor: c.OpenFor, Probes: c.Probes,
		})
	}
	if c := p.Concurrency; c != nil {
		g.Concurrency = adaptive.New(adaptive.Config{
			Algorithm: concurrencyAlgorithms[c.Algorithm], Initial: c.Initial, Min: c.Min, Max: c.Max,
		})
	}
	if s := p.Shed; s != nil {
		g.Shed = shed.New(shed.Config{Algorithm: shedAlgorithms[s.Algorithm], Window: s.Window, MaxShed: s.Max.Fraction()})
	}
	return g
}

var concurrencyAlgorithms = map[config.ConcurrencyAlgorithm]adaptive.Algorithm{
	config.ConcurrencyGradient: adaptive.Gradient2, config.ConcurrencyAIMD: adaptive.AIMD, config.ConcurrencyVegas: adaptive.Vegas,
}

var shedAlgorithms = map[config.ShedAlgorithm]shed.Algorithm{
	config.ShedThrottle: shed.ClientThrottling, config.ShedAdmission: shed.AdmissionControl,
}

var priorities = map[config.Importance]shed.Priority{
	config.ImportanceSheddable: shed.Sheddable, config.ImportanceSheddablePlus: shed.SheddablePlus,
	config.ImportanceCritical: shed.Critical, config.ImportanceCriticalPlus: shed.CriticalPlus,
}

// buildPolicies gives a route the policies that the file asks for.
func (b *build) buildPolicies(r *l7.Route, listener config.Name, spec *config.Route) error {
	old := b.n.policies
	for _, l := range spec.RateLimit {
		r.Limits = append(r.Limits, l7.RateLimit{
			All:     l.Key.All,
			Hash:    l7.Hash{Key: hashKeys[l.Key.Kind], Name: l.Key.Name, Prefix4: l.Prefix4, Prefix6: l.Prefix6},
			Limiter: old.limiter(b.policies, limitKey{listener, spec.Name, l}),
		})
	}
	r.Priority = priorities[spec.Priority]
	if h := spec.Hedge; h != nil {
		r.Hedge = old.hedge(b.policies, hedgeKey{listener, spec.Name, *h})
	}
	if in := spec.Inject; in != nil {
		r.Inject = &l7.Inject{
			Abort: in.Abort.Fraction(), AbortStatus: int(in.AbortStatus), Reset: in.Reset.Fraction(),
			Delay: in.Delay.Fraction(), DelayFor: in.DelayFor, Bandwidth: int64(in.Bandwidth),
		}
	}
	return b.buildFallback(r, spec.Fallback)
}

func (b *build) buildFallback(r *l7.Route, spec *config.Fallback) error {
	if spec == nil {
		return nil
	}
	f := &l7.Fallback{}
	var statuses []int
	for _, s := range spec.When {
		statuses = append(statuses, int(s))
	}
	f.When = retry.Statuses(statuses...)
	if spec.Pool != "" {
		f.Upstream = b.pools[spec.Pool].upstream
	}
	if spec.Respond != nil {
		var err error
		if f.Respond, err = buildRespond(spec.Respond); err != nil {
			return err
		}
	}
	r.Fallback = f
	return nil
}
