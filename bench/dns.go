package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/trivet-ha/trivet/internal/demo/process"
)

// isDNS reports whether a case asks name servers.
func isDNS(name string) bool { return strings.HasPrefix(name, "dns") }

// dnsPeers are the name servers that Trivet is compared with. CoreDNS has no health checks: its answers are always the same.
func dnsPeers() []string { return []string{"coredns", "powerdns", "gdnsd", "trivet"} }

// dnsHosts are the servers that a name stands for, each on a loopback address of its own.
func dnsHosts() []string { return []string{"127.0.0.11", "127.0.0.12", "127.0.0.13"} }

// dnsName is what is asked for.
const dnsName = "www.bench.test"

// dnsValues are what the name servers' configurations may name.
type dnsValues struct {
	Port, Backend int
	Dir           string // of this server alone
	Hosts         []string
}

// A nameServer is one that runs, and what its answers follow.
type nameServer struct {
	server
	hosts map[string]*process.Child
}

// raiseNames starts the servers behind the name, and a name server in front, and waits until all of them are answered.
func (l *lab) raiseNames(ctx context.Context, peer string, backend int, hosts map[string]*process.Child) (*nameServer, error) {
	ports, err := freePorts(1)
	if err != nil {
		return nil, err
	}
	v := dnsValues{Port: ports[0], Backend: backend, Dir: filepath.Join(l.dir, fmt.Sprintf("%s-%d", peer, ports[0])), Hosts: dnsHosts()}
	templates, err := filepath.Glob(filepath.Join(l.configs, "dns", peer, "*.tmpl"))
	if err != nil || len(templates) == 0 {
		return nil, fmt.Errorf("start %s: there is no configuration", peer)
	}
	for _, from := range templates {
		// A double underscore in a template's name is a folder.
		to := filepath.Join(v.Dir, strings.ReplaceAll(strings.TrimSuffix(filepath.Base(from), ".tmpl"), "__", "/"))
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return nil, err
		}
		if err := writeTemplate(from, to, v); err != nil {
			return nil, err
		}
	}
	program, args, err := l.dnsCommand(peer, v.Dir)
	if err != nil {
		return nil, err
	}
	child, err := l.nursery.Start(peer, program, args...)
	if err != nil {
		return nil, err
	}
	n := &nameServer{server: server{name: peer, port: v.Port, child: child}, hosts: hosts}
	return n, n.untilItAnswers(ctx)
}

func (l *lab) dnsCommand(peer, dir string) (program string, args []string, err error) {
	switch peer {
	case "trivet":
		program, err = filepath.Abs(l.trivet)
		return program, []string{"run", filepath.Join(dir, "trivet.yaml")}, err
	case "coredns":
		program, err = findProgram("coredns")
		return program, []string{"-conf", filepath.Join(dir, "Corefile")}, err
	case "powerdns":
		program, err = findProgram("pdns_server")
		return program, []string{"--config-dir=" + dir}, err
	default:
		for _, sub := range []string{"run", "state"} {
			if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
				return "", nil, err
			}
		}
		program, err = findProgram("gdnsd")
		return program, []string{"-c", dir, "start"}, err
	}
}

// startHosts starts the servers that the name stands for: they accept connections, which is what all peers ask of them.
func (l *lab) startHosts(port int) (map[string]*process.Child, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	hosts := map[string]*process.Child{}
	for _, host := range dnsHosts() {
		c, err := l.nursery.Start("host", self, acceptCommand, net.JoinHostPort(host, strconv.Itoa(port)))
		if err != nil {
			return nil, err
		}
		hosts[host] = c
	}
	return hosts, nil
}

// acceptCommand makes this program accept connections, and close them, until it is ended.
const acceptCommand = "accept"

func accept(address string) error {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	for {
		c, err := listener.Accept()
		if err != nil {
			return err
		}
		c.Close()
	}
}

// untilItAnswers waits until the name is answered.
func (n *nameServer) untilItAnswers(ctx context.Context) error {
	const patience = 30 * time.Second
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("start %s: no answer after %v", n.name, patience))
	defer cancel()
	for {
		if got, err := n.resolve(); err == nil && len(got) > 0 {
			return nil
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-n.child.Exited():
			return fmt.Errorf("start %s: %v: %s", n.name, n.child.Err(), n.child.LastWords())
		case <-ctx.Done():
			return fmt.Errorf("%w: %s", context.Cause(ctx), n.child.LastWords())
		}
	}
}

