package trivet

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/trivet-ha/trivet/api"
	"github.com/trivet-ha/trivet/balance/l7"
	"github.com/trivet-ha/trivet/config"
)

// shop is a small backend that says who it is.
type shop struct {
	*httptest.Server
	sick atomic.Bool
}

func newShop(t *testing.T, name string) *shop {
	t.Helper()
	s := &shop{}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/healthz" && s.sick.Load() {
			w.WriteHeader(503)
			return
		}
		fmt.Fprintf(w, "%s", name)
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *shop) address() string { return s.Listener.Addr().String() }

// running is a node that serves, with its files in a folder of its own.
type running struct {
	*Node
	t    *testing.T
	path string
	dir  string
}

// start runs a node on the given file. SOCKET stands for the path of its control socket.
func start(t *testing.T, yaml string) *running {
	t.Helper()
	r := &running{t: t, dir: t.TempDir()}
	r.path = filepath.Join(r.dir, "trivet.yaml")
	r.write(yaml)
	file, err := config.Load(r.path)
	if err != nil {
		t.Fatal(err)
	}
	if r.Node, err = New(Config{File: file, Version: "test"}); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	t.Cleanup(func() {
		http.DefaultClient.CloseIdleConnections()
		stop()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
	})
	return r
}

func (r *running) write(yaml string) {
	r.t.Helper()
	yaml = strings.ReplaceAll(yaml, "SOCKET", filepath.Join(r.dir, "admin.sock"))
	if err := os.WriteFile(r.path, []byte(yaml), 0o600); err != nil {
		r.t.Fatal(err)
	}
}

// url is where a listener answers.
func (r *running) url(listener string) string {
	for _, l := range r.Status().Listeners {
		if l.Name == listener {
			return "http://" + l.Addresses[0]
		}
	}
	r.t.Fatalf("no listener %s", listener)
	return ""
}

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

// eventually waits until the condition holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	const within = time.Minute // a busy machine is slow; only a state that never comes is a failure
	deadline := time.After(within)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-deadline:
			t.Fatalf("not within %v: %s", within, what)
		case <-tick.C:
		}
	}
}

const oneSite = `
listeners:
  web: {address: "127.0.0.1:0", pool: site}
pools:
  site:
    endpoints: [%s]
    health: {probe: {http: {path: /healthz}}, interval: 20ms, fast_interval: 20ms, fall: 2, rise: 2}
    slow_start: 0s
admin: {socket: SOCKET}
drain_timeout: 2s
`

func TestProbesTakeAnEndpointOutAndBackIn(t *testing.T) {
	a, b := newShop(t, "a"), newShop(t, "b")
	r := start(t, fmt.Sprintf(oneSite, a.address()+", "+b.address()))
	url := r.url("web")
	available := func() int { return r.Status().Pools[0].Available }
	eventually(t, "both are up", func() bool {
		return !slices.ContainsFunc(r.Status().Pools[0].Endpoints, func(e api.Endpoint) bool { return e.Health != "up" })
	})
	a.sick.Store(true)
	eventually(t, "one is out", func() bool { return available() == 1 })
	for range 20 {
		if code, body := get(t, url); code != 200 || body != "b" {
			t.Fatalf("got %d %q while a is down", code, body)
		}
	}
	explained, err := r.ExplainEndpoint(a.address())
	if err != nil || len(explained) != 1 || explained[0].Endpoint.Available || !strings.Contains(explained[0].Endpoint.Reason, "503") {
		t.Errorf("explain endpoint: %+v, %v", explained, err)
	}
	eventually(t, "the event is remembered", func() bool {
		x, _ := r.ExplainEndpoint(a.address())
		return slices.ContainsFunc(x[0].Events, func(e api.Event) bool { return e.What == "down" })
	})
	a.sick.Store(false)
	eventually(t, "both are in again", func() bool { return available() == 2 })
}

func TestABadFileChangesNothingAndSaysWhy(t *testing.T) {
	a := newShop(t, "a")
	r := start(t, fmt.Sprintf(oneSite, a.address()))
	url := r.url("web")
	before := r.File()
	for name, yaml := range map[string]string{
		"unknown key":    "listneers: {}\n",
		"no such pool":   "listeners: {web: {address: ':0', pool: nosuch}}\n",
		"port in use":    fmt.Sprintf(oneSite, a.address()) + "\n", // completed below
		"no such folder": strings.Replace(fmt.Sprintf(oneSite, a.address()), "pool: site}", "pool: site, access_log: {output: /nosuch/folder/log}}", 1),
	} {
		if name == "port in use" {
			yaml = strings.Replace(yaml, "listeners:", "listeners:\n  second: {address: \""+a.address()+"\", pool: site}", 1)
		}
		r.write(yaml)
		if err := r.ReloadFile(t.Context()); err == nil {
			t.Errorf("%s: the reload succeeded", name)
		}
		if r.File() != before {
			t.Errorf("%s: the configuration has changed", name)
		}
		if s := r.Status(); s.File.Error == "" {
			t.Errorf("%s: the status does not tell", name)
		}
		if code, body := get(t, url); code != 200 || body != "a" {
			t.Errorf("%s: got %d %q", name, code, body)
		}
	}
}

