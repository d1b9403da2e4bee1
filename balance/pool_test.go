package balance

import (
	"fmt"
	"testing"
	"time"
)

// newPool returns a pool of n endpoints called a, b, c...; edit may change the
// configuration first.
func newPool(t testing.TB, n int, edit func(*Config)) *Pool {
	t.Helper()
	cfg := Config{Name: "test"}
	for i := range n {
		cfg.Endpoints = append(cfg.Endpoints, EndpointConfig{Address: name(i)})
	}
	if edit != nil {
		edit(&cfg)
	}
	p, err := New(cfg, 0)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func name(i int) string {
	if i < 26 {
		return string(rune('a' + i))
	}
	return fmt.Sprintf("e%d", i)
}

// pick picks and ends the request at once.
func pick(t testing.TB, p *Pool, r Request) *Endpoint {
	t.Helper()
	e, err := p.Pick(&r)
	if err != nil {
		t.Fatalf("Pick: %v", err)
	}
	p.Done(e, Outcome{Latency: time.Millisecond}, r.Now)
	return e
}

func TestRoundRobinTakesTurns(t *testing.T) {
	p := newPool(t, 3, nil)
	got := ""
	for range 7 {
		got += pick(t, p, Request{}).Address()
	}
	if got != "abcabca" {
		t.Errorf("turns are %s, want abcabca", got)
	}
}
