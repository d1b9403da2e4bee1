package l7

import "time"

// Figures that the tests of the package's outside look at.
const (
	RetainMax = retainMax
	BulkRead  = bulkRead
	FirstRead = firstRead
	TurnBytes = turnBytes
	TurnsMax  = turnsMax
)

// IdleConns counts the connections to endpoints that wait for a request.
func (s *Server) IdleConns() (n int) {
	s.onEach(func(w *worker) {
		for _, t := range w.targets {
			n += len(t.idle)
		}
	})
	return n
}

// Draining reports whether Drain has begun.
func (s *Server) Draining() bool { return s.workers[0].Worker.Draining() }

// Hold stops all loops until release is called. What happens at their sockets meanwhile comes in one batch.
func (s *Server) Hold() (release func()) {
	gate := make(chan struct{})
	for _, w := range s.workers {
		held := make(chan struct{})
		if w.Loop.Post(func() { close(held); <-gate }) {
			<-held
		}
	}
	return func() { close(gate) }
}

// onEach runs f on each loop in turn. A loop that has ended is left out.
func (s *Server) onEach(f func(*worker)) {
	for _, w := range s.workers {
		done := make(chan struct{})
		if w.Loop.Post(func() { f(w); close(done) }) {
			<-done
		}
	}
}

// Sweep does what a worker does once a second.
func (s *Server) Sweep(later time.Duration) {
	s.onEach(func(w *worker) { w.Expire(w.Loop.Now() + later) })
}

// SeparateLoads returns the number of client connections of each loop.
func (s *Server) SeparateLoads() (n []int) {
	for _, w := range s.workers {
		n = append(n, w.Load())
	}
	return n
}
