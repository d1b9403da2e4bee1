package demo

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func openForTest(t *testing.T, dir, shop string) *ledger {
	t.Helper()
	l, err := openLedger(t.Context(), dir, shop)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

func TestAnyShopFindsTheOrdersOfAll(t *testing.T) {
	dir := t.TempDir()
	a, b := openForTest(t, dir, "shop-a"), openForTest(t, dir, "shop-b")
	stored, created, err := a.put(t.Context(), order{ID: "1", Item: "kettle", Quantity: 2})
	if err != nil || !created || stored.Shop != "shop-a" {
		t.Fatalf("put: %+v, created %v, %v", stored, created, err)
	}
	got, err := b.get(t.Context(), "1")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(stored, got); diff != "" {
		t.Errorf("the other shop reads another order (-stored +read):\n%s", diff)
	}
	if _, err := b.get(t.Context(), "2"); !errors.Is(err, errNoOrder) {
		t.Errorf("an order nobody stored: %v", err)
	}
}

func TestAnOrderThatIsStoredElsewhereIsNotStoredAgain(t *testing.T) {
	dir := t.TempDir()
	a, b := openForTest(t, dir, "shop-a"), openForTest(t, dir, "shop-b")
	for i, l := range []*ledger{a, b, a} {
		stored, created, err := l.put(t.Context(), order{ID: "1", Item: "kettle", Quantity: 2})
		if err != nil || stored.Shop != "shop-a" || created != (i == 0) {
			t.Errorf("put %d: stored at %s, created %v, %v", i, stored.Shop, created, err)
		}
	}
	reader := openForTest(t, dir, "")
	if n, err := reader.copies(t.Context(), "1"); n != 1 || err != nil {
		t.Errorf("%d copies, %v; want one", n, err)
	}
	if n, err := reader.copies(t.Context(), "2"); n != 0 || err != nil {
		t.Errorf("%d copies, %v; want none", n, err)
	}
}

// A writer that was frozen inside a transaction, or killed, must not stop the others from reading and writing.
func TestAWriterThatHangsInATransactionStopsNobodyElse(t *testing.T) {
	dir := t.TempDir()
	a, b := openForTest(t, dir, "shop-a"), openForTest(t, dir, "shop-b")
	if _, _, err := a.put(t.Context(), order{ID: "1", Item: "kettle", Quantity: 2}); err != nil {
		t.Fatal(err)
	}
	tx, err := a.own.Begin()
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	if _, err := tx.Exec(`delete from orders`); err != nil {
		t.Fatal(err)
	}
	if _, err := b.get(t.Context(), "1"); err != nil {
		t.Errorf("read while a writes: %v", err)
	}
	if _, _, err := b.put(t.Context(), order{ID: "2", Item: "trivet", Quantity: 1}); err != nil {
		t.Errorf("write while a writes: %v", err)
	}
}

func TestTheShopSpeaksHTTP(t *testing.T) {
	server := httptest.NewServer(newShop("shop-a", openForTest(t, t.TempDir(), "shop-a")))
	t.Cleanup(server.Close)
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	const (
		asJSON = "application/json"
		asForm = "application/x-www-form-urlencoded"
	)
	for _, tt := range []struct {
		method, path, kind, body string
		status                   int
		want                     string
	}{
		{"GET", "/", "", "", 200, "served by <b>shop-a</b>"},
		{"GET", "/healthz", "", "", 200, "ok"},
		{"PUT", "/orders/x1", asJSON, `{"item":"kettle","quantity":2}`, 201, `"answered_by":"shop-a"`},
		{"PUT", "/orders/x1", asJSON, `{"item":"kettle","quantity":2}`, 200, `"id":"x1"`},
		{"GET", "/orders/x1", "", "", 200, `"item":"kettle"`},
		{"GET", "/orders/x2", "", "", 404, "no such order"},
		{"POST", "/orders", asJSON, `{"item":"teapot","quantity":1}`, 201, `"item":"teapot"`},
		{"POST", "/orders", asForm, `item=teapot&quantity=1`, 303, `"quantity":1`},
		{"POST", "/orders", asJSON, `{"item":"teapot","quantity":0}`, 400, "want 1 to 1000"},
		{"POST", "/orders", asJSON, `{"item":"","quantity":1}`, 400, "item is empty"},
		{"POST", "/orders", asJSON, `{"item":"x","quantity":1,"price":0}`, 400, "unknown field"},
		{"POST", "/orders", asForm, `item=teapot&quantity=many`, 400, "read order"},
		{"POST", "/orders", asJSON, `{"item":"` + strings.Repeat("x", orderBytesMax) + `"}`, 400, "too large"},
		{"DELETE", "/orders/x1", "", "", 405, ""},
	} {
		t.Run(fmt.Sprintf("%s %s %d", tt.method, tt.path, tt.status), func(t *testing.T) {
			request, err := http.NewRequestWithContext(t.Context(), tt.method, server.URL+tt.path, strings.NewReader(tt.body))
			if err != nil {
				t.Fatal(err)
			}
			request.Header.Set("Content-Type", tt.kind)
			response, err := client.Do(request)
			if err != nil {
				t.Fatal(err)
			}
			defer response.Body.Close()
			body, err := io.ReadAll(response.Body)
			if err != nil {
				t.Fatal(err)
			}
			if response.StatusCode != tt.status || !strings.Contains(string(body), tt.want) {
				t.Errorf("status %d, body %q; want %d and %q", response.StatusCode, body, tt.status, tt.want)
			}
			if response.Header.Get("X-Shop") != "shop-a" {
				t.Error("the answer does not say which shop it is from")
			}
		})
	}
}
