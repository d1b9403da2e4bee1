package probe

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/trivet-ha/trivet/fault/health"
)

// fake is a check whose answers a test sets by address.
type fake struct {
	mu      sync.Mutex
	ill     map[string]error
	hang    map[string]bool
	asked   []string // address and target
	running atomic.Int32
	most    atomic.Int32
	takes   time.Duration
}

func (f *fake) Do(ctx context.Context, t Target) (string, error) {
	n := f.running.Add(1)
	defer f.running.Add(-1)
	for most := f.most.Load(); n > most && !f.most.CompareAndSwap(most, n); most = f.most.Load() {
	}
	f.mu.Lock()
	f.asked = append(f.asked, strings.TrimSpace(t.Address+" "+t.Dial))
	err, hang := f.ill[t.Address], f.hang[t.Address]
	f.mu.Unlock()
	if hang {
		<-ctx.Done()
		return "", errors.New("timed out")
	}
	if f.takes > 0 {
		<-time.After(f.takes)
	}
	return "well", err
}

func (f *fake) set(address string, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.ill == nil {
		f.ill = map[string]error{}
	}
	f.ill[address] = err
}

// journal keeps reports, and tells them as lines in the order of time and address.
type journal struct {
	mu      sync.Mutex
	reports []Report
}

func (j *journal) report(r Report) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.reports = append(j.reports, r)
}

func (j *journal) take() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	slices.SortStableFunc(j.reports, func(a, b Report) int {
		return cmp.Or(cmp.Compare(a.At, b.At), cmp.Compare(a.Address, b.Address))
	})
	var lines []string
	for _, r := range j.reports {
		changed := ""
		if r.Changed {
			changed = " now"
		}
		lines = append(lines, fmt.Sprintf("%v %s: %s,%s %v", r.At, r.Address, r.Reason, changed, r.Verdict))
	}
	j.reports = nil
	return strings.Join(lines, "\n")
}

func targets(addresses ...string) (all []Target) {
	for _, a := range addresses {
		all = append(all, Target{Address: a})
	}
	return all
}

var steady = health.Policy{Interval: 2 * time.Second, FastInterval: 500 * time.Millisecond, Jitter: -1}

// running starts p and stops it when the bubble's test ends.
func running(t *testing.T, p *Prober) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- p.Run(ctx) }()
	return func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	}
}

func TestProbesDecideAndHurryWhileChanging(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		check, log := &fake{}, &journal{}
		p, err := New(Config{Check: check, Policy: steady, Targets: targets("a"), Report: log.report})
		if err != nil {
			t.Fatal(err)
		}
		defer running(t, p)()
		time.Sleep(2100 * time.Millisecond)
		check.set("a", errors.New("refused"))
		time.Sleep(5 * time.Second)
		check.set("a", nil)
		time.Sleep(3 * time.Second)
		synctest.Wait()
		want := `0s a: well, now up
2s a: well, up
4s a: refused, up
4.5s a: refused, up
5s a: refused, now down
7s a: refused, down
9s a: well, down
9.5s a: well, now up`
		if got := log.take(); got != want {
			t.Errorf("reports:\n%s\nwant:\n%s", got, want)
		}
	})
}

func TestHangingProbeTimesOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		check, log := &fake{hang: map[string]bool{"a": true}}, &journal{}
		p, _ := New(Config{Check: check, Policy: steady, Targets: targets("a", "b"), Report: log.report})
		defer running(t, p)()
		time.Sleep(3500 * time.Millisecond)
		synctest.Wait()
		want := `0s b: well, now up
1s a: timed out, now down
2s b: well, up`
		if got := log.take(); got != want {
			t.Errorf("reports:\n%s\nwant:\n%s", got, want)
		}
	})
}

func TestUpdateKeepsVerdicts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		check, log := &fake{}, &journal{}
		check.set("b", errors.New("refused"))
		p, _ := New(Config{Check: check, Policy: steady, Targets: targets("a", "b", "c"), Report: log.report})
		defer running(t, p)()
		time.Sleep(time.Second)
		log.take()
		slower := health.Policy{Interval: 10 * time.Second, FastInterval: time.Second, Jitter: -1, Fall: 1}
		other := &fake{}
		other.set("b", errors.New("503"))
		other.set("a", errors.New("503"))
		if err := p.Update(Config{Check: other, Policy: slower, Targets: targets("d", "b", "a")}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if got := log.take(); got != "1s d: well, now up" {
			t.Errorf("after the update: %s", got)
		}
		if got := p.State(); len(got) != 3 || got["a"].Verdict != health.Up || got["b"].Verdict != health.Down {
			t.Errorf("state is %v", got)
		}
		time.Sleep(1500 * time.Millisecond) // what was due by the old rules still is
		if got, want := log.take(), "2s a: 503, now down\n2s b: 503, down"; got != want {
			t.Errorf("reports:\n%s\nwant:\n%s", got, want)
		}
		if err := p.Update(Config{Check: other, Policy: steady, Targets: targets("a", "b", "d")}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second) // what is due sooner by the new rules is
		synctest.Wait()
		if got, want := log.take(), "4.5s a: 503, down\n4.5s b: 503, down\n4.5s d: well, up"; got != want {
			t.Errorf("reports:\n%s\nwant:\n%s", got, want)
		}
		if err := p.Update(Config{}); err == nil || p.State()["a"].Verdict != health.Down {
			t.Error("a bad update is taken")
		}
	})
}

