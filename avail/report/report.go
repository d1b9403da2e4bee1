// Package report answers whether a service kept its promises: what was promised, predicted and measured stand side by side,
// each measured figure with the interval that chance leaves it, and the biggest gap is named.
//
// It counts nothing by itself, reads no clock and knows no file: counts, faults and recoveries come in, a Report goes out.
// The arithmetic is avail's.
package report

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/trivet-ha/trivet/avail"
)

// Confidence is that of all intervals.
const Confidence = 0.95

// Promise is what objectives say; the zero of a field promises nothing.
type Promise struct {
	Availability  float64 // 0 to below 1
	Window        time.Duration
	LatencyP99    time.Duration
	RecoveryTime  time.Duration
	RecoveryPoint time.Duration
}

// Predicted is what the design was expected to give; nil is not known.
type Predicted struct {
	Availability float64 `json:"availability"`
	Low          float64 `json:"low"` // of a window, 19 times in 20
	High         float64 `json:"high"`
	Coverage     float64 `json:"coverage"`
	Weakest      string  `json:"weakest,omitempty"` // what costs most
}

// Counts is what was counted of something in a time. Counts of two times add up.
type Counts struct {
	Requests uint64 `json:"requests"`
	Failed   uint64 `json:"failed"` // answered with 5xx; who goes away before an answer is not counted
	// Latency counts requests up to each of the bounds that they are counted by, and those above all.
	Latency    []uint64      `json:"latency,omitempty"`
	LatencySum avail.Seconds `json:"latency_sum_seconds,omitempty"`
	// Up is the time with somebody to send requests to, Down that without.
	Up   avail.Seconds `json:"up_seconds,omitempty"`
	Down avail.Seconds `json:"down_seconds,omitempty"`
	// EndpointUp and EndpointDown add the times of all endpoints. One that is drained counts as neither.
	EndpointUp   avail.Seconds `json:"endpoint_up_seconds,omitempty"`
	EndpointDown avail.Seconds `json:"endpoint_down_seconds,omitempty"`
	// Busy is requests in flight times time.
	Busy avail.Seconds `json:"busy_seconds,omitempty"`
}

// Add adds what was counted in another time.
func (c *Counts) Add(o Counts) {
	c.Requests += o.Requests
	c.Failed += o.Failed
	if len(c.Latency) < len(o.Latency) {
		c.Latency = append(slices.Clone(c.Latency), make([]uint64, len(o.Latency)-len(c.Latency))...)
	}
	for i, n := range o.Latency {
		c.Latency[i] += n
	}
	c.LatencySum += o.LatencySum
	c.Up += o.Up
	c.Down += o.Down
	c.EndpointUp += o.EndpointUp
	c.EndpointDown += o.EndpointDown
	c.Busy += o.Busy
}

// Quantile is the bound of the bucket that a share p of requests does not exceed; 0 of none, +Inf above all bounds.
func (c *Counts) Quantile(p float64, bounds []avail.Seconds) avail.Seconds {
	total := uint64(0)
	for _, n := range c.Latency {
		total += n
	}
	want, sum := uint64(math.Ceil(p*float64(total))), uint64(0)
	for i, n := range c.Latency {
		if sum += n; total > 0 && sum >= want {
			if i < len(bounds) {
				return bounds[i]
			}
			return avail.Seconds(math.Inf(1))
		}
	}
	return 0
}

// served is the share of requests that were not failed; 1 of none.
func (c *Counts) served() float64 {
	if c.Requests == 0 {
		return 1
	}
	return 1 - float64(c.Failed)/float64(c.Requests)
}

// there is the share of time with somebody to send requests to; 1 of none.
func (c *Counts) there() float64 {
	if c.Up+c.Down == 0 {
		return 1
	}
	return float64(c.Up / (c.Up + c.Down))
}

// Point is what was counted from a moment on, until the next point.
type Point struct {
	At int64 `json:"at"` // seconds since 1970
	Counts
}

// Subject is a route or a pool.
type Subject struct {
	Name   string
	Points []Point // in order
	// Slots is how many requests a pool can work on at a time; 0 is not known.
	Slots int
}

// Total adds all points.
func (s *Subject) Total() (c Counts) {
	for _, p := range s.Points {
		c.Add(p.Counts)
	}
	return c
}

// Fault is one of an endpoint, from its first sign to its end.
type Fault struct {
	ID        int64         `json:"id"`
	Pool      string        `json:"pool"`
	Where     string        `json:"where"` // the endpoint, or the process
	What      string        `json:"what"`
	Began     time.Time     `json:"began"`
	ToDetect  avail.Seconds `json:"to_detect_seconds"`
	ToRecover avail.Seconds `json:"to_recover_seconds"`
	// Failed is how many requests clients lost meanwhile beyond those that fail at other times.
	Failed uint64 `json:"failed_requests"`
}

