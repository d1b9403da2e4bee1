package api

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
)

// maxBody bounds a request's body: the largest is a Question with its headers.
const maxBody = 1 << 20

// NewHandler serves the API of a node. metrics, if not nil, is served at /metrics.
func NewHandler(n Node, metrics http.Handler) http.Handler {
	h := handler{node: n, followers: make(chan struct{}, maxFollowers)}
	mux := http.NewServeMux()
	mux.Handle("GET /v1/status", answer(h.status))
	mux.Handle("GET /v1/pools", answer(h.pools))
	mux.Handle("GET /v1/pools/{pool}", answer(h.pool))
	mux.Handle("POST /v1/pools/{pool}/endpoints", answer(h.add))
	mux.Handle("PATCH /v1/pools/{pool}/endpoints/{address}", answer(h.change))
	mux.Handle("DELETE /v1/pools/{pool}/endpoints/{address}", answer(h.remove))
	mux.Handle("GET /v1/explain/endpoint", answer(h.explainEndpoint))
	mux.Handle("POST /v1/explain/request", answer(h.explainRequest))
	mux.Handle("GET /v1/events", h.events(answer(h.listEvents)))
	mux.Handle("GET /v1/incidents", answer(h.listIncidents))
	mux.Handle("GET /v1/report", answer(h.report))
	mux.Handle("GET /v1/processes", answer(h.processes))
	mux.Handle("GET /v1/processes/{pool}", answer(h.processes))
	mux.Handle("POST /v1/processes/{pool}", answer(h.changeProcesses))
	mux.Handle("GET /v1/backups", answer(h.backups))
	mux.Handle("GET /v1/backups/{name}", answer(h.backups))
	mux.Handle("POST /v1/backups/{name}", answer(h.startBackup))
	mux.Handle("DELETE /v1/backups/{name}", answer(h.stopBackup))
	mux.Handle("GET /v1/dns", answer(h.dns))
	mux.Handle("POST /v1/dns/query", answer(h.queryDNS))
	mux.Handle("POST /v1/reload", answer(h.reload))
	mux.Handle("POST /v1/upgrade", answer(h.upgrade))
	if metrics != nil {
		mux.Handle("GET /metrics", metrics)
	}
	mux.Handle("/", answer(func(r *http.Request) (any, error) {
		return nil, NotFound(fmt.Sprintf("there is no %s %s", r.Method, r.URL.Path), "the paths are listed at https://github.com/trivet-ha/trivet, docs/reference/api.md")
	}))
	return mux
}

// RequireToken lets only those through to next that show the token as "Authorization: Bearer TOKEN" (RFC 6750 §2.1). It
// panics on an empty token, which would let everybody through.
func RequireToken(token string, next http.Handler) http.Handler {
	if token == "" {
		panic("api: an empty token")
	}
	want := sha256.Sum256([]byte(token)) // hashed so that the time tells neither content nor length
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		scheme, shown, _ := strings.Cut(r.Header.Get("Authorization"), " ")
		got := sha256.Sum256([]byte(strings.TrimSpace(shown)))
		if subtle.ConstantTimeCompare(got[:], want[:]) != 1 || !strings.EqualFold(scheme, "Bearer") {
			w.Header().Set("WWW-Authenticate", "Bearer")
			writeError(w, &Error{Status: http.StatusUnauthorized, Message: "the token is missing or wrong", Hint: "send Authorization: Bearer TOKEN, with the token of admin.token_file"})
			return
		}
		next.ServeHTTP(w, r)
	})
}

type handler struct {
	node      Node
	followers chan struct{} // one for each that follows the events
}

// answer writes what f returns as JSON.
func answer(f func(*http.Request) (any, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		v, err := f(r)
		if err != nil {
			writeError(w, asError(err))
			return
		}
		writeJSON(w, http.StatusOK, v)
	})
}

