package trivet

import (
	"context"
	"fmt"
	"maps"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"

	"github.com/trivet-ha/trivet/config"
	"github.com/trivet-ha/trivet/fault/health"
	"github.com/trivet-ha/trivet/fault/probe"
	"github.com/trivet-ha/trivet/fault/supervise"
	"github.com/trivet-ha/trivet/fault/supervise/life"

	"golang.org/x/sys/unix"
)

// runConfig turns a command of the file into what package supervise wants. The error says what of it this
// machine can not do.
func (b *build) runConfig(spec *config.Pool, check probe.Check) (*supervise.Config, error) {
	e := spec.Run()
	if e == nil {
		return nil, nil
	}
	n, run := b.n, e.Run
	cfg := &supervise.Config{
		Pool: string(spec.Name), Keeper: n.keeper, Ports: &n.ports, Ready: check, ReadyTimeout: spec.Health.Timeout,
		Policy: life.Policy{
			Replicas: run.Replicas, StartTimeout: run.StartTimeout, DrainTimeout: b.file.DrainTimeout,
			Restart: life.Restart{
				Off: run.Restart.Off, Backoff: run.Restart.Backoff, BackoffMax: run.Restart.BackoffMax, Limit: run.Restart.Limit, Within: run.Restart.Within,
			},
		},
		Spec: supervise.Spec{
			Command: run.Command, Dir: string(run.Dir), StopTimeout: run.StopTimeout, StopSignal: unix.SignalNum("SIG" + string(run.StopSignal)),
		},
		Output: supervise.Output{Rate: int(run.Output.Rate), MaxLine: int(run.Output.MaxLine)},
		Event:  n.history.publish,
		Log:    n.log,
	}
	if cfg.Policy.DrainTimeout <= 0 {
		cfg.Policy.DrainTimeout = 1 // at once
	}
	if spec.Health.Off {
		cfg.Ready = nil
	}
	if !run.Output.Off {
		cfg.Output.Sink = n.writeLine
	}
	for _, v := range run.Env {
		cfg.Spec.Env = append(cfg.Spec.Env, supervise.Variable{Name: string(v.Name), Value: v.Value})
	}
	var err error
	if cfg.Spec.Dir == "" {
		cfg.Spec.Dir = filepath.Dir(b.file.File())
	}
	if cfg.Spec.Dir, err = filepath.Abs(cfg.Spec.Dir); err != nil {
		return nil, err
	}
	if cfg.Spec.User, err = lookupUser(run.User); err != nil {
		return nil, err
	}
	if cfg.Alive, err = aliveOf(spec, &run.Liveness); err != nil || cfg.Alive == nil {
		return cfg, err
	}
	if secure := b.secure(spec.Name); secure != nil {
		inherit(cfg.Alive.Check, &probe.TLS{Config: secure})
	}
	return cfg, nil
}

// lookupUser finds whom to run a command as; nil is the one who runs this process.
func lookupUser(name string) (*supervise.User, error) {
	if name == "" {
		return nil, nil
	}
	u, err := user.Lookup(name)
	if err != nil {
		return nil, fmt.Errorf("run as %s: %w", name, err)
	}
	uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
	gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
	if err1 != nil || err2 != nil {
		return nil, fmt.Errorf("run as %s: %s and %s are no numbers", name, u.Uid, u.Gid)
	}
	if me := os.Geteuid(); me != 0 {
		if uint64(me) == uid {
			return nil, nil
		}
		return nil, fmt.Errorf("run as %s: only root may start processes as somebody else", name)
	}
	who := &supervise.User{Name: u.Username, Home: u.HomeDir, UID: uint32(uid), GID: uint32(gid)}
	groups, err := u.GroupIds()
	if err != nil {
		return nil, fmt.Errorf("run as %s: %w", name, err)
	}
	for _, text := range groups {
		if g, err := strconv.ParseUint(text, 10, 32); err == nil {
			who.Groups = append(who.Groups, uint32(g))
		}
	}
	return who, nil
}

