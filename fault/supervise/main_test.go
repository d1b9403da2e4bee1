package supervise

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/trivet-ha/trivet/events"
	"github.com/trivet-ha/trivet/fault/health"
	"github.com/trivet-ha/trivet/fault/probe"
	"github.com/trivet-ha/trivet/fault/supervise/life"
)

// The test binary is three programs: the tests, the keeper, and the server that is kept.
func TestMain(m *testing.M) {
	switch {
	case os.Getenv(keeperVariable) != "":
		syscall.Exit(Keep()) // without what os.Exit says about coverage
	case os.Getenv("SUPERVISE_TEST") == "server":
		serve()
	case os.Getenv("SUPERVISE_TEST") == "owner":
		own()
	case os.Getenv("SUPERVISE_TEST") == "cgroup":
		keepInCgroup()
	default:
		goleak.VerifyTestMain(m)
	}
}

// serve is a small server whose environment says how it behaves.
func serve() {
	is := func(name string) bool { return os.Getenv(name) != "" }
	if is("FAIL") {
		fmt.Fprintln(os.Stderr, "no database")
		os.Exit(3)
	}
	if is("STUBBORN") {
		signal.Ignore(syscall.SIGTERM)
	}
	if is("BROOD") { // children that leave their session behind
		for _, attr := range []*syscall.SysProcAttr{{}, {Setsid: true}} {
			c := exec.Command("/bin/sh", "-c", "trap '' TERM HUP; sleep 600 & setsid sleep 600 & wait")
			c.SysProcAttr = attr
			_ = c.Start()
		}
	}
	fmt.Printf("serving on %s as %s of %s\n", os.Getenv("TRIVET_ADDRESS"), os.Getenv("TRIVET_REPLICA"), os.Getenv("TRIVET_POOL"))
	if is("MUTE") {
		select {}
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, "%d %s %d", os.Getpid(), os.Getenv("EDITION"), os.Getuid())
	})
	fmt.Fprintln(os.Stderr, http.ListenAndServe("127.0.0.1:"+os.Args[1], mux))
	os.Exit(1)
}

// town is a Traffic that remembers.
type town struct {
	mu       sync.Mutex
	now      map[string]Standing
	inFlight map[string]int
	least    int // the fewest that ever served, once settled
	settled  bool
	log      []string
}

func newTown() *town { return &town{now: map[string]Standing{}, inFlight: map[string]int{}} }

func (w *town) Put(s Standing) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.log = append(w.log, fmt.Sprintf("%s %s %s", s.Process, s.Address, s.State))
	if s.State == Gone {
		delete(w.now, s.Address)
	} else {
		w.now[s.Address] = s
	}
	if w.settled {
		w.least = min(w.least, w.count())
	}
}

func (w *town) InFlight(address string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.inFlight[address]
}

// count is how many serve, under mu.
func (w *town) count() (n int) {
	for _, s := range w.now {
		if s.State == Serving {
			n++
		}
	}
	return n
}

func (w *town) serving() []Standing {
	w.mu.Lock()
	defer w.mu.Unlock()
	var all []Standing
	for _, s := range w.now {
		if s.State == Serving {
			all = append(all, s)
		}
	}
	slices.SortFunc(all, func(a, b Standing) int { return strings.Compare(a.Process, b.Process) })
	return all
}

// told reports whether something was said at some time.
func (w *town) told(line string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Contains(w.log, line)
}

// addresses is how many addresses there are.
func (w *town) addresses() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.now)
}

func (w *town) settle() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.settled, w.least = true, w.count()
}

// scene is a group that runs.
type scene struct {
	*Group
	t      *testing.T
	town   *town
	cfg    Config
	cancel context.CancelFunc
	ended  chan error

	mu     sync.Mutex
	events []events.Event
	lines  []Line
}

// edition sets a variable of the server's environment.
func with(vars ...string) []Variable {
	env := []Variable{{"SUPERVISE_TEST", "server"}, {"GOCOVERDIR", "."}}
	for i := 0; i < len(vars); i += 2 {
		env = append(env, Variable{vars[i], vars[i+1]})
	}
	return env
}

