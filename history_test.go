package trivet

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/trivet-ha/trivet/api"
	"github.com/trivet-ha/trivet/config"
	"github.com/trivet-ha/trivet/events"
	"github.com/trivet-ha/trivet/events/hook"
)

// stopped runs a node on the file until do returns, and waits until it has ended.
func stopped(t *testing.T, path string, do func(*Node)) {
	t.Helper()
	file, err := config.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	n, err := New(Config{File: file, Version: "test"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- n.Run(ctx) }()
	do(n)
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestEventsAndIncidentsOutliveTheProcess(t *testing.T) {
	a, b := newShop(t, "a"), newShop(t, "b")
	dir := t.TempDir()
	path := filepath.Join(dir, "trivet.yaml")
	yaml := strings.ReplaceAll(fmt.Sprintf(oneSite, a.address()+", "+b.address()), "SOCKET", filepath.Join(dir, "s")) + "state: " + filepath.Join(dir, "state.db") + "\n"
	if err := os.WriteFile(path, []byte(yaml), 0o600); err != nil {
		t.Fatal(err)
	}
	kinds := func(n *Node) (all []string) {
		list, err := n.Events(t.Context(), events.Filter{})
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range list {
			all = append(all, string(e.Kind))
		}
		return all
	}
	stopped(t, path, func(n *Node) {
		eventually(t, "both are up", func() bool { return n.Status().Pools[0].Available == 2 })
		a.sick.Store(true)
		b.sick.Store(true)
		eventually(t, "both are down", func() bool {
			list, _ := n.Incidents(t.Context(), events.IncidentFilter{Open: true})
			return len(list) >= 2
		})
	})
	a.sick.Store(false)
	// b is not in the file any more.
	if err := os.WriteFile(path, []byte(strings.Replace(yaml, ", "+b.address(), "", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	stopped(t, path, func(n *Node) {
		got := kinds(n)
		if !slices.Contains(got, "node.stopping") || !slices.Contains(got, "endpoint.down") {
			t.Errorf("events %v", got)
		}
		eventually(t, "the incidents are over", func() bool {
			list, err := n.Incidents(t.Context(), events.IncidentFilter{})
			states := map[string]events.State{}
			for _, i := range list {
				if i.Endpoint != "" {
					states[i.Endpoint] = i.State
				}
			}
			return err == nil && states[a.address()] == events.Recovered && states[b.address()] == events.Withdrawn
		})
		list, err := n.Events(t.Context(), events.Filter{Limit: 3})
		if err != nil || len(list) != 3 || list[0].ID >= list[2].ID {
			t.Errorf("the newest three are %v, %v", list, err)
		}
	})
}

func TestAStateFileThatWasAskedForMustOpen(t *testing.T) {
	file, err := config.Parse("x", []byte("state: /proc/nothing/state.db\nadmin: {socket: off}\n"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := New(Config{File: file}); err == nil || !strings.Contains(err.Error(), "open state file") {
		t.Errorf("it starts: %v", err)
	}
	t.Setenv("STATE_DIRECTORY", "/proc/nothing")
	if file, err = config.Parse("x", []byte("admin: {socket: off}\n")); err != nil {
		t.Fatal(err)
	}
	n, err := New(Config{File: file})
	if err != nil {
		t.Fatalf("without being asked for: %v", err)
	}
	if n.history.journal != nil {
		t.Error("it is open")
	}
}

func TestHooksAreToldFromTheFirstEventToTheLast(t *testing.T) {
	var mu sync.Mutex
	var got []hook.Notice
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var n hook.Notice
		if err := json.NewDecoder(r.Body).Decode(&n); err != nil || r.Header.Get("X-Key") != "s3cret" || r.Header.Get("X-Team") != "shop" {
			w.WriteHeader(400)
			return
		}
		mu.Lock()
		got = append(got, n)
		mu.Unlock()
	}))
	defer receiver.Close()
	a := newShop(t, "a")
	dir := t.TempDir()
	path := filepath.Join(dir, "trivet.yaml")
	t.Setenv("HOOK_KEY", "s3cret")
	yaml := strings.ReplaceAll(fmt.Sprintf(oneSite, a.address()), "SOCKET", filepath.Join(dir, "s")) + `
hooks:
  pager: {webhook: {url: "` + receiver.URL + `", token: "${HOOK_KEY}", token_header: X-Key, headers: {X-Team: shop}}, events: [endpoint.*, node.*], level: info}
  file: {command: [/bin/sh, -c, "cat >> ` + dir + `/told"], events: endpoint.down, pool: site}
`
	if err := os.WriteFile(path, []byte(yaml), 0o600); err != nil {
		t.Fatal(err)
	}
	stopped(t, path, func(n *Node) {
		eventually(t, "it is up", func() bool { return n.Status().Pools[0].Endpoints[0].Health == "up" })
		a.sick.Store(true)
		eventually(t, "the command is told", func() bool {
			text, _ := os.ReadFile(filepath.Join(dir, "told"))
			return strings.Contains(string(text), `"kind":"endpoint.down"`) && strings.Contains(string(text), `"incident":{`)
		})
		if err := n.ReloadFile(t.Context()); err != nil { // hooks that stay as they were go on
			t.Fatal(err)
		}
	})
	var kinds []string
	for _, n := range got {
		kinds = append(kinds, string(n.Event.Kind))
	}
	if len(kinds) < 4 || kinds[0] != "node.started" || kinds[len(kinds)-1] != "node.stopping" || !slices.Contains(kinds, "endpoint.down") {
		t.Errorf("told %v", kinds)
	}
	for _, n := range got {
		if n.Event.Kind == events.EndpointDown && (n.Incident == nil || n.Event.Since.IsZero() || n.Event.Since.After(n.Event.At)) {
			t.Errorf("notice %+v", n)
		}
	}
}

func TestAFaultBeginsWithItsFirstSign(t *testing.T) {
	var s signs
	at := time.Unix(100, 0)
	s.observe("a", true, at)
	if !s.first("a").IsZero() {
		t.Error("an endpoint that is well has signs")
	}
	s.observe("a", false, at.Add(1))
	s.observe("a", false, at.Add(2))
	s.observe("b", false, at)
	if s.first("a") != at.Add(1) {
		t.Errorf("the first is %v", s.first("a"))
	}
	s.forget(func(address string) bool { return address == "a" })
	if !s.first("b").IsZero() || s.first("a").IsZero() {
		t.Error("the wrong one is forgotten")
	}
	s.observe("a", true, at)
	if !s.first("a").IsZero() {
		t.Error("what is over is remembered")
	}
}

func TestWhatIsTurnedAwayAgainAndAgainIsOneEpisode(t *testing.T) {
	e := &episode{count: 5}
	at := time.Unix(100, 0)
	for i, c := range []struct {
		after        time.Duration
		count        uint64
		begins, ends bool
		turnedAway   uint64
	}{
		{0, 5, false, false, 0},
		{1 * time.Second, 8, true, false, 3},
		{2 * time.Second, 9, false, false, 4},
		{9 * time.Second, 9, false, false, 0},
		{11 * time.Second, 10, false, false, 5}, // a burst that ebbs and flows
		{20 * time.Second, 10, false, false, 0},
		{21 * time.Second, 10, false, true, 5},
		{22 * time.Second, 10, false, false, 0},
		{40 * time.Second, 11, true, false, 1},
	} {
		begins, ends, turnedAway := e.observe(at.Add(c.after), c.count)
		if begins != c.begins || ends != c.ends || turnedAway != c.turnedAway {
			t.Errorf("step %d: %v, %v, %d", i, begins, ends, turnedAway)
		}
	}
}

func TestRequestsThatFindNoPlaceAreAnEvent(t *testing.T) {
	a := newShop(t, "a")
	r := start(t, fmt.Sprintf(oneSite, a.address()))
	wish := api.Maintenance
	if _, err := r.ChangeEndpoint("site", a.address(), api.Change{Admin: &wish}); err != nil {
		t.Fatal(err)
	}
	url := r.url("web")
	eventually(t, "the event is there", func() bool {
		if code, _ := get(t, url); code != 503 {
			t.Fatalf("got %d", code)
		}
		return slices.Equal(r.kinds("pool.*", ""), []string{"pool.full"})
	})
}

func TestAFileThatIsNotValidIsAnEvent(t *testing.T) {
	a := newShop(t, "a")
	r := start(t, fmt.Sprintf(oneSite, a.address()))
	eventually(t, "it serves", func() bool { return len(r.kinds("node.started", "")) == 1 })
	r.write("nonsense: {}\n")
	if err := r.ReloadFile(t.Context()); err == nil {
		t.Fatal("it is loaded")
	}
	r.write(fmt.Sprintf(oneSite, a.address()))
	if err := r.ReloadFile(t.Context()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "both are told", func() bool {
		return slices.Equal(r.kinds("config.*", ""), []string{"config.rejected", "config.reloaded"})
	})
	list, err := r.Incidents(t.Context(), events.IncidentFilter{})
	if err != nil || len(list) != 1 || list[0].State != events.Recovered || !strings.Contains(list[0].Evidence, "nonsense") {
		t.Errorf("incidents %+v, %v", list, err)
	}
	if got := shorten(strings.Repeat("ä", evidenceMax)); len(got) > evidenceMax+3 || !strings.HasSuffix(got, "...") {
		t.Errorf("a long text is cut to %d", len(got))
	}
}
