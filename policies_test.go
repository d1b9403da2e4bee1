package trivet

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/trivet-ha/trivet/api"
	"github.com/trivet-ha/trivet/config"
)

const guarded = `
listeners:
  web:
    address: "127.0.0.1:0"
    routes:
      - {name: limited, match: {path: /limited}, pool: site, rate_limit: {rate: 2/h, burst: 2, key: "header:X-User"}}
      - {name: broken, match: {path: /broken}, pool: site, inject: {abort: 100%%, abort_status: 418}}
      - {name: saved, match: {path: /saved}, pool: dead, fallback: {respond: {status: 200, body: sorry}}}
      - {name: moved, match: {path: /moved}, pool: dead, fallback: site}
      - {name: hedged, match: {path: /hedged}, pool: site, hedge: 90%%, priority: critical_plus}
      - {pool: site}
pools:
  site:
    endpoints: [%s]
    health: off
    hold: 10s
    circuit: {consecutive: 3}
    concurrency: aimd
    shed: throttle
  dead: {endpoints: ["127.0.0.1:1"], health: off}
admin: {socket: SOCKET}
drain_timeout: 1s
`

func TestPoliciesOfTheFileAreInForceAndOutliveAReload(t *testing.T) {
	a := newShop(t, "a")
	r := start(t, fmt.Sprintf(guarded, a.address()))
	url := r.url("web")
	ask := func(path, user string) (int, string) {
		req, _ := http.NewRequest("GET", url+path, nil)
		req.Header.Set("X-User", user)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		return resp.StatusCode, resp.Header.Get("Retry-After")
	}
	for range 2 {
		if code, _ := ask("/limited", "anna"); code != 200 {
			t.Fatalf("within the rate: %d", code)
		}
	}
	if err := r.ReloadFile(t.Context()); err != nil {
		t.Fatal(err)
	}
	if code, after := ask("/limited", "anna"); code != 429 || after == "" {
		t.Errorf("above the rate, after a reload: %d, Retry-After %q", code, after)
	}
	if code, _ := ask("/limited", "bert"); code != 200 {
		t.Errorf("another client: %d", code)
	}
	if code, _ := ask("/broken", ""); code != 418 {
		t.Errorf("injected: %d", code)
	}
	if _, body := get(t, url+"/saved"); body != "sorry" {
		t.Errorf("fallback to a text: %q", body)
	}
	if _, body := get(t, url+"/moved"); body != "a" {
		t.Errorf("fallback to a pool: %q", body)
	}
	if code, _ := ask("/hedged", ""); code != 200 {
		t.Errorf("hedged: %d", code)
	}
}

func TestAHeldRequestIsServedWhenItsServerIsBack(t *testing.T) {
	a := newShop(t, "a")
	r := start(t, fmt.Sprintf(guarded, a.address()))
	maintenance, ready := api.Maintenance, api.Ready
	if _, err := r.ChangeEndpoint("site", a.address(), api.Change{Admin: &maintenance}); err != nil {
		t.Fatal(err)
	}
	answered := make(chan int, 1)
	go func() {
		resp, err := http.Get(r.url("web"))
		if err != nil {
			answered <- 0
			return
		}
		resp.Body.Close()
		answered <- resp.StatusCode
	}()
	eventually(t, "it waits", func() bool { return r.Status().Pools[1].Pending == 1 })
	if _, err := r.ChangeEndpoint("site", a.address(), api.Change{Admin: &ready}); err != nil {
		t.Fatal(err)
	}
	select {
	case code := <-answered:
		if code != 200 {
			t.Errorf("answered with %d", code)
		}
	case <-time.After(5 * time.Second):
		t.Error("not answered")
	}
}

func TestPoliciesThatMakeNoSenseAreRefused(t *testing.T) {
	for wrong, with := range map[string]string{
		"rate: 2/h":                 "rate: often",
		`key: "header:X-User"`:      "key: nose",
		"abort: 100%":               "abort: 101%",
		"abort_status: 418":         "abort_status: 99",
		"fallback: site":            "fallback: nosuch",
		"respond: {status: 200":     "pool: site, respond: {status: 200",
		"hedge: 90%":                "hedge: 9%",
		"priority: critical_plus":   "priority: urgent",
		"circuit: {consecutive: 3}": "circuit: {open_for: 0}",
		"concurrency: aimd":         "concurrency: {min: 10, max: 5}",
		"shed: throttle":            "shed: {max: 100%}",
		"hold: 10s":                 "hold: 2h",
	} {
		yaml := strings.Replace(fmt.Sprintf(guarded, "127.0.0.1:80"), wrong, with, 1)
		if yaml == fmt.Sprintf(guarded, "127.0.0.1:80") {
			t.Fatalf("%q is not in the file", wrong)
		}
		if _, err := config.Parse("test", []byte(yaml)); err == nil {
			t.Errorf("%s is accepted", with)
		}
	}
}