// dnsQuestion asks for the A records of dnsName, with an id of 0.
var dnsQuestion = []byte("\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x03www\x05bench\x04test\x00\x00\x01\x00\x01")

// resolve asks for the addresses once.
func (n *nameServer) resolve() ([]string, error) {
	c, err := net.Dial("udp", n.address())
	if err != nil {
		return nil, err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(500 * time.Millisecond))
	if _, err := c.Write(dnsQuestion); err != nil {
		return nil, err
	}
	buf := make([]byte, 512)
	k, err := c.Read(buf)
	if err != nil {
		return nil, err
	}
	return addressesIn(buf[:k])
}

// addressesIn reads the A records of an answer to dnsQuestion.
func addressesIn(msg []byte) (all []string, err error) {
	if len(msg) < len(dnsQuestion) {
		return nil, fmt.Errorf("read answer: %d bytes", len(msg))
	}
	at := len(dnsQuestion)
	for range binary.BigEndian.Uint16(msg[6:]) {
		for at < len(msg) && msg[at] != 0 && msg[at] < 0xC0 { // labels, up to the root or a pointer
			at += 1 + int(msg[at])
		}
		if at < len(msg) && msg[at] != 0 {
			at++
		}
		at++
		if len(msg) < at+14 || msg[at+9] != 4 {
			return nil, fmt.Errorf("read answer: %x", msg)
		}
		all = append(all, net.IP(msg[at+10:at+14]).String())
		at += 14
	}
	return all, nil
}

// runNames measures how many questions a second each name server answers.
func runNames(ctx context.Context, l *lab, c benchCase) error {
	ports, err := freePorts(1)
	if err != nil {
		return err
	}
	hosts, err := l.startHosts(ports[0])
	if err != nil {
		return err
	}
	questions := filepath.Join(l.dir, "questions")
	if err := os.WriteFile(questions, []byte(dnsName+" A\n"), 0o644); err != nil {
		return err
	}
	var servers []*server
	defer func() { stopAll(servers) }()
	for _, peer := range l.dnsPeers {
		n, err := l.raiseNames(ctx, peer, ports[0], hosts)
		if err != nil {
			return err
		}
		servers = append(servers, &n.server)
	}
	for round := range l.rounds {
		for _, s := range servers {
			got, err := l.measureNames(ctx, c, s, servers, questions)
			if err != nil {
				return fmt.Errorf("%s: %w", s.name, err)
			}
			got.round = round
			l.samples = append(l.samples, got)
			fmt.Fprintf(os.Stderr, "  round %d  %-8s %9.0f/s  mean %8v  cpu %8v/query  lost %.0f  others %.0f %%\n",
				round+1, s.name, got.perSecond, got.p50.Round(time.Microsecond), got.cpuPerRequest.Round(10*time.Nanosecond), got.errors, got.foreign)
		}
	}
	return nil
}

// dnsTries is how often a measurement is made that others disturb. More often than elsewhere: a server that answers a hundred
// thousand times a second feels every process beside it.
const dnsTries = 6

func (l *lab) measureNames(ctx context.Context, c benchCase, s *server, all []*server, questions string) (best sample, err error) {
	for try := range dnsTries {
		if _, err := dnsLoad(ctx, s.port, questions, c.connections, 1); err != nil {
			return best, err
		}
		before, machine, err := l.meter(s, all)
		if err != nil {
			return best, err
		}
		out, err := dnsLoad(ctx, s.port, questions, c.connections, l.seconds)
		if err != nil {
			return best, err
		}
		after, machineAfter, err := l.meter(s, all)
		if err != nil {
			return best, err
		}
		memory, err := memoryOf(s.child.PID())
		if err != nil {
			return best, err
		}
		got := sample{name: c.name, peer: s.name, requests: out.requests, errors: out.errors, perSecond: out.requests / out.seconds, p50: out.p50,
			memoryBytes: memory, foreign: machineAfter.foreignSince(machine, out.cpu)}
		if out.requests > 0 {
			got.cpuPerRequest = time.Duration(float64(after-before) / out.requests)
		}
		if try == 0 || got.foreign < best.foreign {
			best = got
		}
		if best.foreign <= l.quiet {
			break
		}
	}
	return best, nil
}

