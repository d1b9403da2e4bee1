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
	changes  *changes

	mu    sync.Mutex // one reload, or change at run time, at a time
	file  *config.Config
	pools map[config.Name]*pool
	logs  map[logKey]*accessLog
	rings map[config.Name]*ring

	policies *policies

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
		changes: newChanges(cfg.Log),
	}
	var err error
	n.edge, err = edge.New(edge.Config{
		Loops: cfg.File.Loops, Origin: n.origin, Log: cfg.Log, Inherited: cfg.Inherit.sockets(),
	})
	if err != nil {
		return nil, err
	}
	n.http = l7.On(n.edge)
	n.sessions = l4.NewServer(n.edge)
	if err := n.Reload(cfg.File); err != nil {
		return nil, err
	}
	n.edge.CloseInherited()
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
	start("serve", n.edge.Run)
	start("admin", admin.run)
	start("resolve", n.resolveAll)
	start("parts", n.parts.run)
	start("changes", n.changes.run)
	start("watch", n.watch)
	if n.inherit != nil {
		n.inherit.ready()
	}
	notify(fmt.Sprintf("READY=1\nMAINPID=%d\nSTATUS=serving %d listeners", os.Getpid(), len(file.Listeners)))
	n.log.Info("serving", "listeners", len(file.Listeners), "pools", len(file.Pools), "file", file.File())

	select {
	case <-ctx.Done():
	case <-n.stopping: // another process serves now
	case err := <-failed:
		return err
	}
	n.drain()
	return nil
}

// Stopping is closed once Run is about to drain.
func (n *Node) Stopping() <-chan struct{} { return n.stopping }

func (n *Node) drain() {
	n.once.Do(func() { close(n.stopping) })
	limit := n.File().DrainTimeout
	notify("STOPPING=1")
	n.log.Info("draining", "connections", n.edge.Connections(), "limit", limit)
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	n.edge.Drain(ctx)
	if left := n.edge.Connections(); left > 0 {
		n.log.Warn("connections cut at the end of drain_timeout", "connections", left)
	}
}
