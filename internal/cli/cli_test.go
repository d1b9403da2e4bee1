package cli

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/trivet-ha/trivet/api"
	"github.com/trivet-ha/trivet/api/apitest"
	"github.com/trivet-ha/trivet/config"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"trivet": func() {
			ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
			code := Main(ctx, os.Args[1:], Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr})
			stop()
			os.Exit(code)
		},
	})
}

// serveNode runs the API of a node on a socket until the test ends.
func serveNode(t interface {
	Fatal(...any)
	Defer(func())
}, path string, n api.Node) {
	l, err := api.ListenSocket(path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = api.Serve(ctx, l, api.NewHandler(n, nil))
	}()
	t.Defer(func() { stop(); <-ended })
}

// scriptEnv lets serveNode end with its script.
type scriptEnv struct{ *testscript.Env }

func (e scriptEnv) Fatal(args ...any) { e.T().Fatal(args...) }

// Each file under testdata is a session at the prompt, with a running node behind $TRIVET_SOCKET. The command "node" makes its
// reload, or its upgrade, fail.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Setup: func(e *testscript.Env) error {
			socket := filepath.Join(e.WorkDir, "run", "t.sock")
			node := apitest.NewNode()
			serveNode(scriptEnv{e}, socket, node)
			e.Values["node"] = node
			e.Setenv("TRIVET_SOCKET", socket)
			e.Setenv("TZ", "UTC")
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"node": func(ts *testscript.TestScript, _ bool, args []string) {
				node := ts.Value("node").(*apitest.Node)
				switch strings.Join(args, " ") {
				case "reload invalid":
					_, err := config.Parse("/etc/trivet/trivet.yaml", []byte("watch: perhaps\nloops: some\n"))
					node.FailReload(err)
				case "reload busy":
					node.FailReload(errors.New("listen on :80: permission denied"))
				case "upgrade busy":
					node.FailUpgrade(api.Conflict("an upgrade is under way", "wait until it has ended"))
				default:
					ts.Fatalf("node %v?", args)
				}
			},
			// exits CODE COMMAND... wants an exit code.
			"exits": func(ts *testscript.TestScript, neg bool, args []string) {
				err := ts.Exec(args[1], args[2:]...)
				got := "0"
				if err != nil {
					got = strings.TrimPrefix(err.Error(), "exit status ")
				}
				if got != args[0] {
					ts.Fatalf("%v: exit code %s, want %s", args[1:], got, args[0])
				}
			},
		},
		UpdateScripts: os.Getenv("UPDATE") != "",
	})
}

// run is a command in this process.
func run(ctx context.Context, in string, args ...string) (code int, out, err string) {
	var stdout, stderr bytes.Buffer
	code = Main(ctx, args, Streams{In: strings.NewReader(in), Out: &stdout, Err: &stderr})
	return code, stdout.String(), stderr.String()
}

func TestGeneratedPageIsFresh(t *testing.T) {
	dir := t.TempDir()
	if code, _, stderr := run(t.Context(), "", "docs", dir, "--man", filepath.Join(dir, "man")); code != 0 {
		t.Fatal(stderr)
	}
	got, err := os.ReadFile("../../docs/reference/cli.md")
	if err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile(filepath.Join(dir, "cli.md"))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Error("docs/reference/cli.md is stale: run make gen")
	}
	page, err := os.ReadFile(filepath.Join(dir, "man", "trivet-pool-drain.1"))
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{".TH TRIVET-POOL-DRAIN 1", ".SH SYNOPSIS\n.B trivet pool drain POOL ENDPOINT...", `\-\-wait duration`, ".BR trivet\\-pool (1)"} {
		if !strings.Contains(string(page), part) {
			t.Errorf("the man page lacks %q:\n%s", part, page)
		}
	}
}

