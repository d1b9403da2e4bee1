package trivet

import (
	"sync"
	"time"
)

// signs remembers since when endpoints fail their probes: a fault begins with its first sign, and is taken for
// one some probes later.
type signs struct {
	mu    sync.Mutex
	since map[string]time.Time // by address
}

// observe takes the result of a probe that began at that time.
func (s *signs) observe(address string, ok bool, began time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if ok {
		delete(s.since, address)
		return
	}
	if s.since == nil {
		s.since = map[string]time.Time{}
	}
	if _, known := s.since[address]; !known {
		s.since[address] = began
	}
}

// first is the first sign of an endpoint's trouble; zero is none.
func (s *signs) first(address string) time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.since[address]
}

// forget drops what is known of endpoints that are not in the pool any more.
func (s *signs) forget(there func(address string) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for address := range s.since {
		if !there(address) {
			delete(s.since, address)
		}
	}
}
