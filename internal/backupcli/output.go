package backupcli

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// asJSON reports whether results are for programs.
func asJSON(cmd *cobra.Command) bool {
	on, err := cmd.Flags().GetBool("json")
	return err == nil && on
}

// writeJSON writes a value on one line.
func writeJSON(w io.Writer, v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "%s\n", text)
	return err
}

// say talks to a person.
func say(cmd *cobra.Command, format string, args ...any) {
	fmt.Fprintf(cmd.ErrOrStderr(), format+"\n", args...)
}

func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// confirm asks before something that cannot be undone. What will happen has been said.
func confirm(cmd *cobra.Command, yes bool) error {
	if yes {
		return nil
	}
	if !isTerminal(cmd.InOrStdin()) {
		return usage("add --yes to do it without asking", "nobody is there to confirm")
	}
	fmt.Fprint(cmd.ErrOrStderr(), "Go on? [y/N] ")
	var answer string
	_, _ = fmt.Fscanln(cmd.InOrStdin(), &answer) // no answer is a no
	switch strings.ToLower(answer) {
	case "y", "yes":
		return nil
	}
	return &Problem{message: "not confirmed; nothing was done", code: exitFailed}
}

// size writes bytes for people: 512 B, 1.2 KiB, 34 MiB.
func size[T int | int64 | uint64](n T) string {
	f := float64(n)
	for _, unit := range []string{"B", "KiB", "MiB", "GiB", "TiB", "PiB"} {
		if f < 1000 || unit == "PiB" {
			switch {
			case unit == "B":
				return fmt.Sprintf("%d B", int64(n))
			case f < 10:
				return fmt.Sprintf("%.2f %s", f, unit)
			case f < 100:
				return fmt.Sprintf("%.1f %s", f, unit)
			}
			return fmt.Sprintf("%.0f %s", f, unit)
		}
		f /= 1024
	}
	return ""
}

// parseSize reads 10M, 1.5GiB, 4096: powers of 1024, as restic's.
func parseSize(s string) (int64, error) {
	text := strings.TrimSuffix(strings.TrimSuffix(strings.ToUpper(strings.TrimSpace(s)), "B"), "I")
	factor := 1.0
	if n := len(text); n > 0 {
		if i := strings.IndexByte("KMGT", text[n-1]); i >= 0 {
			factor = float64(int64(1) << (10 * (i + 1)))
			text = text[:n-1]
		}
	}
	var f float64
	var rest string
	if n, _ := fmt.Sscanf(text+" .", "%g %s", &f, &rest); n != 2 || rest != "." || f < 0 {
		return 0, fmt.Errorf("size %q: want a number with K, M, G or T", s)
	}
	return int64(f * factor), nil
}

// duration writes a time span shortly: 1:23, 2:03:04.
func duration(d time.Duration) string {
	s := int(d.Seconds())
	if s < 3600 {
		return fmt.Sprintf("%d:%02d", s/60, s%60)
	}
	return fmt.Sprintf("%d:%02d:%02d", s/3600, s/60%60, s%60)
}

// moment writes a time for people.
func moment(t time.Time) string { return t.Local().Format("2006-01-02 15:04:05") }

// number writes a count with separators of thousands.
func number[T int | int64 | uint | uint64](n T) string {
	text := fmt.Sprint(n)
	for i := len(text) - 3; i > 0 && text[i-1] != '-'; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}

// plural is a number and its noun.
func plural[T int | int64 | uint | uint64](n T, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	if base, ok := strings.CutSuffix(noun, "y"); ok {
		return number(n) + " " + base + "ies"
	}
	return number(n) + " " + noun + "s"
}

// table writes rows in columns; a name that begins with > is a column of numbers.
type table struct {
	heading []string
	rows    [][]string
}

func newTable(heading ...string) *table { return &table{heading: heading} }

func (t *table) row(cells ...string) { t.rows = append(t.rows, cells) }

func (t *table) write(w io.Writer) {
	right := make([]bool, len(t.heading))
	widths := make([]int, len(t.heading))
	for i, name := range t.heading {
		name, right[i] = strings.CutPrefix(name, ">")
		t.heading[i] = name
		widths[i] = utf8.RuneCountInString(name)
	}
	for _, row := range t.rows {
		for i, c := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(c))
		}
	}
	for _, row := range append([][]string{t.heading}, t.rows...) {
		var line strings.Builder
		for i, c := range row {
			space := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(c))
			if right[i] {
				line.WriteString(space + c)
			} else {
				line.WriteString(c + space)
			}
			line.WriteString("  ")
		}
		fmt.Fprintln(w, strings.TrimRight(line.String(), " "))
	}
}

// printable writes a name from a snapshot without what a terminal would obey.
func printable(name string) string {
	for _, r := range name {
		if r < ' ' || r == 0x7f || r == utf8.RuneError || r >= 0x80 && r < 0xa0 {
			quoted := fmt.Sprintf("%q", name)
			return quoted[1 : len(quoted)-1]
		}
	}
	return name
}
