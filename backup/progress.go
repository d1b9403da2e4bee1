package backup

import (
	"sync/atomic"
	"time"
)

// Progress counts work. All its methods may be called from several goroutines; a reader may look at any time.
// The zero Progress is ready.
type Progress struct {
	files, bytes, problems atomic.Int64
	totalFiles, totalBytes atomic.Int64
	begin                  atomic.Int64 // nanoseconds since 1970
	current                atomic.Pointer[string]
}

// Begin says that the work begins now, unless it has been said.
func (p *Progress) Begin() { p.begin.CompareAndSwap(0, time.Now().UnixNano()) }

// Expect says how much there is to do, as far as it is known, and that it begins.
func (p *Progress) Expect(files, bytes int64) {
	p.Begin()
	p.totalFiles.Store(files)
	p.totalBytes.Store(bytes)
}

// Done adds to what is done.
func (p *Progress) Done(files, bytes int64) {
	if p != nil {
		p.files.Add(files)
		p.bytes.Add(bytes)
	}
}

// Problem counts a problem.
func (p *Progress) Problem() {
	if p != nil {
		p.problems.Add(1)
	}
}

// At says what is being worked on. It keeps the pointer.
func (p *Progress) At(what *string) {
	if p != nil {
		p.current.Store(what)
	}
}

// ProgressSnapshot is a Progress at one instant.
type ProgressSnapshot struct {
	Files, Bytes           int64
	TotalFiles, TotalBytes int64 // 0 if not known; a guess for a backup
	Problems               int64
	Elapsed                time.Duration
	Current                string
}

// Look returns how far the work is.
func (p *Progress) Look() ProgressSnapshot {
	s := ProgressSnapshot{
		Files: p.files.Load(), Bytes: p.bytes.Load(), TotalFiles: p.totalFiles.Load(), TotalBytes: p.totalBytes.Load(), Problems: p.problems.Load(),
	}
	if begin := p.begin.Load(); begin > 0 {
		s.Elapsed = time.Since(time.Unix(0, begin))
	}
	if c := p.current.Load(); c != nil {
		s.Current = *c
	}
	return s
}

// BytesPerSecond is the rate since the beginning.
func (s ProgressSnapshot) BytesPerSecond() float64 {
	if s.Elapsed <= 0 {
		return 0
	}
	return float64(s.Bytes) / s.Elapsed.Seconds()
}

// Left estimates the time that is left; false if there is nothing to base it on.
func (s ProgressSnapshot) Left() (time.Duration, bool) {
	rate := s.BytesPerSecond()
	if rate <= 0 || s.TotalBytes <= s.Bytes {
		return 0, false
	}
	return time.Duration(float64(s.TotalBytes-s.Bytes) / rate * float64(time.Second)), true
}
