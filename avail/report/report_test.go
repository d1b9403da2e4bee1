package report

import (
	"encoding/json"
	"math"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/trivet-ha/trivet/avail"
)

var noon = time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)

func inputOf(failed uint64) Input {
	c := Counts{Requests: 100_000, Failed: failed, Latency: []uint64{99_500, 500, 0}, LatencySum: 5000, Up: 3599, Down: 1, EndpointUp: 7000, EndpointDown: 200, Busy: 1800}
	points := []Point{{At: noon.Add(-time.Hour).Unix(), Counts: c}}
	return Input{
		From: noon.Add(-time.Hour), To: noon, Bounds: []avail.Seconds{.05, .1},
		Promise:   Promise{Availability: .999, Window: 30 * 24 * time.Hour, LatencyP99: 100 * time.Millisecond, RecoveryTime: time.Minute, RecoveryPoint: 10 * time.Second},
		Predicted: &Predicted{Availability: .9995, Coverage: .99, Weakest: "this machine"},
		Whole:     Subject{Points: points}, Routes: []Subject{{Name: "web/site", Points: points}}, Pools: []Subject{{Name: "site", Points: points, Slots: 2}},
		Faults: []Fault{{ID: 1, Pool: "site", ToDetect: 1, ToRecover: 30}, {ID: 2, Pool: "site", ToDetect: 3, ToRecover: 50, Failed: 2}},
	}
}

func line(t *testing.T, r *Report, name string) *Line {
	t.Helper()
	for i := range r.Lines {
		if r.Lines[i].Name == name {
			return &r.Lines[i]
		}
	}
	t.Fatalf("there is no line %q", name)
	return nil
}

func TestWhatIsKeptIsSaid(t *testing.T) {
	r := New(inputOf(50))
	if !r.Kept || !strings.HasPrefix(r.Gap, "Nothing is broken; but nobody has measured") {
		t.Errorf("kept %v: %s", r.Kept, r.Gap)
	}
	l := line(t, &r, "requests answered")
	if *l.Measured != .9995 || *l.Promised != .999 || math.Abs(*l.Used-.5) > 1e-9 || !(*l.Low < .9995 && *l.High > .9995) || *l.Predicted != .9995 {
		t.Errorf("requests %+v", l)
	}
	if l := line(t, &r, "faults that no client noticed"); *l.Measured != .5 || l.Of != 2 {
		t.Errorf("coverage %+v", l)
	}
	if l := line(t, &r, "a fault is over after, at most"); *l.Measured != 50 || math.Abs(*l.Used-50.0/60) > 1e-9 {
		t.Errorf("repair %+v", l)
	}
	if l := line(t, &r, "99 % of requests take at most"); *l.Measured != .05 {
		t.Errorf("latency %+v", l)
	}
	p := r.Pools[0]
	if p.Faults != 2 || p.Covered != 1 || p.MTBF != 3500 || p.MTTR != 40 || p.ToDetect != 2 || p.Utilisation != .25 || math.Abs(p.Endpoints-7000.0/7200) > 1e-12 {
		t.Errorf("pool %+v", p)
	}
	if r.Counted != 3600 || math.Abs(r.Budget.Left-.5) > 1e-9 {
		t.Errorf("counted %v, budget %+v", r.Counted, r.Budget)
	}
	in := inputOf(50)
	in.Promise.RecoveryPoint = 0
	if r := New(in); !strings.HasPrefix(r.Gap, "Every promise was kept. The nearest to its limit: a fault is over after") {
		t.Errorf("gap: %s", r.Gap)
	}
}

func TestTheBiggestGapIsNamed(t *testing.T) {
	r := New(inputOf(1000))
	if r.Kept || r.Gap != "The biggest gap: requests answered. 1000 % of what the promise allows was used. By the plan, what costs most is this machine." {
		t.Errorf("kept %v: %s", r.Kept, r.Gap)
	}
	in := inputOf(0)
	in.Recoveries = []Recovery{{Good: true, Took: 90, Lost: 20}, {Good: true, Took: 30, Lost: -1}, {}}
	r = New(in)
	if r.Kept || !strings.HasPrefix(r.Gap, "The biggest gap: a restore loses") {
		t.Errorf("kept %v: %s", r.Kept, r.Gap)
	}
	if l := line(t, &r, "drills that succeeded"); math.Abs(*l.Measured-2.0/3) > 1e-9 || l.Of != 3 {
		t.Errorf("drills %+v", l)
	}
	if l := line(t, &r, "a restore takes, at most"); *l.Measured != 90 || l.Kept() {
		t.Errorf("restore %+v", l)
	}
	slow := inputOf(0)
	slow.Whole.Points[0].Latency = []uint64{0, 0, 10}
	if r := New(slow); r.Kept || !strings.Contains(r.Gap, "more than 1000 times all") {
		t.Errorf("above all bounds: %s", r.Gap)
	}
}

func TestNothingMeasuredIsNothingBroken(t *testing.T) {
	r := New(Input{From: noon, To: noon})
	if !r.Kept || r.Gap != "Nothing is promised: write objectives to have it compared." || r.Budget != nil {
		t.Errorf("%+v", r)
	}
	text, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	var back Report
	if err := json.Unmarshal(text, &back); err != nil {
		t.Fatal(err)
	}
	r = New(inputOf(50))
	text, err = json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &back); err != nil || back.Pools[0].MTBF != r.Pools[0].MTBF || len(back.Lines) != len(r.Lines) {
		t.Errorf("there and back: %+v, %v", back.Pools, err)
	}
}

