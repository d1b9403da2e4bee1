package hook

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/trivet-ha/trivet/events"
	"github.com/trivet-ha/trivet/events/stream"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// receiver is a Deliverer that answers with what it is given, in turn, and then with nil.
type receiver struct {
	mu      sync.Mutex
	answers []error
	got     []Notice
	at      []time.Time
	block   chan struct{} // if set, each delivery waits for it
}

func (r *receiver) Deliver(ctx context.Context, n Notice) error {
	if r.block != nil {
		select {
		case <-r.block:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.got, r.at = append(r.got, n), append(r.at, time.Now())
	if len(r.answers) == 0 {
		return nil
	}
	err := r.answers[0]
	r.answers = r.answers[1:]
	return err
}

func (r *receiver) kinds() (all []events.Kind) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, n := range r.got {
		all = append(all, n.Event.Kind)
	}
	return all
}

// scene is a stream with a hook on it, in a synctest bubble.
type scene struct {
	*stream.Stream
	hook *Hook
	stop context.CancelFunc // ends the stream
	quit context.CancelFunc // ends the hook
}

func set(t *testing.T, cfg Config, size int) *scene {
	cfg.Log, cfg.Name, cfg.Node = slog.New(slog.DiscardHandler), "pager", "n1"
	s := &scene{Stream: stream.New(stream.Config{Size: size})}
	s.hook = New(cfg, s.Stream)
	var wg sync.WaitGroup
	var live, run context.Context
	live, s.stop = context.WithCancel(context.Background())
	run, s.quit = context.WithCancel(context.Background())
	wg.Go(func() { _ = s.Run(live) })
	wg.Go(func() { _ = s.hook.Run(run) })
	t.Cleanup(func() { s.stop(); s.quit(); wg.Wait() })
	synctest.Wait()
	return s
}

func event(k events.Kind) events.Event {
	return events.Event{Kind: k, Where: events.Where{Pool: "site", Endpoint: "a"}, Evidence: "refused"}
}

func TestAHookIsToldWhatHappensBeforeItRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, r := stream.New(stream.Config{}), &receiver{}
		live, stop := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { _ = s.Run(live) })
		s.Publish(event(events.ConfigReloaded))
		synctest.Wait()
		h := New(Config{To: r, Log: slog.New(slog.DiscardHandler)}, s)
		s.Publish(event(events.NodeStarted))
		synctest.Wait()
		wg.Go(func() { _ = h.Run(t.Context()) })
		s.Publish(event(events.NodeStopping))
		synctest.Wait()
		stop()
		wg.Wait()
		if got := fmt.Sprint(r.kinds()); got != "[node.started node.stopping]" {
			t.Errorf("told %s", got)
		}
	})
}

func TestAHookIsToldWhatItsFilterChoosesInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &receiver{}
		s := set(t, Config{To: r, Filter: events.Filter{Level: events.Warn, Kinds: []string{"endpoint.*"}}}, 0)
		for _, k := range []events.Kind{events.EndpointDown, events.EndpointUp, events.PoolPanic, events.EndpointEjected, events.HookFailed} {
			s.Publish(event(k))
		}
		synctest.Wait()
		if got := fmt.Sprint(r.kinds()); got != "[endpoint.down endpoint.ejected]" {
			t.Errorf("told %s", got)
		}
		n := r.got[0]
		if n.Node != "n1" || n.Incident == nil || n.Incident.ID != n.Event.Incident || n.Event.Evidence != "refused" {
			t.Errorf("notice %+v", n)
		}
		if st := s.hook.Stats(); st != (Stats{Delivered: 2}) || s.hook.Name() != "pager" {
			t.Errorf("stats %+v", st)
		}
	})
}

func TestAFailedDeliveryIsTriedAgainWithPausesThatGrow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bad := errors.New("no route to host")
		r := &receiver{answers: []error{bad, bad, &Later{"busy", 10 * time.Second}, &Later{"busy", time.Hour}}}
		s := set(t, Config{To: r, Attempts: 8}, 0)
		s.Publish(event(events.NodeStarted))
		s.Publish(event(events.NodeStopping))
		time.Sleep(3 * time.Minute)
		if got := fmt.Sprint(r.kinds()); got != "[node.started node.started node.started node.started node.started node.stopping]" {
			t.Fatalf("told %s", got)
		}
		for i, bounds := range [][2]time.Duration{{500 * time.Millisecond, time.Second}, {time.Second, 2 * time.Second}, {10 * time.Second, 10 * time.Second}, {time.Minute, time.Minute}} {
			if pause := r.at[i+1].Sub(r.at[i]); pause < bounds[0] || pause > bounds[1] {
				t.Errorf("pause %d is %v, want %v", i, pause, bounds)
			}
		}
		if st := s.hook.Stats(); st.Retried != 4 || st.Delivered != 2 || st.Failed != 0 {
			t.Errorf("stats %+v", st)
		}
	})
}

