package probe

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if os.Getenv("TRIVET_PROBE_TEST_SERVER") != "" {
		serveForever()
	}
	goleak.VerifyTestMain(m)
}

// ask probes within a second.
func ask(t *testing.T, c Check, address string) (string, error) {
	t.Helper()
	return askWithin(t, c, Target{Address: address}, time.Second)
}

func askWithin(t *testing.T, c Check, target Target, limit time.Duration) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	start := time.Now()
	detail, err := c.Do(ctx, target)
	if took := time.Since(start); took > limit+2*time.Second {
		t.Errorf("the probe took %v, its limit is %v", took, limit)
	}
	return detail, err
}

// wants fails unless the probe says want: a detail, or an error.
func wants(t *testing.T, detail string, err error, want string) {
	t.Helper()
	got := detail
	if err != nil {
		got = "error: " + err.Error()
	}
	if matched, _ := regexp.MatchString("^(?:"+want+")$", got); !matched {
		t.Errorf("the probe says %q, want %q", got, want)
	}
}

// server accepts connections and lets handle have each.
func server(t *testing.T, handle func(net.Conn)) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	serveOn(t, l, handle)
	return l.Addr().String()
}

func serveOn(t *testing.T, l net.Listener, handle func(net.Conn)) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			handle(c)
			_ = c.Close()
		}
	}()
	t.Cleanup(func() {
		_ = l.Close()
		<-done
	})
}

// refused is an address at which nobody listens.
func refused(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// mute accepts connections and says nothing until the other side has gone.
func mute(c net.Conn) { _, _ = io.Copy(io.Discard, c) }

// says answers whatever comes first with text.
func says(text string) func(net.Conn) {
	return func(c net.Conn) {
		_, _ = c.Read(make([]byte, 4096))
		_, _ = io.WriteString(c, text)
	}
}

func TestHTTP(t *testing.T) {
	handler := http.NewServeMux()
	handler.HandleFunc("/healthz", func(w http.ResponseWriter, r *http.Request) { fmt.Fprintln(w, "status: fine") })
	handler.HandleFunc("/broken", func(w http.ResponseWriter, r *http.Request) {
		http.Error(w, "no database", http.StatusServiceUnavailable)
	})
	handler.HandleFunc("/moved", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/healthz", http.StatusFound) })
	handler.HandleFunc("/early", func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusEarlyHints)
		w.WriteHeader(http.StatusNoContent)
	})
	handler.HandleFunc("/long", func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, strings.Repeat("x", maxBody)+"needle")
	})
	handler.HandleFunc("/echo", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s %s host=%s agent=%s x=%s close=%v", r.Method, r.RequestURI, r.Host, r.UserAgent(), r.Header.Get("X-Probe"), r.Close)
	})
	s := httptest.NewServer(handler)
	defer s.Close()
	at := s.Listener.Addr().String()
	for name, c := range map[string]struct {
		check HTTP
		want  string
	}{
		"well":               {HTTP{Path: "/healthz"}, "status 200"},
		"unexpected status":  {HTTP{Path: "/broken"}, "error: status 503, want 200-299"},
		"expected 503":       {HTTP{Path: "/broken", Expect: []StatusRange{{200, 200}, {503, 503}}}, "status 503"},
		"neither":            {HTTP{Path: "/moved", Expect: []StatusRange{{200, 204}, {503, 503}}}, "error: status 302, want 200-204, 503"},
		"redirect":           {HTTP{Path: "/moved"}, "error: status 302, want 200-299"},
		"interim answers":    {HTTP{Path: "/early"}, "status 204"},
		"HEAD":               {HTTP{Method: "HEAD", Path: "/healthz"}, "status 200"},
		"body matches":       {HTTP{Path: "/healthz", Body: regexp.MustCompile("fine$|fine\n")}, "status 200"},
		"body does not":      {HTTP{Path: "/healthz", Body: regexp.MustCompile("great")}, `error: body "status: fine\\n" does not match great`},
		"body is too long":   {HTTP{Path: "/long", Body: regexp.MustCompile("needle")}, `error: body "x{60}"... does not match needle`},
		"the request itself": {HTTP{Path: "/echo?a=b%20c", Body: regexp.MustCompile(`^GET /echo\?a=b%20c host=` + at + ` agent=trivet-probe x= close=true$`)}, "status 200"},
		"headers and host": {HTTP{
			Method: "OPTIONS", Path: "/echo", Host: "shop.example.com:81", Header: http.Header{"X-Probe": {"1"}, "User-Agent": {"me"}},
			Body: regexp.MustCompile(`^OPTIONS /echo host=shop.example.com:81 agent=me x=1 `),
		}, "status 200"},
	} {
		t.Run(name, func(t *testing.T) {
			if err := c.check.Check(); err != nil {
				t.Fatal(err)
			}
			detail, err := ask(t, &c.check, at)
			wants(t, detail, err, c.want)
		})
	}
}

