package backup

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// shelf is a Memory.
type shelf struct {
	mu      sync.Mutex
	records map[string]Record
	fail    error
}

func (s *shelf) Load(_ context.Context, job string) (Record, bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, ok := s.records[job]
	return r, ok, s.fail
}

func (s *shelf) Store(ctx context.Context, job string, r Record) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.records == nil {
		s.records = map[string]Record{}
	}
	s.records[job] = r
	return errors.Join(s.fail, ctx.Err())
}

// keeping is a keeper that runs in a bubble.
type keeping struct {
	*Keeper
	t      *testing.T
	stop   func()
	mu     sync.Mutex
	events []string
}

// keepGoing runs jobs until stop is called, at the latest at the end of the test.
func keepGoing(t *testing.T, m Memory, jobs ...Job) *keeping {
	t.Helper()
	k := &keeping{t: t}
	k.Keeper = NewKeeper(KeeperConfig{Memory: m, Tell: func(e Event) {
		k.mu.Lock()
		defer k.mu.Unlock()
		text := e.Job + " " + string(e.What)
		if e.NowOverdue {
			text += " overdue"
		}
		k.events = append(k.events, text)
	}})
	if err := k.Change(jobs); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { _ = k.Run(ctx); close(ended) }()
	k.stop = sync.OnceFunc(func() { cancel(); <-ended })
	t.Cleanup(k.stop)
	synctest.Wait()
	return k
}

func (k *keeping) of(job string) JobStatus {
	k.t.Helper()
	list := k.Status()
	i := slices.IndexFunc(list, func(s JobStatus) bool { return s.Name == job })
	if i < 0 {
		k.t.Fatalf("no job %s in %v", job, list)
	}
	return list[i]
}

func (k *keeping) told() string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return strings.Join(k.events, ", ")
}

// lasting takes a while, unless it is stopped.
func lasting(d time.Duration) func(context.Context, *Progress) (Outcome, error) {
	return func(ctx context.Context, _ *Progress) (Outcome, error) {
		select {
		case <-time.After(d):
			return Outcome{Text: "done"}, nil
		case <-ctx.Done():
			return Outcome{}, context.Cause(ctx)
		}
	}
}

func failing(context.Context, *Progress) (Outcome, error) { return Outcome{}, errTest }

func TestARunByCommandIsJoinedAndSeenToEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := keepGoing(t, nil, Job{Name: "uploads@vault", Do: lasting(time.Hour)}, Job{Name: "uploads@other", Do: failing})
		run, joined, err := k.Start("uploads@vault")
		if err != nil || joined || run != 1 {
			t.Fatal(run, joined, err)
		}
		synctest.Wait()
		if run, joined, err := k.Start("uploads@vault"); err != nil || !joined || run != 1 {
			t.Error(run, joined, err)
		}
		if s := k.of("uploads@vault"); s.State != Running || s.Run != 1 || s.Done != 0 || s.Progress.Elapsed != 0 {
			t.Errorf("%+v", s)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if s := k.of("uploads@vault"); s.State != Idle || s.Done != 1 || s.Outcome.Text != "done" || s.Duration() != time.Hour || !s.Next.IsZero() {
			t.Errorf("%+v", s)
		}
		if _, _, err := k.Start("uploads@other"); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		if s := k.of("uploads@other"); s.Error != "test" || s.Failures != 1 || s.Done != 1 {
			t.Errorf("%+v", s)
		}
		if _, _, err := k.Start("none"); !errors.Is(err, ErrNoJob) || !strings.Contains(err.Error(), "uploads@vault") {
			t.Errorf("got %v", err)
		}
		if want := "uploads@vault began, uploads@vault succeeded, uploads@other began, uploads@other failed"; k.told() != want {
			t.Errorf("told %q", k.told())
		}
		k.stop()
		if _, _, err := k.Start("uploads@vault"); !errors.Is(err, ErrNotKept) {
			t.Errorf("after its end: %v", err)
		}
	})
}