func TestGivingUpIsAnEventAndNotToldToHooks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bad := errors.New("refused")
		r := &receiver{answers: []error{bad, bad, &Refusal{"404"}}}
		s := set(t, Config{To: r, Attempts: 2}, 0)
		s.Publish(event(events.NodeStarted))
		s.Publish(event(events.NodeStopping))
		s.Publish(event(events.PoolPanic))
		time.Sleep(time.Minute)
		got := s.List(events.Filter{Kinds: []string{"hook.*"}})
		if len(got) != 2 || got[0].Evidence != "refused" || got[1].Evidence != "404" || got[0].Hook != "pager" || !strings.Contains(got[1].Action, "node.stopping") {
			t.Errorf("events are %+v", got)
		}
		if n := len(r.kinds()); n != 4 {
			t.Errorf("%d attempts were made", n)
		}
		if st := s.hook.Stats(); st.Failed != 2 || st.Delivered != 1 {
			t.Errorf("stats %+v", st)
		}
	})
}

func TestNoMoreAreUnderWayThanAllowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &receiver{block: make(chan struct{})}
		s := set(t, Config{To: r, Concurrency: 3}, 0)
		for range 10 {
			s.Publish(event(events.NodeStarted))
		}
		synctest.Wait()
		if st := s.hook.Stats(); st.Pending != 3 {
			t.Errorf("%d are under way", st.Pending)
		}
		close(r.block)
		synctest.Wait()
		if st := s.hook.Stats(); st.Pending != 0 || st.Delivered != 10 {
			t.Errorf("stats %+v", st)
		}
	})
}

func TestASlowHookLosesTheOldestAndHoldsUpNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &receiver{block: make(chan struct{})}
		s := set(t, Config{To: r}, 4)
		for range 3 {
			s.Publish(event(events.NodeStarted))
			synctest.Wait()
		}
		for range 20 {
			s.Publish(event(events.NodeStopping))
		}
		synctest.Wait()
		close(r.block)
		synctest.Wait()
		if st := s.hook.Stats(); st.Lost == 0 || st.Lost+st.Delivered != 23 {
			t.Errorf("stats %+v", st)
		}
	})
}

func TestTheEndOfTheStreamIsToldToTheLastEvent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &receiver{}
		s := set(t, Config{To: r}, 0)
		s.Publish(event(events.NodeStopping))
		s.stop()
		synctest.Wait()
		if got := fmt.Sprint(r.kinds()); got != "[node.stopping]" {
			t.Errorf("told %s", got)
		}
	})
}

func TestAHookThatIsToldToEndGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &receiver{answers: []error{errors.New("away")}, block: make(chan struct{}, 1)}
		s := set(t, Config{To: r, Attempts: 9}, 0)
		r.block <- struct{}{}
		s.Publish(event(events.NodeStarted))
		s.Publish(event(events.NodeStarted))
		synctest.Wait()
		s.quit()
		synctest.Wait()
		if st := s.hook.Stats(); st.Failed != 1 || st.Pending != 0 || len(s.List(events.Filter{Kinds: []string{"hook.*"}})) != 0 {
			t.Errorf("stats %+v", st)
		}
	})
}

func notice() Notice {
	e := event(events.EndpointDown)
	e.ID, e.Level = 7, events.Warn
	return Notice{Node: "n1", Event: e, Incident: &events.Incident{ID: 7, State: events.Open}}
}

func TestAWebhookPostsJSONWithItsHeadersAndSignature(t *testing.T) {
	var got *http.Request
	var body []byte
	srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		got = r
		body, _ = io.ReadAll(r.Body)
	}))
	defer srv.Close()
	w := &Webhook{URL: srv.URL + "/hook", Header: http.Header{"Authorization": {"Bearer s3cret"}}, Key: []byte("key"), Client: srv.Client()}
	if err := w.Deliver(t.Context(), notice()); err != nil {
		t.Fatal(err)
	}
	if got.Method != "POST" || got.URL.Path != "/hook" || got.Header.Get("Authorization") != "Bearer s3cret" ||
		got.Header.Get("Content-Type") != "application/json" || got.Header.Get("Idempotency-Key") != "n1/7" {
		t.Errorf("got %s %s %v", got.Method, got.URL, got.Header)
	}
	if got.Header.Get(SignatureHeader) != Sign([]byte("key"), body) {
		t.Errorf("signature %s", got.Header.Get(SignatureHeader))
	}
	var n Notice
	if err := json.Unmarshal(body, &n); err != nil || n.Event != notice().Event || n.Incident.ID != 7 {
		t.Errorf("body %s, %v", body, err)
	}
	// RFC 4231 test case 2.
	if got := Sign([]byte("Jefe"), []byte("what do ya want for nothing?")); got != "sha256=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843" {
		t.Errorf("signature %s", got)
	}
}

