package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"text/template"
	"time"

	"github.com/trivet-ha/trivet/internal/demo/process"
)

// A lab holds everything that runs: the folder, the children, and what was measured.
type lab struct {
	settings
	dir     string
	nursery *process.Nursery
	files   uint64 // descriptors that a process may have
	samples []sample
	faults  []faultSample
	deaths  []deathSample
}

// A server is a running proxy or backend.
type server struct {
	name  string
	port  int
	child *process.Child
	udp   bool
}

func (s *server) url(path string) string { return fmt.Sprintf("http://127.0.0.1:%d%s", s.port, path) }

func (s *server) address() string { return fmt.Sprintf("127.0.0.1:%d", s.port) }

// Sizes of the bodies, by path.
const (
	smallBytes  = 128
	mediumBytes = 16 << 10
	largeBytes  = 1 << 20
)

// programs are the backends and the loads that the cases need, whoever is compared.
func (s *settings) programs() []string {
	var needed []string
	if slices.ContainsFunc(s.cases, isDNS) {
		needed = append(needed, "dnsperf")
	}
	if slices.ContainsFunc(s.cases, func(name string) bool { return !isDNS(name) }) {
		needed = append(needed, "nginx", "wrk")
	}
	return needed
}

func newLab(s settings) (*lab, error) {
	for _, program := range s.programs() {
		if _, err := findProgram(program); err != nil {
			return nil, err
		}
	}
	dir, err := os.MkdirTemp("", "trivet-bench-")
	if err != nil {
		return nil, err
	}
	l := &lab{settings: s, dir: dir, nursery: process.NewNursery(), files: raiseFileLimit()}
	l.idle = min(l.idle, l.connectionsMax()*9/10)
	go l.nursery.Run() // until close
	// nginx's workers run as another user when we are root, and must reach the files.
	for _, sub := range []string{"", "tmp", "files"} {
		err := os.MkdirAll(filepath.Join(dir, sub), 0o755)
		if err == nil {
			err = os.Chmod(filepath.Join(dir, sub), 0o777)
		}
		if err != nil {
			l.close()
			return nil, err
		}
	}
	for name, size := range map[string]int{"16k": mediumBytes, "1m": largeBytes} {
		if err := os.WriteFile(filepath.Join(dir, "files", name), make([]byte, size), 0o644); err != nil {
			l.close()
			return nil, err
		}
	}
	return l, nil
}

func (l *lab) close() {
	l.nursery.Close()
	os.RemoveAll(l.dir)
}

// filesWanted is enough for every proxy to hold 25 000 connections with one to a backend each.
const filesWanted = 1 << 16

// raiseFileLimit raises the limit on open files, as far as the system lets us, for us and our children.
func raiseFileLimit() uint64 {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return 1024 // what POSIX systems have always allowed
	}
	for _, want := range []syscall.Rlimit{{Cur: filesWanted, Max: max(limit.Max, filesWanted)}, {Cur: min(limit.Max, filesWanted), Max: limit.Max}} {
		if syscall.Setrlimit(syscall.RLIMIT_NOFILE, &want) == nil {
			return want.Cur
		}
	}
	return limit.Cur
}

// connectionsMax is how many connections the proxies are told to allow: each may need a second one to a backend.
func (l *lab) connectionsMax() int { return int(min(l.files-500, 51000)) / 2 }

