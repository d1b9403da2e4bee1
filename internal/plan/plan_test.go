package plan

import (
	"encoding/json"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/trivet-ha/trivet/avail"
	"github.com/trivet-ha/trivet/avail/design"
	"github.com/trivet-ha/trivet/config"
)

func parse(t *testing.T, text string) *config.Config {
	t.Helper()
	c, err := config.Parse("trivet.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func planFor(t *testing.T, text string, m *Measured) *Plan {
	t.Helper()
	p, err := New(parse(t, text), m)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func near(a, b float64) bool { return math.Abs(a-b) <= 1e-6*math.Abs(b) }

const twoServers = `
listeners: {web: {address: ":80", pool: site}}
pools: {site: {endpoints: [10.0.0.1:80, 10.0.0.2:80], health: {probe: {http: /healthz}}}}
objectives:
  availability: 99.9%
  assume: {machine: {mtbf: 1000h, mttr: 4h}, endpoint: {mtbf: 1000d, mttr: 1ms}, coverage: 100%, common_cause: 0%}
`

func TestAFileIsItsMachines(t *testing.T) {
	p := planFor(t, twoServers, nil)
	u := avail.FromTimes(1000*avail.Hour, 4*avail.Hour)
	want := avail.Series(u, avail.KOfN(1, 2, u)) // Trivet's own machine, and one of two
	if !near(1-p.Availability, float64(want)) {
		t.Errorf("down %g, want %g", 1-p.Availability, want)
	}
	if len(p.Parts) != 2 || p.Parts[0].Name != trivet || p.Parts[1].Servers != 2 || p.Parts[1].Needed != 1 {
		t.Errorf("parts %+v", p.Parts)
	}
	top := p.Importances[0]
	if !top.Single || top.Part != trivet || p.Met {
		t.Errorf("what costs most is %+v, met: %v; want the machine of Trivet, and not met", top, p.Met)
	}
	if p.Cheapest == nil || len(p.Cheapest.Changes) != 1 || p.Cheapest.Changes[0] != "one more machine for Trivet" {
		t.Errorf("the cheapest change is %+v", p.Cheapest)
	}
	if !(p.Low < p.Availability && p.High >= p.Availability) || !(p.Kept > 0 && p.Kept < 1) {
		t.Errorf("19 windows in 20: %g to %g; kept in %g", p.Low, p.High, p.Kept)
	}
}

func TestEndpointsOnThisMachineShareIt(t *testing.T) {
	const text = `
listeners: {web: {address: ":80", pool: site}}
pools: {site: {endpoints: [127.0.0.1:8001, "[::1]:8002", "unix:/run/a.sock"]}, api: {endpoints: [{run: {command: [./api], replicas: 3}}]}}
objectives: {assume: {machine: {mtbf: 1000h, mttr: 4h}, endpoint: {mtbf: 1000d, mttr: 1ms}, coverage: 100%, common_cause: 0%}}
`
	both := strings.Replace(text, "pool: site}}", `routes: [{match: {path_prefix: /api}, pool: api}, {pool: site}]}}`, 1)
	p := planFor(t, both, nil)
	if want := float64(avail.FromTimes(1000*avail.Hour, 4*avail.Hour)); !near(1-p.Availability, want) {
		t.Errorf("down %g, want the machine's %g, once", 1-p.Availability, want)
	}
	if p.Parts[2].Servers != 3 {
		t.Errorf("parts %+v", p.Parts)
	}
	if !p.Met || p.Cheapest != nil {
		t.Error("without a promise, one is broken")
	}
	// A second Trivet brings processes of its own, on its own machine.
	p = planFor(t, strings.Replace(both, "assume: {", "assume: {nodes: 2, ", 1), nil)
	if p.Parts[2].Servers != 6 || p.Parts[0].Servers != 2 {
		t.Errorf("parts of two nodes %+v", p.Parts)
	}
	if u := float64(avail.FromTimes(1000*avail.Hour, 4*avail.Hour)); !near(1-p.Availability, u*u) {
		t.Errorf("two nodes are down %g, want %g", 1-p.Availability, u*u)
	}
}

func TestLoadSaysHowManyAreNeeded(t *testing.T) {
	text := strings.Replace(twoServers, "assume: {", "assume: {pools: {site: {rate: 30/s, service_time: 50ms}}, ", 1)
	p := planFor(t, text, nil)
	site := p.Parts[1]
	if site.Capacity == nil || site.Needed != 2 || site.Capacity.Servers != 4 || site.Capacity.Have != 2 {
		t.Errorf("1.5 erlangs: %+v", site)
	}
	if !strings.Contains(site.Why, "it takes 4") {
		t.Errorf("why: %s", site.Why)
	}
	text = strings.Replace(twoServers, "assume: {", "assume: {pools: {site: {needed: 2}}, ", 1)
	if site := planFor(t, text, nil).Parts[1]; site.Needed != 2 || site.Capacity != nil {
		t.Errorf("as the file says: %+v", site)
	}
}

func TestZonesAreLost(t *testing.T) {
	p := planFor(t, strings.Replace(twoServers, "availability: 99.9%", "zones: {a: 10.0.0.1, b: 10.0.0.2}", 1), nil)
	lost := map[string]float64{}
	for _, w := range p.WhatIf {
		lost[w.What] = w.Availability
	}
	u := avail.FromTimes(1000*avail.Hour, 4*avail.Hour)
	z := avail.FromTimes(1095*avail.Day, 4*avail.Hour)
	if got, want := lost["zone a lost"], avail.Series(u, u, z).Availability(); !near(1-got, 1-want) {
		t.Errorf("with a zone lost %g, want %g", got, want)
	}
}

func TestWhatIsMeasuredTakesThePlaceOfWhatIsAssumed(t *testing.T) {
	m := &Measured{Over: "30d", Pools: map[string]MeasuredPool{"site": {
		Failures: 10, Up: 1000 * avail.Hour, Down: 10 * avail.Hour, Covered: 9, Rate: 30, Service: 0.05,
	}}}
	p := planFor(t, twoServers, m)
	var unit design.Part
	for _, part := range p.Design().Parts {
		if part.Name == "site" {
			unit = part
		}
	}
	if unit.Unit.MTBF != 100*avail.Hour || unit.Unit.MTTR != avail.Hour || unit.Coverage != .9 {
		t.Errorf("the pool is %+v", unit)
	}
	if p.Parts[1].Capacity == nil || p.Parts[1].Capacity.Servers != 4 {
		t.Errorf("its load is %+v", p.Parts[1].Capacity)
	}
	found := 0
	for _, a := range p.Assumed {
		if strings.HasPrefix(a.From, "measured over 30d") {
			found++
		}
	}
	if found != 3 {
		t.Errorf("%d figures are marked as measured, want 3: %+v", found, p.Assumed)
	}
	few := &Measured{Over: "1d", Pools: map[string]MeasuredPool{"site": {Failures: 1, Up: avail.Hour, Down: avail.Hour}}}
	if a, b := planFor(t, twoServers, few).Availability, planFor(t, twoServers, nil).Availability; a != b {
		t.Errorf("one failure has changed the plan: %g, %g", a, b)
	}
}

func TestOnlyWhatIsUsedIsNeeded(t *testing.T) {
	text := strings.Replace(twoServers, "pools: {", "pools: {spare: {endpoints: [10.0.9.9:80]}, ", 1)
	if p := planFor(t, text, nil); len(p.Parts) != 2 {
		t.Errorf("a pool that nothing leads to is a part: %+v", p.Parts)
	}
	if _, err := New(parse(t, "listeners: {web: {address: \":80\", routes: [{respond: {status: 200}}]}}"), nil); err == nil {
		t.Error("a file without a pool is planned for")
	}
}

func TestDetectionCostsWhereNothingIsTriedAgain(t *testing.T) {
	text := strings.Replace(twoServers, "web: {address: \":80\", pool: site}", "web: {address: \":80\", protocol: tcp, pool: site}", 1)
	text = strings.Replace(text, "health: {probe: {http: /healthz}}", "health: {interval: 2s, fast_interval: 500ms, fall: 3, timeout: 1s}", 1)
	for _, part := range planFor(t, text, nil).Design().Parts {
		if part.Name == "site" && (part.Switch != 3 || part.SwitchShare != .5) {
			t.Errorf("of tcp: %v s for %g of requests, want 3 s for half", part.Switch, part.SwitchShare)
		}
	}
	for _, part := range planFor(t, twoServers, nil).Design().Parts {
		if part.Switch != 0 {
			t.Errorf("of http with retries: %v s", part.Switch)
		}
	}
}

func TestCapacityByHand(t *testing.T) {
	l := Capacity(avail.Poisson(200, 0.05), 1, avail.Want{Wait: 0.1, Share: .99}, 0)
	if l.Servers != 12 || l.Simple != 10 || l.Offered != 10 {
		t.Errorf("%+v", l)
	}
	for _, s := range l.Table {
		if s.Enough != (s.Servers >= 12) || (s.Longer <= .01) != s.Enough {
			t.Errorf("%+v", s)
		}
	}
	if none := Capacity(avail.Poisson(-1, 1), 1, avail.Want{}, 0); none.Servers != -1 || none.Verdict() != "No number of servers does." {
		t.Errorf("a load that is none: %+v", none)
	}
	if big := Capacity(avail.Poisson(20_000, 0.05), 8, avail.Want{Wait: 0.01, Share: .999}, 100); len(big.Table) > 16 || big.Table[0].Servers != 100 {
		t.Errorf("of a large one: %d rows", len(big.Table))
	}
	if _, err := json.Marshal(l); err != nil {
		t.Error(err)
	}
}

func TestFiguresByHand(t *testing.T) {
	h, err := NewByHand(avail.Repairable{N: 2, Needed: 1, Crews: 1, MTBF: 1000 * avail.Hour, MTTR: 4 * avail.Hour, Uncovered: .01})
	if err != nil {
		t.Fatal(err)
	}
	if got := float64(h.DownPerYear) / 60; math.Abs(got-58.4) > .05 {
		t.Errorf("%g minutes a year, want 58.4", got)
	}
	if h.Ratio != .004 || !near(h.One, .99601594) || len(h.WhatIf) != 7 {
		t.Errorf("%+v", h)
	}
	if _, err := NewByHand(avail.Repairable{N: 1, Needed: 2, MTBF: 1, MTTR: 1}); err == nil {
		t.Error("two of one are worked out")
	}
	with, err := NewByHand(avail.Repairable{N: 2, Needed: 2, MTBF: 1000, MTTR: 4, Common: .1})
	if err != nil || len(with.WhatIf) != 4 {
		t.Errorf("%+v, %v", with.WhatIf, err)
	}
}

func TestPagesSayWhatTheReportSays(t *testing.T) {
	text := strings.Replace(twoServers, "assume: {", "assume: {pools: {site: {rate: 10/s, service_time: 50ms}}, ", 1)
	p := planFor(t, text, nil)
	h, _ := NewByHand(avail.Repairable{N: 2, Needed: 1, MTBF: 1000, MTTR: 4})
	var b strings.Builder
	if err := p.Page().Write(&b); err != nil {
		t.Fatal(err)
	}
	if err := h.Page().Write(&b); err != nil {
		t.Fatal(err)
	}
	if err := Capacity(avail.Poisson(200, 0.05), 2, avail.Want{Wait: 0.1, Share: .99}, 3).Page().Write(&b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"the promise can not be kept", "single point of failure", "one more machine for Trivet", "Capacity of site", "2 servers of which 1 must work",
		"Servers for 200 requests a second of 50ms", "There are 3."} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("the pages lack %q", want)
		}
	}
}

