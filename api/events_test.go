package api_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/trivet-ha/trivet/api"
	"github.com/trivet-ha/trivet/api/apitest"
	"github.com/trivet-ha/trivet/events"
)

func TestEventsAreListedAsTheFilterSays(t *testing.T) {
	n := apitest.NewNode()
	c, ctx := serve(t, n), t.Context()
	all, err := c.Events(ctx, events.Filter{})
	want, _ := n.Events(ctx, events.Filter{})
	if diff := cmp.Diff(want, all); err != nil || diff != "" {
		t.Fatalf("%v (-node +client):\n%s", err, diff)
	}
	at := all[1].At
	for name, f := range map[string]events.Filter{
		"pool":     {Pool: "site"},
		"endpoint": {Endpoint: "10.0.0.12:8000"},
		"process":  {Process: "api/0"},
		"listener": {Listener: "web"},
		"kinds":    {Kinds: []string{"process.*", "node.started"}},
		"level":    {Level: events.Warn},
		"since":    {Since: at},
		"until":    {Until: at},
		"after":    {After: 2},
		"incident": {Incident: 3},
		"limit":    {Limit: 1},
	} {
		got, err := c.Events(ctx, f)
		want, _ := n.Events(ctx, f)
		if diff := cmp.Diff(append([]events.Event{}, want...), got); err != nil || diff != "" || len(want) == len(all) {
			t.Errorf("%s: %v (-node +client):\n%s", name, err, diff)
		}
	}
	n.FailHistory(errors.New("disk on fire"))
	_, err = c.Events(ctx, events.Filter{})
	wantError(t, err, http.StatusInternalServerError, "disk on fire")
}

func TestIncidentsAreListedAsTheFilterSays(t *testing.T) {
	n := apitest.NewNode()
	c, ctx := serve(t, n), t.Context()
	for name, f := range map[string]events.IncidentFilter{
		"all": {}, "open": {Open: true}, "pool": {Pool: "api"}, "process": {Process: "api/0"}, "endpoint": {Endpoint: "none"},
		"since": {Since: time.Date(2026, 5, 5, 0, 0, 0, 0, time.UTC)}, "limit": {Limit: 1},
	} {
		got, err := c.Incidents(ctx, f)
		want, _ := n.Incidents(ctx, f)
		if diff := cmp.Diff(append([]events.Incident{}, want...), got); err != nil || diff != "" {
			t.Errorf("%s: %v (-node +client):\n%s", name, err, diff)
		}
	}
}

func TestQuestionsAboutEventsThatMakeNoSenseAreRefused(t *testing.T) {
	h := api.NewHandler(apitest.NewNode(), nil)
	for path, want := range map[string]int{
		"/v1/events?since=1h": 200, "/v1/events?since=7d&until=2026-05-04T09:00:00Z": 200, "/v1/events?limit=5000000": 200, "/v1/events?kind=pool.panic,process.*": 200,
		"/v1/events?since=yesterday": 400, "/v1/events?until=x": 400, "/v1/events?after=-1": 400, "/v1/events?incident=x": 400, "/v1/events?limit=x": 400,
		"/v1/events?kind=endpoint.dwn": 400, "/v1/events?level=debug": 400, "/v1/incidents?since=x": 400, "/v1/incidents?limit=x": 400, "/v1/incidents?open=true": 200,
	} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil))
		if w.Code != want || want == 400 && !strings.Contains(w.Body.String(), `"hint"`) {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
	}
	for name, r := range map[string]*http.Request{
		"id":     httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/v1/events", nil),
		"filter": httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/v1/events?level=x", nil),
	} {
		r.Header.Set("Accept", "text/event-stream")
		if name == "id" {
			r.Header.Set("Last-Event-ID", "x")
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != 400 {
			t.Errorf("%s: %d %s", name, w.Code, w.Body)
		}
	}
}

// follow collects the IDs of events until one of the kind comes.
func follow(t *testing.T, c *api.Client, f events.Filter, until events.Kind) (ids []int64, lost uint64, err error) {
	t.Helper()
	done := errors.New("done")
	err = c.FollowEvents(t.Context(), f, func(e events.Event, l uint64) error {
		ids, lost = append(ids, e.ID), lost+l
		if e.Kind == until {
			return done
		}
		return nil
	})
	if errors.Is(err, done) {
		err = nil
	}
	return ids, lost, err
}

func TestEventsAreFollowedAndResumed(t *testing.T) {
	n := apitest.NewNode()
	c := serve(t, n)
	type result struct {
		ids  []int64
		lost uint64
		err  error
	}
	run := func(f events.Filter, until events.Kind) <-chan result {
		got := make(chan result, 1)
		go func() {
			ids, lost, err := follow(t, c, f, until)
			got <- result{ids, lost, err}
		}()
		return got
	}
	want := func(name string, r result, ids ...int64) {
		t.Helper()
		if r.err != nil || !slices.Equal(r.ids, ids) {
			t.Errorf("%s: %v, %v; want %v", name, r.ids, r.err, ids)
		}
	}
	want("since", <-run(events.Filter{Since: time.Date(2026, 5, 4, 10, 0, 0, 0, time.UTC)}, events.ProcessReady), 2, 3, 4)
	want("after", <-run(events.Filter{After: 2}, events.ProcessReady), 3, 4)
	want("chosen", <-run(events.Filter{After: 1, Kinds: []string{"process.*"}}, events.ProcessReady), 3, 4)
	live := run(events.Filter{Level: events.Warn}, events.PoolPanic)
	stop := make(chan struct{})
	defer close(stop)
	go func() { // until it is seen: nobody knows when the client has connected
		for {
			n.Publish(events.Event{Kind: events.EndpointUp, At: time.Now()})
			n.Publish(events.Event{Kind: events.EventsLost, At: time.Now()})
			n.Publish(events.Event{Kind: events.PoolPanic, At: time.Now()})
			select {
			case <-stop:
				return
			case <-time.After(10 * time.Millisecond):
			}
		}
	}()
	if r := <-live; r.err != nil || len(r.ids) != 2 || r.lost < 3 || r.ids[0] < 5 {
		t.Errorf("live: %+v", r)
	}
}