func TestEveryVerbSaysWhatItIsFor(t *testing.T) {
	for _, c := range documented((&env{}).root()) {
		if c.Short == "" || strings.HasSuffix(c.Short, ".") {
			t.Errorf("%s: short is %q", c.CommandPath(), c.Short)
		}
		if needsArguments := strings.Contains(c.Use, " ") && !strings.Contains(c.Use, "["); needsArguments && c.Example == "" {
			t.Errorf("%s has no example", c.CommandPath())
		}
	}
}

// testDefer runs what serveNode defers when the test ends.
type testDefer struct{ *testing.T }

func (t testDefer) Defer(f func()) { t.Cleanup(f) }

func TestWatchingShowsTheStatusAgainUntilItIsInterrupted(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "t.sock")
	serveNode(testDefer{t}, socket, apitest.NewNode())
	for _, arg := range []string{"--json", "--every=100ms"} {
		ctx, stop := context.WithCancel(t.Context())
		out := &notingWriter{lines: make(chan string, 1000)}
		ended := make(chan int, 1)
		go func() {
			ended <- Main(ctx, []string{"status", "--socket", socket, "--watch", "--every", "100ms", arg}, Streams{In: strings.NewReader(""), Out: out, Err: out})
		}()
		for range 3 {
			if shown := <-out.lines; !strings.Contains(shown, "10.0.0.12:8000") {
				t.Errorf("shown is %q", shown)
			}
		}
		stop()
		if code := <-ended; code != 0 {
			t.Errorf("an interrupt is exit code %d", code)
		}
	}
}

// notingWriter passes every write on.
type notingWriter struct{ lines chan string }

func (w *notingWriter) Write(p []byte) (int, error) {
	w.lines <- string(p)
	return len(p), nil
}

func TestDrainWaitsForRequestsInFlight(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "t.sock")
	node := &draining{Node: apitest.NewNode(), left: 3}
	serveNode(testDefer{t}, socket, node)
	code, out, stderr := run(t.Context(), "", "pool", "drain", "site", "10.0.0.11:8000", "--socket", socket, "--wait", "10s", "--yes")
	if code != 0 || out != "10.0.0.11:8000 in pool site: drain, weight 3, 0 in flight\n" {
		t.Errorf("exit code %d\n%s%s", code, out, stderr)
	}
	node.left = 1 << 30
	code, _, stderr = run(t.Context(), "", "pool", "drain", "site", "10.0.0.11:8000", "--socket", socket, "--wait", "150ms", "--yes")
	if code != exitFailed || !strings.Contains(stderr, "still in flight after 150ms") {
		t.Errorf("exit code %d\n%s", code, stderr)
	}
}

// draining has a request less in flight each time it is asked.
type draining struct {
	*apitest.Node
	left int
}

func (d *draining) Status() api.Status {
	d.left--
	s := d.Node.Status()
	for i := range s.Pools[0].Endpoints {
		s.Pools[0].Endpoints[i].InFlight = max(0, d.left)
	}
	return s
}

func TestCompletionOffersPoolsAndEndpoints(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "t.sock")
	serveNode(testDefer{t}, socket, apitest.NewNode())
	for typed, want := range map[string]string{
		"pool drain ":        "site\napi\n:4\n",
		"pool drain site ":   "10.0.0.11:8000\n10.0.0.12:8000\n:4\n",
		"pool list ":         "site\napi\n:4\n",
		"pool add nowhere x": ":4\n",
	} {
		args := append([]string{"__complete"}, strings.Split(typed, " ")...)
		t.Setenv("TRIVET_SOCKET", socket)
		if code, out, _ := run(t.Context(), "", args...); code != 0 || out != want {
			t.Errorf("%q offers %q", typed, out)
		}
	}
	t.Setenv("TRIVET_SOCKET", socket+".none")
	if _, out, _ := run(t.Context(), "", "__complete", "pool", "drain", ""); out != ":1\n" {
		t.Errorf("without a Trivet it offers %q", out)
	}
}