func TestRemovedWhileProbedIsNotReported(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		check, log := &fake{takes: 100 * time.Millisecond}, &journal{}
		p, _ := New(Config{Check: check, Policy: steady, Targets: targets("a", "b"), Report: log.report})
		defer running(t, p)()
		synctest.Wait()
		if err := p.Update(Config{Check: check, Policy: steady, Targets: targets("b")}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if got := log.take(); got != "100ms b: well, now up" {
			t.Errorf("reports: %s", got)
		}
		if err := p.Update(Config{Check: check, Policy: steady, Targets: targets("c")}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(1500 * time.Millisecond)
		if got := log.take(); got != "1.1s c: well, now up" {
			t.Errorf("reports: %s", got)
		}
	})
}

func TestEndIsNoFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		check, log := &fake{hang: map[string]bool{"a": true}}, &journal{}
		p, _ := New(Config{Check: check, Policy: steady, Targets: targets("a"), Report: log.report})
		stop := running(t, p)
		time.Sleep(500 * time.Millisecond)
		stop()
		if got := log.take(); got != "" || check.running.Load() != 0 {
			t.Errorf("reports: %s; %d probes still run", got, check.running.Load())
		}
		check.mu.Lock()
		check.hang = nil
		check.mu.Unlock()
		defer running(t, p)() // again: what was cut short is due
		synctest.Wait()
		if got := log.take(); got != "500ms a: well, now up" {
			t.Errorf("reports of the second run: %s", got)
		}
	})
}

func TestStateSurvivesARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		check, log := &fake{}, &journal{}
		check.set("a", errors.New("refused"))
		cfg := Config{Check: check, Policy: steady, Targets: targets("a"), Report: log.report}
		old := map[string]health.State{"a": {Verdict: health.Up, Run: 1}, "later": {Verdict: health.Down}}
		p, _ := New(cfg)
		p.Restore(old)
		defer running(t, p)()
		time.Sleep(600 * time.Millisecond)
		if got, want := log.take(), "0s a: refused, up\n500ms a: refused, now down"; got != want {
			t.Errorf("reports:\n%s\nwant:\n%s", got, want)
		}
		cfg.Targets = targets("a", "later")
		if err := p.Update(cfg); err != nil {
			t.Fatal(err)
		}
		time.Sleep(600 * time.Millisecond)
		if got, want := log.take(), "600ms later: well, down\n1.1s later: well, now up"; got != want {
			t.Errorf("reports:\n%s\nwant:\n%s", got, want)
		}
	})
}

func TestConcurrencyIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		check, log := &fake{takes: 100 * time.Millisecond}, &journal{}
		var many []Target
		for i := range 100 {
			many = append(many, Target{Address: fmt.Sprintf("10.0.0.%d:80", i)})
		}
		p, _ := New(Config{Check: check, Policy: steady, Targets: many, Concurrency: 7, Report: log.report})
		defer running(t, p)()
		time.Sleep(1600 * time.Millisecond)
		if got := len(p.State()); got != 100 || check.most.Load() != 7 {
			t.Errorf("%d endpoints; %d probes at a time, want 7", got, check.most.Load())
		}
		for address, s := range p.State() {
			if s.Verdict != health.Up {
				t.Errorf("%s was not probed within 1.6s: %v", address, s.Verdict)
			}
		}
	})
}

func TestJitterSpreadsProbes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		check := &fake{}
		var many []Target
		for i := range 50 {
			many = append(many, Target{Address: fmt.Sprint("e", i)})
		}
		var mu sync.Mutex
		at := map[time.Duration]int{}
		p, _ := New(Config{Check: check, Policy: health.Policy{Jitter: 0.5}, Targets: many, Report: func(r Report) {
			mu.Lock()
			defer mu.Unlock()
			if r.At > 0 {
				at[r.At]++
				if r.At < 1500*time.Millisecond || r.At > 2500*time.Millisecond {
					t.Errorf("probe at %v", r.At)
				}
			}
		}})
		defer running(t, p)()
		time.Sleep(2600 * time.Millisecond)
		mu.Lock()
		defer mu.Unlock()
		if len(at) < 45 {
			t.Errorf("50 probes at %d moments", len(at))
		}
	})
}