// Recovery is a drill, or a restore.
type Recovery struct {
	Name string        `json:"name"`
	At   time.Time     `json:"at"`
	Good bool          `json:"good"`
	Took avail.Seconds `json:"took_seconds"`
	// Lost is how much of what was last written was missing; below 0 is not known.
	Lost avail.Seconds `json:"lost_seconds"`
}

// Input is what a report is made of.
type Input struct {
	From, To   time.Time
	Promise    Promise
	Predicted  *Predicted
	Whole      Subject // all requests
	Routes     []Subject
	Pools      []Subject
	Bounds     []avail.Seconds // of Counts.Latency
	Faults     []Fault
	Recoveries []Recovery
}

// Report is the result.
type Report struct {
	From    time.Time     `json:"from"`
	To      time.Time     `json:"to"`
	Counted avail.Seconds `json:"counted_seconds"` // of that time
	Lines   []Line        `json:"lines"`
	Gap     string        `json:"gap"`
	Kept    bool          `json:"kept"` // all promises that could be measured
	Budget  *Budget       `json:"budget,omitempty"`

	Routes     []Row      `json:"routes"`
	Pools      []Row      `json:"pools"`
	Faults     []Fault    `json:"faults"`
	Recoveries []Recovery `json:"recoveries"`
	Predicted  *Predicted `json:"predicted,omitempty"`
	Series     []Sample   `json:"series"`
}

// Line is one figure, thrice.
type Line struct {
	Name      string   `json:"name"`
	Unit      Unit     `json:"unit"`
	Promised  *float64 `json:"promised"`
	Predicted *float64 `json:"predicted"`
	Measured  *float64 `json:"measured"`
	// Low and High are the interval of the measured one.
	Low  *float64 `json:"low"`
	High *float64 `json:"high"`
	Of   int      `json:"of"` // how many were measured: requests, faults, drills
	// Used is how much of what the promise allows was used: 1 is all of it.
	Used *float64 `json:"used"`
}

// Kept reports whether the promise was; true if there is none, or nothing was measured.
func (l *Line) Kept() bool { return l.Used == nil || *l.Used <= 1+1e-12 }

// Unit is what a figure counts.
type Unit string

// The units.
const (
	Share Unit = "share"
	Times Unit = "seconds"
)

// Budget is how much of what may fail has.
type Budget struct {
	Allowed float64 `json:"allowed"`
	Left    float64 `json:"left"` // share; below 0 is overspent
	Burns   []Burn  `json:"burns"`
}

// Burn is one alert's windows.
type Burn struct {
	Long   avail.Seconds `json:"long_seconds"`
	Short  avail.Seconds `json:"short_seconds"`
	Factor float64       `json:"factor"`
	Page   bool          `json:"page"`
	// AtLong and AtShort are how many times too fast the budget burns.
	AtLong  float64 `json:"burn_long"`
	AtShort float64 `json:"burn_short"`
	Fires   bool    `json:"fires"`
}

// Row is a route or a pool.
type Row struct {
	Name         string        `json:"name"`
	Requests     uint64        `json:"requests"`
	Failed       uint64        `json:"failed"`
	Availability float64       `json:"availability"`
	P99          Seconds       `json:"p99_seconds"`
	There        float64       `json:"time_available"`
	Endpoints    float64       `json:"endpoint_availability"`
	Faults       int           `json:"faults"`
	Covered      int           `json:"faults_unnoticed"`
	MTBF         Seconds       `json:"mtbf_seconds"`
	MTTR         Seconds       `json:"mttr_seconds"`
	ToDetect     Seconds       `json:"detect_seconds"`
	Rate         float64       `json:"rate_per_second"`
	Service      avail.Seconds `json:"service_seconds"`
	Utilisation  float64       `json:"utilisation,omitempty"` // of its slots, if those are known
	Knee         *Knee         `json:"knee,omitempty"`

	EndpointUp   avail.Seconds `json:"endpoint_up_seconds"` // all endpoints together
	EndpointDown avail.Seconds `json:"endpoint_down_seconds"`
}

// Seconds is a time; in JSON a number, or null for one without end or unknown.
type Seconds avail.Seconds

// MarshalJSON implements json.Marshaler.
func (s Seconds) MarshalJSON() ([]byte, error) {
	if f := float64(s); !math.IsInf(f, 0) && !math.IsNaN(f) {
		return fmt.Appendf(nil, "%.6g", f), nil
	}
	return []byte("null"), nil
}