func TestAStatusSaysWhatIsWrong(t *testing.T) {
	now := time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)
	s := apitest.NewNode().Status()
	s.State, s.File.Error, s.File.ErrorAt = "draining", "trivet.yaml:1:1: wrong\nand more", now
	s.Listeners[0].Connections = s.Listeners[0].MaxConnections
	s.Pools[0].Panic, s.Pools[0].Pending, s.Pools[0].Rejected, s.Pools[0].Available = true, 7, 12345, 0
	s.Pools[0].Endpoints[0].Outlier, s.Pools[0].Endpoints[0].Available = "ejected", false
	s.Pools[1].Endpoints[0].Outlier = "probation"
	var page strings.Builder
	writeStatus(&page, painter{on: true}, s, now)
	for _, part := range []string{
		"\x1b[33mdraining\x1b[0m", "(3h0m)", "\x1b[31mthe reload at", "  and more", "\x1b[31m65.5k\x1b[0m", "\x1b[31m0 of 2 available\x1b[0m", "7 waiting",
		"\x1b[31m12.3k rejected\x1b[0m", "all are used", "\x1b[31mejected\x1b[0m", "\x1b[33mprobation\x1b[0m", "250.0k",
	} {
		if !strings.Contains(page.String(), part) {
			t.Errorf("the page lacks %q:\n%s", part, page.String())
		}
	}
}

func TestAnExplanationSaysWhoAnsweredAndWhy(t *testing.T) {
	now := time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)
	var page strings.Builder
	writeRequest(&page, painter{}, api.Explanation{Listener: "web", Host: "h", Path: "/", Source: "192.0.2.1", Status: 403, Refused: "the access list denies 192.0.2.1"})
	writeRequest(&page, painter{}, api.Explanation{Listener: "web", Host: "h", Path: "/", Source: "192.0.2.1", Status: 404, Action: "no route takes it", Routes: []api.Verdict{{Route: "a", Why: "the host is not b"}}})
	e := api.EndpointExplanation{Pool: "p", Endpoint: api.Endpoint{
		Address: "a:1", Admin: api.Maintenance, AdminSince: now, Outlier: "ejected", EjectedUntil: now.Add(time.Minute), RunTime: true, MaxRequests: 9, StallAfter: 250,
		Failures: map[string]uint64{"connect": 2, "reset": 0},
	}, Events: []api.Event{{At: now, What: "down"}, {At: now.Add(-48 * time.Hour), What: "up", Reason: "200 OK"}}}
	writeEndpoint(&page, painter{}, e, now)
	for _, part := range []string{
		"refused with 403: the access list denies", "no route takes it, answered with 404", "no: the host is not b", "until", "0 of 9 in flight", "(2 connect)",
		"counts as hung after 250 ms", "no file names it", "2026-05-02", "up: 200 OK",
	} {
		if !strings.Contains(page.String(), part) {
			t.Errorf("the page lacks %q:\n%s", part, page.String())
		}
	}
}

func TestNumbersAreShort(t *testing.T) {
	for n, want := range map[int]string{0: "0", 9999: "9999", 12_345: "12.3k", 4_500_000: "4.5M", 7_000_000_000: "7.0G"} {
		if got := count(n); got != want {
			t.Errorf("%d is %s", n, got)
		}
	}
	for ms, want := range map[float64]string{0: "-", 0.5: "0.50 ms", 25: "25 ms", 1500: "1.5 s"} {
		if got := millis(ms); got != want {
			t.Errorf("%v ms is %s", ms, got)
		}
	}
	for d, want := range map[time.Duration]string{-time.Second: "0s", 5 * time.Second: "5s", 90 * time.Second: "1m30s", 3 * time.Hour: "3h0m", 50 * time.Hour: "2d2h"} {
		if got := ago(d); got != want {
			t.Errorf("%v is %s", d, got)
		}
	}
}