func writeError(w http.ResponseWriter, e *Error) {
	status := e.Status
	if status < 400 || status > 599 {
		status = http.StatusInternalServerError
	}
	writeJSON(w, status, e)
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	body, err := json.MarshalIndent(v, "", "  ")
	if err != nil { // a number that JSON can't say
		status, body = http.StatusInternalServerError, []byte(`{"error": "the answer can't be written as JSON"}`)
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = w.Write(append(body, '\n')) // a client that is gone needs no answer
}

// read decodes the body of r strictly.
func read(r *http.Request, v any) error {
	d := json.NewDecoder(r.Body)
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return Invalid("the body is not what is expected: "+err.Error(), "send a JSON object")
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return Invalid("the body goes on after its object", "send one JSON object")
	}
	return nil
}

// done is what a command without a result answers.
type done struct {
	Done bool `json:"done"`
}

func (h handler) status(*http.Request) (any, error) { return h.node.Status(), nil }

func (h handler) pools(*http.Request) (any, error) { return h.node.Status().Pools, nil }

func (h handler) pool(r *http.Request) (any, error) {
	name := r.PathValue("pool")
	pools := h.node.Status().Pools
	i := slices.IndexFunc(pools, func(p Pool) bool { return p.Name == name })
	if i < 0 {
		return nil, NotFound(fmt.Sprintf("there is no pool %q", name), "trivet pool list shows them")
	}
	return pools[i], nil
}

func (h handler) change(r *http.Request) (any, error) {
	var c Change
	if err := read(r, &c); err != nil {
		return nil, err
	}
	if c.Admin == nil && c.Weight == nil {
		return nil, Invalid("nothing is to be changed", `send {"admin": "drain"} or {"weight": 5}`)
	}
	if c.Admin != nil && *c.Admin != Ready && *c.Admin != Drain && *c.Admin != Maintenance {
		return nil, Invalid(fmt.Sprintf("%q is nothing an endpoint can be", *c.Admin), "one of ready, drain, maintenance")
	}
	if c.Weight != nil && (*c.Weight < 1 || *c.Weight > maxWeight) {
		return nil, Invalid(fmt.Sprintf("%d is no weight", *c.Weight), "a weight is from 1 to 1000000; drain an endpoint to send it nothing")
	}
	return h.node.ChangeEndpoint(r.PathValue("pool"), r.PathValue("address"), c)
}

// maxWeight is the file's bound too.
const maxWeight = 1_000_000

func (h handler) add(r *http.Request) (any, error) {
	var e NewEndpoint
	if err := read(r, &e); err != nil {
		return nil, err
	}
	if e.Address == "" {
		return nil, Invalid("the endpoint has no address", `send {"address": "10.0.0.13:8000"}`)
	}
	if e.Weight < 0 || e.Weight > maxWeight || e.Priority < 0 || e.MaxRequests < 0 {
		return nil, Invalid("a number of the endpoint is out of its range", "weight is from 1 to 1000000, priority and max_requests from 0")
	}
	return h.node.AddEndpoint(r.PathValue("pool"), e)
}

func (h handler) remove(r *http.Request) (any, error) {
	return done{true}, h.node.RemoveEndpoint(r.PathValue("pool"), r.PathValue("address"))
}

func (h handler) explainEndpoint(r *http.Request) (any, error) {
	address := r.URL.Query().Get("address")
	if address == "" {
		return nil, Invalid("which endpoint?", "send ?address=10.0.0.11:8000")
	}
	return h.node.ExplainEndpoint(address)
}

func (h handler) explainRequest(r *http.Request) (any, error) {
	var q Question
	if err := read(r, &q); err != nil {
		return nil, err
	}
	if q.URL == "" {
		return nil, Invalid("which request?", `send {"method": "GET", "url": "http://host/path"}`)
	}
	if q.Method == "" {
		q.Method = http.MethodGet
	}
	return h.node.ExplainRequest(q)
}

func (h handler) reload(r *http.Request) (any, error) {
	return done{true}, h.node.ReloadFile(r.Context())
}

func (h handler) upgrade(r *http.Request) (any, error) {
	return done{true}, h.node.Upgrade(r.Context())
}
