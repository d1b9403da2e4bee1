package demo

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/trivet-ha/trivet/avail/report"
	"github.com/trivet-ha/trivet/internal/demo/load"
	"github.com/trivet-ha/trivet/internal/demo/process"
)

// shopsMax is how many shops may ever stand on the stage.
const shopsMax = 8

// An Endpoint is what the balancer says about one shop.
type Endpoint struct {
	Address   string
	Available bool   // it takes requests like any other
	State     string // one word: up, down, ejected, draining
	Reason    string // for people; empty when it is simply up
}

// A Balancer is what the story needs of Trivet, as an operator would use it.
type Balancer interface {
	// Endpoints returns the state of every shop in the pool.
	Endpoints(context.Context) ([]Endpoint, error)
	// Drain lets an endpoint finish what it has and sends it nothing new; Ready lets it in again.
	Drain(ctx context.Context, endpoint string) error
	Ready(ctx context.Context, endpoint string) error
	// Reload reads the configuration file again. The error says why a file was refused.
	Reload(context.Context) error
	// Report says what was promised, predicted and measured.
	Report(context.Context) (report.Report, error)
}

// A Stage is where chapters play: the shops, Trivet, the customers, and the means to trouble them.
type Stage struct {
	Trivet Balancer
	Front  string // address of Trivet's listener
	Socket string // of Trivet's admin interface
	Config string // path of trivet.yaml
	Dir    string // the temporary folder

	opt     Options
	story   *story
	nursery *process.Nursery
	shops   []*shopProcess

	customers *customers
	recorder  *load.Recorder
	rows      []row
	chapter   string

	mu    sync.Mutex
	acted time.Time // when the demo last did something, for "after 0.31 s"
}

// A row is one line of the final table.
type row struct {
	chapter string
	phase   string
	summary *load.Summary
}

// A shopProcess is one copy of the shop.
type shopProcess struct {
	name           string
	address        string
	*process.Child // nil before the first start
}

// Say tells what the demo does to the world. What Trivet then sees is told with the time since.
func (s *Stage) Say(format string, args ...any) {
	s.mu.Lock()
	s.acted = time.Now()
	s.mu.Unlock()
	s.story.tell(narrator, format, args...)
}

// Saw tells what Trivet said.
func (s *Stage) Saw(format string, args ...any) { s.story.tell(balancer, format, args...) }

// since returns how long ago the demo last did something.
func (s *Stage) since() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return time.Since(s.acted)
}

// Phase begins a row of the final table: requests that are due from now on count there. "before", "during" and
// "after" are what a chapter about a fault has.
func (s *Stage) Phase(name string) {
	s.endPhase()
	s.rows = append(s.rows, row{chapter: s.chapter, phase: name, summary: s.recorder.Phase(name)})
}

// endPhase ends the phase under way and tells how its requests fared.
func (s *Stage) endPhase() {
	s.recorder.End()
	if n := len(s.rows); n > 0 && s.rows[n-1].chapter == s.chapter {
		sum := s.recorder.Summaries()[n-1]
		s.story.tell(customer, "%s: %s", sum.Phase, fared(&sum))
	}
}

func fared(s *load.Summary) string {
	failed := "0 failed"
	if n := s.Failures(); n > 0 {
		failed = fmt.Sprintf("%s FAILED (%s)", grouped(n), s.Why())
	}
	return fmt.Sprintf("%s requests, %s, p50 %s, p99 %s, max %s", grouped(s.Requests), failed,
		ms(s.Latency.Quantile(0.5)), ms(s.Latency.Quantile(0.99)), ms(s.Latency.Max()))
}

