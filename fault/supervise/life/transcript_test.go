package life

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write what comes out into testdata")

// Each file of testdata is a transcript: a line says when and what happens, and what follows it is what the group decides.
func TestTranscripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d transcripts, %v", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := (&script{t: t}).run(string(text))
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if diff := cmp.Diff(string(text), got); diff != "" {
				t.Errorf("(-file +got):\n%s", diff)
			}
		})
	}
}

type script struct {
	t     *testing.T
	group *Group
	out   strings.Builder
}

func (s *script) run(text string) string {
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		if strings.HasPrefix(line, "  ") {
			continue
		}
		fmt.Fprintln(&s.out, line)
		if line != "" && line[0] != '#' {
			s.line(line, strings.Fields(line))
		}
	}
	return s.out.String()
}

// line carries out "3s exited 1 signal: killed".
func (s *script) line(line string, words []string) {
	now, err := time.ParseDuration(words[0])
	if err != nil || len(words) < 2 {
		s.t.Fatalf("%q: %v", line, err)
	}
	rest := strings.Join(words[min(3, len(words)):], " ")
	id := func() ID {
		n, err := strconv.Atoi(words[2])
		if err != nil {
			s.t.Fatalf("%q: %v", line, err)
		}
		return ID(n)
	}
	slot := func() int {
		if words[2] == "all" {
			return All
		}
		return int(id())
	}
	err = nil
	switch words[1] {
	case "new":
		s.group = New(s.policy(words[2:]))
	case "configure":
		s.group.Configure(s.policy(words[2:]))
	case "roll":
		s.group.Roll()
	case "ready":
		s.group.Ready(id(), now)
	case "hung":
		s.group.Hung(id(), rest, now)
	case "idle":
		s.group.Idle(id(), now)
	case "exited":
		s.group.Exited(id(), rest, now, 0)
	case "restart":
		err = s.group.Restart(slot(), now)
	case "start":
		err = s.group.Start(slot())
	case "stop":
		err = s.group.Stop(slot())
	case "hold":
		s.group.Hold(words[2] == "on")
	case "close":
		s.group.Close()
	case "next":
	case "handover":
		s.group = Restore(s.group.policy, s.group.State(now), now)
	default:
		s.t.Fatalf("%q is not known", line)
	}
	if err != nil {
		fmt.Fprintf(&s.out, "  error: %v\n", err)
	}
	s.decide(now)
}

func (s *script) policy(words []string) Policy {
	p := Policy{Replicas: 1, StartTimeout: time.Minute, DrainTimeout: 10 * time.Second, Restart: Restart{Backoff: time.Second, BackoffMax: 8 * time.Second, Limit: 3, Within: time.Minute}}
	for _, word := range words {
		key, value, _ := strings.Cut(word, "=")
		d, _ := time.ParseDuration(value)
		n, _ := strconv.Atoi(value)
		switch key {
		case "replicas":
			p.Replicas = n
		case "limit":
			p.Restart.Limit = n
		case "start":
			p.StartTimeout = d
		case "within":
			p.Restart.Within = d
		case "restart":
			p.Restart.Off = value == "off"
		default:
			s.t.Fatalf("no setting %q", word)
		}
	}
	return p
}

func (s *script) decide(now time.Duration) {
	actions, wake := s.group.Next(now)
	for _, a := range actions {
		fmt.Fprintf(&s.out, "  -> %s", a.Do)
		if a.Process.ID > 0 {
			fmt.Fprintf(&s.out, " %d, place %d", a.Process.ID, a.Process.Slot)
		}
		fmt.Fprintf(&s.out, ", generation %d", a.Process.Generation)
		if a.Delay > 0 {
			fmt.Fprintf(&s.out, ", in %v", a.Delay)
		}
		if a.Why != "" {
			fmt.Fprintf(&s.out, " (%s)", a.Why)
		}
		fmt.Fprintln(&s.out)
	}
	if wake != Never {
		fmt.Fprintf(&s.out, "  asks again at %v\n", wake)
	}
}
