package trivet

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/trivet-ha/trivet/api"
	"github.com/trivet-ha/trivet/balance"
)

// changesMax bounds the changes that wait to be logged. More are counted and dropped.
const changesMax = 1024

// changes carries what happens to endpoints from whoever notices it, which may be an event loop, to the log,
// which may be slow.
type changes struct {
	log     *slog.Logger
	queue   chan change
	dropped atomic.Uint64
	ejected atomic.Uint64

	mu   sync.Mutex
	last map[changeKey][]change // the latest last
}

// changeKey names an endpoint.
type changeKey struct{ pool, endpoint string }

// Limits of what is remembered for explanations.
const (
	changesPerEndpoint = 20
	changesEndpoints   = 10_000
)

type change struct {
	pool     string
	endpoint string
	what     balance.Change
}

func newChanges(log *slog.Logger) *changes {
	return &changes{log: log, queue: make(chan change, changesMax), last: map[changeKey][]change{}}
}

// note takes a change. It never blocks.
func (c *changes) note(pool string, e *balance.Endpoint, what balance.Change) {
	ch := change{pool: pool, what: what}
	if e != nil {
		ch.endpoint = e.Address()
	}
	if what.Kind == balance.Ejected {
		c.ejected.Add(1)
	}
	select {
	case c.queue <- ch:
	default:
		c.dropped.Add(1)
	}
}

func (c *changes) run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case ch := <-c.queue:
			c.remember(ch)
			ch.write(c.log)
		}
	}
}

// remember keeps the change among the last of its endpoint.
func (c *changes) remember(ch change) {
	key := changeKey{ch.pool, ch.endpoint}
	c.mu.Lock()
	defer c.mu.Unlock()
	list := c.last[key]
	if list == nil && len(c.last) >= changesEndpoints {
		return
	}
	if len(list) >= changesPerEndpoint {
		list = append(list[:0], list[1:]...)
	}
	c.last[key] = append(list, ch)
}

// of returns the last changes of an endpoint, the latest first.
func (c *changes) of(pool, endpoint string, origin time.Time) []api.Event {
	c.mu.Lock()
	defer c.mu.Unlock()
	var events []api.Event
	for _, ch := range slices.Backward(c.last[changeKey{pool, endpoint}]) {
		events = append(events, api.Event{At: origin.Add(ch.what.At), What: ch.text(), Reason: ch.what.Reason})
	}
	return events
}

// text says in a word or two what has changed.
func (ch *change) text() string {
	switch c := ch.what; c.Kind {
	case balance.HealthChanged:
		return c.Health.String()
	case balance.AdminChanged:
		return c.Admin.String()
	case balance.WeightChanged:
		return fmt.Sprintf("weight %d", c.Weight)
	case balance.RoleChanged:
		return c.Role.String()
	case balance.Ejected:
		return fmt.Sprintf("ejected for %s", (c.Until - c.At).Round(time.Millisecond))
	}
	return ch.what.Kind.String()
}

func (ch *change) write(log *slog.Logger) {
	attrs := []any{"pool", ch.pool}
	if ch.endpoint != "" {
		attrs = append(attrs, "endpoint", ch.endpoint)
	}
	level := slog.LevelInfo
	switch c := ch.what; c.Kind {
	case balance.HealthChanged:
		attrs = append(attrs, "health", c.Health.String())
		if c.Health == balance.Down {
			level = slog.LevelWarn
		}
	case balance.AdminChanged:
		attrs = append(attrs, "admin", c.Admin.String())
	case balance.WeightChanged:
		attrs = append(attrs, "weight", c.Weight)
	case balance.RoleChanged:
		attrs = append(attrs, "role", c.Role.String(), "serves", c.Fit)
		if !c.Fit {
			level = slog.LevelWarn
		}
	case balance.Ejected:
		attrs = append(attrs, "for", (c.Until - c.At).Round(time.Millisecond))
		level = slog.LevelWarn
	}
	if ch.what.Reason != "" {
		attrs = append(attrs, "reason", ch.what.Reason)
	}
	log.Log(context.Background(), level, "endpoint "+ch.what.Kind.String(), attrs...)
}
