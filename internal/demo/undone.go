package demo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/trivet-ha/trivet/api"
	"github.com/trivet-ha/trivet/backup"
	"github.com/trivet-ha/trivet/backup/repository"
	"github.com/trivet-ha/trivet/backup/store/local"
	"github.com/trivet-ha/trivet/backup/stream"
	"github.com/trivet-ha/trivet/internal/demo/process"
	"github.com/trivet-ha/trivet/systems/sqlite"
)

// stall is a shop of its own, at the market: nobody but the chapter buys there, so that what becomes of its ledger is no
// customer's trouble.
type stall struct {
	s       *Stage
	c       *api.Client
	dir     string // of its ledger
	vault   string
	secret  string
	address string
	child   *process.Child
	acked   []string // orders that were acknowledged
}

const (
	stallName     = "stall"
	stallPassword = "a password of the demo"
)

// undone has Trivet stream the stall's ledger; somebody drops its table; and it is brought back as it was just before.
func undone(ctx context.Context, s *Stage) error {
	w := &stall{
		s: s, c: api.Dial(s.Socket), dir: filepath.Join(s.Dir, stallName), vault: filepath.Join(s.Dir, "stall.vault"),
		secret: filepath.Join(s.Dir, "stall.password"),
	}
	defer w.c.Close()
	return brief(ctx, s, func() error { return w.play(ctx) })
}

func (w *stall) play(ctx context.Context) error {
	s := w.s
	if err := w.prepare(ctx); err != nil {
		return err
	}
	if err := w.sell(ctx); err != nil {
		return err
	}
	before, err := w.durable(ctx, time.Now())
	if err != nil {
		return err
	}
	s.Saw("%d orders are acknowledged, and all of them durable in the repository", len(w.acked))
	if err := w.drop(ctx); err != nil {
		return err
	}
	if err := w.bringBack(ctx, before); err != nil {
		return err
	}
	if err := w.verify(ctx); err != nil {
		return err
	}
	w.child.Stop(3 * time.Second)
	return nil
}

func (w *stall) ledger() string { return filepath.Join(w.dir, stallName+".db") }

// prepare opens the stall, and has Trivet stream its ledger.
func (w *stall) prepare(ctx context.Context) (err error) {
	if err := os.MkdirAll(w.dir, 0o700); err != nil {
		return err
	}
	if w.address, err = freeAddress(); err != nil {
		return err
	}
	if err := w.open(ctx); err != nil {
		return err
	}
	if err := os.WriteFile(w.secret, []byte(stallPassword+"\n"), 0o600); err != nil {
		return err
	}
	st, err := local.Create(w.vault)
	if err != nil {
		return err
	}
	if _, err := repository.Init(ctx, st, stallPassword, repository.InitOptions{}); err != nil {
		return err
	}
	section := fmt.Sprintf("repositories:\n  market: {store: %s, password_file: %s, cache: %s}\ndatabases:\n  %s: {sqlite: %s, repository: market, flush: 200ms}\n",
		w.vault, w.secret, filepath.Join(w.s.Dir, "cache"), stallName, w.ledger())
	if err := w.s.Configure(func(yaml string) string { return yaml + section }); err != nil {
		return err
	}
	w.s.Say("trivet reload, with databases: the stall's ledger is streamed, each transaction within a second")
	if err := w.s.Trivet.Reload(ctx); err != nil {
		return fmt.Errorf("reload with a database: %v", err)
	}
	return w.await(ctx, "a base", func(st *api.Status) bool {
		return slices.ContainsFunc(st.Backups, func(b api.Backup) bool { return b.Name == stallName && !b.Succeeded.IsZero() })
	})
}

func (w *stall) open(ctx context.Context) error {
	o := shopOptions{Name: stallName, Listen: w.address, Data: w.dir}
	c, err := w.s.nursery.Start(stallName, w.s.opt.Executable, append(slices.Clone(w.s.opt.ShopCommand), o.args()...)...)
	if err != nil {
		return err
	}
	w.child = c
	return w.s.untilHealthy(ctx, c, "http://"+w.address+"/healthz")
}

