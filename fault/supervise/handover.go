package supervise

import (
	"encoding/json"
	"fmt"
	"os"
	"time"

	"github.com/trivet-ha/trivet/events"
	"github.com/trivet-ha/trivet/fault/supervise/life"
)

// Handover is a group as another process can go on with it. The descriptors are
// this process's; they must be open in the other, in the same order.
type Handover struct {
	State json.RawMessage
	FDs   []int
}

// state is what a Handover holds, beside descriptors.
type state struct {
	Life      life.State       `json:"life"`
	Specs     map[int]*Spec    `json:"specs"`
	Seats     map[int]handSeat `json:"seats"`
	Instances []handInstance   `json:"instances"`
}

type handSeat struct {
	Port   int  `json:"port"`
	Proven bool `json:"proven"`
}

type handInstance struct {
	ID         life.ID   `json:"id"`
	Slot       int       `json:"slot"`
	Generation int       `json:"generation"`
	Port       int       `json:"port"`
	Token      string    `json:"token"`
	Started    time.Time `json:"started"`
	PID        int       `json:"pid"`
	State      State     `json:"state"`
	Dead       bool      `json:"dead,omitempty"`
	Wished     bool      `json:"wished,omitempty"`
	Partial    [2][]byte `json:"partial"` // of lines
}

// descriptorsEach is how many descriptors an instance has: socket, stdout, stderr.
const descriptorsEach = 3

// Freeze stops deciding and doing, so that another process can go on. Processes
// do not notice; what happens to them meanwhile waits in their keepers. Thaw or
// Detach must follow.
func (g *Group) Freeze() (Handover, error) {
	g.turn.Lock()
	g.mu.Lock()
	g.frozen = true
	g.mu.Unlock()
	for _, in := range g.list() {
		in.pause()
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	s := state{Life: g.life.State(g.now()), Specs: g.specs, Seats: map[int]handSeat{}}
	for slot, seat := range g.seats {
		s.Seats[slot] = handSeat{seat.port, seat.proven}
	}
	var h Handover
	for _, in := range g.instances {
		s.Instances = append(s.Instances, handInstance{
			ID: in.id, Slot: in.slot, Generation: in.generation, Port: in.port, Token: in.token, Started: in.started,
			PID: in.last().PID, State: in.state, Dead: in.dead, Wished: in.wished, Partial: [2][]byte{in.lines[0].partial, in.lines[1].partial},
		})
		fds, err := in.descriptors()
		if err != nil {
			return Handover{}, err
		}
		h.FDs = append(h.FDs, fds...)
	}
	var err error
	h.State, err = json.Marshal(s)
	return h, err
}

// descriptors are the numbers of what connects an instance with this process.
func (in *instance) descriptors() (fds []int, err error) {
	note := func(fd uintptr) { fds = append(fds, int(fd)) }
	raw, err := in.conn.SyscallConn()
	if err == nil {
		err = raw.Control(note)
	}
	for _, f := range in.output {
		if err != nil {
			return nil, err
		}
		if raw, err = f.SyscallConn(); err == nil {
			err = raw.Control(note)
		}
	}
	return fds, err
}

// Thaw goes on after a Freeze.
func (g *Group) Thaw() {
	g.mu.Lock()
	g.frozen = false
	g.mu.Unlock()
	for _, in := range g.list() {
		g.begin(in)
	}
	g.turn.Unlock()
	g.nudge()
}

// Detach lets go of everything after a Freeze: the other process has it now. Run
// returns.
func (g *Group) Detach() {
	g.mu.Lock()
	g.detached = true
	g.mu.Unlock()
	for _, in := range g.list() {
		in.close()
		if in.keeper != nil {
			_ = in.keeper.Process.Release()
		}
	}
	g.turn.Unlock()
	g.nudge()
}

// Adopt returns a group that goes on where that of another process was frozen.
// It takes the descriptors over, as they are numbered here; on an error it closes
// them, and the processes end.
func Adopt(cfg Config, h Handover) (*Group, error) {
	ends, s, err := unpack(cfg, h)
	if err != nil {
		return nil, fmt.Errorf("adopt the processes of %s: %w", cfg.Pool, err)
	}
	g := newGroup(cfg)
	g.life = life.Restore(cfg.Policy, s.Life, g.now())
	g.specs = s.Specs
	for slot, seat := range s.Seats {
		g.seats[slot] = seatOf(seat)
		g.cfg.Ports.Keep(seat.Port)
	}
	for i, hi := range s.Instances {
		in := ends[i]
		*in = instance{
			conn: in.conn, output: in.output,
			id: hi.ID, slot: hi.Slot, generation: hi.Generation, port: hi.Port, token: hi.Token, started: hi.Started,
			name: g.name(hi.Slot), state: hi.State, dead: hi.Dead, wished: hi.Wished, report: report{PID: hi.PID},
		}
		for k, stream := range []string{"stdout", "stderr"} {
			in.lines[k] = &lines{process: in.name, stream: stream, note: in.hear, partial: hi.Partial[k]}
		}
		g.cfg.Ports.Keep(in.port)
		g.instances[in.id] = in
		g.cfg.Event(events.Event{Kind: events.ProcessAdopted, Where: g.where(in), Evidence: fmt.Sprintf("process %d", hi.PID)})
	}
	return g, g.Update(cfg)
}

// unpack checks a hand-over and takes its descriptors over: into one instance each three, or, on an error, to be
// closed.
func unpack(cfg Config, h Handover) (ends []*instance, s state, err error) {
	left := h.FDs
	defer func() {
		if err == nil {
			return
		}
		for _, in := range ends {
			in.close()
		}
		for _, fd := range left {
			_ = os.NewFile(uintptr(fd), "").Close()
		}
	}()
	if err = cfg.check(); err != nil {
		return nil, s, err
	}
	if err = json.Unmarshal(h.State, &s); err != nil {
		return nil, s, err
	}
	if len(h.FDs) != descriptorsEach*len(s.Instances) {
		return nil, s, fmt.Errorf("%d descriptors do not fit %d processes", len(h.FDs), len(s.Instances))
	}
	for range s.Instances {
		in := &instance{}
		ends = append(ends, in)
		in.output = [2]*os.File{os.NewFile(uintptr(left[1]), "stdout"), os.NewFile(uintptr(left[2]), "stderr")}
		socket := left[0]
		left = left[descriptorsEach:]
		if in.conn, err = connOf(socket); err != nil {
			return ends, s, err
		}
	}
	return ends, s, nil
}

func seatOf(s handSeat) seat { return seat{port: s.Port, proven: s.Proven} }

// Standings is how every process stands, for a Traffic that knows nothing yet:
// after Adopt, before Run.
func (g *Group) Standings() []Standing {
	g.mu.Lock()
	defer g.mu.Unlock()
	var all []Standing
	for _, in := range g.instances {
		all = append(all, Standing{Process: in.name, Address: in.address(), State: in.state, Reason: "adopted"})
	}
	for slot, s := range g.seats {
		if !g.sits(s.port) {
			all = append(all, Standing{Process: g.name(slot), Address: addressOf(s.port), State: Down, Reason: "the process has ended"})
		}
	}
	return all
}