// UnmarshalJSON implements json.Unmarshaler.
func (s *Seconds) UnmarshalJSON(text []byte) error {
	if string(text) == "null" {
		*s = Seconds(math.Inf(1))
		return nil
	}
	var f float64
	_, err := fmt.Sscan(string(text), &f)
	*s = Seconds(f)
	return err
}

// Sample is a point of the chart.
type Sample struct {
	At           int64   `json:"at"`
	Availability float64 `json:"availability"` // of requests
	Rate         float64 `json:"rate_per_second"`
}

// New makes a report.
func New(in Input) Report {
	whole := in.Whole.Total()
	r := Report{From: in.From, To: in.To, Faults: in.Faults, Recoveries: in.Recoveries, Predicted: in.Predicted, Routes: []Row{}, Pools: []Row{}, Lines: []Line{}}
	for i := range in.Pools {
		c := in.Pools[i].Total()
		r.Counted = max(r.Counted, c.Up+c.Down)
		r.Pools = append(r.Pools, row(&in.Pools[i], &in))
	}
	for i := range in.Routes {
		r.Routes = append(r.Routes, row(&in.Routes[i], &in))
	}
	r.lines(&in, &whole)
	r.Kept = !slices.ContainsFunc(r.Lines, func(l Line) bool { return !l.Kept() })
	r.Gap = gap(r.Lines, in.Predicted)
	r.Budget = budget(&in, &whole)
	for i, p := range in.Whole.Points {
		end := in.To.Unix()
		if i+1 < len(in.Whole.Points) {
			end = in.Whole.Points[i+1].At
		}
		if p.Requests > 0 && end > p.At {
			r.Series = append(r.Series, Sample{At: p.At, Availability: p.served(), Rate: float64(p.Requests) / float64(end-p.At)})
		}
	}
	return r
}

func row(s *Subject, in *Input) Row {
	c := s.Total()
	r := Row{
		Name: s.Name, Requests: c.Requests, Failed: c.Failed, Availability: c.served(), There: c.there(), P99: Seconds(c.Quantile(0.99, in.Bounds)),
		Endpoints: 1, EndpointUp: c.EndpointUp, EndpointDown: c.EndpointDown, MTBF: Seconds(math.Inf(1)), MTTR: Seconds(math.Inf(1)), ToDetect: Seconds(math.Inf(1)),
	}
	if long := c.EndpointUp + c.EndpointDown; long > 0 {
		r.Endpoints = float64(c.EndpointUp / long)
	}
	var repairs, detects avail.Sample
	for i := range in.Faults {
		f := &in.Faults[i]
		if f.Pool != s.Name {
			continue
		}
		r.Faults++
		if f.Failed == 0 {
			r.Covered++
		}
		repairs, detects = append(repairs, f.ToRecover), append(detects, f.ToDetect)
	}
	if r.Faults > 0 {
		r.MTBF, r.MTTR, r.ToDetect = Seconds(avail.MTBF(c.EndpointUp, r.Faults)), Seconds(repairs.Mean()), Seconds(detects.Mean())
	}
	if c.Requests > 0 {
		r.Service = c.LatencySum / avail.Seconds(c.Requests)
	}
	if long := c.Up + c.Down; long > 0 {
		r.Rate = float64(c.Requests) / float64(long)
		if s.Slots > 0 {
			r.Utilisation = float64(c.Busy/long) / float64(s.Slots)
		}
	}
	r.Knee = FindKnee(s.Points)
	return r
}

func some(f float64) *float64 { return &f }

// lines puts every figure that is promised or was measured side by side.
func (r *Report) lines(in *Input, whole *Counts) {
	r.availability(in, whole)
	if p := in.Promise.LatencyP99; p > 0 || whole.Requests > 0 {
		l := Line{Name: "99 % of requests take at most", Unit: Times, Of: int(whole.Requests)}
		l.measure(float64(whole.Quantile(0.99, in.Bounds)), float64(avail.Of(p)), whole.Requests > 0)
		r.Lines = append(r.Lines, l)
	}
	r.faults(in)
	r.recoveries(in)
}

// measure fills in a time and what was promised of it, 0 being nothing.
func (l *Line) measure(measured, promised float64, known bool) {
	if promised > 0 {
		l.Promised = some(promised)
	}
	if !known || math.IsInf(measured, 0) {
		if known && promised > 0 {
			l.Used = some(math.MaxFloat64)
		}
		return
	}
	l.Measured = some(measured)
	if promised > 0 {
		l.Used = some(measured / promised)
	}
}

