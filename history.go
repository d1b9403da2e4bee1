package trivet

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/trivet-ha/trivet/api"
	"github.com/trivet-ha/trivet/backup"
	"github.com/trivet-ha/trivet/backup/drill"
	"github.com/trivet-ha/trivet/backup/records"
	"github.com/trivet-ha/trivet/config"
	"github.com/trivet-ha/trivet/events"
	"github.com/trivet-ha/trivet/events/hook"
	"github.com/trivet-ha/trivet/events/journal"
	"github.com/trivet-ha/trivet/events/stream"
)

// history is what happens to a node: one stream of events, kept on disk if the file says so, told to hooks and
// written to the log.
type history struct {
	log     *slog.Logger
	stream  *stream.Stream
	journal *journal.Journal // nil if nothing is kept
	muted   atomic.Bool      // another process tells what happens now

	hooks group // runs until the last event is told

	mu   sync.Mutex
	hung map[config.Name]hung
}

// hung is a hook that is in force.
type hung struct {
	spec  config.Hook
	hook  *hook.Hook
	stop  func()
	ended chan struct{} // closed when it has told everything, or was stopped
}

// hookGrace is how long hooks may take to tell the last events of a process.
const hookGrace = 5 * time.Second

// newHistory opens the state file, and knows what happened before. That the file can not be opened is an
// error if the configuration asks for it, and a warning otherwise.
func newHistory(cfg *Config) (*history, error) {
	h := &history{log: cfg.Log, hung: map[config.Name]hung{}}
	state := &cfg.File.State
	if path, asked := state.File(); path != "" {
		var err error
		h.journal, err = journal.Open(context.Background(), path, retentionOf(state), cfg.Log)
		if err != nil && asked {
			return nil, err
		}
		if err != nil {
			cfg.Log.Warn("events are not kept over a restart", "error", err)
		}
	}
	past := h.past(cfg.Inherit.past())
	h.stream = stream.New(stream.Config{Past: past, Sink: h.write})
	if h.journal != nil {
		open := slices.DeleteFunc(h.stream.Incidents(), func(i events.Incident) bool { return i.State != events.Open })
		if err := h.journal.Settle(context.Background(), open, time.Now()); err != nil {
			cfg.Log.Warn("old incidents stay open", "error", err)
		}
	}
	return h, nil
}

// memory is what keeps the records of backups; nil is nothing.
func (h *history) memory() backup.Memory {
	if h.journal == nil {
		return nil
	}
	m, err := records.Open(context.Background(), h.journal.Database())
	if err != nil {
		h.log.Error("what is known of backups is not kept over a restart", "error", err)
		return nil
	}
	return m
}

// drills is what keeps the results of drills; nil is nothing.
func (h *history) drills() *drill.History {
	if h.journal == nil {
		return nil
	}
	d, err := drill.OpenHistory(context.Background(), h.journal.Database())
	if err != nil {
		h.log.Error("results of drills are not kept over a restart", "error", err)
		return nil
	}
	return d
}

func retentionOf(s *config.State) journal.Retention {
	return journal.Retention{Age: s.Retention.Age, Events: s.Retention.Events}
}

// past is what the journal knows, and what was handed over and is not in it.
func (h *history) past(handed []events.Event) []events.Event {
	var known []events.Event
	if h.journal != nil {
		var err error
		if known, err = h.journal.List(context.Background(), events.Filter{Limit: stream.DefaultSize}); err != nil {
			h.log.Warn("old events not read", "error", err)
		}
	}
	last := int64(0)
	if len(known) > 0 {
		last = known[len(known)-1].ID
	}
	for _, e := range handed {
		if e.ID > last {
			known = append(known, e)
		}
	}
	return known
}

// publish tells that something has happened. It never blocks.
func (h *history) publish(e events.Event) {
	if !h.muted.Load() {
		h.stream.Publish(e)
	}
}

// run carries events until ctx ends, and then until all of them are written and told, or hookGrace is over.
func (h *history) run(ctx context.Context) error {
	var wg sync.WaitGroup
	telling, hurry := context.WithCancel(context.WithoutCancel(ctx))
	defer hurry()
	written := make(chan struct{})
	wg.Go(func() {
		defer close(written)
		if h.journal != nil {
			_ = h.journal.Run(telling, h.stream)
		}
	})
	wg.Go(func() { _ = h.hooks.run(telling) })
	err := h.stream.Run(ctx)
	late := time.AfterFunc(hookGrace, hurry)
	defer late.Stop()
	for _, told := range append(h.tellers(), written) {
		select {
		case <-told:
		case <-telling.Done():
		}
	}
	hurry()
	wg.Wait()
	if h.journal != nil {
		err = errors.Join(err, h.journal.Close())
	}
	return err
}

// tellers returns what is closed when the hooks in force have told everything.
func (h *history) tellers() (all []chan struct{}) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, one := range h.hung {
		all = append(all, one.ended)
	}
	return all
}

// flushWithin is how long a disk may take to write the last events.
const flushWithin = 2 * time.Second

