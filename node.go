package trivet

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/trivet-ha/trivet/api"
	"github.com/trivet-ha/trivet/balance/l4"
	"github.com/trivet-ha/trivet/balance/l7"
	"github.com/trivet-ha/trivet/config"
	"github.com/trivet-ha/trivet/events"
	"github.com/trivet-ha/trivet/fault/supervise"
	"github.com/trivet-ha/trivet/internal/edge"
)

// Config is what a Node is made of. Only File has no useful zero.
type Config struct {
	File *config.Config
	Log  *slog.Logger // nil logs nothing

	// Version is told by the status and the metrics.
	Version string

	// Inherit is what a process that is being replaced has handed over; nil for a fresh start. See Inherited.
	Inherit *Inheritance

	// Keeper is the command line of a program that calls supervise.Keep: the parent of processes that are kept
	// running. Without one it is this program with the argument "keep", which the command line of Trivet knows.
	Keeper []string
}

// A Node serves one trivet.yaml. Its methods may be called by any goroutine.
type Node struct {
	log      *slog.Logger
	version  string
	origin   time.Time
	edge     *edge.Edge
	http     *l7.Server
	sessions *l4.Server
	inherit  *Inheritance
	parts    group // what a reload starts and stops
	history  *history
	meter    *meter
	ejected  atomic.Uint64

	processes group // of pools; runs once this process serves
	keeper    []string
	ports     supervise.Ports

	mu    sync.Mutex // one reload, or change at run time, at a time
	file  *config.Config
	pools map[config.Name]*pool
	logs  map[logKey]*accessLog
	rings map[config.Name]*ring

	clients map[config.Name]*clientKeys

	policies *policies
	names    *names
	backups  *Backups
	held     []*supervise.Group // until the predecessor is gone

	loaded api.File // how file came into force, and what went wrong since

	upgrading atomic.Bool
	once      sync.Once
	stopping  chan struct{} // closed when Run begins to drain
}

// New makes a node: it checks the configuration as a whole, resolves names and opens the listening sockets.
// Clients can connect from now on; they are answered when Run runs.
func New(cfg Config) (*Node, error) {
	if cfg.File == nil {
		return nil, errors.New("new node: there is no configuration")
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	n := &Node{
		log: cfg.Log, version: cfg.Version, origin: time.Now(), inherit: cfg.Inherit,
		pools: map[config.Name]*pool{}, logs: map[logKey]*accessLog{}, policies: newPolicies(), stopping: make(chan struct{}),
		keeper: cfg.Keeper,
	}
	if n.keeper == nil {
		n.keeper = []string{"/proc/self/exe", "keep"}
	}
	var err error
	if n.history, err = newHistory(&cfg); err != nil {
		return nil, err
	}
	n.meter = newMeter(n)
	n.edge, err = edge.New(edge.Config{
		Loops: cfg.File.Loops, Origin: n.origin, Log: cfg.Log, Inherited: cfg.Inherit.sockets(),
	})
	if err != nil {
		return nil, err
	}
	n.http = l7.On(n.edge)
	n.sessions = l4.NewServer(n.edge)
	n.names = newNames(n, &cfg)
	n.backups = newBackups(&cfg, n.history.memory(), n.history.publish)
	n.backups.drillHistory = n.history.drills()
	if err := n.Reload(cfg.File); err != nil {
		return nil, err
	}
	n.edge.CloseInherited()
	n.names.server.CloseInherited()
	n.inherit.leaveGroups()
	return n, nil
}

// Reload puts another configuration in force. It is built whole first; on an error nothing has changed.
// Listeners, pools and endpoints that stay keep their connections, health and statistics.
func (n *Node) Reload(file *config.Config) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	b, err := n.build(file)
	if err != nil {
		return err
	}
	if err := n.edge.Apply(b.listeners); err != nil {
		b.discard()
		return err
	}
	n.http.Retain()
	n.adopt(b)
	if n.file != nil {
		n.warnUnchangeable(file)
	}
	n.history.adopt(file, machineName())
	n.withdrawBackups()
	n.file, n.loaded = file, api.File{Path: file.File(), Since: time.Now()}
	return nil
}

// warnUnchangeable tells of settings that only a restart can change.
func (n *Node) warnUnchangeable(file *config.Config) {
	if file.Loops != n.file.Loops {
		n.log.Warn("the number of event loops changes with the next upgrade or restart", "now", len(n.edge.Workers()), "file", file.Loops)
	}
	if file.Admin.SocketPath() != n.file.Admin.SocketPath() || file.Admin.Address != n.file.Admin.Address ||
		file.Admin.Metrics != n.file.Admin.Metrics {
		n.log.Warn("admin addresses change with the next upgrade or restart")
	}
	if file.State.Off != n.file.State.Off || file.State.Path != n.file.State.Path {
		n.log.Warn("the state file changes with the next upgrade or restart")
	}
}