// Pause lets the story's time pass.
func (s *Stage) Pause(ctx context.Context, d time.Duration) error {
	d = time.Duration(float64(d) * s.opt.pace)
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Await waits until the balancer says of a shop what ok wants. It fails after twenty seconds, twice as long as an
// endpoint is ejected for the first time.
func (s *Stage) Await(ctx context.Context, shop string, ok func(Endpoint) bool) error {
	const patience = 20 * time.Second
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("wait for Trivet to see %s: nothing after %v", shop, patience))
	defer cancel()
	for {
		endpoints, err := s.Trivet.Endpoints(ctx)
		if err == nil {
			i := slices.IndexFunc(endpoints, func(e Endpoint) bool { return s.nameOf(e.Address) == shop })
			if i >= 0 && ok(endpoints[i]) {
				return nil
			}
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// In is what [Stage.Await] waits for when a shop is to get requests again.
func In(e Endpoint) bool { return e.Available }

// Out is what [Stage.Await] waits for when a shop is to get none.
func Out(e Endpoint) bool { return !e.Available }

// Address returns where a shop answers.
func (s *Stage) Address(shop string) string { return s.shop(shop).address }

// nameOf returns the shop at an address.
func (s *Stage) nameOf(address string) string {
	for _, p := range s.shops {
		if p.address == address {
			return p.name
		}
	}
	return address
}

func (s *Stage) shop(name string) *shopProcess {
	i := slices.IndexFunc(s.shops, func(p *shopProcess) bool { return p.name == name })
	return s.shops[i]
}

// Kill ends a shop's process with SIGKILL: it gets no chance to say goodbye.
func (s *Stage) Kill(shop string) error {
	p := s.shop(shop)
	s.Say("kill -9 %d: %s is gone, with all it had in hand", p.PID(), shop)
	if err := p.Signal(syscall.SIGKILL); err != nil {
		return err
	}
	<-p.Exited()
	return nil
}

// Freeze stops a shop's process: its connections stay open, and nothing answers.
func (s *Stage) Freeze(shop string) error {
	p := s.shop(shop)
	s.Say("kill -STOP %d: %s hangs; its connections stay open, and nothing answers", p.PID(), shop)
	return p.Signal(syscall.SIGSTOP)
}

// Thaw lets a frozen shop go on.
func (s *Stage) Thaw(shop string) error {
	p := s.shop(shop)
	s.Say("kill -CONT %d: %s wakes up", p.PID(), shop)
	return p.Signal(syscall.SIGCONT)
}

// Open starts a shop that is not running, at its old address.
func (s *Stage) Open(ctx context.Context, shop string) error {
	p := s.shop(shop)
	o := shopOptions{Name: p.name, Listen: p.address, Data: s.ledgers()}
	c, err := s.nursery.Start(p.name, s.opt.Executable, append(slices.Clone(s.opt.ShopCommand), o.args()...)...)
	if err != nil {
		return err
	}
	p.Child = c
	if err := s.untilHealthy(ctx, c, "http://"+p.address+"/healthz"); err != nil {
		return err
	}
	s.Say("%s is open at %s (pid %d)", shop, p.address, c.PID())
	return nil
}

// Shut ends a shop politely, as a deployment would.
func (s *Stage) Shut(shop string) {
	p := s.shop(shop)
	s.Say("kill -TERM %d: %s closes", p.PID(), shop)
	p.Stop(3 * time.Second)
}

func (s *Stage) ledgers() string { return filepath.Join(s.Dir, "ledgers") }

// untilHealthy waits until a child answers 200 at a URL; it fails when the child ends, or after ten seconds.
func (s *Stage) untilHealthy(ctx context.Context, c *process.Child, url string) error {
	const patience = 10 * time.Second
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("start %s: no answer from %s after %v", c.Name(), url, patience))
	defer cancel()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: time.Second}
	for {
		if answers(ctx, client, url) {
			return nil
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-c.Exited():
			return fmt.Errorf("start %s: it ended at once (%v): %s", c.Name(), c.Err(), c.LastWords())
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func answers(ctx context.Context, client *http.Client, url string) bool {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return false
	}
	response, err := client.Do(request)
	if err != nil {
		return false
	}
	defer response.Body.Close()
	return response.StatusCode == http.StatusOK
}

// Configure writes trivet.yaml anew. The edit, if not nil, changes what would have been written.
func (s *Stage) Configure(edit func(yaml string) string) error {
	text := configuration(s.Front, s.Socket, s.shops)
	if edit != nil {
		text = edit(text)
	}
	// Written beside and renamed, as an editor does: nobody ever reads half a file.
	if err := os.WriteFile(s.Config+".new", []byte(text), 0o600); err != nil {
		return fmt.Errorf("write configuration: %v", err)
	}
	return os.Rename(s.Config+".new", s.Config)
}

// configuration returns the demo's trivet.yaml.
func configuration(front, socket string, shops []*shopProcess) string {
	addresses := make([]string, len(shops))
	for i, p := range shops {
		addresses[i] = p.address
	}
	return fmt.Sprintf(`# The demo's configuration. All that is not written here is Trivet's default.
admin: {socket: %s}
objectives: {availability: 99.9%%, recovery_time: 30s}

listeners:
  web:
    address: %s
    routes:
      - pool: shop
        response_headers: {set: {X-Edition: "1"}}

pools:
  shop:
    endpoints: [%s]
    health: {probe: {http: {path: /healthz}}, interval: 1s}
    slow_start: 1s   # the default is 10s; the demo has no time for it
`, socket, front, strings.Join(addresses, ", "))
}

// freeAddress returns a loopback address where nobody listens.
func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("find a free port: %v", err)
	}
	defer l.Close()
	return l.Addr().String(), nil
}
