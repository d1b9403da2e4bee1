package trivet

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/trivet-ha/trivet/api"
	"github.com/trivet-ha/trivet/config"
	"github.com/trivet-ha/trivet/events"
	"github.com/trivet-ha/trivet/fault/supervise"
)

// The test binary is four programs: the tests, the keeper of a process, the shop that is kept, and a name server with a network
// of its own.
func TestMain(m *testing.M) {
	switch {
	case os.Getenv("TRIVET_KEEPER") != "":
		syscall.Exit(supervise.Keep()) // without what os.Exit says about coverage
	case os.Getenv("KEPT_SHOP") != "":
		keptShop()
	case os.Getenv("GLIBC_ASKS") != "":
		if err := glibcAsks(os.Getenv("GLIBC_ASKS")); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	default:
		os.Exit(m.Run())
	}
}

// keptShop is a backend that tells its edition and its process.
func keptShop() {
	http.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, "%s %d", os.Getenv("EDITION"), os.Getpid())
	})
	fmt.Println(http.ListenAndServe("127.0.0.1:"+os.Getenv("PORT"), nil))
	os.Exit(1)
}

const keptSite = `
listeners:
  web: {address: "127.0.0.1:0", pool: shop}
pools:
  shop:
    endpoints:
      - weight: 3
        run:
          command: [PROGRAM]
          replicas: 2
          env: {KEPT_SHOP: "1", EDITION: one, GOCOVERDIR: .}
          restart: {backoff: 10ms, backoff_max: 50ms, limit: 3, within: 1m}
          liveness: {interval: 50ms, timeout: 10s, fall: 2}
          stop_timeout: 5s
    health: {probe: {http: /}, interval: 100ms}
    slow_start: 0s
admin: {socket: SOCKET}
drain_timeout: 2s
`

func keptYAML(t *testing.T) string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return strings.Replace(keptSite, "PROGRAM", self, 1)
}

// ready waits until n processes of the shop take requests, and returns them.
func (r *running) ready(n int) []api.Process {
	r.t.Helper()
	var list []api.Process
	eventually(r.t, fmt.Sprintf("%d processes are ready", n), func() bool {
		list, _ = r.Processes("shop")
		ready := slices.DeleteFunc(slices.Clone(list), func(p api.Process) bool { return p.State != "ready" || p.Replacement != "" || p.Rolling })
		return len(ready) == n && len(list) == n && r.Status().Pools[0].Available == n
	})
	return list
}

// kinds lists the events so far of kinds that match, for one process.
func (r *running) kinds(pattern, process string) []string {
	r.t.Helper()
	list, err := r.Events(r.t.Context(), events.Filter{Kinds: []string{pattern}, Process: process})
	if err != nil {
		r.t.Fatal(err)
	}
	var all []string
	for _, e := range list {
		all = append(all, string(e.Kind))
	}
	return all
}

