package main

import (
	"context"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/trivet-ha/trivet/internal/demo/load"
)

const wrkOutput = `Running 3s test @ http://127.0.0.1:8080/128
  2 threads and 64 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     1.30ms  611.20us  12.51ms   75.73%
    Req/Sec    24.60k     1.55k   28.41k    68.33%
  Latency Distribution
     50%    1.23ms
     75%    1.56ms
     90%    1.98ms
     99%  980.00us
  147092 requests in 3.01s, 38.86MB read
  Socket errors: connect 1, read 2, write 3, timeout 4
  Non-2xx or 3xx responses: 12
Requests/sec:  48868.11
Transfer/sec:     12.91MB
`

func TestReadsWhatWrkPrints(t *testing.T) {
	out, err := parseWrk(wrkOutput)
	if err != nil {
		t.Fatal(err)
	}
	want := outcome{requests: 147092, errors: 22, seconds: 3.01, p50: 1230 * time.Microsecond, p99: 980 * time.Microsecond}
	if out != want {
		t.Errorf("read %+v, want %+v", out, want)
	}
	if _, err := parseWrk("unable to connect to 127.0.0.1:8080 Connection refused"); err == nil {
		t.Error("a run that failed passed for a result")
	}
}

func TestRatiosAreTakenWithinARound(t *testing.T) {
	l := &lab{settings: settings{peers: []string{"haproxy", "nginx", "trivet"}}}
	// The machine is twice as fast in the second round: ratios must not see it.
	for round, speed := range []float64{100, 200, 100} {
		for peer, factor := range map[string]float64{"haproxy": 1, "nginx": 0.5, "trivet": 1.5} {
			l.samples = append(l.samples, sample{name: "128-c64", peer: peer, round: round, perSecond: speed * factor, cpuPerRequest: time.Duration(1000 / factor)})
		}
	}
	if got := l.ratio("128-c64", "trivet", "haproxy", perSecond); math.Abs(got-1.5) > 1e-9 {
		t.Errorf("ratio %g, want 1.5", got)
	}
	if got, ok := againstBest("128-c64", perSecond, true)(l); !ok || math.Abs(got-1.5) > 1e-9 {
		t.Errorf("against the best %g, %v; haproxy is the best", got, ok)
	}
	if got, ok := againstBest("128-c64", cpu, false)(l); !ok || got > 0.67 || got < 0.66 {
		t.Errorf("cpu against the best %g, %v", got, ok)
	}
	if _, ok := against("16k-c64", "haproxy", p99)(l); ok {
		t.Error("a case that was not run has a figure")
	}
}

func TestDisturbedRoundsAreLeftOutForAllAlike(t *testing.T) {
	l := &lab{settings: settings{peers: []string{"haproxy", "trivet"}, quiet: 10}}
	add := func(round int, peer string, speed, foreign float64) {
		l.samples = append(l.samples, sample{name: "128-c64", peer: peer, round: round, perSecond: speed, foreign: foreign})
	}
	add(0, "haproxy", 100, 50)
	add(0, "trivet", 300, 0)
	if got := l.ratio("128-c64", "trivet", "haproxy", perSecond); got != 3 {
		t.Errorf("ratio %g; a disturbed round is better than none", got)
	}
	add(1, "haproxy", 100, 0)
	add(1, "trivet", 110, 5)
	if got := l.ratio("128-c64", "trivet", "haproxy", perSecond); got != 1.1 {
		t.Errorf("ratio %g, want that of the quiet round", got)
	}
	if bad, all := l.disturbed(); bad != 1 || all != 4 {
		t.Errorf("%d of %d disturbed", bad, all)
	}
}