// dnsLoad lets dnsperf ask as fast as answers come back.
func dnsLoad(ctx context.Context, port int, questions string, clients int, seconds float64) (out outcome, err error) {
	program, err := findProgram("dnsperf")
	if err != nil {
		return out, err
	}
	cmd := exec.CommandContext(ctx, program, "-s", "127.0.0.1", "-p", strconv.Itoa(port), "-d", questions, "-l", strconv.FormatFloat(seconds, 'f', 0, 64),
		"-c", strconv.Itoa(clients), "-T", "2", "-q", "400", "-t", "2")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	text, err := cmd.CombinedOutput()
	if err != nil {
		return out, fmt.Errorf("run dnsperf: %v: %s", err, bytes.TrimSpace(text))
	}
	if out, err = parseDNSPerf(string(text)); err != nil {
		return out, err
	}
	out.cpu = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	return out, nil
}

var (
	perfCompleted = regexp.MustCompile(`Queries completed:\s+(\d+)`)
	perfLost      = regexp.MustCompile(`Queries lost:\s+(\d+)`)
	perfRunTime   = regexp.MustCompile(`Run time \(s\):\s+([0-9.]+)`)
	perfMean      = regexp.MustCompile(`Average Latency \(s\):\s+([0-9.]+)`)
)

// parseDNSPerf reads what dnsperf prints at its end. Its mean stands where others have the median.
func parseDNSPerf(text string) (out outcome, err error) {
	for pattern, to := range map[*regexp.Regexp]*float64{perfCompleted: &out.requests, perfLost: &out.errors, perfRunTime: &out.seconds} {
		found := pattern.FindStringSubmatch(text)
		if found == nil {
			return out, fmt.Errorf("read dnsperf's output: nothing like %s in %q", pattern, text)
		}
		*to = number(found[1])
	}
	if found := perfMean.FindStringSubmatch(text); found != nil {
		out.p50 = time.Duration(number(found[1]) * float64(time.Second))
	}
	return out, nil
}

// dnsTable writes how fast name servers answered.
func (l *lab) dnsTable(b *strings.Builder, c benchCase) {
	if !c.dns || len(l.dnsPeers) == 0 || len(l.of(c.name, l.dnsPeers[0])) == 0 {
		return
	}
	first := l.dnsPeers[0]
	fmt.Fprintf(b, "\n## %s\n\nThree servers behind the name, probed over TCP by all but CoreDNS, which has no checks. Asked by dnsperf, %d clients.\n\n", c.title, c.connections)
	fmt.Fprintf(b, "| | queries/s | × %s | CPU µs/query | mean ms | memory MiB | lost | others %% |\n|---|---|---|---|---|---|---|---|\n", first)
	for _, peer := range l.dnsPeers {
		all := l.of(c.name, peer)
		fmt.Fprintf(b, "| %s | %.0f | %.2f | %.2f | %.2f | %.0f | %.0f | %.0f |\n", peer, median(all, perSecond), l.ratio(c.name, peer, first, perSecond),
			median(all, cpu)/float64(time.Microsecond), inMS(median(all, func(s sample) time.Duration { return s.p50 })),
			median(all, memory)/(1<<20), sum(all, func(s sample) float64 { return s.errors }), median(all, func(s sample) float64 { return s.foreign }))
	}
}

// dnsBars are what Trivet's name server asks of itself.
func dnsBars() []bar {
	return []bar{
		{"dns", "queries/s against CoreDNS", against("dns", "coredns", perSecond), atLeast(1.5), "≥ 1.50 ×"},
		{"dns", "queries/s against PowerDNS with LUA records", against("dns", "powerdns", perSecond), atLeast(1), "≥ 1.00 ×"},
		{"dns", "queries/s against gdnsd", against("dns", "gdnsd", perSecond), atLeast(0.7), "≥ 0.70 ×"},
		{"dns-death", "seconds until a dead server has left the answers, the longest", func(l *lab) (float64, bool) {
			all := l.deathsOf("trivet")
			if len(all) == 0 {
				return 0, false
			}
			return slices.Max(all).Seconds(), true
		}, atMost(3), "≤ 3"},
	}
}
