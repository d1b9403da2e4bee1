package demo

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"html/template"
	"io"
	"log/slog"
	"mime"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync"
	"time"
)

// shopOptions is what one copy of the shop needs to know.
type shopOptions struct {
	Name   string // "shop-a"
	Listen string // host:port
	Data   string // the folder of all ledgers
}

// args returns the arguments that make Shop run with these options.
func (o shopOptions) args() []string {
	return []string{"-name", o.Name, "-listen", o.Listen, "-data", o.Data}
}

// Shop runs one copy of the shop until ctx ends, then answers what it has begun and returns. It is the body of the
// hidden command that the demo starts three times; args are that command's.
func Shop(ctx context.Context, args []string) error {
	var o shopOptions
	flags := flag.NewFlagSet("demo-shop", flag.ContinueOnError)
	flags.StringVar(&o.Name, "name", "shop-a", "the shop's name")
	flags.StringVar(&o.Listen, "listen", "127.0.0.1:0", "address to listen on")
	flags.StringVar(&o.Data, "data", ".", "folder of the ledgers")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if err := os.MkdirAll(o.Data, 0o700); err != nil {
		return fmt.Errorf("make a folder for the ledgers: %v", err)
	}
	l, err := openLedger(ctx, o.Data, o.Name)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", o.Listen)
	if err != nil {
		return errors.Join(fmt.Errorf("open %s: %v", o.Name, err), l.close())
	}
	return errors.Join(serveUntil(ctx, listener, newShop(o.Name, l)), l.close())
}

// serveUntil serves until ctx ends; what is in flight then has two seconds.
func serveUntil(ctx context.Context, listener net.Listener, h http.Handler) error {
	server := &http.Server{Handler: h, ReadHeaderTimeout: 5 * time.Second, IdleTimeout: time.Minute}
	var wg sync.WaitGroup
	served := make(chan struct{})
	var stopErr error
	wg.Go(func() {
		select {
		case <-ctx.Done():
			grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
			defer cancel()
			stopErr = server.Shutdown(grace)
		case <-served:
		}
	})
	err := server.Serve(listener)
	close(served)
	wg.Wait()
	if errors.Is(err, http.ErrServerClosed) {
		err = nil
	}
	return errors.Join(err, stopErr)
}

// newShop returns the shop's HTTP interface:
//
//	GET  /             the page: what is sold, and who answers
//	PUT  /orders/{id}  store an order under a name the customer chose; again is harmless
//	POST /orders       store an order under a new name
//	GET  /orders/{id}  the order, whichever shop stored it
//	GET  /healthz      200 while the ledger answers
func newShop(name string, l *ledger) http.Handler {
	s := &shop{name: name, ledger: l}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", s.page)
	mux.HandleFunc("PUT /orders/{id}", s.put)
	mux.HandleFunc("POST /orders", s.post)
	mux.HandleFunc("GET /orders/{id}", s.get)
	mux.HandleFunc("GET /healthz", s.healthz)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Shop", name)
		r.Body = http.MaxBytesReader(w, r.Body, orderBytesMax)
		mux.ServeHTTP(w, r)
	})
}

// orderBytesMax bounds the body of a request: an order is a few dozen bytes.
const orderBytesMax = 4 << 10

type shop struct {
	name   string
	ledger *ledger
}

// An item is something for sale.
type item struct {
	Name  string
	Price string
}

func goods() []item {
	return []item{{"trivet", "12.00"}, {"kettle", "39.00"}, {"teapot", "28.50"}, {"darjeeling, 100 g", "9.80"}}
}

var shopPage = template.Must(template.New("page").Parse(`<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>The Tea Shop</title>
<style>body{font:16px/1.5 system-ui;max-width:32rem;margin:3rem auto;padding:0 1rem}td{padding:.2rem 1rem .2rem 0}</style>
<h1>The Tea Shop</h1>
<table>{{range .Goods}}
<tr><td>{{.Name}}<td>{{.Price}}<td><form method="post" action="/orders">
<input type="hidden" name="item" value="{{.Name}}"><input type="hidden" name="quantity" value="1"><button>order</button></form>{{end}}
</table>
<p>You were served by <b>{{.Shop}}</b>. Reload the page, and it may be another.
`))

func (s *shop) page(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	if err := shopPage.Execute(w, map[string]any{"Goods": goods(), "Shop": s.name}); err != nil {
		slog.Debug("page not sent", "cause", err)
	}
}

func (s *shop) healthz(w http.ResponseWriter, r *http.Request) {
	if err := s.ledger.ping(r.Context()); err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	io.WriteString(w, "ok\n")
}

func (s *shop) put(w http.ResponseWriter, r *http.Request) { s.store(w, r, r.PathValue("id")) }

func (s *shop) post(w http.ResponseWriter, r *http.Request) { s.store(w, r, rand.Text()) }

func (s *shop) store(w http.ResponseWriter, r *http.Request, id string) {
	o, err := readOrder(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	o.ID = id
	o, created, err := s.ledger.put(r.Context(), o)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Location", "/orders/"+o.ID)
	status := http.StatusOK
	switch {
	case isForm(r):
		status = http.StatusSeeOther
	case created:
		status = http.StatusCreated
	}
	s.answer(w, status, o)
}

func (s *shop) get(w http.ResponseWriter, r *http.Request) {
	o, err := s.ledger.get(r.Context(), r.PathValue("id"))
	switch {
	case errors.Is(err, errNoOrder):
		http.Error(w, err.Error(), http.StatusNotFound)
	case err != nil:
		http.Error(w, err.Error(), http.StatusInternalServerError)
	default:
		s.answer(w, http.StatusOK, o)
	}
}

func (s *shop) answer(w http.ResponseWriter, status int, o order) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	err := json.NewEncoder(w).Encode(struct {
		order
		AnsweredBy string `json:"answered_by"`
	}{o, s.name})
	if err != nil {
		slog.Debug("order not sent", "cause", err)
	}
}

// readOrder reads an order from a form or from JSON.
func readOrder(r *http.Request) (o order, err error) {
	if isForm(r) {
		o.Item = r.FormValue("item")
		o.Quantity, err = strconv.Atoi(r.FormValue("quantity"))
	} else {
		d := json.NewDecoder(r.Body)
		d.DisallowUnknownFields()
		var in struct {
			Item     string `json:"item"`
			Quantity int    `json:"quantity"`
		}
		err = d.Decode(&in)
		o.Item, o.Quantity = in.Item, in.Quantity
	}
	switch {
	case err != nil:
		return o, fmt.Errorf("read order: %v", err)
	case o.Item == "":
		return o, errors.New("order nothing: item is empty")
	case o.Quantity < 1 || o.Quantity > 1000:
		return o, fmt.Errorf("order %d of %s: want 1 to 1000", o.Quantity, o.Item)
	}
	return o, nil
}

func isForm(r *http.Request) bool {
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	return err == nil && kind == "application/x-www-form-urlencoded"
}
