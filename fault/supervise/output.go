package supervise

import (
	"bufio"
	"bytes"
	"errors"
	"os"
	"strings"
	"time"
)

// Line is one line that a process has written.
type Line struct {
	Process string // its name
	Stream  string // stdout or stderr
	Text    string // without the line break, valid UTF-8
	// Dropped is how many lines before this one were too many.
	Dropped int
}

// Output says what becomes of what processes write.
type Output struct {
	// Rate is how many lines a second of each stream are passed on; 0 is
	// DefaultRate. More are dropped and counted.
	Rate int
	// MaxLine is the longest line, in bytes; 0 is DefaultMaxLine. A longer one is
	// cut and ends with "...".
	MaxLine int
	// Sink gets the lines; it may be called by several goroutines at a time. nil
	// drops them all.
	Sink func(Line)
}

// What Output is unless it says otherwise.
const (
	DefaultRate    = 1000
	DefaultMaxLine = 8 << 10
)

// lines reads a stream line by line.
type lines struct {
	output  Output
	process string
	stream  string
	partial []byte // of a line whose rest another process will read; or the rest that one has left
	note    func(text string)

	second  time.Time // that count is of
	count   int
	dropped int
}

// read passes lines on until the stream ends, or a read deadline passes.
func (l *lines) read(f *os.File) {
	size := l.output.MaxLine
	if size <= 0 {
		size = DefaultMaxLine
	}
	r := bufio.NewReaderSize(f, max(size, 16))
	skip := false // the rest of a line that was cut
	for {
		part, err := r.ReadSlice('\n')
		part = append(l.partial, part...)
		l.partial = nil
		switch {
		case err == nil:
			if !skip {
				l.pass(string(bytes.TrimRight(part, "\r\n")))
			}
			skip = false
		case errors.Is(err, bufio.ErrBufferFull):
			if !skip {
				l.pass(string(part) + "...")
			}
			skip = true
		case errors.Is(err, os.ErrDeadlineExceeded):
			if !skip {
				l.partial = bytes.Clone(part)
			}
			return
		default:
			if len(part) > 0 && !skip {
				l.pass(string(part))
			}
			return
		}
	}
}

func (l *lines) pass(text string) {
	text = strings.ToValidUTF8(text, "\uFFFD")
	l.note(text)
	if l.output.Sink == nil {
		return
	}
	rate := l.output.Rate
	if rate <= 0 {
		rate = DefaultRate
	}
	if now := time.Now(); now.Sub(l.second) >= time.Second {
		l.second, l.count = now, 0
	}
	if l.count++; l.count > rate {
		l.dropped++
		return
	}
	l.output.Sink(Line{Process: l.process, Stream: l.stream, Text: text, Dropped: l.dropped})
	l.dropped = 0
}
