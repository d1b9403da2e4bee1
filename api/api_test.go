package api_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/trivet-ha/trivet/api"
	"github.com/trivet-ha/trivet/api/apitest"
	"github.com/trivet-ha/trivet/config"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// serve runs the API of a node on a Unix socket and gives a client for it.
func serve(t *testing.T, n api.Node) *api.Client {
	t.Helper()
	path := filepath.Join(t.TempDir(), "deep", "trivet.sock")
	l, err := api.ListenSocket(path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- api.Serve(ctx, l, api.NewHandler(n, nil)) }()
	c := api.Dial(path)
	t.Cleanup(func() {
		c.Close()
		stop()
		if err := <-ended; err != nil {
			t.Errorf("serve: %v", err)
		}
		if _, err := os.Lstat(path); err == nil {
			t.Error("the socket is left behind")
		}
	})
	return c
}

func pointer[T any](v T) *T { return &v }

func TestStatusArrivesAsTheNodeGaveIt(t *testing.T) {
	n := apitest.NewNode()
	got, err := serve(t, n).Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(n.Status(), got); diff != "" {
		t.Errorf("(-node +client):\n%s", diff)
	}
}

func TestPoolsAreShownAllOrOne(t *testing.T) {
	c := serve(t, apitest.NewNode())
	all, err := c.Pools(t.Context())
	if err != nil || len(all) != 2 {
		t.Fatalf("%d pools, %v", len(all), err)
	}
	one, err := c.Pool(t.Context(), "api")
	if err != nil || one.Name != "api" || len(one.Endpoints) != 1 {
		t.Errorf("pool is %+v, %v", one, err)
	}
	_, err = c.Pool(t.Context(), "nowhere")
	wantError(t, err, http.StatusNotFound, `no pool "nowhere"`)
}

func wantError(t *testing.T, err error, status int, message string) {
	t.Helper()
	var no *api.Error
	if !errors.As(err, &no) || no.Status != status || !strings.Contains(no.Message, message) {
		t.Errorf("error is %#v, want status %d and %q", err, status, message)
	}
}

func TestEndpointsAreDrainedWeighedAddedAndRemoved(t *testing.T) {
	n := apitest.NewNode()
	c, ctx := serve(t, n), t.Context()
	e, err := c.ChangeEndpoint(ctx, "site", "10.0.0.11:8000", api.Change{Admin: pointer(api.Drain), Weight: pointer(7)})
	if err != nil || e.Admin != api.Drain || e.Weight != 7 {
		t.Errorf("changed to %+v, %v", e, err)
	}
	for _, address := range []string{"10.0.0.99:8000", "[::1]:80", "unix:/run/app one.sock"} {
		if e, err := c.AddEndpoint(ctx, "site", api.NewEndpoint{Address: address, Weight: 2}); err != nil || e.Address != address || !e.RunTime {
			t.Errorf("%s: added as %+v, %v", address, e, err)
		}
		if _, err := c.ChangeEndpoint(ctx, "site", address, api.Change{Admin: pointer(api.Maintenance)}); err != nil {
			t.Errorf("%s: change: %v", address, err)
		}
		_, err := c.AddEndpoint(ctx, "site", api.NewEndpoint{Address: address})
		wantError(t, err, http.StatusConflict, "already")
		if err := c.RemoveEndpoint(ctx, "site", address); err != nil {
			t.Errorf("%s: remove: %v", address, err)
		}
		wantError(t, c.RemoveEndpoint(ctx, "site", address), http.StatusNotFound, "no endpoint")
	}
	if p, err := c.Pool(ctx, "site"); err != nil || len(p.Endpoints) != 2 {
		t.Errorf("left is %+v, %v", p, err)
	}
}

func TestWhatMakesNoSenseIsRefusedBeforeTheNodeHears(t *testing.T) {
	n := apitest.NewNode()
	c, ctx := serve(t, n), t.Context()
	before := n.Calls()
	_, err := c.ChangeEndpoint(ctx, "site", "10.0.0.11:8000", api.Change{})
	wantError(t, err, http.StatusBadRequest, "nothing is to be changed")
	_, err = c.ChangeEndpoint(ctx, "site", "10.0.0.11:8000", api.Change{Admin: pointer(api.Admin("off"))})
	wantError(t, err, http.StatusBadRequest, `"off" is nothing`)
	for _, weight := range []int{0, -1, 1_000_001} {
		_, err = c.ChangeEndpoint(ctx, "site", "10.0.0.11:8000", api.Change{Weight: &weight})
		wantError(t, err, http.StatusBadRequest, "no weight")
	}
	_, err = c.AddEndpoint(ctx, "site", api.NewEndpoint{})
	wantError(t, err, http.StatusBadRequest, "no address")
	_, err = c.AddEndpoint(ctx, "site", api.NewEndpoint{Address: "a:1", Priority: -1})
	wantError(t, err, http.StatusBadRequest, "out of its range")
	_, err = c.ExplainRequest(ctx, api.Question{})
	wantError(t, err, http.StatusBadRequest, "which request")
	_, err = c.ExplainEndpoint(ctx, "")
	wantError(t, err, http.StatusBadRequest, "which endpoint")
	if got := n.Calls(); got != before {
		t.Errorf("the node was asked %d times", got-before)
	}
}

