package events

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
)

func TestAnEventSurvivesJSON(t *testing.T) {
	e := Event{
		ID: 7, At: epoch, Kind: ProcessExited, Level: Warn, Where: Where{Pool: "shop", Process: "shop/0", Endpoint: "127.0.0.1:4001"},
		Since: epoch.Add(-time.Second), Evidence: "signal: killed", Action: "starts again in 100ms", Took: Span(1500 * time.Microsecond), Incident: 7,
	}
	text, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(text), `"took_ms":1.5`) || !strings.Contains(string(text), `"process":"shop/0"`) {
		t.Errorf("written as %s", text)
	}
	var got Event
	if err := json.Unmarshal(text, &got); err != nil || got != e {
		t.Errorf("read as %+v, %v", got, err)
	}
	short, _ := json.Marshal(Event{ID: 1, At: epoch, Kind: NodeStarted, Level: Info})
	if string(short) != `{"id":1,"at":"2026-05-04T09:00:00Z","kind":"node.started","level":"info"}` {
		t.Errorf("what does not apply is written: %s", short)
	}
	if err := json.Unmarshal([]byte(`{"took_ms": "x"}`), &got); err == nil {
		t.Error("a span that is no number is read")
	}
	if got := e.Took.Duration(); got != 1500*time.Microsecond || e.Took.String() != "1.5ms" {
		t.Errorf("span is %v", got)
	}
}

func TestEveryKindHasALevelAndAPlace(t *testing.T) {
	seen := map[Kind]bool{}
	for _, k := range Kinds() {
		thing, what, ok := strings.Cut(string(k), ".")
		if !ok || thing == "" || what == "" || seen[k] {
			t.Errorf("%q is no kind, or twice there", k)
		}
		seen[k] = true
		if !k.Level().AtLeast(Info) || strings.ContainsAny(k.Word(), "._") {
			t.Errorf("%s: level %s, word %q", k, k.Level(), k.Word())
		}
		if k.meaning().opens != "" && k.Level() == Info {
			t.Errorf("%s opens an incident and is not even a warning", k)
		}
	}
	// A fault that nothing ends would stay open for ever.
	ends := map[fault]bool{}
	for _, k := range Kinds() {
		for _, f := range k.meaning().closes {
			ends[f] = true
		}
	}
	for _, k := range Kinds() {
		if f := k.meaning().opens; f != "" && !ends[f] {
			t.Errorf("nothing ends %s", k)
		}
	}
	if got := Kind("moon.fell").Level(); got != Info {
		t.Errorf("a kind that is not known has level %s", got)
	}
}

func TestFiltersChoose(t *testing.T) {
	e := Event{ID: 10, At: epoch, Kind: EndpointDown, Level: Warn, Where: Where{Pool: "site", Endpoint: "a", Process: "p", Listener: "l"}, Incident: 9}
	for name, c := range map[string]struct {
		filter Filter
		want   bool
	}{
		"everything":     {Filter{}, true},
		"after":          {Filter{After: 9}, true},
		"not after":      {Filter{After: 10}, false},
		"since":          {Filter{Since: epoch}, true},
		"too late":       {Filter{Since: epoch.Add(1)}, false},
		"until":          {Filter{Until: epoch.Add(1)}, true},
		"too early":      {Filter{Until: epoch}, false},
		"pool":           {Filter{Pool: "site", Endpoint: "a", Process: "p", Listener: "l"}, true},
		"other pool":     {Filter{Pool: "api"}, false},
		"other endpoint": {Filter{Endpoint: "b"}, false},
		"other process":  {Filter{Process: "q"}, false},
		"other listener": {Filter{Listener: "m"}, false},
		"kind":           {Filter{Kinds: []string{"node.*", "endpoint.*"}}, true},
		"exact kind":     {Filter{Kinds: []string{"endpoint.down"}}, true},
		"other kind":     {Filter{Kinds: []string{"endpoint.up", "pool.*"}}, false},
		"level":          {Filter{Level: Warn}, true},
		"higher level":   {Filter{Level: Error}, false},
		"incident":       {Filter{Incident: 9}, true},
		"other incident": {Filter{Incident: 8}, false},
	} {
		if got := c.filter.Match(&e); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
	all := []Event{{ID: 1}, {ID: 2}, {ID: 3}}
	if got := Newest(all, 2); len(got) != 2 || got[0].ID != 2 || len(Newest(all, 0)) != 3 || len(Newest(all, 9)) != 3 {
		t.Errorf("the newest two are %v", got)
	}
	if got := Levels(); len(got) != 3 || !got[2].AtLeast(got[1]) || got[1].AtLeast(got[2]) || !got[0].AtLeast("") {
		t.Errorf("levels are %v", got)
	}
}

func TestIncidentsAreChosen(t *testing.T) {
	over := Incident{Where: Where{Pool: "site", Endpoint: "a", Process: "p"}, State: Recovered, Ended: epoch}
	open := Incident{Where: over.Where, State: Open}
	for name, c := range map[string]struct {
		filter     IncidentFilter
		over, open bool
	}{
		"everything": {IncidentFilter{}, true, true},
		"open":       {IncidentFilter{Open: true}, false, true},
		"since then": {IncidentFilter{Since: epoch}, true, true},
		"since":      {IncidentFilter{Since: epoch.Add(1)}, false, true},
		"thing":      {IncidentFilter{Pool: "site", Endpoint: "a", Process: "p"}, true, true},
		"pool":       {IncidentFilter{Pool: "x"}, false, false},
		"endpoint":   {IncidentFilter{Endpoint: "x"}, false, false},
		"process":    {IncidentFilter{Process: "x"}, false, false},
	} {
		if c.filter.Match(&over) != c.over || c.filter.Match(&open) != c.open {
			t.Errorf("%s: %v, %v", name, c.filter.Match(&over), c.filter.Match(&open))
		}
	}
}

func TestThingsAreNamedForPeople(t *testing.T) {
	for want, w := range map[string]Where{
		"node":                       {},
		"endpoint a, pool site":      {Pool: "site", Endpoint: "a"},
		"process shop/0, endpoint a": {Pool: "shop", Process: "shop/0", Endpoint: "a"},
		"listener web":               {Listener: "web"},
		"hook pager":                 {Hook: "pager"},
	} {
		if got := w.Text(); got != want {
			t.Errorf("%+v is %q, want %q", w, got, want)
		}
	}
}

func BenchmarkObserve(b *testing.B) {
	var tracker Tracker
	down := Event{At: epoch, Kind: EndpointDown, Where: Where{Pool: "site", Endpoint: "a"}, Evidence: "refused", Action: "out"}
	up := Event{At: epoch.Add(time.Second), Kind: EndpointUp, Where: down.Where}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		down.ID, up.ID = int64(2*i), int64(2*i+1)
		tracker.Observe(down)
		tracker.Observe(up)
	}
}
