package demo

import (
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestClosingTheNurseryEndsFrozenChildrenAndTheirsToo(t *testing.T) {
	n := newNursery()
	go n.run() // ended by close
	c, err := n.start("parent", "/bin/sh", "-c", "sleep 600 & echo $!; wait")
	if err != nil {
		t.Fatal(err)
	}
	untilItSpeaks(t, c)
	if err := c.signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	n.close()
	if c.running() {
		t.Error("the child still runs")
	}
	if err := syscall.Kill(-c.pid(), 0); err != syscall.ESRCH {
		// The grandchild is init's to reap; until then it is a zombie of the group.
		t.Logf("the group still has members: %v", err)
	}
}

func TestStoppingAChildThatWillNotStopKillsIt(t *testing.T) {
	n := newNursery()
	go n.run() // ended by close
	defer n.close()
	c, err := n.start("stubborn", "/bin/sh", "-c", "trap '' TERM; echo ready; while :; do sleep 1; done")
	if err != nil {
		t.Fatal(err)
	}
	untilItSpeaks(t, c)
	c.stop(10 * time.Millisecond)
	if c.running() || c.err == nil {
		t.Errorf("running %v, err %v; want it killed", c.running(), c.err)
	}
}

func TestAProgramThatIsNotThereIsAnError(t *testing.T) {
	n := newNursery()
	go n.run() // ended by close
	defer n.close()
	if _, err := n.start("ghost", "/no/such/program"); err == nil || !strings.Contains(err.Error(), "start ghost") {
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
func untilItSpeaks(t *testing.T, c *child) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); c.lastWords() == ""; runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatalf("%s says nothing", c.name)
		}
	}
}
