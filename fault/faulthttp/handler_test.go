package faulthttp

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/trivet-ha/trivet/fault"
	"github.com/trivet-ha/trivet/fault/breaker"
	"github.com/trivet-ha/trivet/fault/bulkhead"
	"github.com/trivet-ha/trivet/fault/fallback"
	"github.com/trivet-ha/trivet/fault/hedge"
	"github.com/trivet-ha/trivet/fault/limit"
	"github.com/trivet-ha/trivet/fault/panics"
	"github.com/trivet-ha/trivet/fault/retry"
	"github.com/trivet-ha/trivet/fault/shed"
)

func handler(t *testing.T, next http.HandlerFunc, policies ...fault.Policy) *Handler {
	t.Helper()
	h, err := NewHandler(HandlerConfig{Stack: fault.Must(fault.New(policies...))}, next)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// serveOnce gives the handler one request.
func serveOnce(h http.Handler, remote string) *httptest.ResponseRecorder {
	r := httptest.NewRequest("GET", "/", nil)
	if remote != "" {
		r.RemoteAddr = remote
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func hello(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "hello") }

func TestRateLimitAnswers429(t *testing.T) {
	h := handler(t, hello, fault.Limit(limit.New(limit.Config{Tokens: 1, Per: time.Minute}), 0))
	if w := serveOnce(h, ""); w.Code != 200 || w.Body.String() != "hello" {
		t.Errorf("%d %q", w.Code, w.Body)
	}
	w := serveOnce(h, "")
	if w.Code != 429 || w.Header().Get("Retry-After") != "60" || !strings.Contains(w.Body.String(), "Too Many Requests") {
		t.Errorf("%d %q, Retry-After %q", w.Code, w.Body, w.Header().Get("Retry-After"))
	}
}

func TestEachClientHasItsOwnLimit(t *testing.T) {
	k := limit.NewKeyed(limit.KeyedConfig{Config: limit.Config{Tokens: 1, Per: time.Hour}})
	h := handler(t, hello, fault.LimitEach(k, 0))
	for _, x := range []struct {
		remote string
		status int
	}{
		{"192.0.2.1:1000", 200},
		{"192.0.2.1:2000", 429},
		{"[::ffff:192.0.2.1]:2000", 429},
		{"192.0.2.2:1000", 200},
		{"[2001:db8::1]:1000", 200},
		{"[2001:db8::ffff:1]:1000", 429}, // of the same /64
		{"[2001:db8:0:1::1]:1000", 200},
		{"[fe80::1%eth0]:1", 200},
		{"[fe80::1%eth1]:1", 429},
		{"@", 200},
		{"@", 429},
	} {
		if w := serveOnce(h, x.remote); w.Code != x.status {
			t.Errorf("%q: %d, want %d", x.remote, w.Code, x.status)
		}
	}
}

func TestFullAnswers503(t *testing.T) {
	b := bulkhead.New(bulkhead.Config{Limit: 1, Queue: -1})
	b.Acquire()
	if w := serveOnce(handler(t, hello, fault.Bulkhead(b)), ""); w.Code != 503 || w.Header().Get("Retry-After") != "" {
		t.Errorf("%d, Retry-After %q", w.Code, w.Header().Get("Retry-After"))
	}
}

func TestTimeoutAnswers503(t *testing.T) {
	obedient := func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }
	if w := serveOnce(handler(t, obedient, fault.Timeout(10*ms)), ""); w.Code != 503 {
		t.Errorf("%d", w.Code)
	}
}

func TestPanicCostsOneRequest(t *testing.T) {
	rec := panics.New(panics.Config{})
	h := handler(t, func(_ http.ResponseWriter, r *http.Request) { panic("out of tea") }, fault.Panics(rec))
	for range 2 {
		if w := serveOnce(h, ""); w.Code != 500 {
			t.Errorf("%d", w.Code)
		}
	}
	if places := rec.Places(); rec.Total() != 2 || !strings.Contains(places[0].Place, "TestPanicCostsOneRequest") {
		t.Errorf("%d panics: %+v", rec.Total(), places)
	}
}

// TestHalfAnAnswerIsCutOff: who panics in mid-answer must not seem to have ended it.
func TestHalfAnAnswerIsCutOff(t *testing.T) {
	rec := panics.New(panics.Config{})
	h := handler(t, func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, "half")
		w.(http.Flusher).Flush()
		if r.URL.Path == "/abort" {
			panic(http.ErrAbortHandler)
		}
		panic("out of tea")
	}, fault.Panics(rec))
	s := httptest.NewServer(h)
	defer s.Close()
	c := s.Client()
	for _, path := range []string{"/panic", "/abort"} {
		resp, err := c.Get(s.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if string(body) != "half" || err == nil {
			t.Errorf("%s: %q, %v", path, body, err)
		}
	}
	if rec.Total() != 1 {
		t.Errorf("%d panics, but one was on purpose", rec.Total())
	}
}

func TestPanicsPassWithoutThePolicy(t *testing.T) {
	defer func() {
		if v := recover(); v != "out of tea" {
			t.Errorf("recovered %v", v)
		}
	}()
	serveOnce(handler(t, func(http.ResponseWriter, *http.Request) { panic("out of tea") }), "")
}

