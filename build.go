package trivet

import (
	"context"
	"errors"
	"fmt"

	"github.com/trivet-ha/trivet/balance"
	"github.com/trivet-ha/trivet/balance/l4"
	"github.com/trivet-ha/trivet/balance/l7"
	"github.com/trivet-ha/trivet/config"
	"github.com/trivet-ha/trivet/fault/probe"
	"github.com/trivet-ha/trivet/fault/supervise"
	"github.com/trivet-ha/trivet/internal/edge"
)

// build is a configuration that is ready to be put in force.
type build struct {
	n         *Node
	file      *config.Config
	pools     map[config.Name]*pool // those that stay and those that are new
	addresses map[config.Name]map[string]string
	checks    map[config.Name]probe.Check
	runs      map[config.Name]*supervise.Config // of pools that have a command
	policies  *policies
	listeners []*edge.Listener
	logs      map[logKey]*accessLog
	names     *nameBuild
	rings     map[config.Name]*ring       // by listener
	clients   map[config.Name]*clientKeys // by pool
	backups   *backupPlans
}

// build makes everything that the file asks for and that may fail. It changes nothing that is in force.
func (n *Node) build(file *config.Config) (*build, error) {
	b := &build{
		n: n, file: file, pools: map[config.Name]*pool{},
		addresses: map[config.Name]map[string]string{}, logs: map[logKey]*accessLog{}, rings: map[config.Name]*ring{}, clients: map[config.Name]*clientKeys{},
		checks: map[config.Name]probe.Check{}, runs: map[config.Name]*supervise.Config{}, policies: newPolicies(),
	}
	if err := b.build(); err != nil {
		b.discard()
		return nil, err
	}
	return b, nil
}

func (b *build) build() error {
	var errs []error
	for i := range b.file.Pools {
		if err := b.buildPool(&b.file.Pools[i]); err != nil {
			errs = append(errs, fmt.Errorf("pool %s: %w", b.file.Pools[i].Name, err))
		}
	}
	if len(errs) > 0 {
		return errors.Join(errs...)
	}
	for i := range b.file.Listeners {
		l, err := b.buildListener(&b.file.Listeners[i])
		if err != nil {
			errs = append(errs, err)
			continue
		}
		b.listeners = append(b.listeners, l)
	}
	if len(errs) > 0 {
		return errors.Join(errs...)
	}
	var err error
	if b.backups, err = b.n.backups.plan(b.file); err != nil {
		return err
	}
	return b.buildNames()
}

// buildPool makes everything that a pool needs and that may fail.
func (b *build) buildPool(spec *config.Pool) (err error) {
	if b.addresses[spec.Name], err = resolvePool(spec); err != nil {
		return err
	}
	if err := b.buildClient(spec); err != nil {
		return err
	}
	if b.checks[spec.Name], err = b.buildCheck(spec); err != nil {
		return err
	}
	if err := b.buildRun(spec); err != nil {
		return err
	}
	b.n.policies.guard(b.policies, spec)
	p := b.n.pools[spec.Name]
	if p != nil {
		b.pools[spec.Name] = p
		cfg := p.balanceConfig(spec)
		return cfg.Check()
	}
	p = newPool(b.n, spec)
	if p.balance, err = balance.New(p.balanceConfig(spec), b.n.now()); err != nil {
		return err
	}
	p.upstream = l7.NewUpstream(p.name, p.balance, nil, b.settings(spec))
	p.sessions = l4.NewUpstream(p.name, p.balance, sessionSettings(spec, b.addresses[spec.Name], b.file.DrainTimeout))
	b.pools[spec.Name] = p
	return nil
}

// buildRun makes what a pool needs to run its command.
func (b *build) buildRun(spec *config.Pool) error {
	cfg, err := b.runConfig(spec, b.checks[spec.Name])
	if err != nil || cfg == nil {
		return err
	}
	b.runs[spec.Name] = cfg
	return cfg.Check()
}

// settings are what a pool's upstream gets.
func (b *build) settings(spec *config.Pool) l7.UpstreamSettings {
	s := upstreamSettings(spec, b.addresses[spec.Name], b.secure(spec.Name))
	s.Guards = b.policies.guards[spec.Name]
	return s
}

// discard closes what was opened for a configuration that will not be in force.
func (b *build) discard() {
	b.names.discard()
	for _, l := range b.logs {
		if l.file != nil {
			l.file.Close()
		}
	}
}

// adopt puts the pools and logs of a configuration in force whose listeners already are.
func (n *Node) adopt(b *build) {
	for _, name := range n.poolNames() {
		if b.pools[name] == nil {
			n.pools[name].stop()
			delete(n.pools, name)
		}
	}
	for i := range b.file.Pools {
		spec := &b.file.Pools[i]
		p := b.pools[spec.Name]
		if n.pools[spec.Name] == nil {
			n.pools[spec.Name] = p
			if cfg := b.runs[spec.Name]; cfg != nil {
				n.startProcesses(p, cfg)
			}
			n.inherit.restore(p, n.now())
			n.startPool(p, b.checks[spec.Name])
			continue
		}
		if err := p.balance.Update(p.balanceConfig(spec), n.now()); err != nil {
			// Check has passed, so this cannot be; the pool goes on as it was.
			n.log.Error("pool not changed", "pool", spec.Name, "error", err)
			continue
		}
		p.spec = spec
		p.upstream.Configure(b.settings(spec))
		p.sessions.Configure(sessionSettings(spec, b.addresses[spec.Name], b.file.DrainTimeout))
		p.prober.change(b.checks[spec.Name])
		n.changeProcesses(p, b.runs[spec.Name])
	}
	n.policies = b.policies
	n.adoptLogs(b.logs)
	n.adoptNames(b.file, b.names)
	n.adoptRings(b.rings)
	n.adoptClients(b.clients)
	n.backups.adopt(b.backups)
}

// adoptLogs starts the logs of the new configuration and ends those of the old one, after what they hold is
// written.
func (n *Node) adoptLogs(logs map[logKey]*accessLog) {
	for _, old := range n.logs {
		old.stop()
	}
	for _, l := range logs {
		l.stop = n.parts.add(func(ctx context.Context) {
			if err := l.Run(ctx); err != nil {
				n.log.Error("access log ended", "error", err)
			}
			if l.file != nil {
				l.file.Close()
			}
		})
	}
	n.logs = logs
}
