package test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/trivet-ha/trivet/api"
	"github.com/trivet-ha/trivet/internal/demo/load"
)

const twoShops = `
listeners:
  web: {address: "127.0.0.1:0", pool: site}
pools:
  site:
    endpoints: [%s, %s]
    health: {probe: {http: {path: /}}, interval: 200ms}
admin: {socket: SOCKET}
drain_timeout: 5s
`

// customers are requests at a constant rate, some on kept connections and some each on its own.
type customers struct {
	stop  context.CancelFunc
	ended chan error
	sum   *load.Summary
	rec   *load.Recorder
}

func sendRequests(t *testing.T, address string, rate float64, closing bool) *customers {
	t.Helper()
	c := &customers{ended: make(chan error, 1), rec: load.NewRecorder(time.Second)}
	c.sum = c.rec.Phase("all")
	req := "GET / HTTP/1.1\r\nHost: shop\r\n"
	if closing {
		req += "Connection: close\r\n"
	}
	g, err := load.New(load.Config{
		Address: address, Rate: rate, Timeout: 20 * time.Second,
		Next:    func(uint64) []byte { return []byte(req + "\r\n") },
		Check:   func(_ uint64, status int, body []byte) bool { return status == 200 && string(body) == "hello" },
		Observe: c.rec.Observe,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	c.stop = stop
	go func() { c.ended <- g.Run(ctx) }()
	return c
}

// finish ends the load and reports every request that failed.
func (c *customers) finish(t *testing.T, who string) {
	t.Helper()
	c.stop()
	<-c.ended
	c.rec.End()
	if n := len(c.sum.Failed); n > 0 || c.sum.Requests == 0 {
		t.Errorf("%s: %d requests, failed: %v", who, c.sum.Requests, c.sum.Failed)
	}
	t.Logf("%s: %d requests, 0 failed, p99 %v, max %v", who, c.sum.Requests, c.sum.Latency.Quantile(0.99), c.sum.Latency.Max())
}

func TestThousandReloadsAndTwentyUpgradesLoseNoRequest(t *testing.T) {
	reloads, upgrades := 1000, 20
	if testing.Short() {
		reloads, upgrades = 100, 3
	}
	a, b := httptest.NewServer(http.HandlerFunc(hello)), httptest.NewServer(http.HandlerFunc(hello))
	t.Cleanup(a.Close)
	t.Cleanup(b.Close)
	yaml := fmt.Sprintf(twoShops, a.Listener.Addr(), b.Listener.Addr())
	d := run(t, yaml)
	front := d.front("web")
	drained := a.Listener.Addr().String()
	wish := api.Drain
	if _, err := d.client.ChangeEndpoint(t.Context(), "site", drained, api.Change{Admin: &wish}); err != nil {
		t.Fatal(err)
	}
	kept := sendRequests(t, front, 300, false)
	fresh := sendRequests(t, front, 200, true)
	goroutines, files := d.metric("go_goroutines"), openFiles(t, d.status().PID)
	for i := range reloads {
		edition := strings.Replace(yaml, "pool: site}", fmt.Sprintf("routes: [{match: {path: /edition-%d}, respond: {status: 204}}, {pool: site}]}", i), 1)
		d.write(edition)
		if err := d.client.Reload(t.Context()); err != nil {
			t.Fatal(err)
		}
		if upgrades > 0 && i%(reloads/upgrades) == reloads/upgrades-1 {
			before := d.status().PID
			if err := d.client.Upgrade(t.Context()); err != nil {
				t.Fatal(err)
			}
			d.client.Close() // whoever connects from now on reaches the new process
			eventually(t, "the new process answers", func() bool { return d.status().PID != before })
		}
	}
	for _, e := range d.status().Pools[0].Endpoints {
		if e.Address == drained && e.Admin != api.Drain {
			t.Errorf("the drain of %s was forgotten: %s", drained, e.Admin)
		}
	}
	kept.finish(t, "kept connections")
	fresh.finish(t, "a connection per request")
	pid := d.status().PID
	eventually(t, "goroutines are back", func() bool { return d.metric("go_goroutines") <= goroutines+10 })
	eventually(t, "descriptors are back", func() bool { return openFiles(t, pid) <= files+16 })
}