func TestAPoolRunsItsCommandAndBringsItBack(t *testing.T) {
	r := start(t, keptYAML(t))
	before := r.ready(2)
	url := r.url("web")
	seen := map[string]bool{}
	for range 20 {
		code, body := get(t, url)
		if code != 200 || !strings.HasPrefix(body, "one ") {
			t.Fatalf("got %d %q", code, body)
		}
		seen[body] = true
	}
	if len(seen) != 2 {
		t.Errorf("answers came from %v", seen)
	}
	pool := r.Status().Pools[0]
	for i, e := range pool.Endpoints {
		if e.Process == "" || e.RunTime || e.Weight != 3 || !e.Available || e.Health != "up" {
			t.Errorf("endpoint %d is %+v", i, e)
		}
	}
	if err := syscall.Kill(before[0].PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "another runs", func() bool {
		list, _ := r.Processes("shop")
		return list[0].PID != before[0].PID && list[0].State == "ready"
	})
	after := r.ready(2)
	if after[0].Address != before[0].Address || after[0].Restarts != 1 || !strings.Contains(after[0].LastExit, "SIGKILL") {
		t.Errorf("it was %+v and is %+v", before[0], after[0])
	}
	t.Cleanup(func() {
		if t.Failed() {
			list, _ := r.Events(context.Background(), events.Filter{})
			for _, e := range list {
				t.Logf("%+v", e)
			}
			is, _ := r.Incidents(context.Background(), events.IncidentFilter{})
			t.Logf("%+v", is)
		}
	})
	eventually(t, "the incident is over", func() bool {
		list, err := r.Incidents(t.Context(), events.IncidentFilter{Process: "shop/0"})
		return err == nil && len(list) == 1 && list[0].State == events.Recovered && list[0].ToRecover > 0 && !list[0].Handled.IsZero() &&
			slices.Contains(list[0].Kinds, events.ProcessExited) && slices.Contains(list[0].Kinds, events.EndpointDown)
	})
	explained, err := r.ExplainEndpoint(after[0].Address)
	if err != nil || !slices.ContainsFunc(explained[0].Events, func(e api.Event) bool {
		return e.What == "process exited" && strings.Contains(e.Reason, "starts again in")
	}) {
		t.Errorf("explained by %+v, %v", explained, err)
	}
	if err := r.RemoveEndpoint("shop", after[0].Address); err == nil || !strings.Contains(err.Error(), "is process shop/0") {
		t.Errorf("the endpoint of a process is removed: %v", err)
	}
}

