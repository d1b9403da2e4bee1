package demo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"regexp"
	"slices"
	"sync"
	"testing"
	"time"
)

// A standIn plays Trivet in the tests of the story itself: it sends a request to the next endpoint that is not out, takes
// an endpoint out when it fails or does not answer for a while, and tries again elsewhere.
type standIn struct {
	config string
	client *http.Client

	mu      sync.Mutex
	next    int
	edition string
	hosts   []*standInHost
}

type standInHost struct {
	Endpoint
	until time.Time // out until then
}

const standInPatience = 250 * time.Millisecond

// startStandIn listens at the stage's front address until the test ends.
func startStandIn(t *testing.T) func(context.Context, *Stage) (Balancer, error) {
	return func(ctx context.Context, s *Stage) (Balancer, error) {
		b := &standIn{config: s.Config, client: &http.Client{
			Transport: &http.Transport{MaxIdleConnsPerHost: 64, ResponseHeaderTimeout: standInPatience},
		}}
		if err := b.Reload(ctx); err != nil {
			return nil, err
		}
		l, err := net.Listen("tcp", s.Front)
		if err != nil {
			return nil, err
		}
		server := &http.Server{Handler: b}
		var wg sync.WaitGroup
		wg.Go(func() { server.Serve(l) })
		t.Cleanup(func() { server.Close(); wg.Wait(); b.client.CloseIdleConnections() })
		return b, nil
	}
}

var (
	editionPattern   = regexp.MustCompile(`X-Edition: "(\d+)"`)
	endpointsPattern = regexp.MustCompile(`endpoints: \[(.*)\]`)
	addressPattern   = regexp.MustCompile(`[0-9.]+:[0-9]+`)
)

func (b *standIn) Reload(context.Context) error {
	text, err := os.ReadFile(b.config)
	if err != nil {
		return err
	}
	list := endpointsPattern.FindSubmatch(text)
	if list == nil {
		return errors.New("trivet.yaml:13:5: unknown key endpionts\n    endpionts: [...]\n    did you mean endpoints?")
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.edition = string(editionPattern.FindSubmatch(text)[1])
	if b.hosts == nil {
		for _, address := range addressPattern.FindAllString(string(list[1]), -1) {
			b.hosts = append(b.hosts, &standInHost{Endpoint: Endpoint{Address: address, Available: true, State: "up"}})
		}
	}
	return nil
}

func (b *standIn) Endpoints(context.Context) ([]Endpoint, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	out := make([]Endpoint, len(b.hosts))
	for i, h := range b.hosts {
		b.restore(h)
		out[i] = h.Endpoint
	}
	return out, nil
}

func (b *standIn) restore(h *standInHost) {
	if h.State == "down" && time.Now().After(h.until) {
		h.Endpoint = Endpoint{Address: h.Address, Available: true, State: "up"}
	}
}

func (b *standIn) Drain(_ context.Context, address string) error {
	return b.set(address, Endpoint{Address: address, State: "draining"})
}

func (b *standIn) Ready(_ context.Context, address string) error {
	return b.set(address, Endpoint{Address: address, Available: true, State: "up"})
}

func (b *standIn) set(address string, e Endpoint) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	i := slices.IndexFunc(b.hosts, func(h *standInHost) bool { return h.Address == address })
	if i < 0 {
		return fmt.Errorf("no endpoint %s", address)
	}
	b.hosts[i].Endpoint = e
	return nil
}

// pick returns the next host that is not out, or any when all are.
func (b *standIn) pick() (*standInHost, string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for range b.hosts {
		b.next++
		h := b.hosts[b.next%len(b.hosts)]
		b.restore(h)
		if h.Available {
			return h, b.edition
		}
	}
	return b.hosts[0], b.edition
}

func (b *standIn) out(h *standInHost, why error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if h.State == "up" {
		h.Endpoint = Endpoint{Address: h.Address, State: "down", Reason: why.Error()}
		h.until = time.Now().Add(standInPatience)
	}
}

func (b *standIn) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	for range 6 {
		h, edition := b.pick()
		request, err := http.NewRequestWithContext(r.Context(), r.Method, "http://"+h.Address+r.URL.Path, bytes.NewReader(body))
		if err != nil {
			break
		}
		request.Header = r.Header.Clone()
		response, err := b.client.Do(request)
		if err != nil {
			b.out(h, err)
			continue
		}
		defer response.Body.Close()
		w.Header().Set("X-Edition", edition)
		w.WriteHeader(response.StatusCode)
		io.Copy(w, response.Body)
		return
	}
	w.WriteHeader(http.StatusBadGateway)
}