func TestAChangeLetsARunGoOnAndStopsThatOfAJobThatIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var ran []string
		seen := func() string {
			synctest.Wait()
			mu.Lock()
			defer mu.Unlock()
			return fmt.Sprint(ran)
		}
		job := func(name, edition string) Job {
			return Job{Name: name, When: schedule(t, "every 24h"), Do: func(ctx context.Context, p *Progress) (Outcome, error) {
				o, err := lasting(time.Hour)(ctx, p)
				if err == nil {
					mu.Lock()
					ran = append(ran, name+edition)
					mu.Unlock()
				}
				return o, err
			}}
		}
		k := keepGoing(t, nil, job("a", "1"), job("b", "1"))
		time.Sleep(time.Minute)
		if err := k.Change([]Job{job("a", "2"), job("c", "2")}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Hour)
		if got := seen(); got != "[a1 c2]" {
			t.Errorf("ran %s", got)
		}
		if s := k.of("a"); s.Failures != 0 || s.Done != 1 || time.Until(s.Next) != 22*time.Hour-time.Minute {
			t.Errorf("%+v", s)
		}
		if !strings.Contains(k.told(), "b stopped") || len(k.Status()) != 2 {
			t.Errorf("told %q, %d jobs", k.told(), len(k.Status()))
		}
		time.Sleep(23*time.Hour - 30*time.Second)
		if got := seen(); got != "[a1 c2 a2]" {
			t.Errorf("ran %s", got)
		}
		if err := k.Change([]Job{{Name: "x"}}); err == nil || len(k.Status()) != 2 {
			t.Errorf("a job that does nothing: %v", err)
		}
	})
}

func TestAnotherScheduleHoldsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &shelf{records: map[string]Record{"a": {Began: time.Now(), Ended: time.Now(), Settled: time.Now()}}}
		job := Job{Name: "a", When: schedule(t, "every 24h"), Do: lasting(0)}
		k := keepGoing(t, m, job)
		time.Sleep(2 * time.Hour)
		if k.told() != "" {
			t.Errorf("told %q", k.told())
		}
		job.When = schedule(t, "every 1h")
		if err := k.Change([]Job{job}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if k.told() != "a began, a succeeded" {
			t.Errorf("told %q", k.told())
		}
	})
}

func TestWhatIsKnownOutlivesTheKeeper(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &shelf{}
		job := Job{Name: "a", When: schedule(t, "every 24h"), Do: lasting(time.Minute)}
		k := keepGoing(t, m, job)
		time.Sleep(time.Hour)
		k.stop()
		time.Sleep(10 * time.Hour)
		k = keepGoing(t, m, job)
		if s := k.of("a"); s.Outcome.Text != "done" || time.Since(s.Succeeded) != 11*time.Hour || time.Until(s.Next) != 13*time.Hour || s.Run != 0 {
			t.Errorf("%+v", s)
		}
		k.stop()
		time.Sleep(100 * time.Hour)
		k = keepGoing(t, m, job)
		time.Sleep(time.Hour)
		if k.told() != "a began, a succeeded" { // missed four times, made up once
			t.Errorf("told %q", k.told())
		}
		k.stop()
		time.Sleep(100 * time.Hour)
		job.SkipMissed = true
		k = keepGoing(t, m, job)
		time.Sleep(23 * time.Hour)
		if k.told() != "" {
			t.Errorf("a missed run that was not wanted was made up: %q", k.told())
		}
		time.Sleep(2 * time.Hour)
		if k.told() != "a began, a succeeded" {
			t.Errorf("told %q", k.told())
		}
	})
}

func TestMissedRunsOfManyAreMadeUpAtDifferentTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &shelf{records: map[string]Record{}}
		var jobs []Job
		for i := range 20 {
			name := fmt.Sprint("job", i)
			long := time.Now().Add(-100 * time.Hour)
			m.records[name] = Record{Began: long, Ended: long, Settled: long}
			jobs = append(jobs, Job{Name: name, When: schedule(t, "0 2 * * *").WithJitter(time.Hour), Do: lasting(0)})
		}
		k := keepGoing(t, m, jobs...)
		seen := map[time.Duration]bool{}
		for _, s := range k.Status() {
			seen[time.Until(s.Next)] = true
		}
		if len(seen) < 15 {
			t.Errorf("%d different times", len(seen))
		}
		time.Sleep(time.Hour)
		if n := strings.Count(k.told(), "succeeded"); n != 20 {
			t.Errorf("%d were made up", n)
		}
	})
}

func TestARunThatGaveWayToTheEndIsMadeUpAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &shelf{}
		job := Job{Name: "a", When: schedule(t, "every 24h"), SkipMissed: true, Do: lasting(time.Hour)}
		k := keepGoing(t, m, job)
		if _, _, err := k.Start("a"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		k.stop()
		if r := m.records["a"]; !r.Stopped || r.Failures != 0 || r.Ended.IsZero() {
			t.Errorf("%+v", r)
		}
		k = keepGoing(t, m, job)
		time.Sleep(time.Hour)
		synctest.Wait()
		if k.told() != "a began, a succeeded" || m.records["a"].Stopped {
			t.Errorf("told %q, %+v", k.told(), m.records["a"])
		}
	})
}

