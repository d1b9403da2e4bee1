package supervise

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/trivet-ha/trivet/fault/supervise/life"
)

// inherit makes of descriptors what another process would get: copies.
func inherit(t *testing.T, h Handover) Handover {
	t.Helper()
	var fds []int
	for _, fd := range h.FDs {
		dup, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		fds = append(fds, dup)
	}
	return Handover{State: h.State, FDs: fds}
}

// succeed lets another group go on where the scene's has been frozen.
func (s *scene) succeed(h Handover, change ...func(*Config)) *scene {
	s.t.Helper()
	next := &scene{t: s.t, town: newTown()}
	next.cfg = next.config(len(s.pids()), s.cfg.Spec.Env)
	next.cfg.Spec.Dir = s.cfg.Spec.Dir
	for _, f := range change {
		f(&next.cfg)
	}
	g, err := Adopt(next.cfg, h)
	if err != nil {
		s.t.Fatal(err)
	}
	for _, st := range g.Standings() {
		next.town.Put(st)
	}
	next.run(g)
	return next
}

func TestProcessesLiveOnInAnotherGroup(t *testing.T) {
	s := raise(t, 3, with())
	s.allServe(3)
	before, served := s.pids(), fmt.Sprint(s.town.serving())
	h, err := s.Freeze()
	if err != nil {
		t.Fatal(err)
	}
	if len(h.FDs) != 3*descriptorsEach {
		t.Fatalf("%d descriptors", len(h.FDs))
	}
	// What happens meanwhile is not lost.
	if err := syscall.Kill(before["shop/2"], syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	next := s.succeed(inherit(t, h))
	s.Detach()
	if err := <-s.ended; err != nil {
		t.Fatal(err)
	}
	s.ended = nil
	eventually(t, "the one that was killed is started again", func() bool {
		now := next.pids()
		return now["shop/2"] != before["shop/2"] && now["shop/2"] != 0 && len(next.town.serving()) == 3
	})
	after := next.pids()
	if after["shop/0"] != before["shop/0"] || after["shop/1"] != before["shop/1"] {
		t.Errorf("processes were %v, are %v", before, after)
	}
	serves := next.town.serving()
	if len(next.kinds("process.adopted")) != 3 || len(next.kinds("process.exited")) != 1 || len(next.kinds("process.roll*")) != 0 {
		t.Errorf("events %v", next.kinds("*"))
	}
	for i, st := range serves {
		if i < 2 && !strings.Contains(served, st.Address) {
			t.Errorf("%s moved to %s", st.Process, st.Address)
		}
	}
	// And they still end, though their keepers are nobody's children here.
	if err := next.Restart(0); err != nil {
		t.Fatal(err)
	}
	eventually(t, "another runs", func() bool { n := next.pids()["shop/0"]; return n != before["shop/0"] && n != 0 })
}

func TestAFrozenGroupGoesOnWhenNobodyTakesIt(t *testing.T) {
	s := raise(t, 2, with())
	s.allServe(2)
	before := s.pids()
	if _, err := s.Freeze(); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(before["shop/0"], syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	s.Thaw()
	eventually(t, "another runs", func() bool { n := s.pids()["shop/0"]; return n != before["shop/0"] && n != 0 })
	s.allServe(2)
	if s.pids()["shop/1"] != before["shop/1"] {
		t.Error("one that was well was replaced")
	}
}

func TestARollGoesOnInAnotherGroupOnceItMay(t *testing.T) {
	s := raise(t, 2, with("EDITION", "old"))
	s.allServe(2)
	h, err := s.Freeze()
	if err != nil {
		t.Fatal(err)
	}
	next := s.succeed(inherit(t, h), func(c *Config) { c.Spec.Env = with("EDITION", "new") })
	next.Hold(true)
	s.Detach()
	<-s.ended
	s.ended = nil
	eventually(t, "the roll begins", func() bool { return len(next.kinds("process.rolling")) == 1 })
	next.Hold(false)
	eventually(t, "the roll ends", func() bool { return len(next.kinds("process.rolled")) == 1 })
	for _, st := range next.town.serving() {
		if got := ask(t, st.Address); got[1] != "new" {
			t.Errorf("%s answers %v", st.Process, got)
		}
	}
}

func TestWhatIsNotAHandoverIsRefusedAndClosed(t *testing.T) {
	s := &scene{t: t, town: newTown()}
	for name, h := range map[string]Handover{
		"no JSON":     {State: []byte("x")},
		"descriptors": {State: []byte(`{"instances":[{}]}`)},
		"no socket":   {State: []byte(`{"instances":[{}]}`), FDs: []int{-1, -1, -1}},
	} {
		if _, err := Adopt(s.config(1, with()), h); err == nil {
			t.Errorf("%s: is adopted", name)
		}
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	fd, _ := unix.Dup(int(w.Fd()))
	w.Close()
	if _, err := Adopt(s.config(1, with()), Handover{State: []byte(`{}`), FDs: []int{fd}}); err == nil {
		t.Error("a descriptor too many is taken")
	}
	if _, err := r.Read(make([]byte, 1)); err == nil {
		t.Error("it was not closed")
	}
	cfg := s.config(1, with())
	cfg.Pool = ""
	if _, err := Adopt(cfg, Handover{State: []byte(`{}`)}); err == nil {
		t.Error("a configuration that makes no sense is taken")
	}
}

// own is a process that owns a group, until it is killed.
func own() {
	s := &scene{town: newTown()}
	s.cfg = s.ownConfig()
	g, err := New(s.cfg)
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	go func() { _ = g.Run(context.Background()) }()
	for len(s.town.serving()) < 2 {
		time.Sleep(time.Millisecond)
	}
	fmt.Println("ready")
	select {}
}

func (s *scene) ownConfig() Config {
	s.t = &testing.T{}
	c := s.config(2, with("BROOD", "1"))
	c.Spec.Dir, c.Spec.StopTimeout = os.Getenv("OWN_DIR"), 300*time.Millisecond
	return c
}

func TestNothingOutlivesAnOwnerThatIsKilled(t *testing.T) {
	dir := t.TempDir()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), "SUPERVISE_TEST=owner", "OWN_DIR="+dir, "TMPDIR="+t.TempDir())
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, _ := bufio.NewReader(out).ReadString('\n')
	if line != "ready\n" {
		t.Fatalf("the owner says %q", line)
	}
	eventually(t, "both have a brood", func() bool { return len(markedProcesses(dir)) >= 10 })
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	eventually(t, "all are gone", func() bool { return len(markedProcesses(dir)) == 0 })
}

// keepInCgroup is a process in a mount namespace of its own, in which there are control groups.
func keepInCgroup() {
	if err := tryCgroup(); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("ok")
}

func tryCgroup() error {
	mount := os.Getenv("CGROUP_DIR")
	if err := errors.Join(unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""), unix.Mount("none", mount, "cgroup2", 0, "")); err != nil {
		fmt.Println("no cgroup2:", err)
		os.Exit(0)
	}
	s := &scene{town: newTown()}
	s.cfg = s.ownConfig()
	g, err := New(s.cfg)
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- g.Run(ctx) }()
	for deadline := time.Now().Add(20 * time.Second); len(s.town.serving()) < 2; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			return fmt.Errorf("not ready: %v", s.kinds("*"))
		}
	}
	group := g.list()[0].last().Cgroup
	if !strings.HasPrefix(group, mount) {
		return fmt.Errorf("the control group is %q", group)
	}
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
		members, err := os.ReadFile(filepath.Join(group, "cgroup.procs"))
		if err == nil && strings.Count(string(members), "\n") >= 5 {
			break
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("in the group are %q, %v", members, err)
		}
	}
	stop()
	if err := <-ended; err != nil {
		return err
	}
	if left, _ := filepath.Glob(filepath.Join(mount, "*", "trivet-*")); len(left) > 0 {
		return fmt.Errorf("groups are left: %v", left)
	}
	if _, err := os.Stat(group); err == nil {
		return fmt.Errorf("group %s is left", group)
	}
	return nil
}