// sell places orders for a second.
func (w *stall) sell(ctx context.Context) error {
	w.s.Say("the stall sells at %s", w.address)
	for until := time.Now().Add(time.Duration(float64(time.Second) * w.s.opt.pace)); len(w.acked) < 20 || time.Now().Before(until); {
		id := fmt.Sprintf("market-%d", len(w.acked))
		status, err := w.request(ctx, http.MethodPut, id, []byte(`{"item": "trivet", "quantity": 1}`))
		if err != nil || status != http.StatusCreated {
			return fmt.Errorf("order %s at the stall: %d, %v", id, status, err)
		}
		w.acked = append(w.acked, id)
	}
	return nil
}

func (w *stall) request(ctx context.Context, method, id string, body []byte) (int, error) {
	request, err := http.NewRequestWithContext(ctx, method, "http://"+w.address+"/orders/"+id, bytes.NewReader(body))
	if err != nil {
		return 0, err
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	_, err = io.Copy(io.Discard, response.Body)
	return response.StatusCode, err
}

// await looks at Trivet's status until it is as wanted.
func (w *stall) await(ctx context.Context, what string, ok func(*api.Status) bool) error {
	const patience = 20 * time.Second
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("wait for %s: nothing after %v", what, patience))
	defer cancel()
	for {
		if st, err := w.c.Status(ctx); err == nil && ok(&st) {
			return nil
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// durable waits until everything up to a time is in the repository, and returns up to when nothing is missing there.
func (w *stall) durable(ctx context.Context, at time.Time) (through time.Time, err error) {
	err = w.await(ctx, "the stream", func(st *api.Status) bool {
		for _, d := range st.Databases {
			if d.Name == stallName {
				through = d.Durable
			}
		}
		return through.After(at)
	})
	return through, err
}

// drop is the mistake.
func (w *stall) drop(ctx context.Context) error {
	db, err := openSQLite(w.ledger())
	if err != nil {
		return err
	}
	w.s.Say("somebody types, in the wrong window: DROP TABLE orders")
	if _, err := db.ExecContext(ctx, "drop table orders"); err != nil {
		return errors.Join(err, db.Close())
	}
	if err := db.Close(); err != nil {
		return err
	}
	status, err := w.request(ctx, http.MethodGet, w.acked[0], nil)
	if err != nil || status == http.StatusOK {
		return fmt.Errorf("an order after the table was dropped: %d, %v", status, err)
	}
	w.s.Saw("order %s: %d %s", w.acked[0], status, http.StatusText(status))
	return nil
}

// bringBack restores the ledger as it was and puts it in its place.
func (w *stall) bringBack(ctx context.Context, to time.Time) error {
	w.child.Stop(3 * time.Second)
	w.s.Say("trivet restore stall --to '%s' --target back.db", to.Format("2006-01-02 15:04:05.000"))
	st, err := local.Open(w.vault)
	if err != nil {
		return err
	}
	repo, err := repository.Open(ctx, st, stallPassword, repository.Options{})
	if err != nil {
		return err
	}
	log, err := stream.Open(repo, stallName)
	if err != nil {
		return err
	}
	plan, err := log.PlanRecovery(ctx, repo, stream.At(to))
	if err != nil {
		return err
	}
	back := filepath.Join(w.dir, "back.db")
	restored, err := sqlite.Restore(ctx, repo, plan, back, &backup.Progress{})
	if err != nil {
		return err
	}
	w.s.Saw("after %.2f s: back.db is the ledger as it was after transaction %d, %d ms before that time; found sound", w.s.since().Seconds(),
		plan.Point.Position, to.Sub(restored.Last.Time).Milliseconds())
	for _, suffix := range []string{"", "-wal", "-shm"} {
		if err := os.Rename(w.ledger()+suffix, w.ledger()+".mistake"+suffix); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	if err := os.Rename(back, w.ledger()); err != nil {
		return err
	}
	return w.open(ctx)
}

// verify asks for every order.
func (w *stall) verify(ctx context.Context) error {
	for _, id := range w.acked {
		if status, err := w.request(ctx, http.MethodGet, id, nil); err != nil || status != http.StatusOK {
			return fmt.Errorf("order %s was acknowledged, and is gone: %d, %v", id, status, err)
		}
	}
	w.s.Saw("the stall is open again, and all %d orders are there", len(w.acked))
	return nil
}