func TestAnswersOfAWebhookAreJudged(t *testing.T) {
	for _, c := range []struct {
		status int
		after  string
		want   string // "": success
		wait   time.Duration
	}{
		{200, "", "", 0}, {204, "", "", 0},
		{302, "", "refusal", 0}, {400, "", "refusal", 0}, {404, "", "refusal", 0}, {410, "", "refusal", 0},
		{408, "", "again", 0}, {425, "", "again", 0}, {500, "", "again", 0}, {502, "", "again", 0},
		{429, "7", "later", 7 * time.Second}, {503, "", "later", 0}, {503, "Wed, 21 Oct 2026 07:28:00 GMT", "later", 0}, {429, "99999", "later", time.Hour},
	} {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			if c.after != "" {
				w.Header().Set("Retry-After", c.after)
			}
			w.Header().Set("Location", "/elsewhere")
			w.WriteHeader(c.status)
			if c.status >= 300 {
				_, _ = io.WriteString(w, " no, because "+strings.Repeat("x", 1000))
			}
		}))
		err := (&Webhook{URL: srv.URL}).Deliver(t.Context(), notice())
		var refusal *Refusal
		var later *Later
		got := ""
		switch {
		case errors.As(err, &refusal):
			got = "refusal"
		case errors.As(err, &later):
			got = "later"
		case err != nil:
			got = "again"
		}
		if got != c.want || later != nil && later.After != c.wait {
			t.Errorf("%d: %q, %v", c.status, got, err)
		}
		if err != nil && (!strings.Contains(err.Error(), "no, because x") || len(err.Error()) > 300) {
			t.Errorf("%d: error is %q", c.status, err)
		}
		srv.Close()
	}
	http.DefaultClient.CloseIdleConnections()
	http.DefaultTransport.(*http.Transport).CloseIdleConnections()
}

func TestAWebhookThatDoesNotAnswerIsTriedAgainAndItsURLNotTold(t *testing.T) {
	hang := make(chan struct{})
	srv := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-hang }))
	defer srv.Close()
	defer close(hang)
	err := (&Webhook{URL: srv.URL + "/s3cret", Timeout: 10 * time.Millisecond, Client: srv.Client()}).Deliver(t.Context(), notice())
	if !errors.Is(err, context.DeadlineExceeded) || strings.Contains(err.Error(), "s3cret") {
		t.Errorf("error is %v", err)
	}
	var refusal *Refusal
	if err := (&Webhook{URL: "http://bad host/"}).Deliver(t.Context(), notice()); !errors.As(err, &refusal) {
		t.Errorf("a bad URL: %v", err)
	}
}

func TestACommandGetsTheNoticeAndTheFacts(t *testing.T) {
	dir := t.TempDir()
	c := &Command{Argv: []string{"/bin/sh", "-c", `cat > body; echo "$TRIVET_EVENT $TRIVET_POOL $TRIVET_ENDPOINT $TRIVET_LEVEL $TRIVET_INCIDENT $TRIVET_INCIDENT_STATE $TRIVET_EVIDENCE" > env`}, Dir: dir}
	if err := c.Deliver(t.Context(), notice()); err != nil {
		t.Fatal(err)
	}
	env, _ := os.ReadFile(filepath.Join(dir, "env"))
	if string(env) != "endpoint.down site a warn 7 open refused\n" {
		t.Errorf("environment %q", env)
	}
	body, _ := os.ReadFile(filepath.Join(dir, "body"))
	var n Notice
	if err := json.Unmarshal(body, &n); err != nil || n.Event != notice().Event {
		t.Errorf("body %q, %v", body, err)
	}
}

func TestCommandsThatFailSayWhy(t *testing.T) {
	var refusal *Refusal
	if err := (&Command{Argv: []string{"/no/such/program"}}).Deliver(t.Context(), notice()); !errors.As(err, &refusal) {
		t.Errorf("a program that is not there: %v", err)
	}
	err := (&Command{Argv: []string{"/bin/sh", "-c", "echo first; echo no mail >&2; exit 3"}}).Deliver(t.Context(), notice())
	if err == nil || err.Error() != "command: exit status 3; it said: first\nno mail" {
		t.Errorf("a failure: %v", err)
	}
	begin := time.Now()
	err = (&Command{Argv: []string{"/bin/sh", "-c", "sleep 600 & sleep 600"}, Timeout: 50 * time.Millisecond}).Deliver(t.Context(), notice())
	if err == nil || !strings.Contains(err.Error(), "did not end within 50ms") || time.Since(begin) > 10*time.Second {
		t.Errorf("a hang: %v after %v", err, time.Since(begin))
	}
	if err := (&Command{Argv: []string{"/bin/true"}}).Deliver(t.Context(), notice()); err != nil {
		t.Errorf("one that does not read: %v", err)
	}
}
