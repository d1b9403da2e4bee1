package demo

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/trivet-ha/trivet/internal/demo/load"
	"github.com/trivet-ha/trivet/internal/demo/process"
)

// Options change the story. The zero Options tell the whole of it.
type Options struct {
	// Rate is the load in requests per second; 0 means 400, which two cores carry beside three shops.
	Rate float64
	// Keep leaves everything running at the end, until the context ends, and prints the addresses.
	Keep bool
	// JSON replaces the final table by one JSON object on out. The story itself then goes to Talk.
	JSON bool
	// Talk is where the story goes when out is kept for results; nil means that it is not told.
	Talk io.Writer
	// Executable is the program that runs the children; "" means this program.
	Executable string
	// ShopCommand are the arguments that make Executable call Shop with the arguments that follow; nil means
	// "demo-shop".
	ShopCommand []string
	// RunCommand are the arguments that make Executable run the configuration file that follows; nil means "run".
	RunCommand []string
	// Chapters replaces the story; nil means Chapters().
	Chapters []Chapter

	pace float64 // 1 is the real time; tests are in a hurry
}

func (o Options) withDefaults() (Options, error) {
	if o.Rate == 0 {
		o.Rate = 400
	}
	if o.Rate < 0 {
		return o, fmt.Errorf("demo rate %g: must be above 0", o.Rate)
	}
	if o.Executable == "" {
		self, err := os.Executable()
		if err != nil {
			return o, fmt.Errorf("find this program: %v", err)
		}
		o.Executable = self
	}
	if o.ShopCommand == nil {
		o.ShopCommand = []string{"demo-shop"}
	}
	if o.RunCommand == nil {
		o.RunCommand = []string{"run"}
	}
	if o.Chapters == nil {
		o.Chapters = Chapters()
	}
	if o.Talk == nil {
		o.Talk = io.Discard
	}
	if o.pace == 0 {
		o.pace = 1
	}
	return o, nil
}

