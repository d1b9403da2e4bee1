package trivet

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/trivet-ha/trivet/api"
	"github.com/trivet-ha/trivet/balance"
	"github.com/trivet-ha/trivet/balance/gslb"
	"github.com/trivet-ha/trivet/config"
	"github.com/trivet-ha/trivet/events"
	"github.com/trivet-ha/trivet/fault/supervise"
)

// handoverVariable tells a new process where its inheritance is: "state,ready", two descriptors.
const handoverVariable = "TRIVET_HANDOVER"

// handoverWithin is how long a new process may take to come up before the old one goes on alone.
const handoverWithin = 60 * time.Second

// executable is the path of this program as it was started: the file that stands there later is the next
// version, while /proc/self/exe stays with the present one.
var executable = func() string {
	if strings.ContainsRune(os.Args[0], filepath.Separator) {
		if path, err := filepath.Abs(os.Args[0]); err == nil {
			return path
		}
	}
	path, _ := os.Executable()
	return path
}()

// Inheritance is what a process hands over to the one that takes its place: the listening sockets, and what
// it knows of its endpoints that no file says.
type Inheritance struct {
	state       handover
	readyFD     int
	predecessor int // its process
}

type handover struct {
	Sockets   []handedSocket         `json:"sockets"`
	Pools     map[string]handedPool  `json:"pools"`
	Processes map[string]handedGroup `json:"processes,omitempty"` // by pool
	Events    []events.Event         `json:"events,omitempty"`    // the last
}

// handedGroup is the processes of a pool; see supervise.Handover.
type handedGroup struct {
	State json.RawMessage `json:"state"`
	FDs   []int           `json:"fds"` // as numbered in the new process
}

// eventsHanded is how many events a new process is told of. More are in the state file, if there is one.
const eventsHanded = 1000

type handedSocket struct {
	Address string `json:"address"`
	FDs     []int  `json:"fds"` // as numbered in the new process
}

type handedPool struct {
	Primary   string           `json:"primary,omitempty"` // who was it last, and its term
	Term      uint64           `json:"term,omitempty"`
	Endpoints []handedEndpoint `json:"endpoints"`
}

type handedEndpoint struct {
	Address  string         `json:"address"`
	Health   balance.Health `json:"health"`
	Reason   string         `json:"reason,omitempty"`
	Role     balance.Role   `json:"role,omitempty"`
	Term     uint64         `json:"term,omitempty"`
	Admin    balance.Admin  `json:"admin"`
	Weight   int            `json:"weight"`
	Priority int            `json:"priority"`
	Limit    int            `json:"limit"`
	RunTime  bool           `json:"run_time,omitempty"` // added by command; no file names it
	Process  bool           `json:"process,omitempty"`  // there as long as its process is
}

// Inherited returns what the process that started this one hands over, or nil if it was started afresh. It
// may be called once, before anything opens descriptors.
func Inherited() (*Inheritance, error) {
	value := os.Getenv(handoverVariable)
	if value == "" {
		return nil, nil
	}
	os.Unsetenv(handoverVariable)
	from, ready, ok := strings.Cut(value, ",")
	stateFD, err1 := strconv.Atoi(from)
	readyFD, err2 := strconv.Atoi(ready)
	if !ok || err1 != nil || err2 != nil {
		return nil, fmt.Errorf("take over: %s=%q is not of this program", handoverVariable, value)
	}
	f := os.NewFile(uintptr(stateFD), "handover")
	defer f.Close()
	raw, err := io.ReadAll(f)
	if err != nil {
		return nil, fmt.Errorf("take over: %w", err)
	}
	h := &Inheritance{readyFD: readyFD, predecessor: os.Getppid()}
	if err := json.Unmarshal(raw, &h.state); err != nil {
		return nil, fmt.Errorf("take over: %w", err)
	}
	unix.CloseOnExec(readyFD)
	for _, s := range h.state.Sockets {
		for _, fd := range s.FDs {
			unix.CloseOnExec(fd)
		}
	}
	for _, g := range h.state.Processes {
		for _, fd := range g.FDs {
			unix.CloseOnExec(fd)
		}
	}
	return h, nil
}

// past is the last events of the process before.
func (h *Inheritance) past() []events.Event {
	if h == nil {
		return nil
	}
	return h.state.Events
}

func (h *Inheritance) sockets() map[string][]int {
	if h == nil {
		return nil
	}
	all := map[string][]int{}
	for _, s := range h.state.Sockets {
		if !gslb.IsSocket(s.Address) {
			all[s.Address] = s.FDs
		}
	}
	return all
}

// ready tells the old process that this one serves.
func (h *Inheritance) ready() {
	_, _ = unix.Write(h.readyFD, []byte{1})
	unix.Close(h.readyFD)
}

// restore gives a pool what the old process knew of its endpoints.
func (h *Inheritance) restore(p *pool, now time.Duration) {
	if h == nil {
		return
	}
	if was := h.state.Pools[string(p.spec.Name)]; was.Primary != "" {
		if ep := p.balance.ByAddress(was.Primary); ep != nil {
			p.balance.Reappoint(ep, was.Term)
		}
	}
	for _, e := range h.state.Pools[string(p.spec.Name)].Endpoints {
		ep := p.balance.ByAddress(e.Address)
		if ep == nil {
			if !e.RunTime || e.Process {
				continue
			}
			var err error
			ep, err = p.balance.Add(balance.EndpointConfig{Address: e.Address, Weight: e.Weight, Priority: e.Priority, MaxRequests: e.Limit}, now)
			if err != nil {
				continue
			}
		}
		if e.Health != balance.HealthUnknown && !e.Process {
			p.balance.SetRole(ep, e.Role, e.Term, now)
			p.balance.SetHealth(ep, e.Health, e.Reason, now)
		}
		if !p.traffic.leaves(e.Address) {
			p.balance.SetAdmin(ep, e.Admin, now)
		}
		if e.Weight != ep.Weight() {
			_ = p.balance.SetWeight(ep, e.Weight, now) // it was valid in the old process
		}
	}
}

