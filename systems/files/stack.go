package files

import "sync"

// stack hands tasks to workers, the youngest first: the walk goes deep before it goes wide, and what is pending stays
// small. It ends when all tasks are done, or one failed.
type stack struct {
	mu      sync.Mutex
	more    sync.Cond
	tasks   []task
	running int  // tasks that were taken and are not done
	ended   bool // no task will come
}

func newStack() *stack {
	s := &stack{}
	s.more.L = &s.mu
	return s
}

// push adds tasks. The last one is taken first.
func (s *stack) push(tasks ...task) {
	s.mu.Lock()
	s.tasks = append(s.tasks, tasks...)
	s.mu.Unlock()
	if len(tasks) == 1 {
		s.more.Signal()
	} else {
		s.more.Broadcast()
	}
}

// pop takes a task, waiting for one. It returns false when there is nothing left to do. After done.
func (s *stack) pop() (task, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.tasks) == 0 && s.running > 0 && !s.ended {
		s.more.Wait()
	}
	if s.ended || len(s.tasks) == 0 {
		s.ended = true
		s.more.Broadcast()
		return task{}, false
	}
	last := len(s.tasks) - 1
	t := s.tasks[last]
	s.tasks[last] = task{}
	s.tasks = s.tasks[:last]
	s.running++
	return t, true
}

// done says that a task that was popped is done, and has pushed what follows from it.
func (s *stack) done() {
	s.mu.Lock()
	s.running--
	wake := s.running == 0 && len(s.tasks) == 0
	s.mu.Unlock()
	if wake {
		s.more.Broadcast()
	}
}

// end makes every pop return false.
func (s *stack) end() {
	s.mu.Lock()
	s.ended = true
	s.mu.Unlock()
	s.more.Broadcast()
}