func TestHurry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		check, log := &fake{takes: 10 * time.Millisecond}, &journal{}
		p, _ := New(Config{Check: check, Policy: steady, Targets: targets("a"), Report: log.report})
		defer running(t, p)()
		time.Sleep(time.Second)
		if !p.Hurry("a") || p.Hurry("b") {
			t.Error("Hurry does not know its endpoints")
		}
		synctest.Wait()
		if !p.Hurry("a") { // it is being probed
			t.Error("Hurry does not know an endpoint that is being probed")
		}
		time.Sleep(500 * time.Millisecond)
		if got, want := log.take(), "10ms a: well, now up\n1.01s a: well, up"; got != want {
			t.Errorf("reports:\n%s\nwant:\n%s", got, want)
		}
	})
}

func TestPortOverride(t *testing.T) {
	for _, c := range []struct {
		target Target
		want   string
	}{
		{Target{Address: "10.0.0.1:80"}, "10.0.0.1:9090"},
		{Target{Address: "app:80", Dial: "[::1]:80"}, "[::1]:9090"},
		{Target{Address: "unix:/run/x"}, ""},
		{Target{Address: "nonsense"}, ""},
	} {
		if got := withPort(c.target, 9090).Dial; got != c.want {
			t.Errorf("%+v is dialled at %q, want %q", c.target, got, c.want)
		}
	}
}

func TestConfigIsChecked(t *testing.T) {
	report := func(Report) {}
	for want, c := range map[string]Config{
		"no check":        {Report: report},
		"nobody":          {Check: &TCP{}},
		"port 70000":      {Check: &TCP{}, Report: report, Port: 70000},
		"concurrency -1":  {Check: &TCP{}, Report: report, Concurrency: -1},
		"fall -1":         {Check: &TCP{}, Report: report, Policy: health.Policy{Fall: -1}},
		`"a" is listed`:   {Check: &TCP{}, Report: report, Targets: targets("a", "a")},
		`"" is listed`:    {Check: &TCP{}, Report: report, Targets: targets("")},
		"no check at all": {},
	} {
		if _, err := New(c); err == nil || !strings.Contains(err.Error(), strings.TrimSuffix(want, " at all")) {
			t.Errorf("%s: %v", want, err)
		}
	}
}

// serveForever is the process that TestStoppedProcess stops.
func serveForever() {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println(l.Addr())
	_ = http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprintln(w, "well") }))
	os.Exit(1)
}

// TestStoppedProcess probes a real server that is stopped by SIGSTOP, continued,
// and killed.
func TestStoppedProcess(t *testing.T) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "TRIVET_PROBE_TEST_SERVER=1")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	killed := false
	kill := func() {
		if !killed {
			killed = true
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
	}
	defer kill()
	var address string
	if _, err := fmt.Fscanln(out, &address); err != nil {
		t.Fatal(err)
	}
	reports := make(chan Report, 1000)
	policy := health.Policy{Interval: 50 * time.Millisecond, Timeout: 200 * time.Millisecond}
	p, err := New(Config{Check: &HTTP{Path: "/healthz"}, Policy: policy, Targets: targets(address), Report: func(r Report) { reports <- r }})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	var run sync.WaitGroup
	run.Go(func() { _ = p.Run(ctx) })
	defer run.Wait()
	defer cancel()
	until := func(v health.Verdict, reason string) {
		t.Helper()
		for {
			select {
			case r := <-reports:
				if r.Changed && r.Verdict == v {
					if !strings.Contains(r.Reason, reason) {
						t.Errorf("%v because %q, want %q", v, r.Reason, reason)
					}
					return
				}
			case <-ctx.Done():
				t.Fatalf("never %v", v)
			}
		}
	}
	until(health.Up, "status 200")
	_ = cmd.Process.Signal(syscall.SIGSTOP)
	until(health.Down, "timed out")
	_ = cmd.Process.Signal(syscall.SIGCONT)
	until(health.Up, "status 200")
	kill()
	until(health.Down, "connection refused")
}

// ranked is a check that knows roles.
type ranked struct {
	fake
	role atomic.Int32
}

func (r *ranked) Rank(ctx context.Context, t Target) (Answer, error) {
	detail, err := r.Do(ctx, t)
	return Answer{Detail: detail, Role: Role(r.role.Load()), Term: 7}, err
}

func TestRolesAreReportedWhileTheProbeSucceeds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		check, log := &ranked{}, &journal{}
		check.role.Store(int32(RolePrimary))
		p, err := New(Config{Check: check, Policy: steady, Targets: targets("a"), Report: log.report})
		if err != nil {
			t.Fatal(err)
		}
		defer running(t, p)()
		last := func() string {
			log.mu.Lock()
			defer log.mu.Unlock()
			r := log.reports[len(log.reports)-1]
			return fmt.Sprint(r.Role, " ", r.Term, " ", r.Reason)
		}
		time.Sleep(100 * time.Millisecond)
		synctest.Wait()
		if got := last(); got != "primary 7 well" {
			t.Error(got)
		}
		check.role.Store(int32(RoleReplica))
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if got := last(); got != "replica 7 well" {
			t.Error(got)
		}
		check.set("a", errors.New("refused"))
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if got := last(); got != "unknown 0 refused" {
			t.Error(got)
		}
	})
}
