package supervise

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/trivet-ha/trivet/events"
	"github.com/trivet-ha/trivet/fault/supervise/life"
)

// instance is one started process, seen from the other end of its keeper.
type instance struct {
	id         life.ID
	slot       int
	generation int
	port       int
	name       string
	token      string
	started    time.Time

	keeper *exec.Cmd // nil if it was adopted: somebody else is the keeper's parent
	conn   *net.UnixConn
	output [2]*os.File // stdout, stderr
	lines  [2]*lines

	// What runs for the instance. It ends when the keeper is gone, or at a pause.
	wg      sync.WaitGroup
	readers sync.WaitGroup // of output
	ctx     context.Context
	cancel  context.CancelFunc

	// placing is held while Traffic is told, so that it hears things in their
	// order.
	placing sync.Mutex
	state   State
	dead    bool // nothing can make it serve any more
	wished  bool // it is being stopped without a fault, so that it is down is no news

	mu     sync.Mutex
	paused bool
	report report
	said   string // the last line, for the evidence of its end
}

func (in *instance) address() string { return addressOf(in.port) }

func (in *instance) last() report {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.report
}

// hear remembers the last line that a process has written.
func (in *instance) hear(text string) {
	if text == "" {
		return
	}
	const longest = 200
	if len(text) > longest {
		text = text[:longest] + "..."
	}
	in.mu.Lock()
	in.said = text
	in.mu.Unlock()
}

// close closes this end of everything.
func (in *instance) close() {
	if in.conn != nil {
		in.conn.Close()
	}
	for _, f := range in.output {
		if f != nil {
			f.Close()
		}
	}
}

// keeperVariable is set in the environment of keepers, for programs that can not
// tell by their arguments what they are: tests.
const keeperVariable = "TRIVET_KEEPER"

// launch starts the keeper, which starts the command.
func (in *instance) launch(spec *Spec, cfg *Config) error {
	var token [12]byte
	_, _ = rand.Read(token[:]) // never fails
	in.token = hex.EncodeToString(token[:])
	l, err := spec.launch(Place{Port: in.port, Address: in.address(), Replica: in.slot, Pool: cfg.Pool}, in.token)
	if err != nil {
		return err
	}
	file, err := memory(l)
	if err != nil {
		return err
	}
	defer file.Close()
	conn, theirs, err := socketPair()
	if err != nil {
		return err
	}
	defer theirs.Close()
	in.conn = conn
	var ends [2]*os.File
	for i := range ends {
		if in.output[i], ends[i], err = os.Pipe(); err != nil {
			in.close()
			return err
		}
		defer ends[i].Close()
	}
	in.keeper = exec.Command(cfg.Keeper[0])
	in.keeper.Args = append(append(append([]string{"trivet"}, cfg.Keeper[1:]...), in.name), l.Argv...)
	// In a session of its own, so that an interrupt from the terminal is for the
	// one who drains.
	in.keeper.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	in.keeper.Dir, in.keeper.Env = "/", []string{"GOMAXPROCS=1", keeperVariable + "=1"}
	in.keeper.Stdout, in.keeper.Stderr = ends[0], ends[1]
	in.keeper.ExtraFiles = []*os.File{theirs, file} // keeperSocket, keeperLaunch
	if err := in.keeper.Start(); err != nil {
		in.close()
		return fmt.Errorf("start its keeper: %w", err)
	}
	return nil
}

// start starts a process in a slot. What goes wrong counts as an end of the
// process.
func (g *Group) start(p life.Process) {
	g.mu.Lock()
	spec, cfg := g.specs[p.Generation], g.cfg
	g.mu.Unlock()
	in := &instance{id: p.ID, slot: p.Slot, generation: p.Generation, name: g.name(p.Slot), started: time.Now()}
	err := g.seat(in)
	if err == nil {
		g.put(in, Starting, "starting")
		err = in.launch(spec, &cfg)
	}
	if err != nil {
		g.dies(in, err.Error())
		g.unseat(in)
		g.exited(in, err.Error())
		return
	}
	g.begin(in)
}