// aliveOf is how processes are watched for hanging: as the file says, or by the pool's own probe, to which any
// answer will do; nil is not at all.
func aliveOf(spec *config.Pool, l *config.Liveness) (*supervise.Alive, error) {
	policy := health.Policy{
		Fall: l.Fall, Rise: 1, Interval: l.Interval, FastInterval: min(l.Interval, spec.Health.FastInterval), Timeout: l.Timeout,
	}
	switch {
	case l.Off:
		return nil, nil
	case l.Probe != nil:
		check, err := buildCheck(l.Probe, string(spec.Name))
		return &supervise.Alive{Check: check, Policy: policy}, err
	case spec.Health.Probe.HTTP == nil:
		return nil, nil
	}
	any := *spec.Health.Probe.HTTP
	any.Expect, any.Body = []config.StatusRange{{Low: 100, High: 599}}, config.Regexp{}
	check, err := httpCheck(&any)
	return &supervise.Alive{Check: check, Policy: policy}, err
}

// writeLine logs a line that a process has written.
func (n *Node) writeLine(l supervise.Line) {
	attrs := []any{"process", l.Process, "stream", l.Stream, "line", l.Text}
	if l.Dropped > 0 {
		attrs = append(attrs, "dropped", l.Dropped)
	}
	n.log.Info("output", attrs...)
}

// startProcesses begins to keep the processes of a pool running, or goes on with those of the process that
// this one replaces. The caller holds mu.
func (n *Node) startProcesses(p *pool, cfg *supervise.Config) {
	cfg.Traffic = p.traffic
	g, err := n.inherit.group(n, p, *cfg)
	if err != nil {
		n.log.Error("processes not taken over; starting new ones", "pool", p.name, "error", err)
	}
	if g == nil {
		if g, err = supervise.New(*cfg); err != nil {
			// Check has passed, so this cannot be.
			n.log.Error("processes not started", "pool", p.name, "error", err)
			return
		}
	}
	p.group = g
	p.stopGroup = n.processes.add(func(ctx context.Context) {
		if err := g.Run(ctx); err != nil {
			n.log.Error("processes are not kept running", "pool", p.name, "error", err)
		}
	})
}

// changeProcesses follows a change of the pool in the file. The caller holds mu.
func (n *Node) changeProcesses(p *pool, cfg *supervise.Config) {
	switch {
	case p.group == nil && cfg != nil:
		n.startProcesses(p, cfg)
	case p.group != nil && cfg == nil:
		p.stopGroup() // drains and stops them in its own time
		p.group = nil
	case cfg != nil:
		cfg.Traffic = p.traffic
		if err := p.group.Update(*cfg); err != nil {
			n.log.Error("processes not changed", "pool", p.name, "error", err) // Check has passed, so this cannot be
		}
	}
}

// frozen is the groups of a node while an upgrade is under way.
type frozen map[config.Name]*supervise.Group

// freeze makes every group stand still, and returns what another process needs to go on with it.
func (n *Node) freeze() (frozen, map[config.Name]supervise.Handover, error) {
	groups := frozen{}
	n.mu.Lock()
	for name, p := range n.pools {
		if p.group != nil {
			groups[name] = p.group
		}
	}
	n.mu.Unlock()
	still, handed := frozen{}, map[config.Name]supervise.Handover{}
	for _, name := range slices.Sorted(maps.Keys(groups)) {
		h, err := groups[name].Freeze()
		still[name] = groups[name]
		if err != nil {
			still.thaw()
			return nil, nil, fmt.Errorf("hand over the processes of pool %s: %w", name, err)
		}
		handed[name] = h
	}
	return still, handed, nil
}

func (f frozen) thaw() {
	for _, g := range f {
		g.Thaw()
	}
}

func (f frozen) detach() {
	for _, g := range f {
		g.Detach()
	}
}

// group goes on with the processes that were handed over for a pool; nil if there are none.
func (h *Inheritance) group(n *Node, p *pool, cfg supervise.Config) (*supervise.Group, error) {
	if h == nil {
		return nil, nil
	}
	handed, ok := h.state.Processes[p.name]
	if !ok {
		return nil, nil
	}
	delete(h.state.Processes, p.name)
	g, err := supervise.Adopt(cfg, supervise.Handover{State: handed.State, FDs: handed.FDs})
	if err != nil {
		return nil, err
	}
	g.Hold(true) // until the predecessor, whose requests are not seen from here, is gone
	n.held = append(n.held, g)
	for _, s := range g.Standings() {
		p.traffic.place(s)
	}
	return g, nil
}

// leaveGroups lets go of processes whose pools are not in the file any more: their keepers end them once the
// predecessor has let go, too.
func (h *Inheritance) leaveGroups() {
	if h == nil {
		return
	}
	for _, handed := range h.state.Processes {
		for _, fd := range handed.FDs {
			_ = syscall.Close(fd)
		}
	}
	h.state.Processes = nil
}