func TestHTTPOfBadServers(t *testing.T) {
	for name, c := range map[string]struct {
		handle func(net.Conn)
		want   string
	}{
		"no HTTP":       {says("SSH-2.0-OpenSSH_9.2\r\n\r\n"), `error: wait for answer: malformed HTTP.*`},
		"closes":        {func(net.Conn) {}, "error: (wait for answer|send request): (connection closed by the endpoint|connection reset by peer|broken pipe)"},
		"half a head":   {says("HTTP/1.1 200 OK\r\nA: b\r\n"), "error: wait for answer: connection closed by the endpoint"},
		"endless head":  {says("HTTP/1.1 200 OK\r\n" + strings.Repeat("A: b\r\n", 40_000)), "error: wait for answer: .*"},
		"half a body":   {says("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf"), "error: read body: connection closed by the endpoint"},
		"body to close": {says("HTTP/1.1 200 OK\r\n\r\nall is well"), "status 200"},
	} {
		t.Run(name, func(t *testing.T) {
			detail, err := ask(t, &HTTP{Body: regexp.MustCompile("well")}, server(t, c.handle))
			wants(t, detail, err, c.want)
		})
	}
}

func TestHTTPCheckRefusesNonsense(t *testing.T) {
	for name, c := range map[string]HTTP{
		"method": {Method: "GE T"}, "path": {Path: "healthz"}, "URL": {Path: "http://x/"}, "bad escape": {Path: "/%zz"},
		"statuses": {Expect: []StatusRange{{300, 200}}}, "status 600": {Expect: []StatusRange{{200, 600}}},
		"body of HEAD": {Method: "HEAD", Body: regexp.MustCompile("x")},
	} {
		if c.Check() == nil {
			t.Errorf("%s: taken", name)
		}
	}
	if _, err := ask(t, &HTTP{Path: "x"}, "127.0.0.1:1"); err == nil || !strings.Contains(err.Error(), "is no path") {
		t.Error(err)
	}
}

func TestNobodyListens(t *testing.T) {
	for name, c := range map[string]Check{"http": &HTTP{}, "tcp": &TCP{}, "grpc": &GRPC{}} {
		detail, err := ask(t, c, refused(t))
		wants(t, detail, err, "error: connect: connection refused")
		detail, err = ask(t, c, "unix:"+filepath.Join(t.TempDir(), "none"))
		wants(t, detail, err, "error: connect: no such file or directory")
		t.Log(name)
	}
}

// TestAcceptsAndNeverAnswers: the kernel accepts connections for a process that
// hangs.
func TestAcceptsAndNeverAnswers(t *testing.T) {
	for name, c := range map[string]struct {
		check Check
		want  string
	}{
		"http":  {&HTTP{}, "error: wait for answer: timed out"},
		"https": {&HTTP{TLS: &TLS{}}, "error: TLS handshake: timed out"},
		"tcp":   {&TCP{}, "connected"},
		"tcp that expects": {&TCP{Send: []byte("PING\r\n"), Expect: regexp.MustCompile("PONG")},
			"error: wait for answer: timed out"},
		"tls":  {&TCP{TLS: &TLS{}}, "error: TLS handshake: timed out"},
		"grpc": {&GRPC{}, "error: wait for answer: timed out"},
	} {
		t.Run(name, func(t *testing.T) {
			detail, err := askWithin(t, c.check, Target{Address: server(t, mute)}, 100*time.Millisecond)
			wants(t, detail, err, c.want)
		})
	}
}

