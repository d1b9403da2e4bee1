package trivet

import (
	"fmt"
	"testing"
	"time"

	"github.com/trivet-ha/trivet/avail/report"
	"github.com/trivet-ha/trivet/events"
)

func lossesOf(begin time.Time, failed ...uint64) *losses {
	l := &losses{}
	for i, f := range failed {
		l.at, l.failed, l.requests = append(l.at, begin.Add(time.Duration(i)*time.Second)), append(l.failed, f), append(l.requests, uint64(i)*100)
	}
	return l
}

func TestFailuresOfAFaultAreThoseBeyondTheUsual(t *testing.T) {
	begin := time.Unix(1000, 0)
	at := func(s float64) time.Time { return begin.Add(time.Duration(s * float64(time.Second))) }
	quiet := lossesOf(begin, 0, 0, 0, 0, 0, 0, 0, 0)
	if n := quiet.between(at(2), at(5)); n != 0 {
		t.Errorf("nothing failed: %d", n)
	}
	hit := lossesOf(begin, 0, 0, 0, 3, 7, 7, 7, 7)
	if n := hit.between(at(2.5), at(4.2)); n != 7 {
		t.Errorf("seven failed while it lasted: %d", n)
	}
	if n := hit.between(at(5.5), at(6)); n != 0 {
		t.Errorf("after it nothing failed: %d", n)
	}
	usual := lossesOf(begin, 0, 5, 10, 15, 20, 25, 30, 35) // an application that fails one in twenty, always
	if n := usual.between(at(4), at(6)); n != 0 {
		t.Errorf("what always fails is nobody's fault: %d", n)
	}
	if n := (&losses{}).between(at(0), at(1)); n != 0 {
		t.Errorf("of nothing: %d", n)
	}
}

func TestCountersThatHaveGoneBackBeginAnew(t *testing.T) {
	m := newMeter(nil)
	m.since("a", report.Counts{Requests: 10, Failed: 1, Latency: []uint64{10}})
	if d := m.since("a", report.Counts{Requests: 15, Failed: 1, Latency: []uint64{15}}); d.Requests != 5 || d.Failed != 0 || d.Latency[0] != 5 {
		t.Errorf("the difference is %+v", d)
	}
	if d := m.since("a", report.Counts{Requests: 3, Latency: []uint64{3}}); d.Requests != 3 || d.Latency[0] != 3 {
		t.Errorf("after a reset it is %+v", d)
	}
}

// TestANodeReportsWhatItDelivered ends one of two shops, brings it back, ends both, and asks for the report: the first fault
// was noticed by nobody, the second by every client.
func TestANodeReportsWhatItDelivered(t *testing.T) {
	a, b := newShop(t, "a"), newShop(t, "b")
	n := start(t, fmt.Sprintf(`
admin: {socket: SOCKET}
objectives: {availability: 99%%, recovery_time: 5m}
listeners: {web: {address: "127.0.0.1:0", pool: site}}
pools: {site: {endpoints: [%s, %s], health: {probe: {http: /healthz}, interval: 50ms, fast_interval: 20ms}}}
`, a.address(), b.address()))
	url := n.url("web")
	available := func(want int) {
		t.Helper()
		eventually(t, fmt.Sprintf("%d are available", want), func() bool { return n.Status().Pools[0].Available == want })
	}
	available(2)
	ask := func(times int) {
		for range times {
			get(t, url)
		}
	}
	ask(50)
	a.sick.Store(true)
	available(1)
	ask(10)
	a.sick.Store(false)
	available(2)
	var r report.Report
	reported := func(what string, holds func() bool) {
		t.Helper()
		eventually(t, what, func() bool {
			var err error
			if r, err = n.Report(t.Context(), 0); err != nil {
				t.Fatal(err)
			}
			return holds()
		})
	}
	reported("one fault is in the report", func() bool { return len(r.Faults) == 1 })
	if f := r.Faults[0]; f.Pool != "site" || f.Where != a.address() || f.Failed != 0 || f.ToRecover <= 0 {
		t.Errorf("the fault is %+v", f)
	}
	if !r.Kept || r.Predicted == nil || len(r.Pools) != 1 || r.Pools[0].Requests != 60 || r.Pools[0].Failed != 0 || r.Pools[0].Covered != 1 {
		t.Errorf("kept %v, %s; pools %+v", r.Kept, r.Gap, r.Pools)
	}

	a.sick.Store(true)
	b.sick.Store(true)
	available(0)
	began := time.Now()
	eventually(t, "a moment of it is over", func() bool { return time.Since(began) > time.Second })
	a.sick.Store(false)
	b.sick.Store(false)
	available(2)
	reported("three faults are in the report", func() bool { return len(r.Faults) == 3 })
	if p := r.Pools[0]; p.There >= 1 || p.There <= 0 || p.Endpoints >= 1 || p.Faults != 3 {
		t.Errorf("the pool was there %g of the time, its endpoints %g: %+v", p.There, p.Endpoints, p)
	}
}

func TestABudgetThatBurnsIsAnEvent(t *testing.T) {
	n := start(t, `
admin: {socket: SOCKET}
objectives: {availability: 99.9%, min_requests: 10}
listeners: {web: {address: "127.0.0.1:0", routes: [{match: {path_prefix: /bad}, respond: {status: 500}}, {respond: {status: 200}}]}}
`)
	url := n.url("web")
	burning := func(path string, want events.Kind) {
		t.Helper()
		eventually(t, string(want), func() bool {
			for range 20 {
				get(t, url+path)
			}
			now := time.Now()
			if err := n.meter.flush(t.Context(), now); err != nil {
				return false // it has only begun
			}
			if err := n.meter.alert(t.Context(), now.Add(time.Second)); err != nil {
				t.Fatal(err)
			}
			list, err := n.Events(t.Context(), events.Filter{Kinds: []string{"budget.*"}})
			if err != nil {
				t.Fatal(err)
			}
			return len(list) > 0 && list[len(list)-1].Kind == want
		})
	}
	burning("/bad", events.BudgetBurningFast)
	open, err := n.Incidents(t.Context(), events.IncidentFilter{Open: true})
	if err != nil || len(open) != 1 {
		t.Errorf("incidents %+v, %v", open, err)
	}
	// Later the short windows have nothing left of it.
	if err := n.meter.alert(t.Context(), time.Now().Add(80*time.Hour)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it has eased", func() bool {
		open, _ := n.Incidents(t.Context(), events.IncidentFilter{Open: true})
		return len(open) == 0
	})
}