// Run tells the story on out. It returns nil when no request failed and every acknowledged order was found again, and
// an error that says what went wrong otherwise. When it returns, nothing it started is left.
func Run(ctx context.Context, out io.Writer, opt Options) (err error) {
	opt, err = opt.withDefaults()
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "trivet-demo-")
	if err != nil {
		return fmt.Errorf("make a folder for the demo: %v", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()

	told := out
	if opt.JSON {
		told = opt.Talk
	}
	s := &Stage{
		Dir: dir, Config: filepath.Join(dir, "trivet.yaml"), Socket: filepath.Join(dir, "admin.sock"),
		opt: opt, story: newStory(told), nursery: process.NewNursery(), recorder: load.NewRecorder(time.Second),
	}
	go s.nursery.Run() // until its close, which waits
	defer s.nursery.Close()
	defer s.story.show("")

	if err := s.raise(ctx); err != nil {
		return err
	}
	result, err := s.play(ctx)
	if err != nil {
		return err
	}
	if opt.JSON {
		err = json.NewEncoder(out).Encode(result)
	} else {
		s.printTable(result)
	}
	if opt.Keep && err == nil {
		s.linger(ctx)
	}
	return errors.Join(err, result.verdict())
}

// raise starts the shops and Trivet.
func (s *Stage) raise(ctx context.Context) (err error) {
	s.story.print(s.story.paint(bold, "Three shops, one balancer, customers who do not stop coming, and trouble."))
	if err := os.Mkdir(s.ledgers(), 0o700); err != nil {
		return fmt.Errorf("make a folder for the ledgers: %v", err)
	}
	for _, name := range []string{"shop-a", "shop-b", "shop-c"} {
		address, err := freeAddress()
		if err != nil {
			return err
		}
		s.shops = append(s.shops, &shopProcess{name: name, address: address})
		if err := s.Open(ctx, name); err != nil {
			return err
		}
	}
	if s.Front, err = freeAddress(); err != nil {
		return err
	}
	if err := s.Configure(nil); err != nil {
		return err
	}
	if s.Trivet, err = startTrivet(ctx, s); err != nil {
		return err
	}
	for _, p := range s.shops {
		if err := s.Await(ctx, p.name, In); err != nil {
			return err
		}
	}
	return nil
}

// play sends the customers and runs the chapters.
func (s *Stage) play(ctx context.Context) (Result, error) {
	s.customers = &customers{host: "shop.demo", name: strings.ToLower(rand.Text()[:8])}
	g, err := load.New(s.customers.loadConfig(s.Front, s.opt.Rate, s.recorder.Observe))
	if err != nil {
		return Result{}, err
	}
	s.Say("customers arrive, %g requests a second, whether or not the last was answered", s.opt.Rate)

	var wg sync.WaitGroup
	// The load outlives a cancelled story by no more than what is in flight; its failures must not be counted.
	loading, stopLoad := context.WithCancel(context.WithoutCancel(ctx))
	watching, stopWatch := context.WithCancel(ctx)
	wg.Go(func() { g.Run(loading) })
	wg.Go(func() { s.watch(watching) })
	wg.Go(func() { s.animate(watching) })
	err = s.runChapters(ctx)
	stopLoad()
	stopWatch()
	wg.Wait()
	if err != nil {
		return Result{}, err
	}
	return s.result(ctx)
}

func (s *Stage) runChapters(ctx context.Context) error {
	for i, c := range s.opt.Chapters {
		s.chapter = c.Name
		s.story.title(fmt.Sprintf("%d. %s", i+1, c.Name))
		err := c.Run(ctx, s)
		s.endPhase()
		if err != nil {
			return fmt.Errorf("%s: %w", strings.ToLower(c.Name), err)
		}
	}
	return nil
}

// watch tells whenever Trivet's opinion of a shop changes.
func (s *Stage) watch(ctx context.Context) {
	last := make(map[string]Endpoint)
	for ctx.Err() == nil {
		endpoints, err := s.Trivet.Endpoints(ctx)
		if err == nil {
			for _, e := range endpoints {
				was, known := last[e.Address]
				last[e.Address] = e
				if !known || (was.State == e.State && was.Available == e.Available) {
					continue
				}
				why := ""
				if e.Reason != "" {
					why = ": " + e.Reason
				}
				s.Saw("after %.2f s: %s is %s%s", s.since().Seconds(), s.nameOf(e.Address), e.State, why)
			}
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
		}
	}
}

// animate keeps the last line of a terminal alive: who works, and how the customers fare.
func (s *Stage) animate(ctx context.Context) {
	const tick = 250 * time.Millisecond
	before := s.customers.shares(len(s.shops))
	for {
		select {
		case <-time.After(tick):
		case <-ctx.Done():
			s.story.show("")
			return
		}
		now := s.customers.shares(len(s.shops))
		var line strings.Builder
		for i, p := range s.shops {
			rate := float64(now[i]-before[i]) / tick.Seconds()
			fmt.Fprintf(&line, "%s %s%3.0f/s  ", p.name, s.story.paint(cyan, bar(rate, s.opt.Rate, 12)), rate)
		}
		requests, failed := s.recorder.Total()
		verdict := s.story.paint(green, "0 failed")
		if failed > 0 {
			verdict = s.story.paint(red, fmt.Sprintf("%d failed", failed))
		}
		s.story.show(fmt.Sprintf("         %s  %s requests, %s", line.String(), grouped(requests), verdict))
		before = now
	}
}

// linger keeps the stage up for a look around.
func (s *Stage) linger(ctx context.Context) {
	s.story.title("Everything keeps running. Press Ctrl-C to end it.")
	s.story.print(fmt.Sprintf("  the shop            http://%s/", s.Front))
	for _, p := range s.shops {
		s.story.print(fmt.Sprintf("  %-18s  http://%s/  (pid %d)", p.name, p.address, p.PID()))
	}
	s.story.print("  configuration       " + s.Config)
	s.story.print("  ask Trivet          trivet status --socket " + s.Socket)
	<-ctx.Done()
}