func TestUnixSockets(t *testing.T) {
	path := filepath.Join(t.TempDir(), "app.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	serveOn(t, l, func(c net.Conn) {
		b := make([]byte, 4096)
		n, _ := c.Read(b)
		if strings.Contains(string(b[:n]), "Host: localhost\r\n") {
			_, _ = io.WriteString(c, "HTTP/1.1 204 No Content\r\n\r\n")
		}
	})
	for _, target := range []Target{{Address: "unix:" + path}, {Address: path}, {Address: "unix:/app", Dial: path}} {
		detail, err := askWithin(t, &HTTP{}, target, time.Second)
		wants(t, detail, err, "status 204")
	}
}

func TestTLSIsVerified(t *testing.T) {
	s := httptest.NewUnstartedServer(http.NotFoundHandler())
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	defer s.Close()
	roots := x509.NewCertPool()
	roots.AddCert(s.Certificate()) // for example.com, 127.0.0.1 and ::1
	_, port, _ := net.SplitHostPort(s.Listener.Addr().String())
	for name, c := range map[string]struct {
		tls     TLS
		address string
		host    string
		want    string
	}{
		"by address":                  {TLS{Roots: roots}, "127.0.0.1:" + port, "", "status 404"},
		"by the probe's host":         {TLS{Roots: roots}, "127.0.0.1:" + port, "example.com:8443", "status 404"},
		"by its own name":             {TLS{Roots: roots, ServerName: "example.com"}, "127.0.0.1:" + port, "other.example", "status 404"},
		"for another name":            {TLS{Roots: roots, ServerName: "example.org"}, "127.0.0.1:" + port, "", "error: TLS handshake: .*not example.org"},
		"by an unknown authority":     {TLS{}, "127.0.0.1:" + port, "", "error: TLS handshake: .*unknown authority"},
		"not verified, by request":    {TLS{Insecure: true}, "127.0.0.1:" + port, "example.org", "status 404"},
		"without a name to verify by": {TLS{Roots: roots}, "unix:/x", "", "error: (connect|TLS handshake): .*"},
	} {
		t.Run(name, func(t *testing.T) {
			check := &HTTP{TLS: &c.tls, Host: c.host, Expect: []StatusRange{{404, 404}}}
			detail, err := ask(t, check, c.address)
			wants(t, detail, err, c.want)
		})
	}
}

func TestTLSRefusesPlainText(t *testing.T) {
	detail, err := ask(t, &TCP{TLS: &TLS{}}, server(t, says("220 mail.example.com ESMTP\r\n")))
	wants(t, detail, err, "error: TLS handshake: .*")
}

func TestTCP(t *testing.T) {
	pong := regexp.MustCompile(`^\+PONG\r\n`)
	for name, c := range map[string]struct {
		handle func(net.Conn)
		check  TCP
		want   string
	}{
		"connects":       {mute, TCP{}, "connected"},
		"answers":        {says("+PONG\r\n"), TCP{Send: []byte("PING\r\n"), Expect: pong}, "expected answer"},
		"greets":         {func(c net.Conn) { _, _ = io.WriteString(c, "220 ready\r\n"); mute(c) }, TCP{Expect: regexp.MustCompile("^220 ")}, "expected answer"},
		"says no":        {says("-LOADING\r\n"), TCP{Send: []byte("PING\r\n"), Expect: pong}, `error: answer "-LOADING\\r\\n" does not match \^\\\+PONG\\r\\n`},
		"says little":    {func(c net.Conn) { _, _ = io.WriteString(c, "+PO"); mute(c) }, TCP{Expect: pong}, `error: wait for answer: timed out, after "\+PO", which does not match .*`},
		"says no more":   {func(net.Conn) {}, TCP{Expect: pong}, "error: wait for answer: connection closed by the endpoint"},
		"says too much":  {func(c net.Conn) { _, _ = io.WriteString(c, strings.Repeat("no ", 50_000)) }, TCP{Expect: pong}, `error: answer "no .*"... does not match .*`},
		"in small parts": {inParts("+PONG\r\n"), TCP{Expect: pong}, "expected answer"},
		"in large parts": {says(strings.Repeat(".", 50_000) + "end"), TCP{Send: []byte("x"), Expect: regexp.MustCompile("end$")}, "expected answer"},
	} {
		t.Run(name, func(t *testing.T) {
			detail, err := askWithin(t, &c.check, Target{Address: server(t, c.handle)}, 300*time.Millisecond)
			wants(t, detail, err, c.want)
		})
	}
}