func TestAnotherCommandInTheFileIsRolledOut(t *testing.T) {
	yaml := keptYAML(t)
	r := start(t, yaml)
	r.ready(2)
	url := r.url("web")
	stop, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		defer close(ended)
		for {
			select {
			case <-stop:
				return
			default:
			}
			resp, err := http.Get(url)
			if err == nil && resp.StatusCode != 200 {
				err = errors.New(resp.Status)
			}
			if err != nil {
				ended <- err
				return
			}
			resp.Body.Close()
		}
	}()
	r.write(strings.Replace(strings.Replace(yaml, "EDITION: one", "EDITION: two", 1), "replicas: 2", "replicas: 3", 1))
	if err := r.ReloadFile(t.Context()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the roll is over", func() bool { return slices.Contains(r.kinds("process.*", ""), "process.rolled") })
	r.ready(3)
	close(stop)
	if err := <-ended; err != nil {
		t.Errorf("a request failed: %v", err)
	}
	for range 10 {
		if _, body := get(t, url); !strings.HasPrefix(body, "two ") {
			t.Errorf("got %q", body)
		}
	}
	// Weights change without a roll; a pool that no longer runs anything lets its processes go.
	r.write(strings.Replace(strings.Replace(strings.Replace(yaml, "EDITION: one", "EDITION: two", 1), "replicas: 2", "replicas: 3", 1), "weight: 3", "weight: 5", 1))
	if err := r.ReloadFile(t.Context()); err != nil {
		t.Fatal(err)
	}
	if e := r.Status().Pools[0].Endpoints[0]; e.Weight != 5 || e.Process == "" {
		t.Errorf("endpoint %+v", e)
	}
	a := newShop(t, "a")
	r.write(strings.Replace(fmt.Sprintf(oneSite, a.address()), "site", "shop", 2))
	if err := r.ReloadFile(t.Context()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the processes are gone", func() bool { return len(r.Status().Pools[0].Endpoints) == 1 })
	if _, body := get(t, url); body != "a" {
		t.Errorf("got %q", body)
	}
	if _, err := r.Processes("shop"); err == nil {
		t.Error("it still runs processes")
	}
}

func TestProcessesAreSteered(t *testing.T) {
	r := start(t, keptYAML(t))
	r.ready(2)
	one := 1
	if _, err := r.ChangeProcesses("shop", api.ProcessChange{Do: api.Stop, Replica: &one}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it has stopped", func() bool { list, _ := r.Processes("shop"); return list[1].State == "stopped" })
	if s := r.Status().Pools[0]; len(s.Endpoints) != 1 || s.Available != 1 {
		t.Errorf("pool %+v", s)
	}
	if _, err := r.ChangeProcesses("shop", api.ProcessChange{Do: api.Start}); err != nil {
		t.Fatal(err)
	}
	before := r.ready(2)
	for _, do := range []api.ProcessVerb{api.Restart, api.Roll} {
		if _, err := r.ChangeProcesses("shop", api.ProcessChange{Do: do}); err != nil {
			t.Fatal(err)
		}
		eventually(t, string(do)+" is over", func() bool {
			list, _ := r.Processes("shop")
			return list[0].PID != before[0].PID && list[1].PID != before[1].PID && list[0].State == "ready" && list[1].State == "ready"
		})
		before = r.ready(2)
	}
	nine := 9
	for name, err := range map[string]error{
		"no pool":    second(r.ChangeProcesses("nowhere", api.ProcessChange{Do: api.Stop})),
		"no process": second(r.ChangeProcesses("shop", api.ProcessChange{Do: api.Stop, Replica: &nine})),
		"no verb":    second(r.ChangeProcesses("shop", api.ProcessChange{Do: "shake"})),
	} {
		var no *api.Error
		if !errors.As(err, &no) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if all, err := r.Processes(""); err != nil || len(all) != 2 {
		t.Errorf("%d processes, %v", len(all), err)
	}
}

func second[A any](_ A, err error) error { return err }

func TestACommandThatNeverComesUpMarksThePoolAsFailed(t *testing.T) {
	r := start(t, strings.Replace(keptYAML(t), "command: [", "command: [/bin/false, ", 1))
	eventually(t, "it is given up", func() bool { return strings.Contains(r.Status().Pools[0].Failed, "2 of 2 processes were given up") })
	eventually(t, "and told", func() bool { return len(r.kinds("process.gave_up", "")) == 2 })
	if code, _ := get(t, r.url("web")); code != 503 && code != 502 {
		t.Errorf("got %d", code)
	}
}

func TestACommandThatThisMachineCanNotRunIsRefused(t *testing.T) {
	yaml := keptYAML(t)
	r := start(t, yaml)
	r.write(strings.Replace(yaml, "replicas: 2", "user: no-such-user", 1))
	if err := r.ReloadFile(t.Context()); err == nil || !strings.Contains(err.Error(), "pool shop: run as no-such-user") {
		t.Errorf("an unknown user: %v", err)
	}
	if list, _ := r.Events(t.Context(), events.Filter{Kinds: []string{"config.rejected"}}); len(list) > 1 {
		t.Errorf("events %v", list)
	}
}

// Which probe is taken for liveness, if none is written.
func TestAnyAnswerIsASignOfLife(t *testing.T) {
	file, err := config.Parse("x", []byte(`
listeners: {web: {address: ":80", routes: [{match: {path: /a}, pool: a}, {match: {path: /b}, pool: b}, {match: {path: /c}, pool: c}, {pool: d}]}}
pools:
  a: {endpoints: [{run: ./x}], health: {probe: {http: {path: /r, expect: 200, body: ok}}}}
  b: {endpoints: [{run: ./x}]}
  c: {endpoints: [{run: {command: ./x, liveness: {probe: {tcp: {}}}}}]}
  d: {endpoints: [{run: {command: ./x, liveness: off}}], health: {probe: {http: /}}}
`))
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[config.Name]string{"a": "*probe.HTTP", "b": "none", "c": "*probe.TCP", "d": "none"} {
		p := file.Pool(name)
		alive, err := aliveOf(p, &p.Run().Run.Liveness)
		got := "none"
		if alive != nil {
			got = fmt.Sprintf("%T", alive.Check)
		}
		if err != nil || got != want {
			t.Errorf("pool %s is watched by %s, %v; want %s", name, got, err, want)
		}
	}
}
