package demo

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	_ "modernc.org/sqlite" // the driver's only way in
)

// An order is what a shop stores. Its id is chosen by the customer, so that sending an order twice is harmless.
type order struct {
	ID       string    `json:"id"`
	Item     string    `json:"item"`
	Quantity int       `json:"quantity"`
	Shop     string    `json:"shop"` // where it was stored
	Placed   time.Time `json:"placed"`
}

var errNoOrder = errors.New("no such order")

const ledgerSchema = `create table if not exists orders (
	id       text primary key,
	item     text not null,
	quantity integer not null check (quantity > 0),
	placed   text not null
) without rowid, strict`

// A ledger is one shop's orders, in an SQLite file that only this shop writes, and a view of the ledgers of all
// shops in the folder. Readers in WAL mode wait for nobody, not even for a writer that is frozen or dead.
type ledger struct {
	dir, shop string
	own       *sql.DB // to write; nil for one who only reads

	mu   sync.Mutex
	read map[string]*sql.DB // by shop, the own one too: a read must not wait for a write that waits for the disk
}

// openLedger opens or creates the shop's file. An empty shop only reads those of the others.
func openLedger(ctx context.Context, dir, shop string) (*ledger, error) {
	l := &ledger{dir: dir, shop: shop, read: make(map[string]*sql.DB)}
	if shop == "" {
		return l, nil
	}
	// FULL: a commit returns after the bytes are on the disk, not just on their way.
	db, err := openSQLite(l.path(shop), "journal_mode(WAL)", "synchronous(FULL)")
	if err != nil {
		return nil, err
	}
	if _, err := db.ExecContext(ctx, ledgerSchema); err != nil {
		db.Close()
		return nil, fmt.Errorf("prepare ledger of %s: %v", shop, err)
	}
	l.own = db
	return l, nil
}

func openSQLite(path string, pragmas ...string) (*sql.DB, error) {
	q := url.Values{"_pragma": append(pragmas, "busy_timeout(2000)")}
	db, err := sql.Open("sqlite", "file:"+path+"?"+q.Encode())
	if err != nil {
		return nil, fmt.Errorf("open ledger %s: %v", path, err)
	}
	db.SetMaxOpenConns(2)
	db.SetMaxIdleConns(2)
	return db, nil
}

func (l *ledger) path(shop string) string { return filepath.Join(l.dir, shop+".db") }

// put stores an order, unless some shop has it already. It returns the order as it is stored.
func (l *ledger) put(ctx context.Context, o order) (stored order, created bool, err error) {
	if stored, err = l.get(ctx, o.ID); !errors.Is(err, errNoOrder) {
		return stored, false, err
	}
	o.Shop, o.Placed = l.shop, time.Now().UTC().Truncate(time.Millisecond)
	_, err = l.own.ExecContext(ctx, `insert into orders (id, item, quantity, placed) values (?, ?, ?, ?)`,
		o.ID, o.Item, o.Quantity, o.Placed.Format(time.RFC3339Nano))
	if err != nil {
		return order{}, false, fmt.Errorf("store order %s: %v", o.ID, err)
	}
	return o, true, nil
}

// get finds an order in any of the ledgers. It returns errNoOrder when it is in none.
func (l *ledger) get(ctx context.Context, id string) (order, error) {
	all, err := l.ledgers()
	if err != nil {
		return order{}, err
	}
	for shop, db := range all {
		if o, err := find(ctx, db, shop, id); !errors.Is(err, errNoOrder) {
			return o, err
		}
	}
	return order{}, errNoOrder
}

// copies returns how many ledgers hold the order: 1, or 2 when a shop was frozen between look and write.
func (l *ledger) copies(ctx context.Context, id string) (n int, err error) {
	all, err := l.ledgers()
	if err != nil {
		return 0, err
	}
	for shop, db := range all {
		switch _, err := find(ctx, db, shop, id); {
		case err == nil:
			n++
		case !errors.Is(err, errNoOrder):
			return n, err
		}
	}
	return n, nil
}

func find(ctx context.Context, db *sql.DB, shop, id string) (order, error) {
	o := order{ID: id, Shop: shop}
	var placed string
	err := db.QueryRowContext(ctx, `select item, quantity, placed from orders where id = ?`, id).Scan(&o.Item, &o.Quantity, &placed)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return order{}, errNoOrder
	case err != nil && strings.Contains(err.Error(), "no such table"): // a shop that is just opening
		return order{}, errNoOrder
	case err != nil:
		return order{}, fmt.Errorf("look up order %s at %s: %v", id, shop, err)
	}
	o.Placed, err = time.Parse(time.RFC3339Nano, placed)
	return o, err
}

// ledgers returns all that are in the folder, to read, and opens those that have appeared.
func (l *ledger) ledgers() (map[string]*sql.DB, error) {
	entries, err := os.ReadDir(l.dir)
	if err != nil {
		return nil, fmt.Errorf("list ledgers: %v", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range entries {
		shop, isLedger := strings.CutSuffix(e.Name(), ".db")
		if !isLedger || l.read[shop] != nil {
			continue
		}
		if l.read[shop], err = openSQLite(l.path(shop), "query_only(1)"); err != nil {
			return nil, err
		}
	}
	return maps.Clone(l.read), nil
}

// ping reads something.
func (l *ledger) ping(ctx context.Context) error {
	_, err := l.get(ctx, "")
	if errors.Is(err, errNoOrder) {
		return nil
	}
	return err
}

func (l *ledger) close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	var errs []error
	for _, db := range l.read {
		errs = append(errs, db.Close())
	}
	if l.own != nil {
		errs = append(errs, l.own.Close())
	}
	return errors.Join(errs...)
}
