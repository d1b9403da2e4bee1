package http2

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/trivet-ha/trivet/internal/testserver"
)

// serverEnv makes the test binary a server, so that its processor time can be told from that of the load.
const serverEnv = "HTTP2_TEST_SERVER"

func TestMain(m *testing.M) {
	if kind := os.Getenv(serverEnv); kind != "" {
		runServer(kind)
		return
	}
	os.Exit(m.Run())
}

// runServer serves "name size" until its standard input ends.
func runServer(kind string) {
	name, size, _ := strings.Cut(kind, " ")
	n, _ := strconv.Atoi(size)
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	if name == "engine" {
		s := &server{app: hello(n), lis: lis, started: time.Now(), open: map[net.Conn]bool{}}
		go s.accept()
	} else {
		_, body, _ := hello(n)(nil)
		p := new(http.Protocols)
		p.SetUnencryptedHTTP2(true)
		go func() {
			_ = (&http.Server{Protocols: p, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Server", "test")
				w.Header().Set("Content-Type", "text/plain")
				w.Header().Set("Content-Length", strconv.Itoa(n))
				_, _ = w.Write(body)
			})}).Serve(lis)
		}()
	}
	fmt.Println(lis.Addr())
	_, _ = io.Copy(io.Discard, os.Stdin)
}

// BenchmarkServers compares a server made of the engine and the tests' plain driver (a goroutine per connection) with
// net/http's, under h2load, by requests per second of the server's processor time.
func BenchmarkServers(b *testing.B) {
	for _, size := range []int{128, 16 << 10} {
		for _, name := range []string{"engine", "nethttp"} {
			b.Run(fmt.Sprintf("%s/%d", name, size), func(b *testing.B) {
				pid, addr := startServer(b, fmt.Sprint(name, " ", size))
				n := strconv.Itoa(max(b.N, 1000))
				load(b, addr, "1000")
				before := cpuTime(b, pid)
				b.ResetTimer()
				rate := load(b, addr, n)
				used := cpuTime(b, pid) - before
				requests, _ := strconv.ParseFloat(n, 64)
				b.ReportMetric(rate, "requests/s")
				b.ReportMetric(requests/used.Seconds(), "requests/cpu-s")
			})
		}
	}
}

func startServer(b *testing.B, kind string) (pid int, addr string) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), serverEnv+"="+kind)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { in.Close(); _ = cmd.Wait() })
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		b.Fatal(err)
	}
	return cmd.Process.Pid, strings.TrimSpace(line)
}

var finishedIn = regexp.MustCompile(`finished in \S+, ([0-9.]+) req/s`)

func load(b *testing.B, addr, n string) (rate float64) {
	out, err := exec.Command(testserver.Program(b, "h2load"), "-n", n, "-c", "16", "-m", "16", "http://"+addr+"/").Output()
	found := finishedIn.FindSubmatch(out)
	if err != nil || found == nil || !strings.Contains(string(out), " 0 failed") {
		b.Fatalf("h2load: %v\n%s", err, out)
	}
	rate, _ = strconv.ParseFloat(string(found[1]), 64)
	return rate
}

// cpuTime returns what a process has used of the processor, by /proc, in steps of 10 ms.
func cpuTime(b *testing.B, pid int) time.Duration {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		b.Skip("no /proc here: ", err)
	}
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	user, _ := strconv.Atoi(fields[11])
	system, _ := strconv.Atoi(fields[12])
	return time.Duration(user+system) * (time.Second / 100)
}