func TestAReloadLeavesConnectionsAndStateAlone(t *testing.T) {
	a, b := newShop(t, "a"), newShop(t, "b")
	yaml := fmt.Sprintf(oneSite, a.address()+", "+b.address())
	r := start(t, yaml)
	eventually(t, "both are up", func() bool {
		return !slices.ContainsFunc(r.Status().Pools[0].Endpoints, func(e api.Endpoint) bool { return e.Health != "up" })
	})
	conn, err := net.Dial("tcp", strings.TrimPrefix(r.url("web"), "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	in := bufio.NewReader(conn)
	ask := func() string {
		fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		resp, err := http.ReadResponse(in, nil)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		return string(body)
	}
	drain := api.Drain
	if _, err := r.ChangeEndpoint("site", a.address(), api.Change{Admin: &drain}); err != nil {
		t.Fatal(err)
	}
	ask()
	r.write(strings.Replace(yaml, "pool: site}", "routes: [{match: {path: /new}, respond: {status: 418}}, {pool: site}]}", 1))
	if err := r.ReloadFile(t.Context()); err != nil {
		t.Fatal(err)
	}
	for range 10 {
		if got := ask(); got != "b" {
			t.Fatalf("got %q: the drain did not outlive the reload", got)
		}
	}
	if code, _ := get(t, r.url("web")+"/new"); code != 418 {
		t.Errorf("the new route answers %d", code)
	}
	for _, e := range r.Status().Pools[0].Endpoints {
		if e.Health != "up" {
			t.Errorf("%s is %s after the reload", e.Address, e.Health)
		}
	}
}

func TestEndpointsComeAndGoByCommand(t *testing.T) {
	a, b := newShop(t, "a"), newShop(t, "b")
	r := start(t, fmt.Sprintf(oneSite, a.address()))
	if _, err := r.AddEndpoint("site", api.NewEndpoint{Address: b.address()}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "b is probed and up", func() bool {
		x, err := r.ExplainEndpoint(b.address())
		return err == nil && x[0].Endpoint.Health == "up" && x[0].Endpoint.RunTime
	})
	if _, err := r.AddEndpoint("site", api.NewEndpoint{Address: b.address()}); err == nil {
		t.Error("added twice")
	}
	if err := r.RemoveEndpoint("site", a.address()); err != nil {
		t.Fatal(err)
	}
	for range 10 {
		if _, body := get(t, r.url("web")); body != "b" {
			t.Fatalf("got %q after a was removed", body)
		}
	}
	for _, wrong := range []func() error{
		func() error { return r.RemoveEndpoint("nosuch", a.address()) },
		func() error { return r.RemoveEndpoint("site", "1.2.3.4:5") },
		func() error { _, err := r.AddEndpoint("site", api.NewEndpoint{Address: "nonsense"}); return err },
		func() error {
			w := 0
			_, err := r.ChangeEndpoint("site", b.address(), api.Change{Weight: &w})
			return err
		},
		func() error {
			s := api.Admin("asleep")
			_, err := r.ChangeEndpoint("site", b.address(), api.Change{Admin: &s})
			return err
		},
	} {
		if wrong() == nil {
			t.Error("nonsense was accepted")
		}
	}
}

func TestExplainRequestTellsTheWay(t *testing.T) {
	a := newShop(t, "a")
	r := start(t, strings.Replace(fmt.Sprintf(oneSite, a.address()), "pool: site}",
		`routes: [{name: api, match: {host: shop.example.com, path_prefix: /api}, pool: site, rewrite: {strip_prefix: /api}}, {name: rest, redirect: "https://shop.example.com{uri}"}]}`, 1))
	x, err := r.ExplainRequest(api.Question{URL: "http://shop.example.com/api/x?y=1", From: "192.0.2.1"})
	if err != nil || len(x) != 1 || x[0].Route != "api" || x[0].Target != "/x?y=1" || len(x[0].Choices) != 1 || !x[0].Choices[0].Chosen || x[0].Source != "192.0.2.1" {
		t.Errorf("api: %+v, %v", x, err)
	}
	x, err = r.ExplainRequest(api.Question{URL: "http://other/x"})
	if err != nil || len(x) != 1 || x[0].Route != "rest" || x[0].Status != 302 || !strings.Contains(x[0].Action, "https://shop.example.com/x") || x[0].Routes[0].Why == "" {
		t.Errorf("rest: %+v, %v", x, err)
	}
	x, err = r.ExplainRequest(api.Question{URL: "/", Method: "CONNECT"})
	if err != nil || x[0].Status != 405 || x[0].Refused == "" {
		t.Errorf("CONNECT: %+v, %v", x, err)
	}
	for _, q := range []api.Question{{URL: "ftp://x/"}, {URL: "/", From: "nobody"}, {URL: "http://x:1/"}, {URL: "/", Headers: []api.Field{{Name: "A", Value: "b\r\nC: d"}}}} {
		if x, err := r.ExplainRequest(q); err == nil {
			t.Errorf("%+v was answered with %+v", q, x)
		}
	}
}

func TestTheControlSocketServesStatusAndMetrics(t *testing.T) {
	a := newShop(t, "a")
	r := start(t, fmt.Sprintf(oneSite, a.address()))
	get(t, r.url("web")+"/hello")
	socket := filepath.Join(r.dir, "admin.sock")
	eventually(t, "the socket answers", func() bool {
		c := api.Dial(socket)
		defer c.Close()
		s, err := c.Status(t.Context())
		return err == nil && s.Version == "test" && s.Listeners[0].Routes[0].Requests == 1
	})
	if info, err := os.Stat(socket); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the socket's mode is %v, %v", info.Mode(), err)
	}
	client := http.Client{Transport: &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) { return net.Dial("unix", socket) }}}
	defer client.CloseIdleConnections()
	resp, err := client.Get("http://trivet/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body)
	for _, want := range []string{
		`trivet_requests_total{listener="web",route="route-1",status="2xx"} 1`,
		`trivet_request_duration_seconds_count{listener="web",route="route-1"} 1`,
		fmt.Sprintf(`trivet_endpoint_responses_total{endpoint="%s",pool="site",status="2xx"} 1`, a.address()),
		`trivet_build_info{version="test"} 1`,
		`trivet_pool_available{pool="site"} 1`,
	} {
		if !strings.Contains(string(body), want) {
			t.Errorf("the metrics lack %s", want)
		}
	}
}

