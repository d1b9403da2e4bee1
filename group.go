package trivet

import (
	"context"
	"sync"
)

// group runs parts that come and go with reloads: each has its own end, and all end with the group.
type group struct {
	mu      sync.Mutex
	ctx     context.Context // of run; nil before
	waiting []func(context.Context)
	wg      sync.WaitGroup
}

// add starts a part, or keeps it until the group runs. The function returned ends it; it does not wait.
func (g *group) add(run func(context.Context)) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	part := func(parent context.Context) {
		undo := context.AfterFunc(parent, cancel)
		defer undo()
		defer cancel()
		run(ctx)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.ctx == nil {
		g.waiting = append(g.waiting, part)
		return cancel
	}
	g.wg.Go(func() { part(g.ctx) })
	return cancel
}

// run starts what waits, and returns when ctx has ended and all parts with it.
func (g *group) run(ctx context.Context) error {
	g.mu.Lock()
	g.ctx = ctx
	for _, part := range g.waiting {
		g.wg.Go(func() { part(ctx) })
	}
	g.waiting = nil
	g.mu.Unlock()
	<-ctx.Done()
	g.wg.Wait()
	return nil
}
