package trivet

import (
	"cmp"
	"context"
	"crypto/x509"
	"fmt"
	"net/http"
	"os"

	"github.com/trivet-ha/trivet/balance"
	"github.com/trivet-ha/trivet/config"
	"github.com/trivet-ha/trivet/fault/health"
	"github.com/trivet-ha/trivet/fault/probe"
)

// prober asks the endpoints of one pool how they are, and tells the pool. The zero prober asks nobody.
type prober struct {
	n       *Node
	pool    *pool
	check   probe.Check
	asker   *probe.Prober // nil while the file says off
	stop    func()
	restore map[string]health.State
}

// startPool begins to probe a pool that has come into force.
func (n *Node) startPool(p *pool, check probe.Check) {
	p.prober = &prober{n: n, pool: p, stop: func() {}, restore: n.inherit.probes(string(p.spec.Name))}
	p.stop = func() {
		p.prober.stop()
		if p.group != nil {
			p.stopGroup()
		}
	}
	p.prober.change(check)
}

// change follows a change of the pool in the file.
func (r *prober) change(check probe.Check) {
	r.check = check
	r.refresh()
}

// refresh follows endpoints that were added, removed or moved.
func (r *prober) refresh() {
	spec := r.pool.spec
	if spec.Health.Off {
		r.off()
		return
	}
	cfg := r.config(spec, r.pool.upstream.Settings().Addresses)
	if r.asker != nil {
		if err := r.asker.Update(cfg); err != nil {
			r.n.log.Error("probes not changed", "pool", spec.Name, "error", err)
		}
		return
	}
	asker, err := probe.New(cfg)
	if err != nil {
		r.n.log.Error("pool is not probed", "pool", spec.Name, "error", err)
		return
	}
	if r.restore != nil {
		asker.Restore(r.restore)
		r.restore = nil
	}
	r.asker = asker
	r.stop = r.n.parts.add(func(ctx context.Context) { _ = asker.Run(ctx) })
}

// off ends the probes. What they said last no longer counts.
func (r *prober) off() {
	if r.asker == nil {
		return
	}
	r.stop()
	r.asker = nil
	for _, e := range r.pool.balance.Endpoints() {
		r.pool.traffic.probed(e, balance.HealthUnknown, "not probed", r.n.now())
	}
}

// trust takes an endpoint for well before it was asked.
func (r *prober) trust(address string) {
	if r.asker != nil {
		r.asker.Restore(map[string]health.State{address: {Verdict: health.Up}})
	}
}

func (r *prober) config(spec *config.Pool, addresses map[string]string) probe.Config {
	h := &spec.Health
	cfg := probe.Config{
		Check:  r.check,
		Policy: health.Policy{Fall: h.Fall, Rise: h.Rise, Interval: h.Interval, FastInterval: h.FastInterval, Timeout: h.Timeout},
		Port:   h.Port,
		Report: r.report,
		Now:    r.n.now,
	}
	for _, e := range r.pool.balance.Endpoints() {
		if r.pool.traffic.answers(e.Address()) {
			cfg.Targets = append(cfg.Targets, probe.Target{Address: e.Address(), Dial: addresses[e.Address()]})
		}
	}
	r.pool.signs.forget(func(address string) bool { return r.pool.balance.ByAddress(address) != nil })
	return cfg
}

// report passes a verdict on to the pool.
func (r *prober) report(p probe.Report) {
	e := r.pool.balance.ByAddress(p.Address)
	if e == nil {
		return
	}
	if p.OK {
		r.n.names.times.note(r.pool.upstream.Name, p.Address, p.Took)
	}
	if !p.Changed && p.OK != (p.Verdict == health.Up) {
		return // a result that the verdict does not follow yet is no reason for it
	}
	verdict := balance.HealthUnknown
	switch p.Verdict {
	case health.Up:
		verdict = balance.Up
	case health.Down:
		verdict = balance.Down
	}
	if p.OK {
		r.pool.balance.SetRole(e, probedRoles[p.Role], p.Term, p.At)
	}
	r.pool.signs.observe(p.Address, p.OK, r.n.origin.Add(p.At-p.Took))
	r.pool.traffic.probed(e, verdict, p.Reason, p.At)
}

// buildCheck turns a pool's probe into a check. It speaks TLS as requests do, unless the probe says how itself.
func (b *build) buildCheck(spec *config.Pool) (probe.Check, error) {
	check, err := buildCheck(&spec.Health.Probe, string(spec.Name))
	if secure := b.secure(spec.Name); secure != nil {
		inherit(check, &probe.TLS{Config: secure})
	}
	return check, err
}

// inherit has a check speak TLS that was not told how.
func inherit(check probe.Check, secure *probe.TLS) {
	switch c := check.(type) {
	case *probe.HTTP:
		c.TLS = cmp.Or(c.TLS, secure)
	case *probe.GRPC:
		c.TLS = cmp.Or(c.TLS, secure)
	case *probe.TCP:
		c.TLS = cmp.Or(c.TLS, secure)
	}
}

// buildCheck turns the probe of the file into a check.
func buildCheck(spec *config.Probe, poolName string) (probe.Check, error) {
	switch {
	case spec.HTTP != nil:
		return httpCheck(spec.HTTP)
	case spec.GRPC != nil:
		secure, err := probeTLS(spec.GRPC.TLS)
		return &probe.GRPC{Service: spec.GRPC.Service, TLS: secure}, err
	case spec.Exec != nil:
		return &probe.Exec{Command: spec.Exec.Command, Pool: poolName}, nil
	case spec.TCP != nil:
		secure, err := probeTLS(spec.TCP.TLS)
		return &probe.TCP{Send: []byte(spec.TCP.Send), Expect: spec.TCP.Expect.Regexp, TLS: secure}, err
	}
	if check, err := databaseCheck(spec); check != nil {
		return check, err
	}
	return &probe.TCP{}, nil
}

func httpCheck(spec *config.HTTPProbe) (probe.Check, error) {
	secure, err := probeTLS(spec.TLS)
	c := &probe.HTTP{
		Method: string(spec.Method), Path: spec.Path, Host: spec.Host, Body: spec.Body.Regexp, TLS: secure, Header: http.Header{},
	}
	for _, h := range spec.Headers {
		c.Header.Add(string(h.Name), string(h.Value))
	}
	for _, r := range spec.Expect {
		c.Expect = append(c.Expect, probe.StatusRange{From: r.Low, To: r.High})
	}
	return c, err
}

func probeTLS(spec *config.ProbeTLS) (*probe.TLS, error) {
	if spec == nil {
		return nil, nil
	}
	secure := &probe.TLS{ServerName: spec.ServerName, Insecure: spec.Insecure}
	if spec.CA == "" {
		return secure, nil
	}
	pem, err := os.ReadFile(string(spec.CA))
	if err != nil {
		return nil, fmt.Errorf("probe authorities: %w", err)
	}
	secure.Roots = x509.NewCertPool()
	if !secure.Roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("probe authorities: %s holds no certificate in PEM", spec.CA)
	}
	return secure, nil
}

// probes returns the verdicts that the old process knew of a pool's endpoints.
func (h *Inheritance) probes(poolName string) map[string]health.State {
	if h == nil {
		return nil
	}
	states := map[string]health.State{}
	for _, e := range h.state.Pools[poolName].Endpoints {
		switch e.Health {
		case balance.Up:
			states[e.Address] = health.State{Verdict: health.Up}
		case balance.Down:
			states[e.Address] = health.State{Verdict: health.Down}
		}
	}
	return states
}