func TestWatchReloadsAChangedFile(t *testing.T) {
	a := newShop(t, "a")
	yaml := "watch: true\n" + fmt.Sprintf(oneSite, a.address())
	r := start(t, yaml)
	r.write(strings.Replace(yaml, "pool: site}", "routes: [{respond: {status: 204}}, {pool: site}]}", 1))
	eventually(t, "the new route answers", func() bool { code, _ := get(t, r.url("web")); return code == 204 })
	r.write("nonsense: [")
	eventually(t, "the error is told", func() bool { return r.Status().File.Error != "" })
	if code, _ := get(t, r.url("web")); code != 204 {
		t.Errorf("a bad file changed something: %d", code)
	}
}

func TestAccessLogIsWrittenAndRotatedByReload(t *testing.T) {
	a := newShop(t, "a")
	log := filepath.Join(t.TempDir(), "access.log")
	r := start(t, strings.Replace(fmt.Sprintf(oneSite, a.address()), "pool: site}", "pool: site, access_log: {output: "+log+", format: combined}}", 1))
	lines := func() []string {
		raw, _ := os.ReadFile(log)
		return strings.Split(strings.TrimSpace(string(raw)), "\n")
	}
	get(t, r.url("web")+"/one?q=%22")
	eventually(t, "the line is there", func() bool { return strings.Contains(lines()[0], `"GET /one?q=%22 HTTP/1.1" 200 1`) })
	if err := os.Rename(log, log+".1"); err != nil {
		t.Fatal(err)
	}
	if err := r.ReloadFile(t.Context()); err != nil {
		t.Fatal(err)
	}
	get(t, r.url("web")+"/two")
	eventually(t, "the new file has the new line", func() bool { return strings.Contains(lines()[0], "GET /two ") })
}

func TestConfigAndTemplatesKnowTheSameVariables(t *testing.T) {
	if got, want := slices.Sorted(maps.Keys(config.Variables())), l7.Variables(); !slices.Equal(got, want) {
		t.Errorf("config knows %v, l7 knows %v", got, want)
	}
}
