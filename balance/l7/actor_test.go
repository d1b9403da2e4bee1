package l7_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// actorEnv holds the address that this program serves when it plays an endpoint.
const actorEnv = "TRIVET_L7_TEST_ENDPOINT"

// act is the whole life of an endpoint: it answers until its standard input ends, that is, until the test that
// started it is over.
func act(address string) int {
	ln, err := net.Listen("tcp", address)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	go func() {
		_ = http.Serve(ln, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			fmt.Fprint(w, "x")
		}))
	}()
	fmt.Println(ln.Addr())
	_, _ = io.Copy(io.Discard, os.Stdin)
	return 0
}

// actor is an endpoint in a process of its own, which can be killed and stopped.
type actor struct {
	cmd     *exec.Cmd
	address string
	end     func()
}

// cast starts one at the given address; port 0 is any.
func cast(t *testing.T, address string) *actor {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), actorEnv+"="+address)
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	a := &actor{cmd: cmd, end: sync.OnceFunc(func() {
		_ = cmd.Process.Kill()
		stdin.Close()
		_ = cmd.Wait()
	})}
	t.Cleanup(a.end)
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		t.Fatalf("the endpoint did not start: %v", err)
	}
	a.address = strings.TrimSpace(line)
	return a
}

// crowd is a number of clients that send one request after another on connections that they keep as long as
// they may.
type crowd struct {
	requests atomic.Int64
	slow     atomic.Int64 // took longer than a second
	mu       sync.Mutex
	failures []string
	done     chan struct{}
	wg       sync.WaitGroup
}

// gather sets a crowd to work. Each client pauses between two requests.
func gather(t testing.TB, address string, clients int, pause time.Duration, request string) *crowd {
	c := &crowd{done: make(chan struct{})}
	for range clients {
		c.wg.Go(func() { c.work(t, address, pause, request) })
	}
	return c
}

func (c *crowd) work(t testing.TB, address string, pause time.Duration, request string) {
	var p *peer
	tick := time.NewTicker(max(pause, time.Nanosecond))
	defer tick.Stop()
	for {
		select {
		case <-c.done:
			if p != nil {
				p.close()
			}
			return
		case <-tick.C:
		}
		if p == nil {
			conn, err := net.Dial("tcp", address)
			if err != nil {
				c.fail("connect: %v", err)
				return
			}
			p = &peer{t: t, conn: conn}
		}
		begin := time.Now()
		p.say(request)
		head := p.tryHead()
		c.requests.Add(1)
		if time.Since(begin) > time.Second {
			c.slow.Add(1)
		}
		if !strings.HasPrefix(head, "HTTP/1.1 200 OK\r\n") {
			c.fail("got %q %q after %v", head, p.got, time.Since(begin))
			p.close()
			p = nil
			continue
		}
		if got := p.body(); got != "x" {
			c.fail("got %q, then %q", head, got)
		}
		if strings.Contains(head, "Connection: close\r\n") {
			p.close()
			p = nil
		}
	}
}

// body reads a body of one byte, or what comes instead of it.
func (p *peer) body() string {
	for len(p.got) == 0 {
		if err := p.more(); err != nil {
			return err.Error()
		}
	}
	s := string(p.got)
	p.got = nil
	return s
}

func (c *crowd) fail(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.failures = append(c.failures, fmt.Sprintf(format, args...))
}

// after waits until the crowd has sent that many more requests.
func (c *crowd) after(t testing.TB, n int64) {
	t.Helper()
	want := c.requests.Load() + n
	until(t, "the crowd works", func() bool { return c.requests.Load() >= want })
}

// leave ends the crowd's work, of which no request may have failed.
func (c *crowd) leave(t testing.TB) {
	t.Helper()
	close(c.done)
	c.wg.Wait()
	if n := len(c.failures); n > 0 {
		t.Errorf("%d of %d requests failed; the first:\n%s", n, c.requests.Load(), strings.Join(c.failures[:min(n, 5)], "\n"))
	}
}
