package api

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// recorder is a node that writes down what it was asked to do.
type recorder struct {
	status Status
	calls  []string
	err    error
}

func (r *recorder) Status() Status { return r.status }

func (r *recorder) ExplainRequest(q RequestQuestion) (RequestExplanation, error) {
	r.calls = append(r.calls, "explain "+q.Method+" "+q.URL+" from "+q.From)
	return RequestExplanation{Listener: "web", Route: "all", Choices: []Choice{{Address: "a:1", Chosen: true}}}, r.err
}

func (r *recorder) ChangeEndpoint(pool, address string, c EndpointChange) error {
	call := "change " + pool + " " + address
	if c.State != nil {
		call += " " + *c.State
	}
	r.calls = append(r.calls, call)
	return r.err
}

func (r *recorder) AddEndpoint(pool string, e NewEndpoint) error {
	r.calls = append(r.calls, "add "+pool+" "+e.Address)
	return r.err
}

func (r *recorder) RemoveEndpoint(pool, address string) error {
	r.calls = append(r.calls, "remove "+pool+" "+address)
	return r.err
}

func (r *recorder) ReloadFile() error { r.calls = append(r.calls, "reload"); return r.err }
func (r *recorder) Upgrade() error    { r.calls = append(r.calls, "upgrade"); return r.err }

// serve runs the API over a real socket and returns a client for it.
func serve(t *testing.T, network, address string, cfg HandlerConfig, token string) *Client {
	t.Helper()
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: NewHandler(cfg)}
	go srv.Serve(l)
	c := NewClient(ClientConfig{Address: l.Addr().String(), Token: token})
	t.Cleanup(func() { c.Close(); srv.Close() })
	return c
}

func overUnix(t *testing.T, n Node) *Client {
	return serve(t, "unix", filepath.Join(t.TempDir(), "admin.sock"), HandlerConfig{Node: n}, "")
}

func TestEveryCallReachesTheNodeOverAUnixSocket(t *testing.T) {
	node := &recorder{status: Status{Version: "1", Pools: []PoolStatus{{Name: "site", Endpoints: []EndpointStatus{{Pool: "site", Address: "unix:/run/a b.sock"}}}}}}
	c, ctx := overUnix(t, node), context.Background()
	drain := "drain"
	address := node.status.Pools[0].Endpoints[0].Address
	for _, err := range []error{
		c.ChangeEndpoint(ctx, "site", address, EndpointChange{State: &drain}),
		c.AddEndpoint(ctx, "site", NewEndpoint{Address: "[::1]:80"}),
		c.RemoveEndpoint(ctx, "site", "[::1]:80"),
		c.Reload(ctx),
		c.Upgrade(ctx),
	} {
		if err != nil {
			t.Error(err)
		}
	}
	want := []string{"change site " + address + " drain", "add site [::1]:80", "remove site [::1]:80", "reload", "upgrade"}
	if !reflect.DeepEqual(node.calls, want) {
		t.Errorf("the node was asked\n%q, want\n%q", node.calls, want)
	}
	if s, err := c.Status(ctx); err != nil || !reflect.DeepEqual(s, node.status) {
		t.Errorf("status = %+v, %v; want %+v", s, err, node.status)
	}
	if p, err := c.Pool(ctx, "site"); err != nil || p.Name != "site" {
		t.Errorf("pool = %+v, %v", p, err)
	}
	if all, err := c.ExplainEndpoint(ctx, address); err != nil || len(all) != 1 {
		t.Errorf("explain endpoint = %+v, %v", all, err)
	}
	if e, err := c.ExplainRequest(ctx, RequestQuestion{Method: "GET", URL: "/", From: "10.0.0.1"}); err != nil || e.Route != "all" {
		t.Errorf("explain request = %+v, %v", e, err)
	}
}

func TestErrorsKeepTheirStatusTextAndHint(t *testing.T) {
	node := &recorder{}
	c, ctx := overUnix(t, node), context.Background()
	check := func(err error, status int, text string) {
		t.Helper()
		var e *Error
		if !errors.As(err, &e) || e.Status != status || !strings.Contains(e.Text, text) {
			t.Errorf("err = %#v, want status %d and %q", err, status, text)
		}
	}
	_, err := c.Pool(ctx, "nosuch")
	check(err, 404, "no pool nosuch")
	_, err = c.ExplainEndpoint(ctx, "1.2.3.4:5")
	check(err, 404, "no endpoint 1.2.3.4:5")
	node.err = Invalid("ready, drain or maintenance", "no state fast")
	check(c.ChangeEndpoint(ctx, "site", "a", EndpointChange{}), 400, "no state fast")
	node.err = errors.New("line 3: unknown key")
	check(c.Reload(ctx), 409, "line 3: unknown key")
	check(c.call(ctx, "GET", "/v2/status", nil, nil), 404, "no call GET /v2/status")
	check(c.call(ctx, "PATCH", "/v1/pools/p/endpoints/e", map[string]int{"wieght": 3}, nil), 400, "wieght")
	check(c.call(ctx, "POST", "/v1/pools/p/endpoints", strings.Repeat("x", bodyMax+1), nil), 400, "too large")
}

func TestOverTCPNobodyComesInWithoutTheToken(t *testing.T) {
	cfg := HandlerConfig{Node: &recorder{}, Token: "s3cret", Metrics: http.NotFoundHandler()}
	ctx := context.Background()
	for token, ok := range map[string]bool{"": false, "s3cre": false, "s3cret ": false, "s3cret": true} {
		c := serve(t, "tcp", "127.0.0.1:0", cfg, token)
		_, err := c.Status(ctx)
		if (err == nil) != ok {
			t.Errorf("token %q: err = %v, want success %v", token, err, ok)
		}
		if err != nil && strings.Contains(err.Error(), "s3cret") {
			t.Errorf("the error tells the token: %v", err)
		}
	}
	c := serve(t, "tcp", "127.0.0.1:0", cfg, "")
	resp, err := c.http.Get(c.base + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if body, _ := io.ReadAll(resp.Body); resp.StatusCode != 401 {
		t.Errorf("/metrics without a token: %d %s", resp.StatusCode, body)
	}
}

func TestANodeThatIsNotThereIsAHint(t *testing.T) {
	c := NewClient(ClientConfig{Address: filepath.Join(t.TempDir(), "none.sock")})
	_, err := c.Status(context.Background())
	var e *Error
	if !errors.As(err, &e) || e.Hint == "" || !strings.Contains(e.Text, "none.sock") {
		t.Errorf("err = %#v", err)
	}
}
