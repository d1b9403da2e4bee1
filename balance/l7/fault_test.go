package l7_test

import (
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/trivet-ha/trivet/balance"
)

// defaults are what a configuration without wishes comes to.
func defaults(s *setup) {
	s.upstream.Stall = true
	s.upstream.FirstByte = time.Minute
	s.pool.Algorithm = balance.LeastRequest
}

func TestKilledEndpointCostsNoRequest(t *testing.T) {
	victim := cast(t, "127.0.0.1:0")
	others := []*actor{cast(t, "127.0.0.1:0"), cast(t, "127.0.0.1:0")}
	st := serve(t, []string{victim.address, others[0].address, others[1].address}, defaults)
	c := gather(t, st.address, 24, time.Millisecond, get())
	for range 3 {
		c.after(t, 1000)
		victim.end() // kill -9
		c.after(t, 1000)
		victim = cast(t, victim.address)
	}
	c.after(t, 500)
	c.leave(t)
	t.Logf("%d requests took longer than a second", c.slow.Load()) // how fast is for bench to say
}

func TestStoppedEndpointCostsNoRequestAndLittleTime(t *testing.T) {
	victim := cast(t, "127.0.0.1:0")
	others := []*actor{cast(t, "127.0.0.1:0"), cast(t, "127.0.0.1:0")}
	st := serve(t, []string{victim.address, others[0].address, others[1].address}, defaults)
	c := gather(t, st.address, 24, time.Millisecond, get())
	c.after(t, 2000) // its usual response time is learned
	if err := victim.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	c.after(t, 4000)
	if err := victim.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	c.after(t, 1000)
	c.leave(t)
	t.Logf("%d requests took longer than a second", c.slow.Load())
	if st.failures("stall") == 0 {
		t.Error("no request was moved")
	}
}

func TestAllEndpointsDownIsQuick(t *testing.T) {
	st := serve(t, []string{gone(t), gone(t)}, defaults)
	client := st.dial()
	for range 100 {
		client.say(get())
		head := client.head()
		if !strings.HasPrefix(head, "HTTP/1.1 502 ") && !strings.HasPrefix(head, "HTTP/1.1 503 ") {
			t.Fatalf("the client got\n%s", quoted(head))
		}
		client.until("\n")
	}
	for _, e := range st.pool.Endpoints() {
		st.pool.SetHealth(e, balance.Down, "probe", st.now())
	}
	st.setup.pool.PanicThreshold = -1
	if err := st.pool.Update(st.setup.pool, st.now()); err != nil {
		t.Fatal(err)
	}
	client.say(get())
	client.expectOwn(ownAnswer("503 Service Unavailable", "no endpoint is available", "Retry-After: 1"))
}

// TestTooFewDescriptorsAreNobodysFault: the endpoint is not to blame when this machine has no socket left.
func TestTooFewDescriptorsAreNobodysFault(t *testing.T) {
	a := cast(t, "127.0.0.1:0")
	st := serve(t, []string{a.address}, oneLoop)
	client := st.dial()
	client.synced()
	var before syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &before); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: 3, Max: before.Max}); err != nil {
		t.Fatal(err)
	}
	client.say(get())
	head := client.tryHead()
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &before); err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(head, badGateway) {
		t.Errorf("the client got\n%s", quoted(head))
	}
	client.until("\n")
	if st.failures("local") == 0 || st.failures("connect") != 0 {
		t.Errorf("%d failures are this machine's, %d the endpoint's", st.failures("local"), st.failures("connect"))
	}
	client.ask(get())
}
