package faulthttp_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/trivet-ha/trivet/fault"
	"github.com/trivet-ha/trivet/fault/breaker"
	"github.com/trivet-ha/trivet/fault/faulthttp"
	"github.com/trivet-ha/trivet/fault/limit"
	"github.com/trivet-ha/trivet/fault/panics"
)

// A client that tries again, gives up in time, and leaves a broken service alone.
func ExampleNewTransport() {
	requests := 0
	site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if requests++; requests < 3 {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		fmt.Fprint(w, "at the third attempt")
	}))
	defer site.Close()

	transport, err := faulthttp.NewTransport(faulthttp.TransportConfig{
		Stack: fault.Must(fault.New(
			fault.Timeout(5*time.Second),
			fault.Retry(faulthttp.Retry(), nil),
			fault.Breaker(breaker.New(breaker.Config{})),
			fault.Timeout(2*time.Second),
		)),
		Idle: 10 * time.Second,
	})
	if err != nil {
		panic(err)
	}
	client := &http.Client{Transport: transport}
	resp, err := client.Get(site.URL)
	if err != nil {
		panic(err)
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body)
	fmt.Println(resp.StatusCode, string(body))
	// Output: 200 at the third attempt
}

// A server that gives each client ten requests a second, and survives its own
// mistakes.
func ExampleNewHandler() {
	shop := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/broken" {
			panic("out of tea")
		}
		fmt.Fprint(w, "welcome")
	})
	handler, err := faulthttp.NewHandler(faulthttp.HandlerConfig{
		Stack: fault.Must(fault.New(
			fault.LimitEach(limit.NewKeyed(limit.KeyedConfig{Config: limit.Config{Tokens: 10, Burst: 2}}), 0),
			fault.Panics(panics.New(panics.Config{})),
		)),
	}, shop)
	if err != nil {
		panic(err)
	}
	for _, path := range []string{"/", "/broken", "/"} {
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, httptest.NewRequest("GET", path, nil))
		fmt.Printf("%d %q\n", w.Code, w.Header().Get("Retry-After"))
	}
	// Output:
	// 200 ""
	// 500 ""
	// 429 "1"
}