// flush waits until what has happened is on disk.
func (h *history) flush() {
	if h.journal == nil {
		return
	}
	newest := h.stream.List(events.Filter{Limit: 1})
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(flushWithin); len(newest) > 0 && h.journal.Written() < newest[0].ID && time.Now().Before(deadline); {
		<-tick.C
	}
}

// adopt follows a new configuration: the retention, and the hooks. Those that stay go on.
func (h *history) adopt(file *config.Config, node string) {
	if h.journal != nil {
		h.journal.Keep(retentionOf(&file.State))
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	next := map[config.Name]hung{}
	for _, spec := range file.Hooks {
		if old, ok := h.hung[spec.Name]; ok && sameHook(&old.spec, &spec) {
			next[spec.Name] = old
			continue
		}
		k, ended := newHook(&spec, node, h.stream, h.log), make(chan struct{})
		stop := h.hooks.add(func(ctx context.Context) {
			defer close(ended)
			_ = k.Run(ctx)
		})
		next[spec.Name] = hung{spec: spec, hook: k, stop: stop, ended: ended}
	}
	for name, old := range h.hung {
		if next[name].hook != old.hook {
			old.stop()
		}
	}
	h.hung = next
}

// hookStats are the counters of the hooks in force.
func (h *history) hookStats() map[string]hook.Stats {
	h.mu.Lock()
	defer h.mu.Unlock()
	all := map[string]hook.Stats{}
	for name, one := range h.hung {
		all[string(name)] = one.hook.Stats()
	}
	return all
}

// write logs an event.
func (h *history) write(e events.Event) {
	var attrs []any
	add := func(name, value string) {
		if value != "" {
			attrs = append(attrs, name, value)
		}
	}
	add("pool", e.Pool)
	add("endpoint", e.Endpoint)
	add("process", e.Process)
	add("listener", e.Listener)
	add("hook", e.Hook)
	add("backup", e.Backup)
	add("repository", e.Repository)
	add("reason", e.Evidence)
	add("action", e.Action)
	if e.Took != 0 {
		attrs = append(attrs, "took", e.Took.Duration().Round(time.Microsecond))
	}
	h.log.Log(context.Background(), logLevels[e.Level], e.Kind.Word(), attrs...)
}

var logLevels = map[events.Level]slog.Level{events.Info: slog.LevelInfo, events.Warn: slog.LevelWarn, events.Error: slog.LevelError}

// list returns the events that are chosen: from the disk, as far as they are there, and from memory.
func (h *history) list(ctx context.Context, f events.Filter) ([]events.Event, error) {
	if h.journal == nil {
		return h.stream.List(f), nil
	}
	written := h.journal.Written()
	found, err := h.journal.List(ctx, f)
	if err != nil {
		return nil, err
	}
	found = slices.DeleteFunc(found, func(e events.Event) bool { return e.ID > written })
	f.After = max(f.After, written)
	return events.Newest(append(found, h.stream.List(f)...), f.Limit), nil
}

// Events returns what has happened, as the filter says, the oldest first. The error is that of reading the
// state file.
func (n *Node) Events(ctx context.Context, f events.Filter) ([]events.Event, error) {
	return n.history.list(ctx, f)
}

// Incidents returns faults as the filter says, in the order in which they were found. The error is that of
// reading the state file.
func (n *Node) Incidents(ctx context.Context, f events.IncidentFilter) ([]events.Incident, error) {
	h := n.history
	now := map[int64]events.Incident{}
	for _, i := range h.stream.Incidents() {
		now[i.ID] = i
	}
	var found []events.Incident
	if h.journal != nil {
		written, err := h.journal.Incidents(ctx, events.IncidentFilter{Since: f.Since, Pool: f.Pool, Endpoint: f.Endpoint, Process: f.Process})
		if err != nil {
			return nil, err
		}
		for _, i := range written {
			if _, newer := now[i.ID]; !newer {
				now[i.ID] = i
			}
		}
	}
	for _, i := range now {
		if f.Match(&i) {
			found = append(found, i)
		}
	}
	slices.SortFunc(found, func(a, b events.Incident) int { return int(a.ID - b.ID) })
	return events.Newest(found, f.Limit), nil
}

// Follow reads what happens after an event, as far as it is in memory.
func (n *Node) Follow(after int64) api.Follower { return n.history.stream.After(after) }

// changesTold is how many of the last events of an endpoint explain it.
const changesTold = 20

// lastOf returns the last events of an endpoint, the latest first.
func (h *history) lastOf(pool, endpoint string) []api.Event {
	list, err := h.list(context.Background(), events.Filter{Pool: pool, Endpoint: endpoint, Limit: changesTold})
	if err != nil {
		h.log.Warn("old events not read", "error", err)
	}
	var last []api.Event
	for _, e := range slices.Backward(list) {
		what := strings.TrimPrefix(string(e.Kind), "endpoint.")
		last = append(last, api.Event{At: e.At, What: strings.NewReplacer(".", " ", "_", " ").Replace(what), Reason: reasonOf(&e)})
	}
	return last
}

func reasonOf(e *events.Event) string {
	if e.Evidence == "" || e.Action == "" {
		return e.Evidence + e.Action
	}
	return e.Evidence + "; " + e.Action
}
