package edge

import (
	"context"
	"io"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/trivet-ha/trivet/internal/loop"
)

// greeter is a protocol that says hello and goodbye.
type greeter struct{}

type greeted struct{ Conn }

func (greeter) Serve(c Conn) {
	g := &greeted{c}
	g.Enter(g)
	loop.Write(g.FD, []byte("hello"))
	g.Close()
}

func (g *greeted) Ready(loop.Events) {}
func (g *greeted) Lost()             { g.Close() }

func TestAnAddressThatIsTakenIsRefused(t *testing.T) {
	first, err := New(Config{Loops: 2})
	if err != nil {
		t.Fatal(err)
	}
	if err := first.Apply([]*Listener{{Name: "a", Addresses: []string{"127.0.0.1:0"}, Server: greeter{}}}); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { first.Run(ctx) })
	defer wg.Wait()
	defer stop()
	address := first.Addr("127.0.0.1:0")

	second, err := New(Config{Loops: 1})
	if err != nil {
		t.Fatal(err)
	}
	err = second.Apply([]*Listener{{Name: "b", Addresses: []string{address}, Server: greeter{}}})
	if err == nil || !strings.Contains(err.Error(), "address already in use") {
		t.Errorf("a second process shares the address: %v", err)
	}
	done, end := context.WithCancel(context.Background())
	end()
	second.Run(done)
	for range 10 {
		c, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(c); err != nil || string(got) != "hello" {
			t.Errorf("got %q, %v", got, err)
		}
		c.Close()
	}
}

func TestAnAddressThatGoesComesBackAtOnce(t *testing.T) {
	e, err := New(Config{Loops: 2})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { e.Run(ctx) })
	defer wg.Wait()
	defer stop()
	apply := func(addresses ...string) {
		t.Helper()
		var all []*Listener
		if len(addresses) > 0 {
			all = []*Listener{{Name: "a", Addresses: addresses, Server: greeter{}}}
		}
		if err := e.Apply(all); err != nil {
			t.Fatal(err)
		}
	}
	apply("127.0.0.1:0")
	tcp, path := e.Addr("127.0.0.1:0"), filepath.Join(t.TempDir(), "s")
	apply()
	if err := e.ending["127.0.0.1:0"].wait(endingMax); err != nil { // under another name than in what follows
		t.Fatal(err)
	}
	for range 50 {
		apply(tcp, "unix:"+path)
		for network, address := range map[string]string{"tcp": tcp, "unix": path} {
			c, err := net.Dial(network, address)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := io.ReadAll(c); err != nil || string(got) != "hello" {
				t.Errorf("%s: got %q, %v", network, got, err)
			}
			c.Close()
		}
		apply()
	}
}

func TestConnectionsThatLastShortAreToldFromThoseThatStay(t *testing.T) {
	var v turnover
	at := func(now time.Duration, open int64) bool { return v.brief(now, open) }
	for i := range 64 { // a burst says nothing yet
		if at(time.Duration(i)*time.Millisecond, int64(i)) {
			t.Fatal("called short-lived before anything is known")
		}
	}
	if at(110*time.Millisecond, 64) {
		t.Error("64 came and stayed")
	}
	for i := range 200 {
		at(111*time.Millisecond+time.Duration(i)*100*time.Microsecond, 10)
	}
	if !at(220*time.Millisecond, 10) {
		t.Error("200 came in a tenth of a second and 10 are open")
	}
	if at(time.Second, 10) {
		t.Error("nothing came for long")
	}
}
