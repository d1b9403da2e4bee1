package apitest

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/trivet-ha/trivet/api"
	"github.com/trivet-ha/trivet/events"
)

// history is what has happened to a Node. The node's mu guards it.
type history struct {
	events []events.Event
	woken  chan struct{} // closed, and made anew, with each event
	ended  bool
	err    error
}

// pastOf is what has happened to every node: an endpoint went down, and a process was killed and came back.
func pastOf(started time.Time) history {
	h := history{woken: make(chan struct{})}
	for i, e := range []events.Event{
		{Kind: events.NodeStarted, Evidence: "1.2.3"},
		{
			Kind: events.EndpointDown, Where: events.Where{Pool: "site", Endpoint: "10.0.0.12:8000"}, Since: started.Add(2*time.Hour - 4*time.Second),
			Evidence: "connect: connection refused", Action: "gets no requests", Incident: 2,
		},
		{
			Kind: events.ProcessExited, Where: events.Where{Pool: "api", Endpoint: "127.0.0.1:40123", Process: "api/0"}, Evidence: "killed by signal SIGKILL",
			Action: "starts again in 104ms", Incident: 3,
		},
		{Kind: events.ProcessReady, Where: events.Where{Pool: "api", Endpoint: "127.0.0.1:40123", Process: "api/0"}, Took: events.Span(250 * time.Millisecond), Incident: 3},
	} {
		e.ID, e.At, e.Level = int64(i+1), started.Add(time.Duration(i)*2*time.Hour), e.Kind.Level()
		h.events = append(h.events, e)
	}
	return h
}

// Publish lets something happen.
func (n *Node) Publish(e events.Event) {
	n.mu.Lock()
	defer n.mu.Unlock()
	e.ID, e.Level = int64(len(n.history.events)+1), e.Kind.Level()
	n.history.events = append(n.history.events, e)
	close(n.history.woken)
	n.history.woken = make(chan struct{})
}

// EndHistory ends what follows the events, as the end of a process does.
func (n *Node) EndHistory() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.history.ended = true
	close(n.history.woken)
	n.history.woken = make(chan struct{})
}

// FailHistory makes every list of events fail with err.
func (n *Node) FailHistory(err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.history.err = err
}

// Events implements api.Historian.
func (n *Node) Events(_ context.Context, f events.Filter) ([]events.Event, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	var found []events.Event
	for _, e := range n.history.events {
		if f.Match(&e) {
			found = append(found, e)
		}
	}
	return events.Newest(found, f.Limit), n.history.err
}

// Incidents implements api.Historian.
func (n *Node) Incidents(_ context.Context, f events.IncidentFilter) ([]events.Incident, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	var tracker events.Tracker
	for _, e := range n.history.events {
		tracker.Observe(e)
	}
	var found []events.Incident
	for _, i := range tracker.Incidents() {
		if f.Match(&i) {
			found = append(found, i)
		}
	}
	return events.Newest(found, f.Limit), n.history.err
}

// Follow implements api.Historian.
func (n *Node) Follow(after int64) api.Follower {
	n.mu.Lock()
	defer n.mu.Unlock()
	f := &follower{node: n}
	for f.next < len(n.history.events) && n.history.events[f.next].ID <= after {
		f.next++
	}
	return f
}

type follower struct {
	node *Node
	next int
}

// Next implements api.Follower. An event of kind events.lost counts as three that were.
func (f *follower) Next(ctx context.Context) (batch []events.Event, lost uint64, err error) {
	for {
		f.node.mu.Lock()
		batch, woken, ended := f.node.history.events[f.next:], f.node.history.woken, f.node.history.ended
		f.next = len(f.node.history.events)
		f.node.mu.Unlock()
		for _, e := range batch {
			if e.Kind == events.EventsLost {
				lost += 3
			}
		}
		switch {
		case len(batch) > 0:
			return batch, lost, nil
		case ended:
			return nil, 0, errors.New("ended")
		}
		select {
		case <-woken:
		case <-ctx.Done():
			return nil, 0, ctx.Err()
		}
	}
}

// processesOf is the two processes of pool api.
func processesOf(started time.Time) []api.Process {
	return []api.Process{
		{
			Name: "api/0", Pool: "api", State: "ready", Since: started.Add(6 * time.Hour), PID: 4801, Address: "127.0.0.1:40123", Version: 2, Wanted: 2,
			Started: started.Add(6 * time.Hour), Restarts: 1, LastExit: "killed by signal SIGKILL", Command: []string{"./api", "--port", "{{.Port}}"},
		},
		{
			Name: "api/1", Pool: "api", Replica: 1, State: "failed", Version: 2, Wanted: 2, Restarts: 20, LastExit: `exit status 1; it last said "no database"`,
			Command: []string{"./api", "--port", "{{.Port}}"},
		},
	}
}

// Processes implements api.Supervisor.
func (n *Node) Processes(pool string) ([]api.Process, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if pool != "" && pool != "api" {
		return nil, api.NotFound(fmt.Sprintf("pool %q runs no processes", pool), "pool api does")
	}
	return append([]api.Process{}, n.processes...), nil
}

// ChangeProcesses implements api.Supervisor: at once, and without a trace of it in the events.
func (n *Node) ChangeProcesses(pool string, c api.ProcessChange) ([]api.Process, error) {
	if _, err := n.Processes(pool); err != nil {
		return nil, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.calls++
	if c.Replica != nil && (*c.Replica < 0 || *c.Replica >= len(n.processes)) {
		return nil, api.NotFound(fmt.Sprintf("there is no process %d: they are 0 to 1", *c.Replica), "")
	}
	for i := range n.processes {
		p := &n.processes[i]
		if c.Replica != nil && *c.Replica != i {
			continue
		}
		p.PID++
		switch c.Do {
		case api.Stop:
			p.State, p.PID, p.Address = "stopped", 0, ""
		case api.Roll:
			p.Version++
			p.Wanted = p.Version
			p.State, p.Address = "ready", fmt.Sprintf("127.0.0.1:%d", 40200+i)
		default:
			p.State, p.Address = "ready", fmt.Sprintf("127.0.0.1:%d", 40200+i)
		}
	}
	return append([]api.Process{}, n.processes...), nil
}