// A backup may be what ends the process: it must not do so again and again.
func TestARunThatWasCutOffCountsAsAFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &shelf{records: map[string]Record{"a": {Began: time.Now().Add(-time.Second), Settled: time.Now().Add(-48 * time.Hour)}}}
		k := keepGoing(t, m, Job{Name: "a", When: schedule(t, "every 24h"), Do: lasting(0)})
		if s := k.of("a"); k.told() != "a lost" || s.Failures != 1 || s.Error == "" || time.Until(s.Next) != firstRetry-time.Second {
			t.Errorf("told %q, %+v", k.told(), s)
		}
		time.Sleep(firstRetry)
		if k.told() != "a lost, a began, a succeeded" || k.of("a").Error != "" {
			t.Errorf("told %q, %+v", k.told(), k.of("a"))
		}
	})
}

func TestARunThatIsStoppedByCommandWaitsForItsNextTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := keepGoing(t, nil, Job{Name: "a", When: schedule(t, "every 1h"), Do: lasting(10 * time.Minute)})
		time.Sleep(time.Minute)
		if stopped, err := k.Stop("a"); err != nil || !stopped {
			t.Fatal(stopped, err)
		}
		synctest.Wait()
		if s := k.of("a"); s.State != Idle || s.Failures != 0 || s.Error == "" || time.Until(s.Next) != time.Hour || s.Done != 1 {
			t.Errorf("%+v", s)
		}
		if stopped, err := k.Stop("a"); err != nil || stopped {
			t.Errorf("what does not run was stopped: %v, %v", stopped, err)
		}
		if _, err := k.Stop("b"); !errors.Is(err, ErrNoJob) {
			t.Error(err)
		}
	})
}

func TestTwoMissedTimesMakeItOverdueOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		job := Job{Name: "a", When: schedule(t, "every 1h"), Do: failing}
		k := keepGoing(t, nil, job)
		time.Sleep(119 * time.Minute)
		if strings.Contains(k.told(), "overdue") {
			t.Errorf("told %q", k.told())
		}
		time.Sleep(3 * time.Hour)
		if n := strings.Count(k.told(), "overdue"); n != 1 || !k.of("a").Overdue {
			t.Errorf("told %d times", n)
		}
		job.Do = lasting(0)
		if err := k.Change([]Job{job}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Hour)
		if s := k.of("a"); s.Overdue || s.Failures != 0 || !s.FailingSince.IsZero() {
			t.Errorf("%+v", s)
		}
	})
}

func TestAMemoryThatFailsStopsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := keepGoing(t, &shelf{fail: errTest}, Job{Name: "a", When: schedule(t, "every 1h"), Do: lasting(0)})
		time.Sleep(time.Hour + time.Second)
		if !strings.HasPrefix(k.told(), "a began, a succeeded, a began") {
			t.Errorf("told %q", k.told())
		}
	})
}

// A run that waits for its repository can be stopped, and gives nothing away.
func TestAWaitingRunCanBeStopped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := keepGoing(t, nil, Job{Name: "a", Uses: []string{"r"}, Do: lasting(time.Hour)}, Job{Name: "b", Uses: []string{"r"}, Do: lasting(time.Hour)})
		for _, name := range []string{"a", "b"} {
			if _, _, err := k.Start(name); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		if s := k.of("b"); s.State != Waiting {
			t.Errorf("%+v", s)
		}
		if stopped, err := k.Stop("b"); !stopped || err != nil {
			t.Error(stopped, err)
		}
		synctest.Wait()
		if s := k.of("b"); s.State != Idle || s.Run != 1 || s.Done != 0 || k.of("a").State != Running {
			t.Errorf("%+v", s)
		}
	})
}

func TestTurnsAreTakenInOrderByWhomTheyFit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var turns turns
		var mu sync.Mutex
		var order []string
		run := func(name string, needs ...string) {
			go func() {
				give, err := turns.take(t.Context(), needs)
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				order = append(order, name)
				mu.Unlock()
				time.Sleep(time.Minute)
				give()
			}()
			time.Sleep(time.Second)
		}
		run("a", "1", "2")
		run("b", "2", "3") // waits for a
		run("c", "3")      // is free
		run("d", "3")      // waits for c, and comes after b
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Second, errTest)
		defer cancel()
		if _, err := turns.take(ctx, []string{"1"}); !errors.Is(err, errTest) {
			t.Error(err)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if got := strings.Join(order, ""); got != "acbd" {
			t.Errorf("order %s", got)
		}
		if len(turns.taken) != 0 || len(turns.queued) != 0 {
			t.Errorf("left: %v, %d", turns.taken, len(turns.queued))
		}
	})
}