func TestTextsOfFigures(t *testing.T) {
	for got, want := range map[string]string{
		Percent(.9995): "99.9500 %", Percent(.99999): "99.99900 %", Percent(.5): "50.00 %", Percent(1): "100.00 %",
		Share(.0123): "1.23 %", Share(0): "0.00 %", Share(1e-6): "0.0001 %", Share(1e-13): "0 %",
		duration(30 * 24 * time.Hour): "30d", duration(36 * time.Hour): "1d12h", duration(90 * time.Minute): "1h30m", duration(2 * time.Hour): "2h",
		duration(50 * time.Millisecond): "50ms", duration(5 * time.Minute): "5m", duration(65 * time.Second): "1m5s", duration(101*24*time.Hour + 5): "101d",
		Duration(avail.Seconds(math.Inf(1))): "without end", Duration(100 * avail.Year): "100 years", Duration(1e-9): "0s",
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	if text, _ := json.Marshal(Minutes(math.Inf(1))); string(text) != "null" {
		t.Errorf("forever in JSON is %s", text)
	}
	w := WhatIf{DownPerYear: 120}
	if w.Change(60) != "+1m" || w.Change(180) != "−1m" || w.Change(120) != "none" {
		t.Errorf("changes %q %q %q", w.Change(60), w.Change(180), w.Change(120))
	}
}

func TestSinglePointsOfFailureAreRanked(t *testing.T) {
	found := Findings(parse(t, `
listeners: {web: {address: ":80", routes: [{match: {path_prefix: /api}, pool: api}, {pool: site}]}}
pools:
  site: {endpoints: [10.0.0.1:80], health: {probe: {http: /healthz}}}
  api: {endpoints: [10.0.0.2:80, 10.0.0.3:80], health: {probe: {http: /healthz}}}
`))
	if len(found) != 2 {
		t.Fatalf("%+v", found)
	}
	if f := found[0]; f.Path != "pools.site.endpoints" || f.Line == 0 || !strings.Contains(f.What, "the one server of site: 6h") || !strings.Contains(f.Why, "no. 1") {
		t.Errorf("the first is %+v", f)
	}
	if f := found[1]; !strings.Contains(f.What, "the machines that Trivet runs on: 4h") || f.Line != 0 {
		t.Errorf("the second is %+v", f)
	}
	if found := Findings(parse(t, "")); found != nil {
		t.Errorf("of nothing: %+v", found)
	}
}