func TestExplanationsArriveWhole(t *testing.T) {
	n := apitest.NewNode()
	c, ctx := serve(t, n), t.Context()
	q := api.Question{URL: "http://shop.example.com/x", Headers: []api.Field{{Name: "X-A", Value: "b"}}, From: "192.0.2.1"}
	got, err := c.ExplainRequest(ctx, q)
	if err != nil {
		t.Fatal(err)
	}
	q.Method = "GET" // when none is said
	want, _ := n.ExplainRequest(q)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-node +client):\n%s", diff)
	}
	endpoints, err := c.ExplainEndpoint(ctx, "10.0.0.12:8000")
	if err != nil || len(endpoints) != 1 || endpoints[0].Pool != "site" || len(endpoints[0].Events) == 0 {
		t.Errorf("endpoint is %+v, %v", endpoints, err)
	}
	_, err = c.ExplainEndpoint(ctx, "10.9.9.9:1")
	wantError(t, err, http.StatusNotFound, "no endpoint")
}

func TestABadFileComesBackWithEveryProblem(t *testing.T) {
	n := apitest.NewNode()
	c, ctx := serve(t, n), t.Context()
	if err := c.Reload(ctx); err != nil {
		t.Fatal(err)
	}
	_, parseErr := config.Parse("trivet.yaml", []byte("watch: perhaps\nloops: some\n"))
	n.FailReload(parseErr)
	err := c.Reload(ctx)
	wantError(t, err, http.StatusUnprocessableEntity, "nothing has changed")
	var no *api.Error
	if errors.As(err, &no) && (len(no.Problems) != 2 || no.Problems[1].Line != 2 || no.Hint == "" || !strings.Contains(no.Error(), "loops: some")) {
		t.Errorf("problems are %#v", no.Problems)
	}
	n.FailReload(errors.New("listen on :80: permission denied"))
	wantError(t, c.Reload(ctx), http.StatusInternalServerError, "permission denied")
}

func TestUpgradeTellsWhatTheNodeSays(t *testing.T) {
	n := apitest.NewNode()
	c := serve(t, n)
	if err := c.Upgrade(t.Context()); err != nil {
		t.Error(err)
	}
	n.FailUpgrade(api.Conflict("an upgrade is under way", "wait for it"))
	wantError(t, c.Upgrade(t.Context()), http.StatusConflict, "under way")
}

func TestNobodyAtTheSocketIsSaidWithWhatToDo(t *testing.T) {
	path := filepath.Join(t.TempDir(), "trivet.sock")
	_, err := api.Dial(path).Status(t.Context())
	wantError(t, err, 0, "no Trivet answers at "+path)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := api.Dial(path).Status(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("after a cancel the error is %v", err)
	}
}

func TestTheSocketIsItsOwnersAlone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "run", "trivet.sock")
	l, err := api.ListenSocket(path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	socket, _ := os.Stat(path)
	folder, _ := os.Stat(filepath.Dir(path))
	if socket.Mode().Perm() != 0o600 || folder.Mode().Perm() != 0o700 || l.Addr().String() != path {
		t.Errorf("modes are %v and %v, address %v", socket.Mode(), folder.Mode(), l.Addr())
	}
}

func TestASocketThatAnswersIsNotTakenButCanBeTakenOver(t *testing.T) {
	path := filepath.Join(t.TempDir(), "trivet.sock")
	old, err := api.ListenSocket(path)
	if err != nil {
		t.Fatal(err)
	}
	if l, err := api.ListenSocket(path); err == nil || !strings.Contains(err.Error(), "another process answers") {
		t.Fatalf("a second one: %v, %v", l, err)
	}
	fresh, err := api.TakeOverSocket(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := old.Close(); err != nil {
		t.Fatal(err)
	}
	accepted := make(chan error, 1)
	go func() {
		conn, err := fresh.Accept()
		if err == nil {
			err = conn.Close()
		}
		accepted <- err
	}()
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatalf("the end of the old one took the new one's socket away: %v", err)
	}
	defer conn.Close()
	if err := errors.Join(<-accepted, fresh.Close()); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(path); err == nil {
		t.Error("the socket is left behind")
	}
}

func TestASocketWithoutAProcessIsReplacedAndAFileIsNot(t *testing.T) {
	path := filepath.Join(t.TempDir(), "trivet.sock")
	dead, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	dead.SetUnlinkOnClose(false)
	dead.Close()
	l, err := api.ListenSocket(path)
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := api.ListenSocket(path); err == nil || !strings.Contains(err.Error(), "no socket") {
		t.Errorf("a file is taken: %v", err)
	}
	if data, _ := os.ReadFile(path); string(data) != "precious" {
		t.Error("the file is gone")
	}
	if _, err := api.ListenSocket(filepath.Join(path, "below", "a.sock")); err == nil {
		t.Error("a folder is made below a file")
	}
	if _, err := api.ListenSocket(filepath.Join(t.TempDir(), strings.Repeat("x", 120))); err == nil {
		t.Error("a path too long for a socket is taken")
	}
}