// state is what there is to hand over, beside sockets.
func (n *Node) state() handover {
	h := handover{Pools: map[string]handedPool{}, Events: n.history.stream.List(events.Filter{Limit: eventsHanded})}
	for name, p := range n.pools {
		var hp handedPool
		for _, e := range p.balance.Endpoints() {
			s := e.Status(n.now())
			if s.LastPrimary {
				hp.Primary, hp.Term = s.Address, p.balance.Term()
			}
			hp.Endpoints = append(hp.Endpoints, handedEndpoint{
				Address: s.Address, Health: s.Health, Reason: s.HealthReason, Role: s.Role, Term: s.Term, Admin: p.traffic.wish(s.Address, s.Admin),
				Weight: s.Weight, Priority: s.Priority, Limit: s.MaxRequests, RunTime: s.RunTime, Process: p.traffic.processAt(s.Address) != "",
			})
		}
		h.Pools[string(name)] = hp
	}
	return h
}

// Upgrade starts the program that now stands where this one was started from, with the same arguments, and
// hands the listening sockets over to it. Once the new process serves, this one drains: Run returns. If it
// does not come up, everything stays as it was.
func (n *Node) Upgrade(context.Context) error {
	if !n.upgrading.CompareAndSwap(false, true) {
		return api.Conflict("an upgrade is under way", "")
	}
	defer n.upgrading.Store(false)
	n.history.flush()
	still, processes, err := n.freeze()
	if err != nil {
		return err
	}
	n.mu.Lock()
	h := n.state()
	n.mu.Unlock()
	sockets := n.edge.Sockets()
	maps.Copy(sockets, n.names.server.Sockets())
	pid, ready, err := spawn(h, sockets, processes)
	if err == nil {
		n.log.Info("new process started", "pid", pid, "program", executable)
		err = awaitReady(pid, ready)
	}
	if err != nil {
		n.edge.KeepSockets()
		still.thaw()
		n.history.publish(events.Event{Kind: events.UpgradeFailed, Evidence: err.Error(), Action: "goes on with the old process"})
		return fmt.Errorf("upgrade: %w; this process goes on", err)
	}
	still.detach()
	n.history.muted.Store(true)
	n.log.Info("new process serves", "pid", pid)
	n.once.Do(func() { close(n.stopping) })
	return nil
}

// spawn starts the new process. Descriptors are passed by number and not as os.Files, which would make them
// blocking for both processes.
func spawn(h handover, sockets map[string][]int, processes map[config.Name]supervise.Handover) (pid int, ready *os.File, err error) {
	r, w, err := os.Pipe()
	if err != nil {
		return 0, nil, err
	}
	defer w.Close()
	stateFD, err := unix.MemfdCreate("trivet-handover", unix.MFD_CLOEXEC)
	if err != nil {
		r.Close()
		return 0, nil, os.NewSyscallError("memfd_create", err)
	}
	defer unix.Close(stateFD)
	files := []uintptr{0, 1, 2, uintptr(stateFD), w.Fd()}
	addresses := slices.Sorted(maps.Keys(sockets))
	for _, address := range addresses {
		s := handedSocket{Address: address}
		for _, fd := range sockets[address] {
			s.FDs = append(s.FDs, len(files))
			files = append(files, uintptr(fd))
		}
		h.Sockets = append(h.Sockets, s)
	}
	h.Processes = map[string]handedGroup{}
	for name, g := range processes {
		handed := handedGroup{State: g.State}
		for _, fd := range g.FDs {
			handed.FDs = append(handed.FDs, len(files))
			files = append(files, uintptr(fd))
		}
		h.Processes[string(name)] = handed
	}
	if err := fill(stateFD, h); err != nil {
		r.Close()
		return 0, nil, err
	}
	env := append(slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, handoverVariable+"=") }),
		handoverVariable+"=3,4")
	pid, err = syscall.ForkExec(executable, os.Args, &syscall.ProcAttr{Env: env, Files: files})
	if err != nil {
		r.Close()
		return 0, nil, fmt.Errorf("start %s: %w", executable, err)
	}
	return pid, r, nil
}

// fill writes the state into a memory file and rewinds it.
func fill(fd int, h handover) error {
	raw, err := json.Marshal(h)
	if err != nil {
		return err
	}
	for b := bytes.NewBuffer(raw); b.Len() > 0; {
		k, err := unix.Write(fd, b.Bytes())
		if err != nil {
			return os.NewSyscallError("write", err)
		}
		b.Next(k)
	}
	_, err = unix.Seek(fd, 0, io.SeekStart)
	return err
}

// awaitReady waits until the new process says that it serves. One that has not by then is ended.
func awaitReady(pid int, ready *os.File) error {
	defer ready.Close()
	_ = ready.SetReadDeadline(time.Now().Add(handoverWithin))
	var b [1]byte
	_, err := ready.Read(b[:])
	if err == nil {
		return nil
	}
	_ = syscall.Kill(pid, syscall.SIGKILL)
	var status syscall.WaitStatus
	_, _ = syscall.Wait4(pid, &status, 0, nil)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("the new process did not serve within %s", handoverWithin)
	}
	return errors.New("the new process ended before it served; its log says why")
}
