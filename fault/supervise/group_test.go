package supervise

import (
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/trivet-ha/trivet/fault/supervise/life"
)

func TestProcessesAreStartedEachAtAPortOfItsOwn(t *testing.T) {
	s := raise(t, 3, with("EDITION", "{{.Pool}}-{{.Replica}}-{{.Port}}"))
	s.allServe(3)
	seen := map[string]bool{}
	for i, st := range s.town.serving() {
		_, port, _ := strings.Cut(st.Address, ":")
		if got := ask(t, st.Address); got[1] != fmt.Sprintf("shop-%d-%s", i, port) || st.Process != fmt.Sprintf("shop/%d", i) || got[0] != strconv.Itoa(s.pids()[st.Process]) {
			t.Errorf("%+v answers %v", st, got)
		}
		seen[st.Address] = true
		eventually(t, "its output is heard", func() bool { return s.heard(fmt.Sprintf("serving on %s as %d of shop", st.Address, i)) })
	}
	if len(seen) != 3 || len(s.kinds("process.ready")) != 3 || len(s.kinds("process.started")) != 3 {
		t.Errorf("addresses %v, events %v", seen, s.kinds("*"))
	}
	all, rolling := s.Status()
	if len(all) != 3 || rolling || all[2].State != "ready" || all[2].Replica != 2 || all[2].Version != 1 || all[2].Started.IsZero() || s.Failed() != 0 {
		t.Errorf("status %+v, rolling %v", all, rolling)
	}
}