func (r *Report) availability(in *Input, whole *Counts) {
	requests := Line{Name: "requests answered", Unit: Share, Of: int(whole.Requests)}
	there := Line{Name: "time that every pool was there", Unit: Share}
	if whole.Requests > 0 {
		sure := avail.ClopperPearson(int(whole.Failed), int(whole.Requests), Confidence)
		requests.Measured, requests.Low, requests.High = some(whole.served()), some(1-sure.High), some(1-sure.Low)
	}
	worst, known := 1.0, false
	for i := range in.Pools {
		if c := in.Pools[i].Total(); c.Up+c.Down > 0 {
			worst, known = min(worst, c.there()), true
		}
	}
	if known {
		there.Measured = some(worst)
	}
	for _, l := range []*Line{&requests, &there} {
		if in.Predicted != nil {
			l.Predicted = some(in.Predicted.Availability)
		}
		if p := in.Promise.Availability; p > 0 {
			l.Promised = some(p)
			if l.Measured != nil {
				l.Used = some((1 - *l.Measured) / (1 - p))
			}
		}
		r.Lines = append(r.Lines, *l)
	}
}

func (r *Report) faults(in *Input) {
	if len(in.Faults) == 0 {
		return
	}
	var repairs, detects []avail.Seconds
	covered := 0
	for i := range in.Faults {
		repairs, detects = append(repairs, in.Faults[i].ToRecover), append(detects, in.Faults[i].ToDetect)
		if in.Faults[i].Failed == 0 {
			covered++
		}
	}
	n := len(in.Faults)
	coverage := Line{Name: "faults that no client noticed", Unit: Share, Of: n, Measured: some(float64(covered) / float64(n))}
	sure := avail.ClopperPearson(covered, n, Confidence)
	coverage.Low, coverage.High = some(sure.Low), some(sure.High)
	if in.Predicted != nil {
		coverage.Predicted = some(in.Predicted.Coverage)
	}
	r.Lines = append(r.Lines, coverage, spread("a fault is detected after, at most", detects, 0), spread("a fault is over after, at most", repairs, in.Promise.RecoveryTime))
}

// spread is the longest of some times, and the interval of the time that nine of ten do not exceed.
func spread(name string, times []avail.Seconds, promised time.Duration) Line {
	s := avail.NewSample(times)
	l := Line{Name: name, Unit: Times, Of: len(s)}
	l.measure(float64(s.Quantile(1)), float64(avail.Of(promised)), true)
	sure := s.QuantileInterval(0.9, Confidence)
	l.Low = some(sure.Low)
	if !math.IsInf(sure.High, 1) {
		l.High = some(sure.High)
	}
	return l
}

func (r *Report) recoveries(in *Input) {
	var took, lost []avail.Seconds
	good := 0
	for _, one := range in.Recoveries {
		if !one.Good {
			continue
		}
		good++
		took = append(took, one.Took)
		if one.Lost >= 0 {
			lost = append(lost, one.Lost)
		}
	}
	n := len(in.Recoveries)
	if n > 0 {
		l := Line{Name: "drills that succeeded", Unit: Share, Of: n, Measured: some(float64(good) / float64(n))}
		sure := avail.ClopperPearson(good, n, Confidence)
		l.Low, l.High = some(sure.Low), some(sure.High)
		r.Lines = append(r.Lines, l)
	}
	if len(took) > 0 {
		r.Lines = append(r.Lines, spread("a restore takes, at most", took, in.Promise.RecoveryTime))
	}
	switch {
	case len(lost) > 0:
		r.Lines = append(r.Lines, spread("a restore loses, at most", lost, in.Promise.RecoveryPoint))
	case in.Promise.RecoveryPoint > 0:
		r.Lines = append(r.Lines, Line{Name: "a restore loses, at most", Unit: Times, Promised: some(in.Promise.RecoveryPoint.Seconds())})
	}
}

// gap names what is furthest from its promise.
func gap(lines []Line, predicted *Predicted) string {
	var worst *Line
	unmeasured := ""
	for i := range lines {
		l := &lines[i]
		if l.Promised != nil && l.Measured == nil && l.Used == nil {
			unmeasured = l.Name
		}
		if l.Used != nil && (worst == nil || *l.Used > *worst.Used) {
			worst = l
		}
	}
	switch {
	case worst != nil && !worst.Kept():
		text := fmt.Sprintf("The biggest gap: %s. %s of what the promise allows was used.", worst.Name, times(*worst.Used))
		if predicted != nil && predicted.Weakest != "" && worst.Unit == Share {
			text += " By the plan, what costs most is " + predicted.Weakest + "."
		}
		return text
	case unmeasured != "":
		return "Nothing is broken; but nobody has measured \"" + unmeasured + "\", which is promised: a drill would."
	case worst != nil:
		return fmt.Sprintf("Every promise was kept. The nearest to its limit: %s, with %s of what is allowed.", worst.Name, times(*worst.Used))
	}
	return "Nothing is promised: write objectives to have it compared."
}