func inParts(text string) func(net.Conn) {
	return func(c net.Conn) {
		for i := range len(text) {
			if _, err := io.WriteString(c, text[i:i+1]); err != nil {
				return
			}
		}
	}
}

func TestSendToAResetConnection(t *testing.T) {
	s := server(t, func(c net.Conn) { _ = c.(*net.TCPConn).SetLinger(0) })
	for range 20 { // whether the write or the read meets the reset is a race
		detail, err := ask(t, &TCP{Send: []byte("x"), Expect: regexp.MustCompile("x")}, s)
		wants(t, detail, err, "error: (send|connect|wait for answer): (connection reset by peer|broken pipe)")
	}
}

func TestDialElsewhere(t *testing.T) {
	s := server(t, mute)
	detail, err := askWithin(t, &TCP{}, Target{Address: "db.internal:5432", Dial: s}, time.Second)
	wants(t, detail, err, "connected")
}

func TestExec(t *testing.T) {
	pidFile := filepath.Join(t.TempDir(), "pid")
	for name, c := range map[string]struct {
		command []string
		want    string
	}{
		"well":          {[]string{"true"}, "exit status 0"},
		"not well":      {[]string{"sh", "-c", "echo lag is 90s; echo more; exit 3"}, `error: exit status 3: "lag is 90s"`},
		"says much":     {[]string{"sh", "-c", "yes | head -c 100000; exit 1"}, `error: exit status 1: "y"`},
		"on stderr":     {[]string{"sh", "-c", "echo oops >&2; exit 1"}, `error: exit status 1: "oops"`},
		"environment":   {[]string{"sh", "-c", `echo $TRIVET_ENDPOINT $TRIVET_HOST $TRIVET_PORT $TRIVET_POOL`}, `exit status 0: "10.0.0.1:5432 10.0.0.1 5432 orders"`},
		"by a signal":   {[]string{"sh", "-c", "kill -9 $$"}, "error: signal: killed"},
		"no program":    {[]string{"/none/such"}, "error: fork/exec /none/such: no such file or directory"},
		"nothing":       {nil, "error: exec probe: no command"},
		"hangs":         {[]string{"sh", "-c", "echo waiting; sleep 60"}, `error: sh: timed out: "waiting"`},
		"hangs below":   {[]string{"sh", "-c", "sleep 60 & echo $! >" + pidFile + "; wait"}, `error: sh: timed out`},
		"leaves behind": {[]string{"sh", "-c", "sleep 1 & exit 0"}, "exit status 0"},
	} {
		t.Run(name, func(t *testing.T) {
			check := &Exec{Command: c.command, Pool: "orders"}
			detail, err := askWithin(t, check, Target{Address: "10.0.0.1:5432"}, 300*time.Millisecond)
			wants(t, detail, err, c.want)
		})
	}
	pid, err := os.ReadFile(pidFile)
	if err != nil {
		t.Fatal(err)
	}
	status, _ := os.ReadFile("/proc/" + strings.TrimSpace(string(pid)) + "/status")
	if len(status) > 0 && !strings.Contains(string(status), "zombie") {
		t.Errorf("the command's child is alive:\n%s", status)
	}
	detail, err := ask(t, &Exec{Command: []string{"sh", "-c", "echo $TRIVET_HOST-$TRIVET_PORT"}}, "unix:/run/app.sock")
	wants(t, detail, err, `exit status 0: "/run/app.sock-"`)
}

func TestExplain(t *testing.T) {
	err := explain(t.Context(), "connect", &tls.CertificateVerificationError{Err: io.ErrShortWrite})
	if err == nil || !strings.Contains(err.Error(), "connect: tls: failed to verify certificate: short write") {
		t.Error(err)
	}
}