func TestThePageNamesWhatIsMissed(t *testing.T) {
	l := &lab{settings: settings{peers: []string{"haproxy", "trivet"}, rounds: 1, seconds: 1, trivet: "/no/such/program"}}
	for peer, speed := range map[string]float64{"haproxy": 100, "trivet": 90} {
		l.samples = append(l.samples, sample{name: "128-c64", peer: peer, perSecond: speed, cpuPerRequest: 10, p99: 10})
	}
	struck := time.Now()
	after := load.Summary{Requests: 100, Failed: map[load.Failure]uint64{load.Timeout: 2}, Slow: 60, LastSlow: struck.Add(700 * time.Millisecond)}
	l.faults = append(l.faults, faultSample{name: "stop", peer: "trivet", struck: struck, after: after})
	page := l.page(time.Now())
	for _, want := range []string{
		"| trivet | 90 | 0.90 |",
		"| 128-c64 | requests/s against the better of HAProxy and nginx | ≥ 1.05 × | 0.90 | **missed** |",
		"| 128-c64 | CPU per request against the better of both | ≤ 1.00 × | 1.00 | met |",
		"| stop | failed requests | 0 | 2.00 | **missed** |",
		"| stop | requests over 1 s | < 50 | 60.00 | **missed** |",
		"| stop | last request over 1 s, seconds after the fault | ≤ 0.5 | 0.70 | **missed** |",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("the page does not say %q", want)
		}
	}
	if t.Failed() {
		t.Log(page)
	}
}

func TestTheMetersReadThisMachine(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), "/bin/sh", "-c", "i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done; cat")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer in.Close()
	for used := time.Duration(0); used == 0; {
		if used, err = groupCPU(cmd.Process.Pid); err != nil {
			t.Fatal(err)
		}
	}
	if size, err := memoryOf(cmd.Process.Pid); err != nil || size < 4096 {
		t.Errorf("memory %g, %v", size, err)
	}
	if _, err := groupCPU(1 << 30); err == nil {
		t.Error("a group that is not there has used CPU time")
	}
	busy, all, err := machineTime()
	if err != nil || busy <= 0 || all < busy {
		t.Errorf("busy %g of %g, %v", busy, all, err)
	}
}

func TestOthersShareIsWhatNobodyOfUsUsed(t *testing.T) {
	before := machineMeter{busy: 100, all: 1000, ours: time.Second}
	after := machineMeter{busy: 250, all: 1200, ours: 2 * time.Second} // 150 of 200 ticks busy, 100 of them ours
	if got := after.foreignSince(before, 300*time.Millisecond); got != 10 {
		t.Errorf("others used %g %%, want 10", got)
	}
	if got := after.foreignSince(before, time.Hour); got != 0 {
		t.Errorf("others used %g %%, want 0", got)
	}
}

func TestAnOpenLoopCountsWhatItSent(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer server.Close()
	out, err := openLoop(t.Context(), strings.TrimPrefix(server.URL, "http://"), "/128", 500, 0.2)
	if err != nil || out.errors != 0 || out.requests < 50 || out.p99 < out.p50 {
		t.Errorf("%+v, %v", out, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := openLoop(ctx, strings.TrimPrefix(server.URL, "http://"), "/128", 500, 60); err == nil {
		t.Error("a cancelled load ended without an error")
	}
}

func TestRefusesFlagsThatMeanNothing(t *testing.T) {
	for _, args := range [][]string{{"-peers", "apache"}, {"-dns-peers", "bind"}, {"-cases", "1g"}, {"-rounds", "0"}, {"-seconds", "0.1"}, {"-nonsense"}} {
		if _, err := parseFlags(args); err == nil {
			t.Errorf("%v was accepted", args)
		}
	}
	s, err := parseFlags([]string{"-cases", "idle,stop", "-peers", "trivet"})
	if err != nil || len(s.cases) != 2 || len(s.peers) != 1 {
		t.Errorf("%+v, %v", s, err)
	}
}

// Every configuration must be one that its program accepts, with every value filled in.
func TestEveryConfigurationIsComplete(t *testing.T) {
	for pattern, v := range map[string]any{
		"peers/*.tmpl":       values{Port: 1, Metrics: 2, Backends: []int{3, 4}, Dir: "/tmp/dir", Small: "x", ConnectionsMax: 5},
		"peers/dns/*/*.tmpl": dnsValues{Port: 1, Backend: 2, Dir: "/tmp/dir", Hosts: dnsHosts()},
	} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %v, %v", pattern, files, err)
		}
		for _, from := range files {
			to := t.TempDir() + "/config"
			if err := writeTemplate(from, to, v); err != nil {
				t.Errorf("%s: %v", from, err)
				continue
			}
			text, err := os.ReadFile(to)
			said := strings.HasPrefix(string(text), "# ") || strings.HasPrefix(string(text), "; ") // what it is
			if err != nil || strings.Contains(string(text), "no value") || !said {
				t.Errorf("%s: %v\n%s", from, err, text)
			}
		}
	}
}