func times(used float64) string {
	if used > 1000 {
		return "more than 1000 times all"
	}
	return fmt.Sprintf("%.0f %%", used*100)
}

// budget is what is left, and how fast it burns.
func budget(in *Input, whole *Counts) *Budget {
	if in.Promise.Availability <= 0 || whole.Requests == 0 {
		return nil
	}
	b := avail.Budget{Allowed: avail.FromAvailability(in.Promise.Availability), Window: avail.Of(in.Promise.Window)}
	out := &Budget{Allowed: float64(b.Allowed), Left: b.Left(float64(whole.Failed), float64(whole.Requests)), Burns: Burns(b, in.Whole.Points, in.To, 1)}
	return out
}

// Burns is how fast a budget burns in the windows of its alerts, from points up to a moment. A window with fewer requests
// than least burns nothing: of ten, one failed is no 10 %.
func Burns(b avail.Budget, points []Point, to time.Time, least int) []Burn {
	var all []Burn
	for _, a := range b.Alerts() {
		rate := func(window avail.Seconds) float64 {
			from := to.Unix() - int64(math.Ceil(float64(window)))
			sum := Counts{}
			for _, p := range slices.Backward(points) {
				if p.At < from {
					break
				}
				sum.Requests, sum.Failed = sum.Requests+p.Requests, sum.Failed+p.Failed
			}
			if sum.Requests < uint64(max(least, 1)) {
				return 0
			}
			return b.Burn(avail.Down(1 - sum.served()))
		}
		one := Burn{Long: a.Long, Short: a.Short, Factor: a.Factor, Page: a.Page, AtLong: rate(a.Long), AtShort: rate(a.Short)}
		one.Fires = a.Fires(one.AtLong, one.AtShort)
		all = append(all, one)
	}
	return all
}

// Knee is where a pool's latency begins to rise with its load.
type Knee struct {
	Rate    float64       `json:"rate_per_second"` // up to which latency hardly rises
	Latency avail.Seconds `json:"latency_seconds"` // there
}

// kneePoints are how many times of different load it takes to see one.
const kneePoints = 20

// FindKnee finds where mean latency begins to rise with the rate of requests: the point furthest below the chord from the
// least to the greatest load (Satopää et al., "Finding a 'Kneedle' in a Haystack", 2011), on medians of twentieths of the
// load. nil if there are too few points, or if latency at the greatest load is not half as much again as at the knee.
func FindKnee(points []Point) *Knee {
	type at struct{ rate, latency float64 }
	var all []at
	for i, p := range points {
		if p.Requests == 0 || p.LatencySum == 0 || i+1 >= len(points) || points[i+1].At <= p.At {
			continue
		}
		long := float64(points[i+1].At - p.At)
		if up := float64(p.Up + p.Down); up > 0 && up < long {
			long = up
		}
		all = append(all, at{float64(p.Requests) / long, float64(p.LatencySum) / float64(p.Requests)})
	}
	if len(all) < kneePoints {
		return nil
	}
	slices.SortFunc(all, func(a, b at) int { return cmp.Compare(a.rate, b.rate) })
	var bins []at
	for i := range kneePoints {
		bin := all[i*len(all)/kneePoints : (i+1)*len(all)/kneePoints]
		latencies := make([]float64, len(bin))
		for j := range bin {
			latencies[j] = bin[j].latency
		}
		slices.Sort(latencies)
		bins = append(bins, at{bin[len(bin)/2].rate, latencies[len(latencies)/2]})
	}
	first, last := bins[0], bins[len(bins)-1]
	if last.rate <= first.rate || last.latency <= first.latency {
		return nil
	}
	best, furthest := -1, 0.0
	for i, b := range bins {
		x, y := (b.rate-first.rate)/(last.rate-first.rate), (b.latency-first.latency)/(last.latency-first.latency)
		if x-y > furthest {
			best, furthest = i, x-y
		}
	}
	if best < 0 || last.latency < 1.5*bins[best].latency {
		return nil
	}
	return &Knee{Rate: bins[best].rate, Latency: avail.Seconds(bins[best].latency)}
}