// TestAnOutageFiresItsAlertsWhenItShould plays an outage of everything at 99.9 %, minute by minute: by the book a page comes
// after 51.84 s of the last hour and five minutes, so with the first or second minute.
func TestAnOutageFiresItsAlertsWhenItShould(t *testing.T) {
	b := avail.Budget{Allowed: .001, Window: 30 * avail.Day}
	var points []Point
	begin := noon.Add(-80 * time.Hour)
	for m := range 80 * 60 {
		points = append(points, Point{At: begin.Add(time.Duration(m) * time.Minute).Unix(), Counts: Counts{Requests: 1000}})
	}
	calm := Burns(b, points, noon, 100)
	for _, one := range calm {
		if one.Fires || one.AtLong != 0 {
			t.Errorf("without failures: %+v", one)
		}
	}
	points = append(points, Point{At: noon.Unix(), Counts: Counts{Requests: 1000, Failed: 1000}})
	now := Burns(b, points, noon.Add(time.Minute), 100)
	if !now[0].Fires || !now[0].Page || now[1].Fires {
		t.Errorf("after a minute of outage: %+v", now)
	}
	for m := range 10 {
		points = append(points, Point{At: noon.Add(time.Duration(m+1) * time.Minute).Unix(), Counts: Counts{Requests: 1000}})
	}
	if after := Burns(b, points, noon.Add(11*time.Minute), 100); after[0].Fires {
		t.Errorf("ten minutes after its end: %+v", after[0])
	}
	few := []Point{{At: noon.Add(-time.Minute).Unix(), Counts: Counts{Requests: 10, Failed: 5}}}
	if one := Burns(b, few, noon, 100)[0]; one.Fires {
		t.Errorf("ten requests fire: %+v", one)
	}
}

func TestAKneeIsFoundWhereAQueueBegins(t *testing.T) {
	var points []Point
	for i := range 200 {
		rho := .05 + .9*float64(i)/200
		requests := uint64(rho * 6000) // of 100/s at full load, by the minute
		latency := .01 / (1 - rho)     // M/M/1
		points = append(points, Point{At: int64(i) * 60, Counts: Counts{Requests: requests, LatencySum: avail.Seconds(latency * float64(requests)), Up: 60}})
	}
	k := FindKnee(points)
	if k == nil || k.Rate < 60 || k.Rate > 90 || k.Latency > .06 {
		t.Errorf("the knee of M/M/1 is %+v, want near 80/s", k)
	}
	for i := range points {
		points[i].LatencySum = avail.Seconds(.01 * float64(points[i].Requests))
	}
	if k := FindKnee(points); k != nil {
		t.Errorf("a latency that does not rise has a knee: %+v", k)
	}
	if k := FindKnee(points[:10]); k != nil {
		t.Errorf("ten points have a knee: %+v", k)
	}
}

func TestCountsAddUp(t *testing.T) {
	a := Counts{Latency: []uint64{1}}
	b := Counts{Requests: 1, Latency: []uint64{1, 2}}
	a.Add(b)
	a.Add(b)
	if a.Requests != 2 || a.Latency[0] != 3 || a.Latency[1] != 4 || b.Latency[0] != 1 {
		t.Errorf("%+v, %+v", a, b)
	}
	if q := a.Quantile(.99, []avail.Seconds{1}); !math.IsInf(float64(q), 1) {
		t.Errorf("above all bounds the quantile is %v", q)
	}
	if q := (&Counts{}).Quantile(.99, nil); q != 0 {
		t.Errorf("of nothing the quantile is %v", q)
	}
}

func TestRulesAreThoseOfTheBook(t *testing.T) {
	text := Rules(Promise{Availability: .999, Window: 30 * 24 * time.Hour, LatencyP99: 300 * time.Millisecond}, 100)
	for _, want := range []string{
		"promise of 99.9 % over 30d", `trivet:request_failures:ratio_rate1h > 0.0144 and trivet:request_failures:ratio_rate5m > 0.0144`,
		`ratio_rate6h > 0.006 and trivet:request_failures:ratio_rate30m > 0.006`, `ratio_rate1d > 0.003 and trivet:request_failures:ratio_rate2h > 0.003`,
		`ratio_rate3d > 0.001 and trivet:request_failures:ratio_rate6h > 0.001`, "severity: page", "severity: ticket", "TrivetLatency", "2 % of the budget is gone in 1h",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the rules lack %q:\n%s", want, text)
		}
	}
	var parsed struct {
		Groups []struct {
			Name  string
			Rules []struct {
				Record, Alert, Expr, For string
				Labels, Annotations      map[string]string
			}
		}
	}
	d := yaml.NewDecoder(strings.NewReader(text))
	d.KnownFields(true)
	if err := d.Decode(&parsed); err != nil || len(parsed.Groups) != 1 || len(parsed.Groups[0].Rules) != 12 {
		t.Errorf("the rules are no rules: %v, %+v", err, parsed)
	}
	if n := strings.Count(text, "- record:"); n != 7 {
		t.Errorf("%d windows are recorded, want 7: 6h is in two alerts", n)
	}
	if Rules(Promise{}, 1) != "" {
		t.Error("without a promise there are rules")
	}
	if s := prometheus(90.5); s != "91s" && s != "90s" {
		t.Errorf("a time that is no round number is %s", s)
	}
}
