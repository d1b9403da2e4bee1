package trivet

import (
	"context"
	"strings"
	"time"

	"github.com/trivet-ha/trivet/avail"
	"github.com/trivet-ha/trivet/avail/report"
	"github.com/trivet-ha/trivet/balance/l7"
	"github.com/trivet-ha/trivet/config"
	"github.com/trivet-ha/trivet/events"
	"github.com/trivet-ha/trivet/events/tally"
	"github.com/trivet-ha/trivet/internal/plan"
)

// Report puts side by side what the file promises, what its design was expected to give, and what was measured in a window
// that ends now; 0 is the window of the objectives. The error is that of reading the state file.
func (n *Node) Report(ctx context.Context, window time.Duration) (report.Report, error) {
	file, now := n.File(), time.Now()
	if window <= 0 {
		window = file.Objectives.Window
	}
	if err := n.meter.flush(ctx, now); err != nil {
		return report.Report{}, err
	}
	in := report.Input{From: now.Add(-window), To: now, Promise: promiseOf(&file.Objectives), Predicted: n.predicted(file)}
	for _, b := range l7.LatencyBounds {
		in.Bounds = append(in.Bounds, avail.Of(b))
	}
	if err := n.measured(ctx, file, &in); err != nil {
		return report.Report{}, err
	}
	drills, err := n.Events(ctx, events.Filter{Since: in.From, Kinds: []string{"drill.*"}})
	if err != nil {
		return report.Report{}, err
	}
	for i := range drills {
		if r, ok := recoveryOf(&drills[i]); ok {
			in.Recoveries = append(in.Recoveries, r)
		}
	}
	return report.New(in), nil
}

func promiseOf(o *config.Objectives) report.Promise {
	return report.Promise{Availability: o.Availability.Fraction(), Window: o.Window, LatencyP99: o.LatencyP99, RecoveryTime: o.RecoveryTime, RecoveryPoint: o.RecoveryPoint}
}

// predicted is what the file's design was expected to give; nil if it leads to no pool.
func (n *Node) predicted(file *config.Config) *report.Predicted {
	p, err := plan.New(file, nil)
	if err != nil {
		return nil
	}
	out := &report.Predicted{Availability: p.Availability, Low: p.Low, High: p.High, Coverage: file.Objectives.Assume.Coverage.Fraction()}
	if len(p.Importances) > 0 {
		out.Weakest = p.Importances[0].What
	}
	return out
}

// measured reads what was counted.
func (n *Node) measured(ctx context.Context, file *config.Config, in *report.Input) error {
	m := n.meter
	m.mu.Lock()
	store := m.store
	m.mu.Unlock()
	if store == nil {
		return errNotMeasured
	}
	whole, err := store.Read(ctx, tally.Whole, in.From, in.To)
	if err != nil {
		return err
	}
	in.Whole = report.Subject{Points: whole[""]}
	routes, err := store.Read(ctx, tally.Route, in.From, in.To)
	if err != nil {
		return err
	}
	eachRoute(file, func(listener, route string, _ []config.Name) {
		in.Routes = append(in.Routes, report.Subject{Name: listener + "/" + route, Points: routes[listener+"/"+route]})
	})
	pools, err := store.Read(ctx, tally.Pool, in.From, in.To)
	if err != nil {
		return err
	}
	for i := range file.Pools {
		p := &file.Pools[i]
		in.Pools = append(in.Pools, report.Subject{Name: string(p.Name), Points: pools[string(p.Name)], Slots: slotsOf(file, p)})
	}
	in.Faults, err = store.Faults(ctx, in.From, in.To)
	return err
}

// slotsOf is how many requests a pool can work on at a time; 0 is not known.
func slotsOf(file *config.Config, p *config.Pool) int {
	each := p.EndpointMaxRequests
	if file.Has("objectives.assume.pools." + string(p.Name) + ".workers") {
		each = file.Objectives.Assume.LoadOf(p.Name).Workers
	}
	return each * p.Servers()
}

// recoveryOf is what an event of a drill says; not ok is that it was none.
func recoveryOf(e *events.Event) (report.Recovery, bool) {
	r := report.Recovery{Name: strings.TrimPrefix(e.Where.Text(), "drill "), At: e.At, Took: avail.Of(e.Took.Duration()), Lost: -1}
	switch string(e.Kind) {
	case "drill.passed":
		r.Good = true
	case "drill.failed":
	default:
		return r, false
	}
	return r, true
}
