package demo

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
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

// A ledger is one shop's orders, in an SQLite file that only this shop writes, and a view of the ledgers of the other
// shops in the same folder. Readers in WAL mode wait for nobody, not even for a writer that is frozen or dead.
type ledger struct {
	dir, shop string
	own       *sql.DB

	mu     sync.Mutex
	others map[string]*sql.DB // by shop
}

// openLedger opens or creates the shop's file. An empty shop only reads those of the others.
func openLedger(ctx context.Context, dir, shop string) (*ledger, error) {
	l := &ledger{dir: dir, shop: shop, others: make(map[string]*sql.DB)}
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

// get finds an order in any of the ledgers, in the own one first. It returns errNoOrder when it is in none.
func (l *ledger) get(ctx context.Context, id string) (order, error) {
	if l.own != nil {
		if o, err := find(ctx, l.own, l.shop, id); !errors.Is(err, errNoOrder) {
			return o, err
		}
	}
	others, err := l.siblings()
	if err != nil {
		return order{}, err
	}
	for shop, db := range others {
		if o, err := find(ctx, db, shop, id); !errors.Is(err, errNoOrder) {
			return o, err
		}
	}
	return order{}, errNoOrder
}

// copies returns how many ledgers hold the order: 1, or 2 when a shop was frozen between look and write.
func (l *ledger) copies(ctx context.Context, id string) (n int, err error) {
	others, err := l.siblings()
	if err != nil {
		return 0, err
	}
	for shop, db := range others {
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

// siblings opens what other ledgers have appeared in the folder.
func (l *ledger) siblings() (map[string]*sql.DB, error) {
	entries, err := os.ReadDir(l.dir)
	if err != nil {
		return nil, fmt.Errorf("list ledgers: %v", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	out := make(map[string]*sql.DB, len(entries))
	for _, e := range entries {
		shop, isLedger := strings.CutSuffix(e.Name(), ".db")
		if !isLedger || shop == l.shop {
			continue
		}
		if l.others[shop] == nil {
			db, err := openSQLite(l.path(shop), "query_only(1)")
			if err != nil {
				return nil, err
			}
			l.others[shop] = db
		}
		out[shop] = l.others[shop]
	}
	return out, nil
}

func (l *ledger) ping(ctx context.Context) error {
	var one int
	return l.own.QueryRowContext(ctx, `select 1`).Scan(&one)
}

func (l *ledger) close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	var errs []error
	for _, db := range l.others {
		errs = append(errs, db.Close())
	}
	if l.own != nil {
		errs = append(errs, l.own.Close())
	}
	return errors.Join(slices.DeleteFunc(errs, func(err error) bool { return err == nil })...)
}