func TestFollowingEndsWithTheProcessOrTheClient(t *testing.T) {
	n := apitest.NewNode()
	c := serve(t, n)
	ended := make(chan error, 1)
	go func() {
		_, _, err := follow(t, c, events.Filter{After: 1}, "")
		ended <- err
	}()
	n.EndHistory()
	if err := <-ended; !errors.Is(err, api.ErrStreamEnded) {
		t.Errorf("it ended with %v", err)
	}
	n = apitest.NewNode()
	c = serve(t, n)
	ctx, cancel := context.WithCancel(t.Context())
	err := c.FollowEvents(ctx, events.Filter{After: 3}, func(events.Event, uint64) error { cancel(); return nil })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("it ended with %v", err)
	}
	n.FailHistory(errors.New("disk on fire"))
	if _, _, err := follow(t, c, events.Filter{After: 1}, ""); !errors.Is(err, api.ErrStreamEnded) {
		t.Errorf("it ended with %v", err)
	}
	_, _, err = follow(t, c, events.Filter{Level: "x"}, "")
	wantError(t, err, http.StatusBadRequest, "no level")
	nobody := api.Dial("/nowhere/trivet.sock")
	_, _, err = follow(t, nobody, events.Filter{}, "")
	wantError(t, err, 0, "no Trivet answers")
}

func TestWhatIsNoStreamOfEventsIsSaid(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "data: {\n\n") }))
	defer s.Close()
	c := api.DialTCP(s.Listener.Addr().String(), "token")
	defer c.Close()
	if _, _, err := follow(t, c, events.Filter{}, ""); err == nil || !strings.Contains(err.Error(), "read the events") {
		t.Errorf("half an event: %v", err)
	}
	cut := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		conn, _, _ := http.NewResponseController(w).Hijack()
		_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n: \n")
		_ = conn.(*net.TCPConn).SetLinger(0)
		conn.Close()
	}))
	defer cut.Close()
	c2 := api.DialTCP(cut.Listener.Addr().String(), "")
	defer c2.Close()
	if _, _, err := follow(t, c2, events.Filter{}, ""); err == nil || errors.Is(err, api.ErrStreamEnded) {
		t.Errorf("a stream that is cut: %v", err)
	}
}

func TestThePageNamesEveryKindOfEventWithItsLevel(t *testing.T) {
	page, err := os.ReadFile("../docs/reference/api.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := map[string]string{}
	for _, row := range regexp.MustCompile("(?m)^\\| `([a-z_.]+)` \\| (info|warn|error) \\|").FindAllStringSubmatch(string(page), -1) {
		rows[row[1]] = row[2]
	}
	for _, k := range events.Kinds() {
		if rows[string(k)] != string(k.Level()) {
			t.Errorf("docs/reference/api.md says that %s is %q, not %q", k, rows[string(k)], k.Level())
		}
	}
	if len(rows) != len(events.Kinds()) {
		t.Errorf("docs/reference/api.md has %d kinds, there are %d", len(rows), len(events.Kinds()))
	}
}

func TestProcessesAreShownAndSteered(t *testing.T) {
	n := apitest.NewNode()
	c, ctx := serve(t, n), t.Context()
	want, _ := n.Processes("")
	got, err := c.Processes(ctx, "")
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v (-node +client):\n%s", err, diff)
	}
	if one, err := c.Processes(ctx, "api"); err != nil || len(one) != 2 {
		t.Errorf("%d of pool api, %v", len(one), err)
	}
	_, err = c.Processes(ctx, "site")
	wantError(t, err, http.StatusNotFound, "runs no processes")
	got, err = c.ChangeProcesses(ctx, "api", api.ProcessChange{Do: api.Stop, Replica: pointer(1)})
	if err != nil || got[1].State != "stopped" || got[0].State != "ready" {
		t.Errorf("stopped: %+v, %v", got, err)
	}
	got, err = c.ChangeProcesses(ctx, "api", api.ProcessChange{Do: api.Roll})
	if err != nil || got[0].Version != 3 || got[1].Version != 3 {
		t.Errorf("rolled: %+v, %v", got, err)
	}
	_, err = c.ChangeProcesses(ctx, "api", api.ProcessChange{Do: "shake"})
	wantError(t, err, http.StatusBadRequest, `"shake" is nothing`)
	_, err = c.ChangeProcesses(ctx, "api", api.ProcessChange{Do: api.Roll, Replica: pointer(0)})
	wantError(t, err, http.StatusBadRequest, "not rolled")
	_, err = c.ChangeProcesses(ctx, "api", api.ProcessChange{Do: api.Restart, Replica: pointer(9)})
	wantError(t, err, http.StatusNotFound, "no process 9")
	h := api.NewHandler(n, nil)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequestWithContext(ctx, http.MethodPost, "/v1/processes/api", strings.NewReader(`{"do": 7}`)))
	if w.Code != 400 {
		t.Errorf("an odd body: %d", w.Code)
	}
}
