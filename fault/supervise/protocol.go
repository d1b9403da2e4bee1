package supervise

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// The two ends of a keeper's socket speak JSON, one message a packet. A keeper
// may be older than who talks to it, by any number of upgrades: fields may be
// added, and none changes its meaning.

// order is what a keeper is told.
type order struct {
	// Do is "stop": ask it to end, and kill it after Grace; or "tell": report how
	// it is. What a keeper does not know it answers like "tell".
	Do     string        `json:"do"`
	Signal int           `json:"signal,omitempty"` // 0 is SIGTERM
	Grace  time.Duration `json:"grace,omitempty"`
}

// report is what a keeper says: how its command is now.
type report struct {
	PID    int    `json:"pid,omitempty"`
	Cgroup string `json:"cgroup,omitempty"` // its folder; "" is none
	Error  string `json:"error,omitempty"`  // why it could not be started
	// Exited: it is gone, since At; what it left behind is being ended.
	Exited bool      `json:"exited,omitempty"`
	Status uint32    `json:"status,omitempty"` // as wait4(2) gives it
	At     time.Time `json:"at,omitzero"`
}

// why says for people how the command has ended.
func (r *report) why() string {
	if r.Error != "" {
		return r.Error
	}
	s := syscall.WaitStatus(r.Status)
	switch {
	case s.Signaled() && s.CoreDump():
		return fmt.Sprintf("killed by signal %s, core dumped", unix.SignalName(s.Signal()))
	case s.Signaled():
		return "killed by signal " + unix.SignalName(s.Signal())
	}
	return fmt.Sprintf("exit status %d", s.ExitStatus())
}

// packetMax is larger than any message of the protocol.
const packetMax = 64 << 10

func send(c *net.UnixConn, v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_, err = c.Write(text)
	return err
}

// receive reads one message. The error is io.EOF when the other end is gone.
func receive(c *net.UnixConn, v any) error {
	var buf [packetMax]byte
	n, err := c.Read(buf[:])
	if err != nil {
		return err
	}
	if n == 0 { // an empty packet: end of a sequence of packets
		return io.EOF
	}
	return json.Unmarshal(buf[:n], v)
}

// socketPair returns the two ends of a connection: ours, and the file that the
// keeper gets.
func socketPair() (ours *net.UnixConn, theirs *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	theirs = os.NewFile(uintptr(fds[1]), "keeper")
	ours, err = connOf(fds[0])
	if err != nil {
		theirs.Close()
		return nil, nil, err
	}
	return ours, theirs, nil
}

// connOf makes a connection of a descriptor, which it takes over.
func connOf(fd int) (*net.UnixConn, error) {
	f := os.NewFile(uintptr(fd), "keeper")
	if f == nil {
		return nil, fmt.Errorf("%d is no descriptor", fd)
	}
	defer f.Close()
	c, err := net.FileConn(f)
	if err != nil {
		return nil, err
	}
	u, ok := c.(*net.UnixConn)
	if !ok {
		c.Close()
		return nil, fmt.Errorf("descriptor %d is no socket of a keeper", fd)
	}
	return u, nil
}

// memory returns an unnamed file that holds v as JSON.
func memory(v any) (*os.File, error) {
	text, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	fd, err := unix.MemfdCreate("trivet-launch", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("memfd_create", err)
	}
	f := os.NewFile(uintptr(fd), "launch")
	if _, err := f.WriteAt(text, 0); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}
