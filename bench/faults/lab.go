package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"text/template"
	"time"

	"github.com/trivet-ha/trivet/internal/demo/load"
	"github.com/trivet-ha/trivet/internal/demo/process"
)

type settings struct {
	trivet, configs, out, results string
	peers, cases                  []string
}

// A lab holds what runs and what was seen.
type lab struct {
	settings
	dir     string
	nursery *process.Nursery
	rows    []row
}

// seen is what the clients of one proxy saw of one fault.
type seen struct {
	c      faultCase
	peer   string
	before load.Summary
	after  load.Summary
	struck time.Time
	asked  int // requests that the backends got for those of after
}

// A scene is one proxy before three backends, under load.
type scene struct {
	c        faultCase
	backends []*backendProcess
	address  string
	rec      *load.Recorder
}

type backendProcess struct {
	child   *process.Child
	port    int
	control int
	asked   int // requests that it got, when last asked
}

const backendsOfAScene = 3

func newLab(s settings) (*lab, error) {
	dir, err := os.MkdirTemp("", "trivet-faults-")
	if err != nil {
		return nil, err
	}
	for _, sub := range []string{"", "tmp"} { // nginx's workers run as another user when we are root
		if err := errors.Join(os.MkdirAll(filepath.Join(dir, sub), 0o755), os.Chmod(filepath.Join(dir, sub), 0o777)); err != nil {
			return nil, err
		}
	}
	l := &lab{settings: s, dir: dir, nursery: process.NewNursery()}
	go l.nursery.Run() // until close
	return l, nil
}

func (l *lab) close() {
	l.nursery.Close()
	os.RemoveAll(l.dir)
}

func (l *lab) all(ctx context.Context) error {
	for _, c := range faultCases() {
		if len(l.cases) > 0 && !slices.Contains(l.cases, c.name) {
			continue
		}
		fmt.Fprintf(os.Stderr, "%s: %s\n", c.name, c.title)
		for _, peer := range l.peers {
			s, err := l.watch(ctx, c, peer)
			if err != nil {
				return fmt.Errorf("%s, %s: %w", c.name, peer, err)
			}
			r := s.row()
			l.keep(r)
			fmt.Fprintf(os.Stderr, "  %s\n", r.line())
		}
	}
	return nil
}

// watch plays one case before one proxy.
func (l *lab) watch(ctx context.Context, c faultCase, peer string) (out seen, err error) {
	s := &scene{c: c, rec: load.NewRecorder(time.Second)}
	defer func() {
		for _, b := range s.backends {
			b.child.Kill()
		}
	}()
	for range backendsOfAScene {
		b, err := l.startBackend(c)
		if err != nil {
			return out, err
		}
		s.backends = append(s.backends, b)
	}
	proxy, err := l.startProxy(ctx, c, peer, s)
	if err != nil {
		return out, err
	}
	defer proxy.Kill()
	if err := pause(ctx, 1500*time.Millisecond); err != nil { // every proxy has probed every backend
		return out, err
	}
	out = seen{c: c, peer: peer}
	err = s.send(ctx, c.rate, func(ctx context.Context) error {
		if err := pause(ctx, time.Second); err != nil {
			return err
		}
		s.rec.Phase("before")
		if err := pause(ctx, 3*time.Second); err != nil {
			return err
		}
		out.asked = -s.asked()
		out.struck = time.Now()
		s.rec.Phase("after")
		return c.strike(ctx, s)
	})
	s.rec.End()
	for _, b := range s.backends {
		_ = b.child.Signal(contSignal) // so that it can hear the end
	}
	if err != nil {
		return out, err
	}
	if err := pause(ctx, 200*time.Millisecond); err != nil { // one that hung takes what has waited
		return out, err
	}
	out.asked += s.asked()
	phases := s.rec.Summaries()
	out.before, out.after = phases[0], phases[1]
	return out, nil
}

func (l *lab) startBackend(c faultCase) (*backendProcess, error) {
	ports, err := freePorts(2)
	if err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	child, err := l.nursery.Start("backend", self, "-backend", fmt.Sprintf("127.0.0.1:%d", ports[0]), "-control", fmt.Sprintf("127.0.0.1:%d", ports[1]),
		"-work", c.work.String(), "-workers", fmt.Sprint(c.workers))
	if err != nil {
		return nil, err
	}
	return &backendProcess{child: child, port: ports[0], control: ports[1]}, nil
}

// startProxy writes the proxy's configuration, starts it and waits until it serves.
func (l *lab) startProxy(ctx context.Context, c faultCase, peer string, s *scene) (*process.Child, error) {
	ports, err := freePorts(2)
	if err != nil {
		return nil, err
	}
	extension := map[string]string{"haproxy": ".cfg", "nginx": ".conf", "trivet": ".yaml"}[peer]
	file := filepath.Join(l.dir, fmt.Sprintf("%s-%d%s", peer, ports[0], extension))
	v := map[string]any{"Port": ports[0], "Metrics": ports[1], "Dir": l.dir, "ConnectionsMax": 9000, "Backends": s.ports(), "Small": ""}
	if err := writeConfig(filepath.Join(l.configs, peer+"-fault"+extension+".tmpl"), file, v, extraFor(peer, c)); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Join(l.dir, "tmp", fmt.Sprint(ports[0])), 0o777); err != nil {
		return nil, err
	}
	program, args := l.command(peer, file)
	child, err := l.nursery.Start(peer, program, args...)
	if err != nil {
		return nil, err
	}
	s.address = fmt.Sprintf("127.0.0.1:%d", ports[0])
	return child, untilServes(ctx, "http://"+s.address+"/", child)
}

// extraFor is what Trivet's file gets beyond the defaults, as the row says: a line of the pool, or the route's retry.
func extraFor(peer string, c faultCase) func(string) string {
	return func(text string) string {
		switch {
		case peer == "trivet" && c.config == "retry500":
			return strings.Replace(text, "    pool: app\n", "    routes: [{pool: app, retry: {when: [connect, reset, stall, 500]}}]\n", 1)
		case peer == "trivet" && c.config != "":
			return text + "    " + c.config + "\n"
		}
		return text
	}
}

func writeConfig(from, to string, v any, change func(string) string) error {
	t, err := template.ParseFiles(from)
	if err != nil {
		return err
	}
	var b strings.Builder
	if err := t.Execute(&b, v); err != nil {
		return err
	}
	return os.WriteFile(to, []byte(change(b.String())), 0o644)
}

func (l *lab) command(peer, file string) (string, []string) {
	switch peer {
	case "trivet":
		program, _ := filepath.Abs(l.trivet)
		return program, []string{"run", file}
	case "haproxy":
		return find("haproxy"), []string{"-db", "-f", file}
	}
	return find("nginx"), []string{"-p", l.dir, "-c", file}
}

func find(name string) string {
	if path, err := exec.LookPath(name); err == nil {
		return path
	}
	return "/usr/sbin/" + name
}

func untilServes(ctx context.Context, url string, child *process.Child) error {
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: time.Second}
	for end := time.Now().Add(10 * time.Second); ; {
		resp, err := client.Get(url)
		if err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return nil
			}
		}
		if time.Now().After(end) {
			return fmt.Errorf("it does not serve: %v %s", err, child.LastWords())
		}
		if err := pause(ctx, 20*time.Millisecond); err != nil {
			return err
		}
	}
}

func freePorts(n int) (ports []int, err error) {
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close()
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
	}
	return ports, nil
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
