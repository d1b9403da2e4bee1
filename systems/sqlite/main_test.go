package sqlite

import (
	"bufio"
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/url"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/trivet-ha/trivet/backup/store/local"
	"github.com/trivet-ha/trivet/backup/stream"
)

// The test binary is also the processes that are killed: a writer of the database, and one that streams it.
const roleVariable = "TRIVET_SQLITE_TEST_ROLE"

type role struct {
	Writer   bool
	Path     string
	Store    string
	Key      [32]byte
	Seed     uint64
	Database string
}

func TestMain(m *testing.M) {
	text := os.Getenv(roleVariable)
	if text == "" {
		os.Exit(m.Run())
	}
	var r role
	if err := json.Unmarshal([]byte(text), &r); err != nil {
		panic(err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	var err error
	if r.Writer {
		err = r.write(ctx)
	} else {
		err = r.stream(ctx)
	}
	if err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
}

// line prints one line at once: lines of several goroutines do not mix.
func line(format string, args ...any) {
	os.Stdout.WriteString(fmt.Sprintf(format, args...) + "\n")
}

// openApp opens a database as an application does, that knows nothing of Trivet.
func openApp(path string) (*sql.DB, error) {
	q := url.Values{"_pragma": {"busy_timeout(20000)", "journal_mode(wal)", "synchronous(normal)"}, "_txlock": {"immediate"}}
	return sql.Open("sqlite", "file:"+path+"?"+q.Encode())
}

// write has several writers, and now and then what applications do to their files.
func (r *role) write(ctx context.Context) error {
	db, err := openApp(r.Path)
	if err != nil {
		return err
	}
	defer db.Close()
	if _, err := db.Exec("CREATE TABLE IF NOT EXISTS orders (id INTEGER PRIMARY KEY AUTOINCREMENT, writer INTEGER, filler BLOB)"); err != nil {
		return err
	}
	var wg sync.WaitGroup
	for i := range 4 {
		random := rand.New(rand.NewPCG(r.Seed, uint64(i)))
		wg.Go(func() {
			for ctx.Err() == nil {
				r.order(db, random, i)
				<-time.After(time.Duration(random.IntN(3000)) * time.Microsecond)
			}
		})
	}
	random := rand.New(rand.NewPCG(r.Seed, 99))
	for ctx.Err() == nil {
		<-time.After(time.Duration(20+random.IntN(150)) * time.Millisecond)
		switch random.IntN(8) {
		case 0:
			_, _ = db.Exec("PRAGMA wal_checkpoint(TRUNCATE)")
		case 1:
			_, _ = db.Exec("PRAGMA wal_checkpoint(RESTART)")
		case 2:
			_, _ = db.Exec("VACUUM")
		case 3:
			_, _ = db.Exec("UPDATE orders SET filler = randomblob(900) WHERE id % 7 = 0")
		case 4:
			_, _ = db.Exec("UPDATE orders SET filler = NULL WHERE id % 3 = 0")
		}
	}
	wg.Wait()
	return nil
}

// order stores an order, and tells when it was begun and that it was acknowledged.
func (r *role) order(db *sql.DB, random *rand.Rand, writer int) {
	size := random.IntN(2000)
	if random.IntN(50) == 0 {
		size = random.IntN(400_000)
	}
	begin := time.Now().UnixNano()
	result, err := db.Exec("INSERT INTO orders (writer, filler) VALUES (?, randomblob(?))", writer, size)
	if err != nil {
		return
	}
	if id, err := result.LastInsertId(); err == nil {
		line("order %d %d %d", id, begin, time.Now().UnixNano())
	}
}

// stream tracks the database, and tells up to when everything is durable: all that was acknowledged before the first time is in
// a restore to the second.
func (r *role) stream(ctx context.Context) error {
	st, err := local.Open(r.Store)
	if err != nil {
		return err
	}
	log, err := stream.New(st, r.Key, r.Database)
	if err != nil {
		return err
	}
	t, err := Open(ctx, r.Path, log, Options{WALBytes: 256 << 10, Stream: stream.Options{Flush: 50 * time.Millisecond, Idle: 50 * time.Millisecond,
		Trouble: func(err error) { line("trouble %v", err) }, Failed: func(err error) { line("failed %v", err) }}})
	if err != nil {
		return err
	}
	defer t.Close()
	line("open %v", t.Fresh())
	done := make(chan error, 1)
	go func() { done <- t.Run(ctx) }()
	for {
		before := time.Now()
		if err := t.Capture(ctx); err != nil {
			break
		}
		after := time.Now()
		if err := t.writer.Flush(ctx); err != nil {
			break
		}
		for !t.Durable().Through.After(after) && ctx.Err() == nil {
			<-time.After(5 * time.Millisecond)
		}
		line("covered %d %d", before.UnixNano(), after.UnixNano())
		<-time.After(100 * time.Millisecond)
	}
	return <-done
}

// order of the ledger.
type order struct{ id, begin, end int64 }

// covered: what was acknowledged before is in a restore to at.
type covered struct{ before, at int64 }

// child is a process of a role, and what it has told.
type child struct {
	t       *testing.T
	process *os.Process
	mu      sync.Mutex
	orders  []order
	covered []covered
	opens   []string
	other   []string
	ended   chan struct{}
}

func start(t *testing.T, r role) *child {
	t.Helper()
	text, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p, err := os.StartProcess(self, []string{self}, &os.ProcAttr{
		Env: append(os.Environ(), roleVariable+"="+string(text)), Files: []*os.File{nil, writer, os.Stderr},
	})
	if err != nil {
		t.Fatal(err)
	}
	writer.Close()
	c := &child{t: t, process: p, ended: make(chan struct{})}
	go func() {
		defer close(c.ended)
		defer reader.Close()
		for s := bufio.NewScanner(reader); s.Scan(); {
			c.hear(s.Text())
		}
	}()
	t.Cleanup(c.kill)
	return c
}

func (c *child) hear(text string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	word, rest, _ := strings.Cut(text, " ")
	switch word {
	case "order":
		var o order
		fmt.Sscan(rest, &o.id, &o.begin, &o.end)
		c.orders = append(c.orders, o)
	case "covered":
		var v covered
		fmt.Sscan(rest, &v.before, &v.at)
		c.covered = append(c.covered, v)
	case "open":
		c.opens = append(c.opens, rest)
	default:
		c.other = append(c.other, text)
	}
}

// coverage is how often it has told so far how much is covered.
func (c *child) coverage() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.covered)
}

// kill ends it without warning; again does nothing.
func (c *child) kill() {
	_ = c.process.Kill()
	_, _ = c.process.Wait()
	<-c.ended
}

// stop lets it end by itself.
func (c *child) stop() {
	_ = c.process.Signal(syscall.SIGTERM)
	_, _ = c.process.Wait()
	<-c.ended
}

// await waits until what the child has told satisfies ready.
func (c *child) await(what string, ready func() bool) {
	c.t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); ; <-time.After(10 * time.Millisecond) {
		c.mu.Lock()
		ok := ready()
		other := strings.Join(c.other, "\n")
		c.mu.Unlock()
		if ok {
			return
		}
		if time.Now().After(deadline) {
			c.t.Fatalf("no %s in two minutes; told: %s", what, other)
		}
	}
}