func TestWhereThereAreControlGroupsTheyAreUsed(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root may mount control groups")
	}
	dir := t.TempDir()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), "SUPERVISE_TEST=cgroup", "CGROUP_DIR="+dir, "OWN_DIR="+t.TempDir(), "TMPDIR="+t.TempDir())
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	out, err := cmd.CombinedOutput()
	switch {
	case strings.HasPrefix(string(out), "no cgroup2"):
		t.Skip("control groups of version 2 can not be mounted here: " + string(out))
	case err != nil || string(out) != "ok\n":
		t.Errorf("%s, %v", out, err)
	}
}

func TestTheOwnControlGroupIsFound(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	const unified = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw\n"
	for _, c := range []struct{ mounts, groups, want string }{
		{unified, "0::/system.slice/trivet.service\n", "/sys/fs/cgroup/system.slice/trivet.service"},
		{unified, "0::/\n", "/sys/fs/cgroup"},
		{"1 2 0:3 /docker/abc /sys/fs/cgroup ro - cgroup2 cgroup ro\n", "0::/docker/abc/x\n", "/sys/fs/cgroup/x"},
		{"1 2 0:3 /docker/abc /sys/fs/cgroup ro - cgroup2 cgroup ro\n", "0::/other\n", ""},
		{"1 2 0:3 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n", "2:cpu:/x\n", ""},
		{"short\n1 2 - cgroup2\n1 2 0:3 / /x rw -\n", "0::/\n", ""},
	} {
		if got := ownCgroup(write("mounts", c.mounts), write("groups", c.groups)); got != c.want {
			t.Errorf("%q in %q: %q, want %q", c.groups, c.mounts, got, c.want)
		}
	}
	if got := ownCgroup(filepath.Join(dir, "none"), filepath.Join(dir, "none")); got != "" {
		t.Errorf("without files: %q", got)
	}
}