// TestFailuresAreToldToThePolicies, and the answer stays the handler's.
func TestFailuresAreToldToThePolicies(t *testing.T) {
	b := breaker.New(breaker.Config{Consecutive: 2})
	h := handler(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusEarlyHints) // is no answer yet
		http.Error(w, "broken", 500)
	}, fault.Breaker(b))
	for _, want := range []int{500, 500, 503} {
		if w := serveOnce(h, ""); w.Code != want && w.Code != http.StatusEarlyHints {
			t.Errorf("%d, want %d", w.Code, want)
		}
	}
	if st := b.Status(0); st.State != breaker.Open {
		t.Errorf("the breaker is %v", st.State)
	}
	v := judgeServed(struct{}{}, &served{503})
	if v.Outcome != fault.Failed || !v.Overload {
		t.Errorf("%+v", v)
	}
	if v := judgeServed(struct{}{}, http.ErrAbortHandler); v.Outcome != fault.Ignored {
		t.Errorf("%+v", v)
	}
	if got := (&served{502}).Error(); got != "answered with 502" {
		t.Error(got)
	}
}

func TestNewHandlerRefusesWhatWouldAnswerTwice(t *testing.T) {
	for _, p := range []fault.Policy{
		fault.Retry(retry.Policy{}, nil),
		fault.Hedge(hedge.New(hedge.Config{})),
		fault.Fallback(fallback.New(fallback.Config[int]{Static: new(1)})),
		fault.Else(func(context.Context, error) (int, error) { return 0, nil }),
	} {
		if _, err := NewHandler(HandlerConfig{Stack: fault.Must(fault.New(p))}, http.HandlerFunc(hello)); err == nil || !strings.Contains(err.Error(), p.Kind.String()) {
			t.Errorf("%v: %v", p.Kind, err)
		}
	}
}

func TestRefusalsAreTheCallersToWrite(t *testing.T) {
	sh := shed.New(shed.Config{MaxShed: 1})
	sh.Press(1)
	h, err := NewHandler(HandlerConfig{
		Stack:  fault.Must(fault.New(fault.Shed(sh))),
		About:  func(*http.Request) fault.Call { return fault.Call{Priority: shed.Sheddable} },
		Refuse: func(w http.ResponseWriter, _ *http.Request, err error) { http.Error(w, err.Error(), http.StatusTeapot) },
	}, http.HandlerFunc(hello))
	if err != nil {
		t.Fatal(err)
	}
	if w := serveOnce(h, ""); w.Code != http.StatusTeapot || w.Body.String() != "the call was shed\n" {
		t.Errorf("%d %q", w.Code, w.Body)
	}
}

// TestWriterKeepsItsAbilities: flushing, hijacking, sending files.
func TestWriterKeepsItsAbilities(t *testing.T) {
	name := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(name, []byte("from a file"), 0o600); err != nil {
		t.Fatal(err)
	}
	h := handler(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/file":
			f, err := os.Open(name)
			if err != nil {
				panic(err)
			}
			defer f.Close()
			if _, err := io.Copy(w, f); err != nil {
				panic(err)
			}
		case "/hijack":
			conn, rw, err := http.NewResponseController(w).Hijack()
			if err != nil {
				panic(err)
			}
			fmt.Fprint(rw, "HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nhijacked")
			rw.Flush()
			conn.Close()
		case "/deadline":
			if err := http.NewResponseController(w).SetWriteDeadline(time.Now().Add(time.Minute)); err != nil {
				panic(err)
			}
		}
	}, fault.Timeout(10*time.Second))
	s := httptest.NewServer(h)
	defer s.Close()
	for path, want := range map[string]string{"/file": "from a file", "/hijack": "hijacked", "/deadline": ""} {
		resp, err := s.Client().Get(s.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || string(body) != want || resp.StatusCode != 200 {
			t.Errorf("%s: %d %q, %v", path, resp.StatusCode, body, err)
		}
	}
	if _, _, err := (&recorder{ResponseWriter: httptest.NewRecorder()}).Hijack(); !errors.Is(err, http.ErrNotSupported) {
		t.Errorf("hijack of what can't be: %v", err)
	}
	var _ http.Hijacker = (*recorder)(nil)
	var _ interface {
		Hijack() (net.Conn, *bufio.ReadWriter, error)
	} = (*recorder)(nil)
}

func TestServesConcurrently(t *testing.T) {
	h := handler(t, hello, fault.Shed(shed.New(shed.Config{})), fault.Bulkhead(bulkhead.New(bulkhead.Config{Limit: 2, Queue: 100})), fault.Panics(panics.New(panics.Config{})))
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 200 {
				if w := serveOnce(h, ""); w.Code != 200 && w.Code != 503 {
					t.Errorf("%d", w.Code)
				}
			}
		})
	}
	wg.Wait()
}

// nobody is a ResponseWriter that costs nothing.
type nobody struct{ h http.Header }

func (n nobody) Header() http.Header         { return n.h }
func (n nobody) Write(p []byte) (int, error) { return len(p), nil }
func (n nobody) WriteHeader(int)             {}

func BenchmarkServe(b *testing.B) {
	h, err := NewHandler(HandlerConfig{Stack: fault.Must(fault.New(
		fault.LimitEach(limit.NewKeyed(limit.KeyedConfig{Config: limit.Config{Tokens: 1e9}}), 0),
		fault.Bulkhead(bulkhead.New(bulkhead.Config{})),
		fault.Panics(panics.New(panics.Config{})),
	))}, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(200) }))
	if err != nil {
		b.Fatal(err)
	}
	r := httptest.NewRequest("GET", "/", nil)
	w := nobody{http.Header{}}
	b.ReportAllocs()
	for b.Loop() {
		h.ServeHTTP(w, r)
	}
}
