package demo

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"
)

// A voice is who speaks in a line of the story.
type voice int

const (
	narrator voice = iota // what the demo does to the world
	balancer              // what Trivet saw and did
	customer              // how the requests fared
)

func (v voice) String() string { return [...]string{"demo", "trivet", "load"}[v] }

// ANSI's colours, by number (ECMA-48 §8.3.117): a terminal's theme decides what they look like.
const (
	dim    = "2"
	bold   = "1"
	red    = "31"
	green  = "32"
	yellow = "33"
	cyan   = "36"
)

func (v voice) colour() string { return [...]string{yellow, cyan, green}[v] }

// A story writes the demo line by line. On a terminal the last line is alive: it shows how the load fares right now.
type story struct {
	began time.Time

	mu     sync.Mutex
	out    io.Writer
	colour bool
	width  int    // columns, 0 when nobody looks
	live   string // the line that is alive, without its colours' effect on width
}

func newStory(out io.Writer) *story {
	s := &story{began: time.Now(), out: out}
	if f, ok := out.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		s.colour = os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb" // no-color.org
		if width, _, err := term.GetSize(int(f.Fd())); err == nil && s.colour {
			s.width = width
		}
	}
	return s
}

// paint colours text when there is a terminal to see it.
func (s *story) paint(code, text string) string {
	if !s.colour {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

// tell writes one line of the story: when, who, what.
func (s *story) tell(v voice, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	at := time.Since(s.began).Seconds()
	s.print(fmt.Sprintf("%s  %s  %s", s.paint(dim, fmt.Sprintf("%6.2fs", at)), s.paint(v.colour(), fmt.Sprintf("%-6s", v)), text))
}

// title begins a chapter.
func (s *story) title(text string) { s.print("\n" + s.paint(bold, text)) }

// print writes text above the line that is alive.
func (s *story) print(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.erase()
	fmt.Fprintln(s.out, text)
	io.WriteString(s.out, s.live)
}

// show replaces the line that is alive; "" takes it away. Without a terminal it does nothing.
func (s *story) show(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.width == 0 {
		return
	}
	s.erase()
	s.live = text
	io.WriteString(s.out, s.live)
}

func (s *story) erase() {
	if s.live != "" {
		io.WriteString(s.out, "\r\x1b[2K") // to the line's beginning, and clear it
	}
}

// bar draws n of max as a bar of width columns, in eighths.
func bar(n, max float64, width int) string {
	if max <= 0 {
		max = 1
	}
	eighths := int(min(n/max, 1)*float64(width)*8 + 0.5)
	full, part := eighths/8, eighths%8
	out := strings.Repeat("█", full)
	if part > 0 {
		out += string([]rune(" ▏▎▍▌▋▊▉")[part])
		full++
	}
	return out + strings.Repeat(" ", width-full)
}

// ms writes a duration in milliseconds with as many digits as are worth reading.
func ms(d time.Duration) string {
	v := float64(d) / float64(time.Millisecond)
	switch {
	case v < 10:
		return fmt.Sprintf("%.1f ms", v)
	default:
		return fmt.Sprintf("%.0f ms", v)
	}
}

// grouped writes a count with thin groups of three: 12 345.
func grouped(n uint64) string {
	digits := fmt.Sprint(n)
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + " " + digits[i:]
	}
	return digits
}