func TestChildrenAreFoundBothWays(t *testing.T) {
	cmd := exec.Command("/bin/sleep", "600")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	for name, list := range map[string][]int{"children": childrenOf(os.Getpid()), "parents": childrenByParent(os.Getpid())} {
		if !slices.Contains(list, cmd.Process.Pid) {
			t.Errorf("by %s: %v, want %d among them", name, list, cmd.Process.Pid)
		}
	}
}

func TestPortsAreHandedOutOnce(t *testing.T) {
	var p Ports
	seen := map[int]bool{}
	for range 200 {
		port, err := p.Take()
		if err != nil || seen[port] {
			t.Fatalf("port %d, %v", port, err)
		}
		seen[port] = true
	}
	p.Keep(1)
	p.Free(1)
	if p.taken[1] {
		t.Error("a port that was given back is taken")
	}
}

func TestALaunchIsWhatTheSpecSays(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "shop"), nil, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "data"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	t.Setenv("NOTIFY_SOCKET", "/run/systemd/notify")
	t.Setenv("HOME", "/root")
	p := Place{Port: 4001, Address: "127.0.0.1:4001", Replica: 2, Pool: "shop"}
	s := Spec{
		Command: []string{"./shop", "--listen={{.Address}}", "{{if eq .Replica 0}}first{{else}}later{{end}}"}, Dir: dir,
		Env: []Variable{{"PORT", "x{{.Port}}"}, {"B", "2"}}, User: &User{Name: "www", Home: "/srv/www", UID: 33},
	}
	l, err := s.launch(p, "tok")
	if err != nil {
		t.Fatal(err)
	}
	env := environ{l.Env}
	if l.Path != filepath.Join(dir, "shop") || strings.Join(l.Argv, " ") != "./shop --listen=127.0.0.1:4001 later" || l.Dir != dir || l.User.UID != 33 {
		t.Errorf("launch %+v", l)
	}
	for name, want := range map[string]string{"PORT": "x4001", "B": "2", "HOME": "/srv/www", "USER": "www", "TRIVET_REPLICA": "2", marker: "tok", "NOTIFY_SOCKET": "", "TRIVET_POOL": "shop"} {
		if got := env.get(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	for command, want := range map[string]string{"sh": "", "./nothing": "there is no program", "no-such-program": "in PATH", "./data": "may not be executed", "./": "is a folder", dir + "/data/x": "not a directory"} {
		s.Command = []string{command}
		_, err := s.launch(p, "tok")
		if want == "" != (err == nil) || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", command, err)
		}
	}
	s.Command = []string{"{{.Nothing}}"}
	if _, err := s.launch(p, "tok"); err == nil {
		t.Error("a bad template is launched")
	}
	s.Command, s.Env = []string{"sh"}, []Variable{{"A", "{{.Nothing}}"}}
	if _, err := s.launch(p, "tok"); err == nil {
		t.Error("a bad template is launched")
	}
	s.Env, s.Dir = []Variable{{"PATH", ".:/nonexistent"}}, dir
	s.Command = []string{"shop"}
	if l, err := s.launch(p, "tok"); err != nil || l.Path != filepath.Join(dir, "shop") {
		t.Errorf("PATH is not looked through: %v", err)
	}
	a, b := s, s
	b.StopTimeout = 7
	if !a.same(&b) {
		t.Error("another stop_timeout is another version")
	}
	b.Env = nil
	if a.same(&b) {
		t.Error("another environment is the same version")
	}
}

