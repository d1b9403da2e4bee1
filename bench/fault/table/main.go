// Command table reads the output of `go test -bench` for package fault from its standard input and prints a Markdown
// table: the best of all rounds of each, and how the others compare with trivet. It measures nothing by itself.
package main

import (
	"bufio"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// best is the lowest cost of one way to do a task.
type best struct {
	ns, allocs float64
}

// task is a benchmark with all its ways.
type task struct {
	name string
	ways map[string]best
}

func main() {
	var tasks []*task
	byName := map[string]*task{}
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		name, way, b, ok := parse(lines.Text())
		if !ok {
			continue
		}
		t := byName[name]
		if t == nil {
			t = &task{name, map[string]best{}}
			byName[name] = t
			tasks = append(tasks, t)
		}
		if old, seen := t.ways[way]; !seen || b.ns < old.ns {
			t.ways[way] = b
		}
	}
	if err := lines.Err(); err != nil {
		fmt.Fprintln(os.Stderr, "read the figures:", err)
		os.Exit(1)
	}
	fmt.Println("| | trivet | failsafe-go | others | failsafe-go ÷ trivet | others ÷ trivet |")
	fmt.Println("|---|---|---|---|---|---|")
	for _, t := range tasks {
		fmt.Println(t.row())
	}
}

// parse takes a line like "BenchmarkCall/a_task/trivet-2  100  82.5 ns/op  0 B/op  0 allocs/op" apart.
func parse(line string) (name, way string, b best, ok bool) {
	fields := strings.Fields(line)
	if len(fields) < 8 || !strings.HasPrefix(fields[0], "Benchmark") {
		return "", "", best{}, false
	}
	full := strings.TrimPrefix(fields[0], "Benchmark")
	if i := strings.LastIndex(full, "-"); i > 0 {
		full = full[:i]
	}
	for _, w := range []string{"trivet", "failsafe-go", "gobreaker", "x/time/rate"} {
		if rest, found := strings.CutSuffix(full, "/"+w); found {
			name, way, ok = strings.ReplaceAll(rest, "_", " "), w, true
		}
	}
	ns, err1 := strconv.ParseFloat(fields[2], 64)
	allocs, err2 := strconv.ParseFloat(fields[6], 64)
	return strings.TrimPrefix(name, "Call/"), way, best{ns, allocs}, ok && err1 == nil && err2 == nil
}

func (t *task) row() string {
	cell := func(w string) string {
		b, ok := t.ways[w]
		if !ok {
			return ""
		}
		return fmt.Sprintf("%.0f ns, %.0f", b.ns, b.allocs)
	}
	ratio := func(w string) string {
		b, ok := t.ways[w]
		if !ok {
			return ""
		}
		return fmt.Sprintf("%.1f", b.ns/t.ways["trivet"].ns)
	}
	other := ""
	for _, w := range []string{"gobreaker", "x/time/rate"} {
		if _, ok := t.ways[w]; ok {
			other = w
		}
	}
	others := cell(other)
	if other != "" {
		others = other + ": " + others
	}
	return fmt.Sprintf("| %s | %s | %s | %s | %s | %s |", t.name, cell("trivet"), cell("failsafe-go"), others, ratio("failsafe-go"), ratio(other))
}