// findProgram looks in the places where Debian puts servers, and where scripts/setup puts what it builds, too.
func findProgram(name string) (string, error) {
	folders := []string{"", "/usr/sbin"}
	if cache, err := os.UserCacheDir(); err == nil {
		folders = append(folders, filepath.Join(cache, "trivet", "bin"))
	}
	for _, folder := range folders {
		if path, err := exec.LookPath(filepath.Join(folder, name)); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("%s is not installed; hint: make setup", name)
}

// values are what the configurations' templates may name.
type values struct {
	Port, Metrics  int
	Backends       []int
	Dir, Small     string
	ConnectionsMax int
}

// backends starts n backends.
func (l *lab) backends(ctx context.Context, n int) ([]*server, error) {
	var all []*server
	for range n {
		s, err := l.start(ctx, "backend", "backend.conf", nil)
		if err != nil {
			return nil, err
		}
		all = append(all, s)
	}
	return all, nil
}

// proxies starts all that are compared; kind is "" for the speed configuration by HTTP, or "-fault", "-tcp", "-udp".
func (l *lab) proxies(ctx context.Context, kind string, backends []*server) ([]*server, error) {
	extension := map[string]string{"haproxy": ".cfg", "nginx": ".conf", "trivet": ".yaml"}
	var all []*server
	for _, name := range l.peers {
		if kind == "-udp" && name == "haproxy" {
			continue // does not pass datagrams on
		}
		s, err := l.start(ctx, name, name+kind+extension[name], backends)
		if err != nil {
			return nil, err
		}
		all = append(all, s)
	}
	return all, nil
}

// start writes a configuration from its template, starts the program and waits until it serves.
func (l *lab) start(ctx context.Context, name, config string, backends []*server) (*server, error) {
	ports, err := freePorts(2)
	if err != nil {
		return nil, err
	}
	v := values{Port: ports[0], Metrics: ports[1], Dir: l.dir, Small: strings.Repeat("x", smallBytes), ConnectionsMax: l.connectionsMax()}
	for _, b := range backends {
		v.Backends = append(v.Backends, b.port)
	}
	file := filepath.Join(l.dir, fmt.Sprintf("%d-%s", v.Port, config))
	if err := writeTemplate(filepath.Join(l.configs, config+".tmpl"), file, v); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Join(l.dir, "tmp", fmt.Sprint(v.Port)), 0o777); err != nil {
		return nil, err
	}
	program, args, err := l.command(name, file)
	if err != nil {
		return nil, err
	}
	child, err := l.nursery.Start(name, program, args...)
	if err != nil {
		return nil, err
	}
	s := &server{name: name, port: v.Port, child: child, udp: strings.Contains(config, "-udp.")}
	return s, s.untilItServes(ctx)
}

func (l *lab) command(name, file string) (program string, args []string, err error) {
	switch name {
	case "trivet":
		program, err = filepath.Abs(l.trivet)
		return program, []string{"run", file}, err
	case "haproxy":
		program, err = findProgram("haproxy")
		return program, []string{"-db", "-f", file}, err
	default:
		program, err = findProgram("nginx")
		return program, []string{"-p", l.dir, "-c", file}, err
	}
}

func writeTemplate(from, to string, v any) error {
	t, err := template.ParseFiles(from)
	if err != nil {
		return err
	}
	f, err := os.Create(to)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := t.Execute(f, v); err != nil {
		return err
	}
	return f.Close()
}

// untilItServes waits until every body comes back with its right size.
func (s *server) untilItServes(ctx context.Context) error {
	const patience = 10 * time.Second
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("start %s: not ready after %v", s.name, patience))
	defer cancel()
	for {
		err := s.check(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-s.child.Exited():
			return fmt.Errorf("start %s: %v: %s", s.name, s.child.Err(), s.child.LastWords())
		case <-ctx.Done():
			return fmt.Errorf("%w (%v) %s", context.Cause(ctx), err, s.child.LastWords())
		}
	}
}

func (s *server) check(ctx context.Context) error {
	if s.udp {
		return s.checkUDP(ctx)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	for path, size := range map[string]int64{"/128": smallBytes, "/16k": mediumBytes, "/1m": largeBytes} {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url(path), http.NoBody)
		if err != nil {
			return err
		}
		response, err := client.Do(request)
		if err != nil {
			return err
		}
		n, err := io.Copy(io.Discard, response.Body)
		response.Body.Close()
		if err != nil || response.StatusCode != http.StatusOK || n != size {
			return fmt.Errorf("GET %s: status %d, %d bytes, %v; want 200 and %d bytes", s.url(path), response.StatusCode, n, err, size)
		}
	}
	return nil
}

// freePorts returns loopback ports where nobody listens.
func freePorts(n int) (ports []int, err error) {
	for range n {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer listener.Close()
		ports = append(ports, listener.Addr().(*net.TCPAddr).Port)
	}
	return ports, nil
}
