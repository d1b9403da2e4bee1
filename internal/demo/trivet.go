package demo

import (
	"context"
	"fmt"
	"time"

	"github.com/trivet-ha/trivet/api"
	"github.com/trivet-ha/trivet/avail/report"
	"github.com/trivet-ha/trivet/internal/demo/process"
)

// poolName is the pool of the demo's configuration.
const poolName = "shop"

// A trivetProcess is Trivet itself, as a child process, steered over its control socket as an operator would.
type trivetProcess struct {
	*process.Child
	client *api.Client
}

// startTrivet runs "trivet run trivet.yaml" and waits until it serves.
func startTrivet(ctx context.Context, s *Stage) (Balancer, error) {
	c, err := s.nursery.Start("trivet", s.opt.Executable, append(s.opt.RunCommand, s.Config)...)
	if err != nil {
		return nil, err
	}
	if err := s.untilHealthy(ctx, c, "http://"+s.Front+"/healthz"); err != nil {
		return nil, err
	}
	s.Say("trivet run trivet.yaml: listening on %s (pid %d)", s.Front, c.PID())
	return &trivetProcess{Child: c, client: api.Dial(s.Socket)}, nil
}

func (p *trivetProcess) Endpoints(ctx context.Context) ([]Endpoint, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	pool, err := p.client.Pool(ctx, poolName)
	if err != nil {
		return nil, p.explain(err)
	}
	out := make([]Endpoint, len(pool.Endpoints))
	for i := range pool.Endpoints {
		e := &pool.Endpoints[i]
		out[i] = Endpoint{Address: e.Address, Available: e.Available, State: stateOf(e), Reason: e.Reason}
	}
	return out, nil
}

// stateOf says in a word or two what Trivet makes of an endpoint.
func stateOf(e *api.Endpoint) string {
	switch {
	case e.Admin == api.Drain:
		return "draining"
	case e.Admin == api.Maintenance:
		return "in maintenance"
	case e.Health == "down":
		return "down"
	case e.Outlier == "ejected":
		return "ejected"
	case e.Outlier == "probation":
		return "on probation"
	case !e.Available:
		return "waiting"
	}
	return "up"
}

func (p *trivetProcess) Drain(ctx context.Context, endpoint string) error {
	return p.wish(ctx, endpoint, api.Drain)
}

func (p *trivetProcess) Ready(ctx context.Context, endpoint string) error {
	return p.wish(ctx, endpoint, api.Ready)
}

func (p *trivetProcess) wish(ctx context.Context, endpoint string, wish api.Admin) error {
	_, err := p.client.ChangeEndpoint(ctx, poolName, endpoint, api.Change{Admin: &wish})
	return p.explain(err)
}

func (p *trivetProcess) Reload(ctx context.Context) error { return p.explain(p.client.Reload(ctx)) }

func (p *trivetProcess) Report(ctx context.Context) (report.Report, error) {
	r, err := p.client.Report(ctx, "")
	return r, p.explain(err)
}

// explain adds what Trivet said last when it has ended unasked.
func (p *trivetProcess) explain(err error) error {
	if err == nil || p.Running() {
		return err
	}
	return fmt.Errorf("trivet ended (%v): %s", p.Err(), p.LastWords())
}
