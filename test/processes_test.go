package test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/trivet-ha/trivet/api"
	"github.com/trivet-ha/trivet/events"
)

// keptShop is the program that Trivet keeps running: it answers "hello", and ends gently when it is asked to.
func keptShop() {
	s := &http.Server{Addr: "127.0.0.1:" + os.Getenv("PORT"), Handler: http.HandlerFunc(hello)}
	if os.Getenv("BROOD") != "" { // a child that leaves its session and does not listen to anybody
		_ = exec.Command("/bin/sh", "-c", "trap '' TERM HUP; setsid sleep 600 & wait").Start()
	}
	asked := make(chan os.Signal, 1)
	signal.Notify(asked, syscall.SIGTERM)
	go func() {
		<-asked
		_ = s.Close()
	}()
	fmt.Println("shop", os.Getenv("EDITION"), s.ListenAndServe())
	os.Exit(1)
}

const keptShops = `
listeners:
  web: {address: "127.0.0.1:0", pool: shop}
pools:
  shop:
    endpoints:
      - run:
          command: [PROGRAM]
          replicas: 3
          env: {KEPT_SHOP: MARK, BROOD: "1", EDITION: one}
          restart: {backoff: 10ms, backoff_max: 20ms, limit: 1000}
          liveness: {interval: 100ms, timeout: 300ms, fall: 2}
          stop_timeout: 1s
    health: {probe: {http: /}, interval: 500ms}
    slow_start: 0s
admin: {socket: SOCKET}
drain_timeout: 5s
`

// keep runs trivet with three shops; mark is in the environment of everything that comes of them.
func keep(t *testing.T) (d *daemon, yaml, mark string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	mark = fmt.Sprintf("%s-%d-%d", t.Name(), os.Getpid(), rand.Uint64())
	yaml = strings.NewReplacer("PROGRAM", self, "MARK", mark).Replace(keptShops)
	return run(t, yaml), yaml, mark
}

// marked lists the processes with that mark in their environment.
func marked(mark string) (found []int) {
	environs, _ := filepath.Glob("/proc/[0-9]*/environ")
	for _, name := range environs {
		env, err := os.ReadFile(name)
		if err == nil && bytes.Contains(env, []byte("KEPT_SHOP="+mark)) {
			pid, _ := strconv.Atoi(strings.Split(name, "/")[2])
			found = append(found, pid)
		}
	}
	return found
}

func (d *daemon) processes() []api.Process {
	d.t.Helper()
	list, err := d.client.Processes(d.t.Context(), "shop")
	if err != nil {
		d.t.Fatal(err)
	}
	return list
}

// ready waits until all n processes take requests.
func (d *daemon) ready(n int) (list []api.Process) {
	d.t.Helper()
	eventually(d.t, fmt.Sprintf("%d processes are ready", n), func() bool {
		list = d.processes()
		return len(list) == n && !slices.ContainsFunc(list, func(p api.Process) bool { return p.State != "ready" || p.Rolling || p.Replacement != "" })
	})
	return list
}

