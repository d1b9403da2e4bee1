package backupcli

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/trivet-ha/trivet/backup"
)

const (
	// drawEvery is how often the line on a terminal is drawn, jsonEvery how often a status line is written.
	drawEvery = 100 * time.Millisecond
	jsonEvery = time.Second
)

// display shows the progress of a long work: as a line that is drawn over itself on a terminal, as lines of JSON for programs, or
// not at all.
type display struct {
	cmd      *cobra.Command
	progress *backup.Progress
	json     bool
	terminal bool

	stop chan struct{}
	done sync.WaitGroup

	mu    sync.Mutex
	drawn bool
}

// show begins to show progress. The caller ends it.
func show(cmd *cobra.Command, progress *backup.Progress, quiet bool) *display {
	d := &display{cmd: cmd, progress: progress, json: asJSON(cmd) && !quiet, stop: make(chan struct{})}
	d.terminal = isTerminal(cmd.ErrOrStderr()) && !quiet && !asJSON(cmd)
	switch {
	case d.terminal:
		d.done.Go(func() { d.every(drawEvery, d.draw) })
	case d.json:
		d.done.Go(func() { d.every(jsonEvery, d.writeStatus) })
	}
	return d
}

func (d *display) every(interval time.Duration, do func()) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			do()
		case <-d.stop:
			return
		}
	}
}

// end takes the line away.
func (d *display) end() {
	close(d.stop)
	d.done.Wait()
	d.mu.Lock()
	defer d.mu.Unlock()
	d.clear()
}

// clear empties the line. d.mu is held.
func (d *display) clear() {
	if d.drawn {
		fmt.Fprint(d.cmd.ErrOrStderr(), "\r\x1b[K")
		d.drawn = false
	}
}

// say writes a line above the progress.
func (d *display) say(format string, args ...any) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.clear()
	say(d.cmd, format, args...)
}

// problem tells about a problem of the work.
func (d *display) problem(p backup.Problem) {
	if !d.json {
		if p.Severity == backup.Note {
			d.say("note: %s", printable(p.Error()))
		} else {
			d.say("error: %s", printable(p.Error()))
		}
		return
	}
	kind := "error"
	if p.Severity == backup.Note {
		kind = "note"
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	_ = writeJSON(d.cmd.OutOrStdout(), map[string]any{"message_type": kind, "item": p.Path, "error": map[string]string{"message": p.Err.Error()}})
}

func (d *display) draw() {
	out := d.cmd.ErrOrStderr()
	d.mu.Lock()
	defer d.mu.Unlock()
	fmt.Fprint(out, "\r"+fit(progressLine(d.progress.Look()), d.columns(out))+"\x1b[K")
	d.drawn = true
}

func (d *display) columns(out io.Writer) int {
	if f, ok := out.(interface{ Fd() uintptr }); ok {
		if width, _, err := term.GetSize(int(f.Fd())); err == nil && width > 10 {
			return width - 1
		}
	}
	return 79
}

// progressLine is: [1:23] 45.2%  12,345 files  1.20 GiB  350 MiB/s  0:42 left  /path
func progressLine(s backup.ProgressSnapshot) string {
	parts := []string{"[" + duration(s.Elapsed) + "]"}
	if s.TotalBytes > 0 {
		parts[0] += fmt.Sprintf(" %5.1f%%", min(100, 100*float64(s.Bytes)/float64(s.TotalBytes)))
	}
	parts = append(parts, plural(s.Files, "file"), size(s.Bytes), size(int64(s.BytesPerSecond()))+"/s")
	if left, ok := s.Left(); ok {
		parts = append(parts, duration(left)+" left")
	}
	if s.Problems > 0 {
		parts = append(parts, plural(s.Problems, "problem"))
	}
	if s.Current != "" {
		parts = append(parts, printable(s.Current))
	}
	return strings.Join(parts, "  ")
}

// fit cuts a line to so many columns.
func fit(line string, columns int) string {
	if utf8.RuneCountInString(line) <= columns {
		return line
	}
	runes := []rune(line)
	return string(runes[:columns-1]) + "…"
}

// writeStatus writes restic's status message.
func (d *display) writeStatus() {
	s := d.progress.Look()
	status := map[string]any{
		"message_type": "status", "seconds_elapsed": int(s.Elapsed.Seconds()), "files_done": s.Files, "bytes_done": s.Bytes, "error_count": s.Problems,
		"total_files": s.TotalFiles, "total_bytes": s.TotalBytes,
	}
	if s.TotalBytes > 0 {
		status["percent_done"] = min(1, float64(s.Bytes)/float64(s.TotalBytes))
	}
	if left, ok := s.Left(); ok {
		status["seconds_remaining"] = int(left.Seconds())
	}
	if s.Current != "" {
		status["current_files"] = []string{s.Current}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	_ = writeJSON(d.cmd.OutOrStdout(), status)
}
