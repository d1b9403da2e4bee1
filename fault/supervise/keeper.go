package supervise

import (
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"os/signal"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// The descriptors of a keeper. 0, 1 and 2 are its command's.
const (
	keeperSocket = 3
	keeperLaunch = 4
)

// Keep is the whole life of a keeper process: it starts the command that it was
// given, and ends when that has ended with all that it has started. A program
// whose groups name it as their Config.Keeper calls Keep first thing and exits
// with what it returns.
func Keep() int {
	// The kernel kills the command when the thread that started it ends: this one,
	// which ends with the process.
	runtime.LockOSThread()
	// Who ends Trivet by the name of its program must not end what it still needs
	// to drain. Caught and not ignored, because that would be inherited.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGPIPE)
	unix.CloseOnExec(keeperSocket)
	unix.CloseOnExec(keeperLaunch)
	conn, err := connOf(keeperSocket)
	if err != nil {
		return 1
	}
	defer conn.Close()
	k := &keeper{conn: conn, ended: make(chan syscall.WaitStatus, 1), none: make(chan struct{})}
	if err := k.start(); err != nil {
		_ = send(conn, report{Error: err.Error(), Exited: true, At: time.Now()})
		return 1
	}
	k.run()
	return 0
}

// keeper is the parent of a command. The goroutine in run owns it.
type keeper struct {
	conn   *net.UnixConn
	launch launch
	group  *cgroup
	now    report

	ended chan syscall.WaitStatus // of the command itself
	none  chan struct{}           // closed when no child is left
}

func (k *keeper) start() error {
	f := os.NewFile(keeperLaunch, "launch")
	text, err := io.ReadAll(io.NewSectionReader(f, 0, 64<<20))
	f.Close()
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, &k.launch); err != nil {
		return err
	}
	// What the command's children leave behind becomes a child of this process.
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return os.NewSyscallError("prctl", err)
	}
	k.group = newCgroup(k.launch.Token)
	pid, err := k.fork()
	if err != nil {
		k.group.remove()
		return &os.PathError{Op: "start", Path: k.launch.Path, Err: err}
	}
	k.now = report{PID: pid, Cgroup: k.group.path()}
	go k.reap(pid) // ends with the last child, which run awaits
	return nil
}

// fork starts the command: in a session of its own, in the cgroup if there is
// one, and killed by the kernel when this thread ends.
func (k *keeper) fork() (pid int, err error) {
	attr := &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL}
	if u := k.launch.User; u != nil {
		attr.Credential = &syscall.Credential{Uid: u.UID, Gid: u.GID, Groups: u.Groups}
	}
	if fd, ok := k.group.descriptor(); ok {
		defer unix.Close(fd)
		attr.UseCgroupFD, attr.CgroupFD = true, fd
	}
	proc := &syscall.ProcAttr{Dir: k.launch.Dir, Env: k.launch.Env, Files: []uintptr{0, 1, 2}, Sys: attr}
	pid, err = syscall.ForkExec(k.launch.Path, k.launch.Argv, proc)
	if err == nil || !attr.UseCgroupFD {
		return pid, err
	}
	// An old kernel, or a cgroup that takes no processes.
	k.group.remove()
	k.group, attr.UseCgroupFD = nil, false
	return syscall.ForkExec(k.launch.Path, k.launch.Argv, proc)
}

// reap waits for children until there are none: the command, and whatever it
// leaves behind.
func (k *keeper) reap(command int) {
	defer close(k.none)
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, 0, nil)
		switch {
		case errors.Is(err, syscall.EINTR):
		case err != nil: // ECHILD
			return
		case pid == command:
			k.ended <- status
		}
	}
}

// run does what it is told until the command has ended, and then ends the rest.
func (k *keeper) run() {
	orders := make(chan order)
	gone := make(chan struct{}) // nobody holds the other end
	go func() {                 // ends with the process
		defer close(gone)
		for {
			var o order
			err := receive(k.conn, &o)
			var bad *json.SyntaxError
			switch {
			case err == nil || errors.As(err, &bad):
				orders <- o
			default:
				return
			}
		}
	}()
	k.tell()
	kill := make(<-chan time.Time)
	for {
		select {
		case o := <-orders:
			if o.Do == "stop" {
				kill = k.stop(o.Signal, o.Grace)
			}
			k.tell()
		case <-gone:
			gone = nil
			kill = k.stop(k.launch.Signal, k.launch.Grace)
		case <-kill:
			_ = syscall.Kill(k.now.PID, syscall.SIGKILL)
		case status := <-k.ended:
			k.now.Exited, k.now.Status, k.now.At = true, uint32(status), time.Now()
			k.tell()
			k.endRest()
			return
		}
	}
}

// stop asks the command to end, and returns when it is to be killed. One that is
// frozen has to wake up to hear it. The command is not reaped yet, so the number
// is still its own.
func (k *keeper) stop(sig int, grace time.Duration) <-chan time.Time {
	if sig == 0 {
		sig = int(syscall.SIGTERM)
	}
	_ = syscall.Kill(k.now.PID, syscall.Signal(sig))
	_ = syscall.Kill(k.now.PID, syscall.SIGCONT)
	return time.After(grace)
}

// tell reports how the command is. That nobody listens is noticed elsewhere.
func (k *keeper) tell() { _ = send(k.conn, k.now) }

// rescanEvery is how often children are looked for while the rest is being ended.
const rescanEvery = 20 * time.Millisecond

// endRest kills what the command has left behind, generation by generation: a
// process whose parent dies becomes a child of this one.
func (k *keeper) endRest() {
	tick := time.NewTicker(rescanEvery)
	defer tick.Stop()
	for {
		k.group.kill()
		for _, pid := range childrenOf(os.Getpid()) {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		select {
		case <-k.none:
			k.group.kill()
			k.group.remove()
			return
		case <-tick.C:
		}
	}
}
