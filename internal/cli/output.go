package cli

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/term"
)

// result writes v as JSON if that is asked for, and else what text writes.
func (e *env) result(v any, text func(w io.Writer)) error {
	if !e.json {
		text(e.Out)
		return nil
	}
	encoded, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(e.Out, "%s\n", encoded)
	return err
}

// say talks to a person.
func (e *env) say(format string, args ...any) { fmt.Fprintf(e.Err, format+"\n", args...) }

// isTerminal tells whether a stream is a terminal.
func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// confirm asks before something dangerous. What will happen has been said.
func (e *env) confirm(yes bool) error {
	if yes {
		return nil
	}
	if !isTerminal(e.In) {
		return usage("nobody is there to confirm", "add --yes to do it without asking")
	}
	fmt.Fprint(e.Err, "Go on? [y/N] ")
	answer, err := bufio.NewReader(e.In).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "y", "yes":
		return nil
	default:
		return fail(errors.New("not confirmed; nothing was done"), "")
	}
}

// A color is an ANSI colour.
type color string

const (
	plain  color = ""
	bold   color = "1"
	dim    color = "2"
	red    color = "31"
	green  color = "32"
	yellow color = "33"
)

// painter colours text if somebody can see it.
type painter struct{ on bool }

// painterFor colours on a terminal, unless NO_COLOR (https://no-color.org) or a dumb terminal says otherwise.
func painterFor(w io.Writer) painter {
	return painter{on: isTerminal(w) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"}
}

func (p painter) paint(c color, text string) string {
	if !p.on || c == plain || text == "" {
		return text
	}
	return "\x1b[" + string(c) + "m" + text + "\x1b[0m"
}

// cell is a text in a table.
type cell struct {
	text  string
	color color
	right bool // aligned, as numbers are
}

func text(s string) cell { return cell{text: s} }

func number[T int | int64 | uint64](n T) cell { return cell{text: count(n), right: true} }

// table writes rows in aligned columns. The first row is the heading.
type table struct {
	rows   [][]cell
	indent string
}

func (t *table) row(cells ...cell) { t.rows = append(t.rows, cells) }

func (t *table) heading(names ...string) {
	var cells []cell
	for _, name := range names {
		right := strings.HasPrefix(name, ">")
		cells = append(cells, cell{text: strings.TrimPrefix(name, ">"), color: dim, right: right})
	}
	t.row(cells...)
}

func (t *table) write(w io.Writer, p painter) {
	var widths []int
	for _, row := range t.rows {
		for i, c := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(c.text))
		}
	}
	for _, row := range t.rows {
		var line strings.Builder
		for i, c := range row {
			space := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(c.text))
			switch {
			case c.right:
				line.WriteString(space + p.paint(c.color, c.text))
			case i < len(row)-1:
				line.WriteString(p.paint(c.color, c.text) + space)
			default:
				line.WriteString(p.paint(c.color, c.text))
			}
			if i < len(row)-1 {
				line.WriteString("  ")
			}
		}
		fmt.Fprintf(w, "%s%s\n", t.indent, strings.TrimRight(line.String(), " "))
	}
}

// count writes a number shortly: 9999, 12.3k, 4.5M.
func count[T int | int64 | uint64](n T) string {
	switch {
	case n < 10_000:
		return strconv.FormatInt(int64(n), 10)
	case n < 1_000_000:
		return strconv.FormatFloat(float64(n)/1e3, 'f', 1, 64) + "k"
	case n < 1_000_000_000:
		return strconv.FormatFloat(float64(n)/1e6, 'f', 1, 64) + "M"
	default:
		return strconv.FormatFloat(float64(n)/1e9, 'f', 1, 64) + "G"
	}
}

// millis writes a time in milliseconds.
func millis(ms float64) string {
	switch {
	case ms == 0:
		return "-"
	case ms >= 1000:
		return strconv.FormatFloat(ms/1000, 'f', 1, 64) + " s"
	case ms >= 10:
		return strconv.FormatFloat(ms, 'f', 0, 64) + " ms"
	default:
		return strconv.FormatFloat(ms, 'f', 2, 64) + " ms"
	}
}

// ago writes the time since t, to two units.
func ago(since time.Duration) string {
	switch s := int(since.Seconds()); {
	case s < 60:
		return fmt.Sprintf("%ds", max(s, 0))
	case s < 3600:
		return fmt.Sprintf("%dm%ds", s/60, s%60)
	case s < 86400:
		return fmt.Sprintf("%dh%dm", s/3600, s/60%60)
	default:
		return fmt.Sprintf("%dd%dh", s/86400, s/3600%24)
	}
}

// clock writes a moment: the time of today, or date and time.
func clock(t, now time.Time) string {
	t, now = t.Local(), now.Local()
	if t.YearDay() == now.YearDay() && t.Year() == now.Year() {
		return t.Format("15:04:05")
	}
	return t.Format("2006-01-02 15:04:05")
}
