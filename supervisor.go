package trivet

import (
	"fmt"
	"strings"

	"github.com/trivet-ha/trivet/api"
	"github.com/trivet-ha/trivet/fault/supervise"
	"github.com/trivet-ha/trivet/fault/supervise/life"
)

// Processes tells how the processes of a pool are, or those of all pools.
func (n *Node) Processes(poolName string) ([]api.Process, error) {
	if poolName != "" {
		p, g, err := n.processesOf(poolName)
		if err != nil {
			return nil, err
		}
		return n.describeProcesses(p, g), nil
	}
	var all []api.Process
	for _, p := range n.poolList() {
		if g := n.groupOf(p); g != nil {
			all = append(all, n.describeProcesses(p, g)...)
		}
	}
	return all, nil
}

// ChangeProcesses does something to the processes of a pool, or to one of them. It returns how they are at
// once; what takes time goes on.
func (n *Node) ChangeProcesses(poolName string, c api.ProcessChange) ([]api.Process, error) {
	p, g, err := n.processesOf(poolName)
	if err != nil {
		return nil, err
	}
	if n.upgrading.Load() {
		return nil, api.Conflict("an upgrade is under way", "say it again to the new process")
	}
	slot := life.All
	if c.Replica != nil {
		slot = *c.Replica
	}
	switch c.Do {
	case api.Restart:
		err = g.Restart(slot)
	case api.Stop:
		err = g.Stop(slot)
	case api.Start:
		err = g.Start(slot)
	case api.Roll:
		g.Roll()
	default:
		return nil, api.Invalid(fmt.Sprintf("%q is nothing that can be done to a process", c.Do), "say restart, roll, stop or start")
	}
	if err != nil {
		return nil, api.NotFound(err.Error(), "trivet process list "+poolName+" shows them")
	}
	return n.describeProcesses(p, g), nil
}

func (n *Node) groupOf(p *pool) *supervise.Group {
	n.mu.Lock()
	defer n.mu.Unlock()
	return p.group
}

func (n *Node) processesOf(poolName string) (*pool, *supervise.Group, error) {
	p, err := n.pool(poolName)
	if err != nil {
		return nil, nil, err
	}
	if g := n.groupOf(p); g != nil {
		return p, g, nil
	}
	hint := "none does: an endpoint that is run: {command: ...} would"
	var names []string
	for _, other := range n.poolList() {
		if n.groupOf(other) != nil {
			names = append(names, other.name)
		}
	}
	if len(names) > 0 {
		hint = "these do: " + strings.Join(names, ", ")
	}
	return nil, nil, api.NotFound(fmt.Sprintf("pool %q runs no processes", poolName), hint)
}

func (n *Node) describeProcesses(p *pool, g *supervise.Group) []api.Process {
	n.mu.Lock()
	var command []string
	if e := p.spec.Run(); e != nil {
		command = e.Run.Command
	}
	n.mu.Unlock()
	list, rolling := g.Status()
	var all []api.Process
	for _, s := range list {
		all = append(all, api.Process{
			Name: s.Name, Pool: p.name, Replica: s.Replica, State: s.State, Since: s.Since, PID: s.PID, Address: s.Address, Version: s.Version, Wanted: s.Wanted,
			Started: s.Started, Next: s.Next, Restarts: s.Restarts, LastExit: s.LastExit, Replacement: s.Replacement, Command: command, Rolling: rolling,
		})
	}
	return all
}

// failedText says that processes of a pool were given up, or "".
func failedText(g *supervise.Group) string {
	if g == nil {
		return ""
	}
	switch failed, of := g.Failed(), g.Size(); failed {
	case 0:
		return ""
	default:
		return fmt.Sprintf("%d of %d processes were given up: trivet process list says why, trivet process restart resumes them", failed, of)
	}
}