func TestOverTCPNothingIsToldWithoutTheToken(t *testing.T) {
	metrics := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "trivet_up 1\n") })
	s := httptest.NewServer(api.RequireToken("s3cret", api.NewHandler(apitest.NewNode(), metrics)))
	defer s.Close()
	address := s.Listener.Addr().String()
	good := api.DialTCP(address, "s3cret")
	defer good.Close()
	if _, err := good.Status(t.Context()); err != nil {
		t.Errorf("the right token: %v", err)
	}
	for _, token := range []string{"", "wrong", "s3cre", "s3cret2"} {
		c := api.DialTCP(address, token)
		_, err := c.Status(t.Context())
		wantError(t, err, http.StatusUnauthorized, "token is missing or wrong")
		c.Close()
	}
	for header, want := range map[string]int{"Bearer s3cret": 200, "bearer s3cret": 200, "Basic s3cret": 401, "s3cret": 401} {
		for _, path := range []string{"/metrics", "/v1/status"} {
			req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL+path, nil)
			req.Header.Set("Authorization", header)
			res, err := s.Client().Do(req)
			if err != nil {
				t.Fatal(err)
			}
			res.Body.Close()
			if res.StatusCode != want {
				t.Errorf("%s with %q: %d, want %d", path, header, res.StatusCode, want)
			}
		}
	}
	defer func() {
		if recover() == nil {
			t.Error("an empty token guards")
		}
	}()
	api.RequireToken("", nil)
}

func TestBodiesAreReadStrictly(t *testing.T) {
	h := api.NewHandler(apitest.NewNode(), nil)
	for body, want := range map[string]int{
		`{"weight": 5}`: 200, `{"wait": 5}`: 400, `{"weight": 5} {}`: 400, `nonsense`: 400, ``: 400, `{"weight": "` + strings.Repeat("9", 2<<20) + `"}`: 400,
	} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodPatch, "/v1/pools/site/endpoints/10.0.0.11:8000", strings.NewReader(body)))
		if w.Code != want || w.Header().Get("Content-Type") != "application/json" {
			t.Errorf("%.40s: %d %s", body, w.Code, w.Body)
		}
	}
	for path, want := range map[string]int{"/": 404, "/v1/nothing": 404, "/metrics": 404} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil))
		if w.Code != want || !strings.Contains(w.Body.String(), `"hint"`) {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
	}
}

func TestAnAnswerThatIsNoneOfOursIsSaidAsItIs(t *testing.T) {
	for body, want := range map[string]string{"<html>": "502 Bad Gateway: <html>", `{"error": "x"}`: "x"} {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusBadGateway)
			_, _ = io.WriteString(w, body)
		}))
		c := api.DialTCP(s.Listener.Addr().String(), "")
		_, err := c.Status(t.Context())
		wantError(t, err, http.StatusBadGateway, want)
		c.Close()
		s.Close()
	}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "{") }))
	defer s.Close()
	c := api.DialTCP(s.Listener.Addr().String(), "")
	defer c.Close()
	if _, err := c.Status(t.Context()); err == nil || !strings.Contains(err.Error(), "read the answer") {
		t.Errorf("half an answer: %v", err)
	}
}

func TestServeWaitsForTheAnswerUnderWay(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	began, goOn := make(chan struct{}), make(chan struct{})
	h := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		close(began)
		<-goOn
		_, _ = io.WriteString(w, "whole")
	})
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- api.Serve(ctx, l, h) }()
	answered := make(chan string, 1)
	go func() {
		res, err := http.Get("http://" + l.Addr().String())
		if err != nil {
			answered <- err.Error()
			return
		}
		defer res.Body.Close()
		body, _ := io.ReadAll(res.Body)
		answered <- string(body)
	}()
	<-began
	stop()
	select {
	case err := <-ended:
		t.Fatalf("ended with a request under way: %v", err)
	case <-time.After(20 * time.Millisecond):
	}
	close(goOn)
	if got := <-answered; got != "whole" {
		t.Errorf("answer is %q", got)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
	http.DefaultClient.CloseIdleConnections()
}

func TestThePageNamesEveryPath(t *testing.T) {
	source, err := os.ReadFile("handler.go")
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile("../docs/reference/api.md")
	if err != nil {
		t.Fatal(err)
	}
	paths := regexp.MustCompile(`"((?:GET|POST|PATCH|DELETE) /[^"]+)"`).FindAllStringSubmatch(string(source), -1)
	if len(paths) < 10 {
		t.Fatalf("only %d paths are found", len(paths))
	}
	for _, path := range paths {
		if !strings.Contains(string(page), path[1]) {
			t.Errorf("docs/reference/api.md lacks %s", path[1])
		}
	}
}

func TestServeTellsWhenItsListenerFails(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	if err := api.Serve(t.Context(), l, nil); err == nil {
		t.Error("a closed listener serves")
	}
}
