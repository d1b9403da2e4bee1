package events

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

var update = flag.Bool("update", false, "write what comes out into testdata")

var epoch = time.Date(2026, 5, 4, 9, 0, 0, 0, time.UTC)

// Each file of testdata is a transcript: a line is an event (when, kind, fields), and what follows its arrow is what the
// tracker made of it.
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
			got := replay(t, string(text))
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

func replay(t *testing.T, text string) string {
	t.Helper()
	var out strings.Builder
	var tracker Tracker
	id := int64(0)
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		switch {
		case strings.HasPrefix(line, "  "):
			continue
		case line == "" || strings.HasPrefix(line, "#"):
			fmt.Fprintln(&out, line)
			continue
		}
		fmt.Fprintln(&out, line)
		if line == "incidents" {
			for _, i := range tracker.Incidents() {
				fmt.Fprintf(&out, "  %s\n", show(&i))
			}
			continue
		}
		id++
		e, incident := tracker.Observe(parse(t, id, line))
		fmt.Fprintf(&out, "  -> %s", e.Level)
		if e.Took != 0 {
			fmt.Fprintf(&out, ", took %v", e.Took)
		}
		if incident != nil {
			fmt.Fprintf(&out, ", %s", show(incident))
		}
		fmt.Fprintln(&out)
	}
	return out.String()
}

func show(i *Incident) string {
	s := fmt.Sprintf("incident %d (%s) %s: %v, %d events, detected after %v", i.ID, i.Text(), i.State, i.Kinds, i.Events, i.ToDetect)
	if !i.Handled.IsZero() {
		s += fmt.Sprintf(", handled after %v", i.Handled.Sub(i.Began))
	}
	if !i.Ended.IsZero() {
		s += fmt.Sprintf(", ended after %v", i.Ended.Sub(i.Began))
	}
	if i.ToRecover > 0 {
		s += fmt.Sprintf(", recovered after %v", i.ToRecover)
	}
	if len(i.Actions) > 0 {
		s += ", " + strings.Join(i.Actions, "+")
	}
	return s
}

// parse reads "3s endpoint.down pool=site endpoint=a since=1s".
func parse(t *testing.T, id int64, line string) Event {
	t.Helper()
	words := strings.Fields(line)
	at, err := time.ParseDuration(words[0])
	if err != nil || len(words) < 2 {
		t.Fatalf("%q is no event: %v", line, err)
	}
	e := Event{ID: id, At: epoch.Add(at), Kind: Kind(words[1])}
	for _, word := range words[2:] {
		key, value, _ := strings.Cut(word, "=")
		switch key {
		case "pool":
			e.Pool = value
		case "endpoint":
			e.Endpoint = value
		case "process":
			e.Process = value
		case "listener":
			e.Listener = value
		case "backup":
			e.Backup = value
		case "repository":
			e.Repository = value
		case "action":
			e.Action = value
		case "evidence":
			e.Evidence = value
		case "since":
			d, err := time.ParseDuration(value)
			if err != nil {
				t.Fatal(err)
			}
			e.Since = epoch.Add(d)
		default:
			t.Fatalf("%q: no field %q", line, key)
		}
	}
	return e
}

// Whatever comes in what order: incidents begin with a fault and end without one, and their times are in order.
func TestIncidentsHoldTogether(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var tracker Tracker
		kinds := Kinds()
		known := map[int64]bool{}
		for id := int64(1); id <= int64(rapid.IntRange(1, 60).Draw(t, "events")); id++ {
			e := Event{ID: id, At: epoch.Add(time.Duration(id) * time.Second), Kind: rapid.SampledFrom(kinds).Draw(t, "kind")}
			e.Endpoint = rapid.SampledFrom([]string{"", "a", "b"}).Draw(t, "endpoint")
			e.Process = rapid.SampledFrom([]string{"", "", "p/0"}).Draw(t, "process")
			if rapid.Bool().Draw(t, "since") {
				e.Since = e.At.Add(-time.Second)
			}
			got, incident := tracker.Observe(e)
			if incident == nil {
				if got.Incident != 0 {
					t.Fatalf("%s belongs to %d, which is not told", e.Kind, got.Incident)
				}
				continue
			}
			known[incident.ID] = true
			if got.Incident != incident.ID || incident.ID > id || len(incident.Kinds) == 0 {
				t.Fatalf("%+v in %+v", got, incident)
			}
			if incident.Detected.Before(incident.Began) || (incident.State == Open) != incident.Ended.IsZero() {
				t.Fatalf("times of %+v", incident)
			}
		}
		for key, o := range tracker.open {
			if len(o.faults) == 0 || o.State != Open || key != o.subject() {
				t.Fatalf("open without a fault: %+v", o)
			}
		}
		if got := tracker.Incidents(); len(got) != len(known) {
			t.Fatalf("%d incidents of %d", len(got), len(known))
		}
	})
}

func TestATrackerIsBounded(t *testing.T) {
	var tracker Tracker
	id := int64(0)
	observe := func(k Kind, endpoint string) *Incident {
		id++
		_, i := tracker.Observe(Event{ID: id, At: epoch.Add(time.Duration(id)), Kind: k, Where: Where{Endpoint: endpoint}})
		return i
	}
	for range MaxClosed + 10 {
		observe(EndpointDown, "a")
		observe(EndpointUp, "a")
	}
	if got := tracker.Incidents(); len(got) != MaxClosed || got[0].ID != 21 || got[MaxClosed-1].ID != id-1 {
		t.Errorf("%d are remembered, the first is %d", len(got), got[0].ID)
	}
	for i := range MaxOpen + 5 {
		observe(EndpointDown, fmt.Sprint(i))
	}
	if got := len(tracker.Open()); got != MaxOpen || tracker.Untracked() != 5 {
		t.Errorf("%d are open, %d untracked", got, tracker.Untracked())
	}
	if observe(EndpointUp, fmt.Sprint(MaxOpen+1)) != nil {
		t.Error("an incident that was never tracked recovers")
	}
	for i := range maxActions + 3 {
		id++
		tracker.Observe(Event{ID: id, At: epoch, Kind: EndpointEjected, Where: Where{Endpoint: "0"}, Action: fmt.Sprint(i)})
	}
	if got := tracker.Open()[0]; len(got.Actions) != maxActions {
		t.Errorf("%d actions are kept", len(got.Actions))
	}
}

func TestWhatIsHandedOutIsACopy(t *testing.T) {
	var tracker Tracker
	_, first := tracker.Observe(Event{ID: 1, At: epoch, Kind: EndpointDown, Action: "out"})
	first.Kinds[0], first.Actions[0] = "x", "x"
	got := tracker.Open()[0]
	if got.Kinds[0] != EndpointDown || got.Actions[0] != "out" {
		t.Errorf("%+v", got)
	}
}

func TestAnIncidentIsFoundByItsID(t *testing.T) {
	var tracker Tracker
	tracker.Observe(Event{ID: 5, At: epoch, Kind: EndpointDown})
	if i, ok := tracker.Find(5); !ok || i.State != Open || tracker.OpenCount() != 1 {
		t.Errorf("found %+v, %v", i, ok)
	}
	tracker.Observe(Event{ID: 6, At: epoch, Kind: EndpointUp})
	if i, ok := tracker.Find(5); !ok || i.State != Recovered || tracker.OpenCount() != 0 {
		t.Errorf("found %+v, %v", i, ok)
	}
	if _, ok := tracker.Find(6); ok {
		t.Error("an event that opened nothing is an incident")
	}
}