func TestLinesAreCutCountedAndHandedOn(t *testing.T) {
	read := func(l *lines, text string, finish bool) (got []Line) {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		defer w.Close()
		l.output.Sink = func(line Line) { got = append(got, line) }
		fmt.Fprint(w, text)
		if finish {
			w.Close()
		} else {
			_ = r.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
		}
		l.read(r)
		return got
	}
	texts := func(lines []Line) string {
		var all []string
		for _, l := range lines {
			all = append(all, l.Text)
		}
		return strings.Join(all, "|")
	}
	fresh := func(rate int) *lines {
		return &lines{process: "shop/0", stream: "stdout", note: func(string) {}, output: Output{MaxLine: 16, Rate: rate}}
	}
	if got := read(fresh(0), "a\r\n\nb\xff\nlast", true); texts(got) != "a||b\uFFFD|last" || got[0].Process != "shop/0" || got[0].Stream != "stdout" {
		t.Errorf("lines %q", texts(got))
	}
	if got := read(fresh(0), strings.Repeat("x", 40)+"\nshort\n", true); texts(got) != "xxxxxxxxxxxxxxxx...|short" {
		t.Errorf("a long line is %q", texts(got))
	}
	l := fresh(3)
	got := read(l, "1\n2\n3\n4\n5\n", true)
	l.second = time.Time{}
	got = append(got, read(l, "6\n", true)...)
	if texts(got) != "1|2|3|6" || got[3].Dropped != 2 {
		t.Errorf("too many lines are %+v", got)
	}
	l = fresh(0)
	if got := read(l, "whole\nhal", false); texts(got) != "whole" || string(l.partial) != "hal" {
		t.Errorf("lines %q, and %q is left", texts(got), l.partial)
	}
	if got := read(l, "f\n", true); texts(got) != "half" {
		t.Errorf("the rest is %q", texts(got))
	}
	var none lines
	none.note = func(string) {}
	r, w, _ := os.Pipe()
	fmt.Fprintln(w, "nobody listens")
	w.Close()
	none.read(r)
	r.Close()
}

func TestReportsSayWhyForPeople(t *testing.T) {
	for want, r := range map[string]report{
		"exit status 3":                         {Status: 3 << 8},
		"killed by signal SIGKILL":              {Status: 9},
		"killed by signal SIGSEGV, core dumped": {Status: 11 | 0x80},
		"no such file":                          {Error: "no such file", Exited: true},
	} {
		if got := r.why(); got != want {
			t.Errorf("%+v is %q", r, got)
		}
	}
}

// A slot that was never ready gets another port each time: somebody else may have taken the one it had.
func TestAPortThatNeverWorkedIsNotKept(t *testing.T) {
	s := raise(t, 1, with("FAIL", "1"), func(c *Config) {
		c.Policy.Restart = life.Restart{Backoff: time.Millisecond, BackoffMax: time.Millisecond, Limit: 2, Within: time.Minute}
	})
	eventually(t, "it is given up", func() bool { return s.Failed() == 1 })
	seen := map[string]bool{}
	s.town.mu.Lock()
	defer s.town.mu.Unlock()
	for _, line := range s.town.log {
		seen[strings.Fields(line)[1]] = true
	}
	if len(seen) != 3 || len(s.town.now) != 1 {
		t.Errorf("addresses %v, of which %v are left", seen, s.town.now)
	}
}