func TestAProcessThatIsKilledIsStartedAgainAtTheSamePort(t *testing.T) {
	s := raise(t, 2, with("BROOD", "1"))
	s.allServe(2)
	before := s.town.serving()
	pid := s.pids()["shop/0"]
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the town hears that it is down", func() bool { return s.town.told("shop/0 " + before[0].Address + " down") })
	eventually(t, "another runs", func() bool { n := s.pids()["shop/0"]; return n != pid && n != 0 })
	s.allServe(2)
	if after := s.town.serving(); after[0].Address != before[0].Address {
		t.Errorf("it was at %s, and is at %s", before[0].Address, after[0].Address)
	}
	exits := s.kinds("process.exited")
	if len(exits) != 1 || !strings.Contains(exits[0], "killed by signal SIGKILL; it last said") || !strings.Contains(exits[0], "starts again in 1") {
		t.Errorf("events %v", exits)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.events {
		if e.Kind == "process.exited" && (e.Since.IsZero() || time.Since(e.Since) > time.Minute || e.Endpoint != before[0].Address) {
			t.Errorf("event %+v", e)
		}
	}
}

func TestAProcessThatHangsIsEndedAndStartedAgain(t *testing.T) {
	s := raise(t, 2, with(), func(c *Config) { c.Alive.Policy.Timeout = 250 * time.Millisecond })
	s.allServe(2)
	pid := s.pids()["shop/1"]
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	eventually(t, "another runs", func() bool { n := s.pids()["shop/1"]; return n != pid && n != 0 })
	s.allServe(2)
	if hung := s.kinds("process.hung"); !slices.ContainsFunc(hung, func(e string) bool {
		return strings.Contains(e, "shop/1: does not answer: ") && strings.Contains(e, "ends it")
	}) {
		t.Errorf("events %v", s.kinds("*"))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.events {
		if e.Kind == "process.hung" && e.Since.IsZero() {
			t.Error("nobody knows since when")
		}
	}
}

func TestOneThatDoesNotBecomeReadyIsEndedByForce(t *testing.T) {
	s := raise(t, 1, with("MUTE", "1", "STUBBORN", "1", "BROOD", "1"), func(c *Config) {
		c.Policy.StartTimeout, c.Spec.StopTimeout = time.Second, 50*time.Millisecond
		c.Policy.Restart.Limit = 1
	})
	eventually(t, "it is given up", func() bool { return s.Failed() == 1 })
	eventually(t, "and told", func() bool { return len(s.kinds("process.gave_up")) == 1 })
	late, gave := s.kinds("process.late"), s.kinds("process.gave_up")
	if len(late) != 2 || len(gave) != 1 || !strings.Contains(gave[0], "1 restarts within 1m0s; the last end: not ready within 1s; killed by signal SIG") {
		t.Errorf("events %v", s.kinds("*"))
	}
	// It is stubborn once it has said that it serves; on a busy machine that may be too late.
	for _, e := range append(s.kinds("process.exited"), gave...) {
		if strings.Contains(e, "last said") && !strings.Contains(e, "SIGKILL") {
			t.Errorf("it ended by itself: %s", e)
		}
	}
	if all, _ := s.Status(); all[0].State != "failed" || all[0].PID != 0 || all[0].Restarts != 1 || all[0].LastExit == "" {
		t.Errorf("status %+v", all[0])
	}
}

func TestOneThatCanNotStartIsGivenUpAndResumed(t *testing.T) {
	s := raise(t, 1, with("FAIL", "1"))
	eventually(t, "it is given up", func() bool { return s.Failed() == 1 })
	eventually(t, "and told", func() bool { return len(s.kinds("process.gave_up")) == 1 })
	if gave := s.kinds("process.gave_up"); !strings.Contains(gave[0], `exit status 3; it last said "no database"; marks pool shop as failed`) {
		t.Errorf("events %v", gave)
	}
	if err := s.Restart(7); err == nil {
		t.Error("there is a process 7")
	}
	if err := s.Restart(0); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is given up again", func() bool { return len(s.kinds("process.gave_up")) == 2 })
	cfg := s.config(1, with())
	cfg.Spec.Dir = s.cfg.Spec.Dir
	if err := s.Update(cfg); err != nil {
		t.Fatal(err)
	}
	s.allServe(1)
	cfg.Spec.Command = []string{"./nothing"}
	if err := s.Update(cfg); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the roll fails", func() bool { return len(s.kinds("process.roll_failed")) == 1 })
	if failed := s.kinds("process.roll_failed"); !strings.Contains(failed[0], "there is no program "+filepath.Join(cfg.Spec.Dir, "nothing")) {
		t.Errorf("events %v", failed)
	}
}

func TestANewVersionComesWithoutAGap(t *testing.T) {
	s := raise(t, 3, with("EDITION", "old", "BROOD", "1"))
	s.allServe(3)
	s.town.settle()
	before := s.pids()
	cfg := s.config(3, with("EDITION", "new"))
	cfg.Spec.Dir = s.cfg.Spec.Dir
	busy := s.town.serving()[0].Address
	s.town.mu.Lock()
	s.town.inFlight[busy] = 2
	s.town.mu.Unlock()
	if err := s.Update(cfg); err != nil {
		t.Fatal(err)
	}
	eventually(t, "one leaves", func() bool { return s.town.told("shop/0 " + busy + " leaving") })
	if !alive(before["shop/0"]) {
		t.Error("it was stopped with requests in flight")
	}
	s.town.mu.Lock()
	s.town.inFlight[busy] = 0
	s.town.mu.Unlock()
	eventually(t, "the roll is over", func() bool { return len(s.kinds("process.rolled")) == 1 })
	for _, st := range s.town.serving() {
		if got := ask(t, st.Address); got[1] != "new" || got[0] == strconv.Itoa(before[st.Process]) {
			t.Errorf("%s answers %v", st.Process, got)
		}
	}
	if s.town.least != 3 {
		t.Errorf("at one moment only %d served", s.town.least)
	}
	// The same again by command, and one that fails: the old ones stay.
	s.Roll()
	eventually(t, "the roll is over", func() bool { return len(s.kinds("process.rolled")) == 2 })
	good := s.pids()
	cfg.Spec.Env = with("FAIL", "1")
	if err := s.Update(cfg); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the roll fails", func() bool { return len(s.kinds("process.roll_failed")) == 1 })
	if now := s.pids(); fmt.Sprint(now) != fmt.Sprint(good) || s.town.least != 3 || len(s.town.serving()) != 3 {
		t.Errorf("processes were %v, are %v; least %d", good, now, s.town.least)
	}
	if failed := s.kinds("process.roll_failed"); !strings.Contains(failed[0], `version 4 did not come up: exit status 3; it last said "no database"; the old version stays`) {
		t.Errorf("events %v", failed)
	}
	all, _ := s.Status()
	if all[0].Version != 3 {
		t.Errorf("version %d is there", all[0].Version)
	}
}

func TestProcessesAreStoppedStartedAndRestartedByHand(t *testing.T) {
	s := raise(t, 2, with())
	s.allServe(2)
	before := s.pids()
	if err := s.Stop(1); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it has stopped", func() bool { all, _ := s.Status(); return all[1].State == "stopped" && all[1].Address == "" })
	if got := s.town.serving(); len(got) != 1 || s.town.addresses() != 1 {
		t.Errorf("serving %v", got)
	}
	if err := s.Start(1); err != nil {
		t.Fatal(err)
	}
	s.allServe(2)
	address := s.town.serving()[0].Address
	if err := s.Restart(0); err != nil {
		t.Fatal(err)
	}
	eventually(t, "another runs", func() bool { n := s.pids()["shop/0"]; return n != before["shop/0"] && n != 0 })
	s.allServe(2)
	if got := s.town.serving()[0].Address; got != address {
		t.Errorf("it was at %s, and is at %s", address, got)
	}
	if n := len(s.kinds("process.exited")); n != 0 {
		t.Errorf("%d are said to have ended by themselves", n)
	}
	cfg := s.config(1, with())
	cfg.Spec.Dir = s.cfg.Spec.Dir
	if err := s.Update(cfg); err != nil {
		t.Fatal(err)
	}
	eventually(t, "one is left", func() bool { all, _ := s.Status(); return len(all) == 1 && s.town.addresses() == 1 })
	if got := s.pids()["shop/0"]; got == before["shop/0"] || len(s.kinds("process.roll*")) != 0 {
		t.Errorf("fewer places are a roll: %v", s.kinds("*"))
	}
}

func TestAKeeperThatIsKilledTakesEverythingWithIt(t *testing.T) {
	s := raise(t, 1, with("BROOD", "1"))
	s.allServe(1)
	in := s.list()[0]
	pid := s.pids()["shop/0"]
	eventually(t, "it has a brood", func() bool { return len(markedProcesses(s.cfg.Spec.Dir)) >= 5 })
	if err := in.keeper.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "another runs", func() bool { n := s.pids()["shop/0"]; return n != pid && n != 0 })
	s.allServe(1)
	for _, left := range processes() {
		if marked(left, []byte(marker+"="+in.token+"\x00")) {
			t.Errorf("process %d is left", left)
		}
	}
	if exits := s.kinds("process.exited"); len(exits) != 1 || !strings.Contains(exits[0], "its keeper was killed") {
		t.Errorf("events %v", exits)
	}
}

func TestAKeeperIsNotEndedByTheSignalsOfItsNamesakes(t *testing.T) {
	s := raise(t, 1, with())
	s.allServe(1)
	keeper := s.list()[0].keeper.Process
	for _, sig := range []os.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP} {
		if err := keeper.Signal(sig); err != nil {
			t.Fatal(err)
		}
	}
	pid := s.pids()["shop/0"]
	if err := s.Restart(0); err != nil {
		t.Fatal(err)
	}
	eventually(t, "another runs", func() bool { n := s.pids()["shop/0"]; return n != pid && n != 0 })
	if exits := s.kinds("process.exited"); len(exits) != 0 {
		t.Errorf("events %v", exits)
	}
}

func TestAProcessRunsAsItsUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root may start processes as somebody else")
	}
	nobody, err := user.Lookup("nobody")
	if err != nil {
		t.Skip("there is no nobody")
	}
	uid, _ := strconv.ParseUint(nobody.Uid, 10, 32)
	gid, _ := strconv.ParseUint(nobody.Gid, 10, 32)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	// nobody must be able to reach the program.
	public, err := os.MkdirTemp("/tmp", "supervise-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(public)
	text, err := os.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(public, "server"), text, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(public, 0o755); err != nil {
		t.Fatal(err)
	}
	s := raise(t, 1, with("EDITION", "-"), func(c *Config) {
		c.Spec.Dir, c.Spec.Command = public, []string{"./server", "{{.Port}}"}
		c.Spec.User = &User{Name: "nobody", Home: "/nonexistent", UID: uint32(uid), GID: uint32(gid)}
	})
	s.allServe(1)
	if got := ask(t, s.town.serving()[0].Address); got[2] != nobody.Uid {
		t.Errorf("it runs as %v", got)
	}
	// The kernel still ends it with its keeper: changing the user does not undo that.
	pid := s.pids()["shop/0"]
	_ = s.list()[0].keeper.Process.Kill()
	eventually(t, "another runs", func() bool { n := s.pids()["shop/0"]; return n != pid && n != 0 })
	if alive(pid) {
		t.Error("it outlived its keeper")
	}
}

func TestConfigurationsThatMakeNoSenseAreRefused(t *testing.T) {
	s := &scene{t: t, town: newTown()}
	for name, change := range map[string]func(*Config){
		"no pool":        func(c *Config) { c.Pool = "" },
		"no keeper":      func(c *Config) { c.Keeper = nil },
		"no traffic":     func(c *Config) { c.Traffic = nil },
		"no replicas":    func(c *Config) { c.Policy.Replicas = 0 },
		"no time":        func(c *Config) { c.Policy.StartTimeout = 0 },
		"no back-off":    func(c *Config) { c.Policy.Restart.Backoff = 0 },
		"no limit":       func(c *Config) { c.Policy.Restart.Limit = 0 },
		"no command":     func(c *Config) { c.Spec.Command = nil },
		"relative":       func(c *Config) { c.Spec.Dir = "here" },
		"bad template":   func(c *Config) { c.Spec.Command = []string{"x", "{{.Prt}}"} },
		"half template":  func(c *Config) { c.Spec.Env = []Variable{{"A", "{{.Port"}} },
		"huge template":  func(c *Config) { c.Spec.Command = []string{`{{printf "%99999d" 1}}`} },
		"never restarts": func(c *Config) { c.Policy.Restart = life.Restart{}; c.Policy.Restart.BackoffMax = -1 },
	} {
		cfg := s.config(1, with())
		change(&cfg)
		if _, err := New(cfg); err == nil {
			t.Errorf("%s: is taken", name)
		}
	}
	cfg := s.config(1, with())
	cfg.Policy.Restart = life.Restart{Off: true}
	if _, err := New(cfg); err != nil {
		t.Errorf("restarts may be off: %v", err)
	}
	g, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	cfg.Policy.Replicas = -1
	if err := g.Update(cfg); err == nil {
		t.Error("an update that makes no sense is taken")
	}
}
