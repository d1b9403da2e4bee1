package backup

import (
	"context"
	"slices"
	"sync"
)

// turns gives things to one job at a time: a repository, the source of a backup. Who needs several gets them all at
// once, so that nobody waits in a circle. Of those that wait, the first whose needs are free goes.
type turns struct {
	mu     sync.Mutex
	taken  map[string]bool
	queued []*waiter
}

// waiter is somebody who waits for a turn.
type waiter struct {
	needs []string
	ready chan struct{} // closed when all of the needs are his
}

// take waits until all needs are free and takes them. give returns them; it may be called once.
func (t *turns) take(ctx context.Context, needs []string) (give func(), err error) {
	w := &waiter{needs: needs, ready: make(chan struct{})}
	t.mu.Lock()
	t.queued = append(t.queued, w)
	t.next()
	t.mu.Unlock()
	select {
	case <-w.ready:
		return func() { t.give(w) }, nil
	case <-ctx.Done():
	}
	t.mu.Lock()
	i := slices.Index(t.queued, w)
	if i >= 0 {
		t.queued = slices.Delete(t.queued, i, i+1)
	}
	t.mu.Unlock()
	if i < 0 { // it came to his turn at the same moment
		t.give(w)
	}
	return nil, context.Cause(ctx)
}

func (t *turns) give(w *waiter) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, what := range w.needs {
		delete(t.taken, what)
	}
	t.next()
}

// next lets all go whose needs are free, in order. t.mu is held.
func (t *turns) next() {
	if t.taken == nil {
		t.taken = map[string]bool{}
	}
	t.queued = slices.DeleteFunc(t.queued, func(w *waiter) bool {
		if slices.ContainsFunc(w.needs, func(what string) bool { return t.taken[what] }) {
			return false
		}
		for _, what := range w.needs {
			t.taken[what] = true
		}
		close(w.ready)
		return true
	})
}