// begin starts what runs for an instance, by the phase that it is in.
func (g *Group) begin(in *instance) {
	in.ctx, in.cancel = context.WithCancel(context.Background())
	in.paused = false
	_ = in.conn.SetReadDeadline(time.Time{})
	g.mu.Lock()
	output := g.cfg.Output
	p, _ := g.life.Process(in.id)
	g.mu.Unlock()
	for i, stream := range []string{"stdout", "stderr"} {
		if in.lines[i] == nil {
			in.lines[i] = &lines{process: in.name, stream: stream, note: in.hear}
		}
		in.lines[i].output = output
		_ = in.output[i].SetReadDeadline(time.Time{})
		in.readers.Go(func() { in.lines[i].read(in.output[i]) })
	}
	in.wg.Go(func() { g.listen(in) })
	switch p.Phase {
	case life.Starting:
		in.wg.Go(func() { g.awaitReady(in) })
	case life.Draining:
		in.wg.Go(func() { g.awaitIdle(in) })
	}
	_ = send(in.conn, order{Do: "tell"})
}

// pause ends what runs for an instance, and leaves the process alone.
func (in *instance) pause() {
	in.mu.Lock()
	in.paused = true
	in.mu.Unlock()
	past := time.Unix(1, 0)
	_ = in.conn.SetReadDeadline(past)
	for _, f := range in.output {
		_ = f.SetReadDeadline(past)
	}
	in.cancel()
	in.wg.Wait()
	in.readers.Wait()
}

// leftoverWait is how long a keeper may take to end what a command has left
// behind. Only a process that the kernel can not end takes longer.
const leftoverWait = 10 * time.Second

// listen takes the keeper's reports until it is gone, or the instance is paused.
func (g *Group) listen(in *instance) {
	for {
		var r report
		err := receive(in.conn, &r)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			in.mu.Lock()
			paused := in.paused
			in.mu.Unlock()
			if paused {
				return
			}
		}
		if err != nil {
			g.bury(in, err)
			return
		}
		g.heard(in, r)
	}
}

// heard takes a report. The same may come again.
func (g *Group) heard(in *instance, r report) {
	in.mu.Lock()
	before := in.report
	in.report = r
	if r.Exited && !in.paused {
		_ = in.conn.SetReadDeadline(time.Now().Add(leftoverWait))
	}
	in.mu.Unlock()
	if r.PID != 0 && before.PID == 0 {
		g.cfg.Event(events.Event{
			Kind: events.ProcessStarted, Where: g.where(in), Evidence: fmt.Sprintf("process %d, version %d", r.PID, in.generation+1),
		})
	}
	if r.Exited && !before.Exited {
		in.cancel()
		g.dies(in, "the process has ended: "+r.why())
	}
}

func (g *Group) where(in *instance) events.Where {
	return events.Where{Pool: g.cfg.Pool, Process: in.name, Endpoint: in.address()}
}

// bury goes on when the keeper is gone, and with it the command and all that it
// had started; or when it has not ended all of that for too long.
func (g *Group) bury(in *instance, err error) {
	in.cancel()
	r := in.last()
	why := r.why()
	if !r.Exited {
		why = "its keeper was killed"
		r.At = time.Now()
		g.dies(in, why)
		if r.PID > 0 {
			reap(r.PID) // the kernel has killed it with its keeper
		}
		if n := sweep(in.token, r.Cgroup); n > 0 {
			why += fmt.Sprintf(", and left %d processes", n)
		}
	}
	// Whoever could still write has ended, so this is the rest. A process that the
	// kernel can not end may hold the other end open.
	for _, f := range in.output {
		_ = f.SetReadDeadline(time.Now().Add(time.Second))
	}
	in.readers.Wait()
	in.close()
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		why += "; it left behind what can not be ended"
		if in.keeper != nil {
			_ = in.keeper.Process.Release()
		}
	case in.keeper != nil:
		_ = in.keeper.Wait() // it has closed its socket, so it is about to end
	}
	in.mu.Lock()
	if in.said != "" {
		why += "; it last said " + strconv.Quote(in.said)
	}
	in.mu.Unlock()
	g.mu.Lock()
	g.traces[in.id] = trace{address: in.address(), died: r.At}
	g.mu.Unlock()
	g.unseat(in)
	g.exited(in, why)
}

// put tells Traffic how an instance stands, unless it is dead.
func (g *Group) put(in *instance, s State, reason string) {
	in.placing.Lock()
	defer in.placing.Unlock()
	if !in.dead {
		g.tell(in, s, reason)
	}
}

// dies tells Traffic that an instance is gone, or about to be for a fault.
func (g *Group) dies(in *instance, why string) {
	in.placing.Lock()
	defer in.placing.Unlock()
	in.dead = true
	if !in.wished {
		g.tell(in, Down, why)
	}
}

// tell is the one way to Traffic. The caller holds placing.
func (g *Group) tell(in *instance, s State, reason string) {
	in.state = s
	g.cfg.Traffic.Put(Standing{Process: in.name, Address: in.address(), State: s, Reason: reason})
}
