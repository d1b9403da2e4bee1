package client_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"time"

	"github.com/trivet-ha/trivet/balance"
	"github.com/trivet-ha/trivet/balance/client"
	"github.com/trivet-ha/trivet/fault"
	"github.com/trivet-ha/trivet/fault/faulthttp"
	"github.com/trivet-ha/trivet/fault/health"
	"github.com/trivet-ha/trivet/fault/hedge"
	"github.com/trivet-ha/trivet/fault/probe"
	"github.com/trivet-ha/trivet/fault/run"
)

// shop serves one answer, if it is well.
func shop(well bool) *httptest.Server {
	return httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if !well {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		fmt.Fprint(w, "tea, 9.90")
	}))
}

// Two servers, one of them broken: no request fails.
func ExampleLoadBalance() {
	well, broken := shop(true), shop(false)
	defer well.Close()
	defer broken.Close()

	shops, err := client.LoadBalance(well.URL, broken.URL)
	if err != nil {
		panic(err)
	}
	answers := map[string]int{}
	for range 100 {
		resp, err := shops.Get("/items/tea")
		if err != nil {
			panic(err)
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		answers[string(body)]++
	}
	fmt.Println(answers)
	// Output: map[tea, 9.90:100]
}

// With probes, hedges for what takes unusually long, and a server that is only
// used if all others are down.
func ExampleNew() {
	near, far := shop(true), shop(true)
	defer near.Close()
	defer far.Close()

	shops, err := client.New(client.Config{
		Servers: []client.Server{{URL: near.URL}, {URL: far.URL, Priority: 1}},
		Pool:    balance.Config{Name: "shops", SlowStart: 30 * time.Second},
		Stack: fault.Must(fault.New(
			fault.Timeout(5*time.Second),
			fault.Retry(faulthttp.Retry(), nil),
			fault.Hedge(hedge.New(hedge.Config{})),
			fault.Timeout(2*time.Second),
		)),
		Probe:  &probe.HTTP{Path: "/items"},
		Health: health.Policy{Interval: time.Second},
	})
	if err != nil {
		panic(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = shops.Run(ctx) }) // the probes

	resp, err := (&http.Client{Transport: shops}).Get("/items/tea")
	if err != nil {
		panic(err)
	}
	body, _ := io.ReadAll(resp.Body)
	resp.Body.Close()
	fmt.Println(string(body))
	fmt.Println("far server is available:", shops.Pool().ByAddress(far.URL).Status(run.Now()).Available)

	cancel()
	wg.Wait()
	// Output:
	// tea, 9.90
	// far server is available: true
}