// TRIVET_TEST_LONG=1 (make endure) makes it two hundred kills.
func TestKillsUnderLoadLoseNoRequestAndLeaveNoOrphan(t *testing.T) {
	kills := 10 // one of each kind at least
	if os.Getenv("TRIVET_TEST_LONG") != "" {
		kills = 200
	}
	d, _, mark := keep(t)
	list := d.ready(3)
	kept, fresh := sendRequests(t, d.front("web"), 300, false), sendRequests(t, d.front("web"), 100, true)
	began := time.Now()
	how := map[string]int{}
	for i := range kills {
		victim := list[rand.IntN(len(list))]
		kind, sig, pid := "killed", syscall.SIGKILL, victim.PID
		switch {
		case i%20 == 9:
			kind, sig = "frozen", syscall.SIGSTOP
		case i%10 == 7:
			kind, pid = "keeper killed", parent(t, victim.PID)
		case i%3 == 1:
			kind, sig = "crashed", syscall.SIGSEGV
		case i%3 == 2:
			kind, sig = "ended", syscall.SIGTERM
		}
		if err := syscall.Kill(pid, sig); err != nil {
			t.Fatalf("%s, process %d: %v", kind, pid, err)
		}
		how[kind]++
		eventually(t, fmt.Sprintf("after kill %d (%s) another runs", i, kind), func() bool {
			list = d.processes()
			return list[victim.Replica].PID != victim.PID && list[victim.Replica].State == "ready"
		})
		list = d.ready(3)
	}
	took := time.Since(began)
	kept.finish(t, "kept connections")
	fresh.finish(t, "a connection per request")
	incidents, err := d.client.Incidents(t.Context(), events.IncidentFilter{})
	if err != nil {
		t.Fatal(err)
	}
	var detect, recovery []time.Duration
	for _, i := range incidents {
		if i.Process == "" {
			continue
		}
		if i.State != events.Recovered {
			t.Errorf("incident %+v", i)
		}
		detect, recovery = append(detect, i.ToDetect.Duration()), append(recovery, i.ToRecover.Duration())
	}
	if len(recovery) < kills { // on a machine that is very busy a process may seem to hang for a moment
		t.Errorf("%d kills are %d incidents", kills, len(recovery))
	}
	slices.Sort(detect)
	slices.Sort(recovery)
	t.Logf("%d kills (%v) in %v; detected after %v (median), %v (worst); over after %v (median), %v (worst)", kills, how, took.Round(time.Millisecond),
		detect[len(detect)/2], detect[len(detect)-1], recovery[len(recovery)/2], recovery[len(recovery)-1])
	if n := len(marked(mark)); n < 6 {
		t.Errorf("only %d processes carry the mark: orphans would not be found", n)
	}
	if err := syscall.Kill(d.status().PID, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	eventually(t, "no process is left", func() bool { return len(marked(mark)) == 0 })
}

// parent is the process that has started a process.
func parent(t *testing.T, pid int) int {
	t.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	ppid, err := strconv.Atoi(fields[1])
	if err != nil {
		t.Fatal(err)
	}
	return ppid
}

func TestAnUpgradeHandsProcessesOver(t *testing.T) {
	d, yaml, mark := keep(t)
	before := d.ready(3)
	kept, fresh := sendRequests(t, d.front("web"), 200, false), sendRequests(t, d.front("web"), 100, true)
	for range 3 {
		old := d.status().PID
		if err := d.client.Upgrade(t.Context()); err != nil {
			t.Fatal(err)
		}
		d.client.Close()
		eventually(t, "the new process answers", func() bool { return d.status().PID != old })
	}
	after := d.ready(3)
	for i := range before {
		if after[i].PID != before[i].PID || after[i].Address != before[i].Address {
			t.Errorf("%s was process %d at %s, is %d at %s", before[i].Name, before[i].PID, before[i].Address, after[i].PID, after[i].Address)
		}
	}
	for _, e := range d.status().Pools[0].Endpoints {
		if e.Process == "" || !e.Available || e.RunTime {
			t.Errorf("endpoint %+v", e)
		}
	}
	if err := syscall.Kill(after[1].PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "another runs", func() bool {
		p := d.processes()[1]
		return p.PID != after[1].PID && p.State == "ready" && p.Restarts == 1
	})
	// An upgrade and another version in one go.
	d.write(strings.Replace(yaml, "EDITION: one", "EDITION: two", 1))
	old := d.status().PID
	if err := d.client.Upgrade(t.Context()); err != nil {
		t.Fatal(err)
	}
	d.client.Close()
	eventually(t, "the new process answers", func() bool { return d.status().PID != old })
	eventually(t, "the new version is everywhere", func() bool {
		return !slices.ContainsFunc(d.processes(), func(p api.Process) bool { return p.Version != 2 || p.State != "ready" || p.Rolling })
	})
	kept.finish(t, "kept connections")
	fresh.finish(t, "a connection per request")
	list, err := d.client.Events(t.Context(), events.Filter{Kinds: []string{"node.*", "process.rolled", "process.adopted"}})
	if err != nil {
		t.Fatal(err)
	}
	count := map[events.Kind]int{}
	for _, e := range list {
		count[e.Kind]++
	}
	// Without a state file the events are handed over, too.
	if count[events.NodeStarted] != 1 || count[events.NodeUpgraded] != 4 || count[events.ProcessAdopted] != 12 || count[events.ProcessRolled] != 1 {
		t.Errorf("events %v", count)
	}
	if err := syscall.Kill(d.status().PID, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	eventually(t, "no process is left", func() bool { return len(marked(mark)) == 0 })
}

func TestAnUpgradeThatFailsLeavesProcessesAlone(t *testing.T) {
	d, yaml, _ := keep(t)
	before := d.ready(3)
	d.write("nonsense: {}\n")
	if err := d.client.Upgrade(t.Context()); err == nil {
		t.Fatal("it is upgraded")
	}
	d.write(yaml)
	after := d.ready(3)
	for i := range before {
		if after[i].PID != before[i].PID {
			t.Errorf("%s was process %d, is %d", before[i].Name, before[i].PID, after[i].PID)
		}
	}
	if err := syscall.Kill(after[0].PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "another runs", func() bool { p := d.processes()[0]; return p.PID != after[0].PID && p.State == "ready" })
}

func TestNoProcessOutlivesATrivetThatIsKilled(t *testing.T) {
	d, _, mark := keep(t)
	d.ready(3)
	eventually(t, "all have a brood", func() bool { return len(marked(mark)) >= 9 })
	if err := syscall.Kill(d.status().PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "all are gone", func() bool { return len(marked(mark)) == 0 })
}
