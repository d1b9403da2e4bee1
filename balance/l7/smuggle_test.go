package l7_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/trivet-ha/trivet/internal/testserver"
)

// attacks try to make a server behind the proxy see a request that the proxy has not seen. Each ends in a request
// for /smuggled; whether it comes in a body or behind the message, no server may answer it.
var attacks = []struct{ name, bytes string }{
	{"CL.TE", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 53\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"},
	{"TE.CL", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n2d\r\n"},
	{"TE.TE", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n"},
	{"TE with a tab", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\tchunked\x0b\r\nContent-Length: 5\r\n\r\n0\r\n\r\n"},
	{"TE in a folded line", "POST / HTTP/1.1\r\nHost: a\r\nX: y\r\n Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n"},
	{"TE behind a space", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n"},
	{"TE behind an LF", "POST / HTTP/1.1\r\nHost: a\r\nX: y\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n"},
	{"CL.CL", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nContent-Length: 50\r\n\r\n"},
	{"CL with a list", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0,50\r\n\r\n"},
	{"CL with zeros and a sign", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -0\r\n\r\n"},
	{"chunk size beyond 64 bits", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n10000000000000000\r\n"},
	{"LF in a chunk's extension", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2;\nxx\r\n2d\r\n0\r\n\r\n"},
	{"LF after a chunk", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\n0\r\n\r\n"},
	{"LF at the end of the trailers", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: y\n\r\n"},
	{"CR in a value", "GET / HTTP/1.1\r\nHost: a\r\nX: y\rTransfer-Encoding: chunked\r\n\r\n"},
	{"an absolute target and another host", "GET http://a/\r\n HTTP/1.1\r\nHost: b\r\n\r\n"},
	{"two requests in a target", "GET / HTTP/1.1\r\nHost: a GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"},
	{"CONNECT", "CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n"},
	{"h2c", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"},
	{"HTTP/1.0 with chunks", "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"},
}

const smuggled = "GET /smuggled HTTP/1.1\r\nHost: a\r\nX-Smuggled: 1\r\n\r\n"

// TestNothingIsSmuggledPastAGoServer lets net/http look.
func TestNothingIsSmuggledPastAGoServer(t *testing.T) {
	var mu sync.Mutex
	var seen []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		seen = append(seen, r.Method+" "+r.URL.Path)
		mu.Unlock()
		_, _ = io.Copy(io.Discard, r.Body)
	}))
	defer server.Close()
	st := serve(t, []string{server.Listener.Addr().String()}, oneLoop)
	attack(t, st)
	mu.Lock()
	defer mu.Unlock()
	for _, s := range seen {
		if s != "GET /innocent" {
			t.Errorf("the server saw %s", s)
		}
	}
	if len(seen) != len(attacks) {
		t.Errorf("the server saw %d innocent requests of %d", len(seen), len(attacks))
	}
}

// TestNothingIsSmuggledPastNginx lets nginx look.
func TestNothingIsSmuggledPastNginx(t *testing.T) {
	path := testserver.Program(t, "nginx")
	dir := t.TempDir()
	address := gone(t)
	conf := filepath.Join(dir, "nginx.conf")
	text := fmt.Sprintf(`daemon off; worker_processes 1; master_process off; error_log %[1]s/error.log; pid %[1]s/pid;
events {}
http {
  log_format line '$request_method $uri';
  access_log %[1]s/access.log line;
  client_body_temp_path %[1]s/b; proxy_temp_path %[1]s/p; fastcgi_temp_path %[1]s/f; uwsgi_temp_path %[1]s/u; scgi_temp_path %[1]s/s;
  server { listen %[2]s; location / { return 200 "x"; } }
}`, dir, address)
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(path, "-c", conf, "-e", filepath.Join(dir, "error.log"))
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stop := sync.OnceFunc(func() { _ = cmd.Process.Signal(os.Interrupt); _ = cmd.Wait() })
	t.Cleanup(stop)
	st := serve(t, []string{address}, oneLoop, noOutliers)
	until(t, "nginx answers", func() bool {
		client := st.dial()
		defer client.close()
		client.say(lines("GET /innocent HTTP/1.1", "Host: a", "Connection: close"))
		got, _ := client.broken()
		return strings.HasPrefix(got, "HTTP/1.1 200 ")
	})
	attack(t, st)
	st.close()
	stop()
	log, err := os.ReadFile(filepath.Join(dir, "access.log"))
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(log), "\n"); n < len(attacks) {
		t.Errorf("nginx saw %d innocent requests of %d", n, len(attacks))
	}
	for l := range strings.Lines(string(log)) {
		if l != "GET /innocent\n" {
			t.Errorf("nginx saw %s", l)
		}
	}
}

// attack mounts each attack on a connection of its own, and sends an innocent request on another, which would get
// the smuggled one's answer if the endpoint's connection were out of step.
func attack(t *testing.T, st *stage) {
	t.Helper()
	innocent := st.dial()
	for _, a := range attacks {
		villain := st.dial()
		villain.say(a.bytes + smuggled)
		villain.shut()
		got, _ := villain.broken()
		villain.close()
		if !strings.HasPrefix(got, "HTTP/1.1 4") && !strings.HasPrefix(got, "HTTP/1.1 5") || answers(got) != 1 {
			t.Errorf("%s: the villain got\n%s", a.name, quoted(got))
		}
		innocent.say(lines("GET /innocent HTTP/1.1", "Host: a"))
		if head := innocent.head(); !strings.HasPrefix(head, "HTTP/1.1 200 OK\r\n") {
			t.Errorf("%s: an innocent got\n%s", a.name, quoted(head))
		} else if strings.Contains(head, "Content-Length: 1\r\n") {
			innocent.take(1)
		}
	}
}
