package process

import (
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestClosingTheNurseryEndsFrozenChildrenAndTheirsToo(t *testing.T) {
	n := NewNursery()
	go n.Run() // ended by Close
	c, err := n.Start("parent", "/bin/sh", "-c", "sleep 600 & echo $!; wait")
	if err != nil {
		t.Fatal(err)
	}
	untilItSpeaks(t, c)
	if err := c.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	n.Close()
	if c.Running() {
		t.Error("the child still runs")
	}
	if err := syscall.Kill(-c.PID(), 0); err != syscall.ESRCH {
		// The grandchild is init's to reap; until then it is a zombie of the group.
		t.Logf("the group still has members: %v", err)
	}
}

func TestStoppingAChildThatWillNotStopKillsIt(t *testing.T) {
	n := NewNursery()
	go n.Run() // ended by Close
	defer n.Close()
	c, err := n.Start("stubborn", "/bin/sh", "-c", "trap '' TERM; echo ready; while :; do sleep 1; done")
	if err != nil {
		t.Fatal(err)
	}
	untilItSpeaks(t, c)
	c.Stop(10 * time.Millisecond)
	if c.Running() || c.err == nil {
		t.Errorf("running %v, err %v; want it killed", c.Running(), c.err)
	}
}

func TestAProgramThatIsNotThereIsAnError(t *testing.T) {
	n := NewNursery()
	go n.Run() // ended by Close
	defer n.Close()
	if _, err := n.Start("ghost", "/no/such/program"); err == nil || !strings.Contains(err.Error(), "start ghost") {
		t.Errorf("err %v", err)
	}
}

func TestATailKeepsTheEnd(t *testing.T) {
	var out tail
	out.Write([]byte(strings.Repeat("x", tailBytesMax)))
	out.Write([]byte("last words"))
	if got := out.String(); len(got) != tailBytesMax || !strings.HasSuffix(got, "xlast words") {
		t.Errorf("kept %d bytes, ending %q", len(got), got[len(got)-12:])
	}
}

// untilItSpeaks waits for the first output of a child.
func untilItSpeaks(t *testing.T, c *Child) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); c.LastWords() == ""; runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatalf("%s says nothing", c.name)
		}
	}
}