// now is the time as pools see it.
func (n *Node) now() time.Duration { return time.Since(n.origin) }

// File returns the configuration in force.
func (n *Node) File() *config.Config {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.file
}

// Run serves until ctx ends, and then until every request in progress is answered, but no longer than the
// configuration's drain_timeout. It returns nil after an orderly end.
func (n *Node) Run(ctx context.Context) error {
	endHistory := n.runHistory()
	defer endHistory()
	work, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	file := n.File()
	admin, err := n.openAdmin(file)
	if err != nil {
		return err
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop()
	failed := make(chan error, 1)
	start := func(what string, run func(context.Context) error) {
		wg.Go(func() {
			if err := run(work); err != nil && work.Err() == nil {
				select {
				case failed <- fmt.Errorf("%s: %w", what, err):
				default:
				}
			}
		})
	}
	n.tellStart(file) // first of all that is told of this process
	start("serve", n.edge.Run)
	start("dns", n.names.server.Run)
	start("admin", admin.run)
	start("resolve", n.resolveAll)
	start("parts", n.parts.run)
	start("pressure", n.watchPressure)
	start("watch", n.watch)
	start("zones", n.watchZones)
	start("measure", n.meter.run)
	if n.inherit != nil {
		n.inherit.ready()
	}
	start("processes", n.processes.run) // not before: if this process does not come up, they are not its own
	start("predecessor", n.awaitPredecessor)
	start("backups", n.runBackups)
	notify(fmt.Sprintf("READY=1\nMAINPID=%d\nSTATUS=serving %d listeners", os.Getpid(), len(file.Listeners)))
	select {
	case <-ctx.Done():
	case <-n.stopping: // another process serves now
	case err := <-failed:
		return err
	}
	n.drain()
	return nil
}

// runHistory lets events flow until the function returned is called, which waits for the last of them.
func (n *Node) runHistory() (end func()) {
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { // waited for by end
		defer close(ended)
		if err := n.history.run(ctx); err != nil {
			n.log.Error("the history of events has ended", "error", err)
		}
	}()
	return func() {
		stop()
		<-ended
	}
}

// tellStart says that this process serves, and what of its past is no longer there.
func (n *Node) tellStart(file *config.Config) {
	kind := events.NodeStarted
	if n.inherit != nil {
		kind = events.NodeUpgraded
	}
	n.history.publish(events.Event{
		Kind: kind, Took: events.Span(time.Since(n.origin)),
		Evidence: fmt.Sprintf("version %s serves %d listeners and %d pools of %s, process %d", n.version, len(file.Listeners), len(file.Pools), file.File(), os.Getpid()),
	})
	for _, i := range n.history.stream.Incidents() {
		if i.State == events.Open && !n.knows(i.Where) {
			n.history.publish(events.Event{Kind: goneKind(i.Where), Where: i.Where, Evidence: "the file does not name it any more"})
		}
	}
}

// knows reports whether an endpoint, a process or a backup is there; true for what is none of them.
func (n *Node) knows(w events.Where) bool {
	if w.Backup != "" || w.Repository != "" || w.Drill != "" {
		return n.backups.knows(w)
	}
	if w.Pool == "" || w.Endpoint == "" && w.Process == "" {
		return true
	}
	p, err := n.pool(w.Pool)
	if err != nil {
		return false
	}
	if w.Process != "" {
		return n.groupOf(p) != nil
	}
	return p.balance.ByAddress(w.Endpoint) != nil
}

func goneKind(w events.Where) events.Kind {
	switch {
	case w.Process != "":
		return events.ProcessStopped
	case w.Backup != "":
		return events.BackupRemoved
	case w.Repository != "":
		return events.RepositoryRemoved
	case w.Drill != "":
		return events.DrillRemoved
	}
	return events.EndpointRemoved
}

// Stopping is closed once Run is about to drain.
func (n *Node) Stopping() <-chan struct{} { return n.stopping }

func (n *Node) drain() {
	n.once.Do(func() { close(n.stopping) })
	limit := n.File().DrainTimeout
	notify("STOPPING=1")
	n.history.publish(events.Event{Kind: events.NodeStopping, Evidence: fmt.Sprintf("drains %d connections for %v at most", n.edge.Connections(), limit)})
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	n.names.server.Drain()
	n.edge.Drain(ctx)
	if left := n.edge.Connections(); left > 0 {
		n.log.Warn("connections cut at the end of drain_timeout", "connections", left)
	}
}