// config is a group of servers, with pauses that suit a test.
func (s *scene) config(replicas int, env []Variable) Config {
	self, err := os.Executable()
	if err != nil {
		s.t.Fatal(err)
	}
	return Config{
		Pool: "shop", Keeper: []string{"/proc/self/exe", "keep"}, Traffic: s.town,
		Spec: Spec{Command: []string{self, "{{.Port}}"}, Dir: s.t.TempDir(), Env: env, StopTimeout: 5 * time.Second},
		Policy: life.Policy{
			Replicas: replicas, StartTimeout: time.Minute, DrainTimeout: 5 * time.Second,
			Restart: life.Restart{Backoff: 10 * time.Millisecond, BackoffMax: 50 * time.Millisecond, Limit: 3, Within: time.Minute},
		},
		// Patient, for a machine that is busy with other tests.
		Alive:  &Alive{&probe.HTTP{}, health.Policy{Fall: 2, Rise: 1, Interval: 20 * time.Millisecond, FastInterval: 20 * time.Millisecond, Timeout: 10 * time.Second}},
		Event:  func(e events.Event) { s.mu.Lock(); s.events = append(s.events, e); s.mu.Unlock() },
		Output: Output{Sink: func(l Line) { s.mu.Lock(); s.lines = append(s.lines, l); s.mu.Unlock() }},
	}
}

// raise makes a group and runs it until the test ends; then nothing may be left of it.
func raise(t *testing.T, replicas int, env []Variable, change ...func(*Config)) *scene {
	t.Helper()
	s := &scene{t: t, town: newTown()}
	s.cfg = s.config(replicas, env)
	for _, f := range change {
		f(&s.cfg)
	}
	g, err := New(s.cfg)
	if err != nil {
		t.Fatal(err)
	}
	s.run(g)
	return s
}

func (s *scene) run(g *Group) {
	s.Group, s.ended = g, make(chan error, 1)
	var ctx context.Context
	ctx, s.cancel = context.WithCancel(context.Background())
	ended := s.ended
	go func() { ended <- g.Run(ctx) }()
	s.t.Cleanup(s.end)
}

// end ends the group; nothing may be left.
func (s *scene) end() {
	if s.ended == nil {
		return
	}
	s.cancel()
	select {
	case err := <-s.ended:
		if err != nil {
			s.t.Error(err)
		}
	case <-time.After(30 * time.Second):
		s.t.Error("the group does not end")
	}
	s.ended = nil
	if left := markedProcesses(s.cfg.Spec.Dir); len(left) > 0 {
		s.t.Errorf("processes are left: %v", left)
	}
	if len(s.town.now) > 0 {
		s.t.Errorf("addresses are left: %v", s.town.now)
	}
	if s.t.Failed() {
		s.t.Logf("events:\n%s", strings.Join(s.kinds("*"), "\n"))
		s.t.Logf("traffic:\n%s", strings.Join(s.town.log, "\n"))
	}
}

// markedProcesses lists the processes of a test: those whose folder, or whose keeper's argument, is the test's own.
func markedProcesses(dir string) (found []string) {
	for _, pid := range processes() {
		cwd, _ := os.Readlink("/proc/" + strconv.Itoa(pid) + "/cwd")
		if strings.TrimSuffix(cwd, " (deleted)") == dir {
			line, _ := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cmdline")
			found = append(found, fmt.Sprintf("%d %q", pid, line))
		}
	}
	return found
}

// alive tells a process from a number that nobody has, or a dead one that nobody has asked for yet.
func alive(pid int) bool {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	return err == nil && !strings.HasPrefix(string(text[strings.LastIndexByte(string(text), ')')+1:]), " Z")
}

// kinds are the events so far that match a pattern, with what they tell.
func (s *scene) kinds(pattern string) (all []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.events {
		if e.Kind.Matches(pattern) {
			all = append(all, fmt.Sprintf("%s %s: %s; %s", e.Kind, e.Process, e.Evidence, e.Action))
		}
	}
	return all
}

func (s *scene) heard(text string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.ContainsFunc(s.lines, func(l Line) bool { return strings.Contains(l.Text, text) })
}

// eventually waits until the condition holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	const within = time.Minute // a busy machine is slow; only a state that never comes is a failure
	for deadline := time.Now().Add(within); !holds(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", within, what)
		}
	}
}

func (s *scene) allServe(n int) {
	s.t.Helper()
	eventually(s.t, fmt.Sprintf("%d serve", n), func() bool { return len(s.town.serving()) == n })
}

// pids are the numbers of the processes, by name.
func (s *scene) pids() map[string]int {
	all, _ := s.Status()
	m := map[string]int{}
	for _, st := range all {
		m[st.Name] = st.PID
	}
	return m
}

// ask sends a request to a process, and returns the words of the answer: its number, edition and user.
func ask(t *testing.T, address string) []string {
	t.Helper()
	conn, err := net.DialTimeout("tcp", address, 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	fmt.Fprintf(conn, "GET / HTTP/1.0\r\n\r\n")
	var b strings.Builder
	buf := make([]byte, 4096)
	for {
		n, err := conn.Read(buf)
		b.Write(buf[:n])
		if err != nil {
			break
		}
	}
	_, body, _ := strings.Cut(b.String(), "\r\n\r\n")
	return strings.Split(body, " ")
}
