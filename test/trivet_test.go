package test

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/trivet-ha/trivet/api"
)

// binary is the program under test, built once.
var binary string

func TestMain(m *testing.M) {
	if os.Getenv("KEPT_SHOP") != "" {
		keptShop()
		return
	}
	dir, err := os.MkdirTemp("", "trivet-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	binary = filepath.Join(dir, "trivet")
	build := exec.Command("go", "build", "-o", binary, "github.com/trivet-ha/trivet/cmd/trivet")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build trivet: %v\n%s", err, out)
		os.Exit(1)
	}
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// daemon is a running trivet, with its files in a folder of its own. An upgrade replaces its process.
type daemon struct {
	t      *testing.T
	dir    string
	file   string
	socket string
	log    *syncBuffer
	client *api.Client
}

// syncBuffer collects what processes write.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// run starts trivet on a file, in which SOCKET stands for the path of its control socket, and waits until it
// answers there.
func run(t *testing.T, yaml string) *daemon {
	t.Helper()
	d := &daemon{t: t, dir: t.TempDir(), log: &syncBuffer{}}
	d.file, d.socket = filepath.Join(d.dir, "trivet.yaml"), filepath.Join(d.dir, "admin.sock")
	d.write(yaml)
	d.client = api.Dial(d.socket)
	cmd := exec.Command(binary, "run", d.file)
	// The log goes through a pipe of our own: exec would wait for every process that holds one of its own.
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = w, w
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	var wg sync.WaitGroup
	wg.Go(func() { _, _ = d.log.ReadFrom(r) })
	wg.Go(func() { _ = cmd.Wait() })
	t.Cleanup(func() {
		if s, err := d.client.Status(context.Background()); err == nil {
			_ = syscall.Kill(s.PID, syscall.SIGTERM)
		}
		done := make(chan struct{})
		go func() { wg.Wait(); close(done) }()
		select {
		case <-done:
		case <-time.After(15 * time.Second):
			t.Error("trivet did not end within 15 s of SIGTERM")
			_ = cmd.Process.Kill()
		}
		r.Close()
		d.client.Close()
		if t.Failed() {
			t.Logf("trivet's log:\n%s", d.log)
		}
	})
	eventually(t, "trivet serves", func() bool { _, err := d.client.Status(t.Context()); return err == nil })
	return d
}

// ReadFrom copies a process's output until it ends.
func (b *syncBuffer) ReadFrom(r *os.File) (n int64, err error) {
	buf := make([]byte, 32<<10)
	for {
		k, err := r.Read(buf)
		b.Write(buf[:k])
		n += int64(k)
		if err != nil {
			return n, err
		}
	}
}

func (d *daemon) write(yaml string) {
	d.t.Helper()
	if err := os.WriteFile(d.file, []byte(strings.ReplaceAll(yaml, "SOCKET", d.socket)), 0o600); err != nil {
		d.t.Fatal(err)
	}
}

func (d *daemon) status() api.Status {
	d.t.Helper()
	s, err := d.client.Status(d.t.Context())
	if err != nil {
		d.t.Fatal(err)
	}
	return s
}

// front is where a listener really listens.
func (d *daemon) front(listener string) string {
	for _, l := range d.status().Listeners {
		if l.Name == listener {
			return l.Addresses[0]
		}
	}
	d.t.Fatalf("there is no listener %s", listener)
	return ""
}

// metric reads one value from /metrics on the control socket.
func (d *daemon) metric(name string) float64 {
	d.t.Helper()
	out, err := exec.Command("curl", "-sS", "--unix-socket", d.socket, "http://trivet/metrics").Output()
	if err != nil {
		d.t.Fatalf("curl: %v", err)
	}
	m := regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(name) + ` (\S+)$`).FindSubmatch(out)
	if m == nil {
		d.t.Fatalf("there is no metric %s", name)
	}
	v, err := strconv.ParseFloat(string(m[1]), 64)
	if err != nil {
		d.t.Fatal(err)
	}
	return v
}

// eventually waits until the condition holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	deadline := time.After(20 * time.Second)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-deadline:
			t.Fatalf("not within 20 s: %s", what)
		case <-tick.C:
		}
	}
}

// openFiles counts the descriptors of a process.
func openFiles(t *testing.T, pid int) int {
	t.Helper()
	list, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

// hello is a backend that answers with a fixed text.
func hello(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("hello")) }
