package faulthttp

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"github.com/trivet-ha/trivet/fault"
	"github.com/trivet-ha/trivet/fault/panics"
	"github.com/trivet-ha/trivet/fault/run"
)

// HandlerConfig says how requests are served. Only Stack has no useful zero.
type HandlerConfig struct {
	// Stack is the policies around each request. As an answer can't be taken back,
	// a policy that would make another has no place in it.
	Stack *fault.Stack
	// About says what policies want to know about a request. By default that is
	// its client's address as the key of a limit for each; see [ByClient].
	About func(*http.Request) fault.Call
	// Refuse, if set, writes the answer to a request that was not served; err is
	// what [run.Do] says. Default [Refuse].
	Refuse func(w http.ResponseWriter, r *http.Request, err error)
}

// WithDefaults returns c with the default in place of each zero.
func (c HandlerConfig) WithDefaults() HandlerConfig {
	if c.About == nil {
		c.About = func(*http.Request) fault.Call { return fault.Call{} }
		if slices.ContainsFunc(c.Stack.Policies(), func(p fault.Policy) bool { return p.Kind == fault.KindLimitEach }) {
			c.About = ByClient()
		}
	}
	if c.Refuse == nil {
		c.Refuse = Refuse
	}
	return c
}

// Check reports the first value of c that makes no sense.
func (c HandlerConfig) Check() error {
	for _, p := range c.Stack.Policies() {
		switch p.Kind {
		case fault.KindRetry, fault.KindHedge, fault.KindFallback, fault.KindElse:
			return fmt.Errorf("faulthttp: a handler's answer can't be taken back for a %v", p.Kind)
		}
	}
	return nil
}

// Handler is an http.Handler that serves requests under policies.
type Handler struct {
	config HandlerConfig
	next   http.Handler
	runner run.Runner[struct{}]
}

// NewHandler returns a handler that has next serve what its policies let through.
// The error says what is wrong with c.
func NewHandler(c HandlerConfig, next http.Handler) (*Handler, error) {
	if err := c.Check(); err != nil {
		return nil, err
	}
	c = c.WithDefaults()
	return &Handler{config: c, next: next, runner: run.Runner[struct{}]{Stack: c.Stack, Judge: judgeServed}}, nil
}

func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	rec := &recorder{ResponseWriter: w}
	_, err := h.runner.Do(r.Context(), h.config.About(r), func(ctx context.Context) (struct{}, error) {
		if ctx != r.Context() {
			r = r.WithContext(ctx)
		}
		return struct{}{}, serve(h.next, rec, r)
	})
	switch {
	case err == nil, errors.As(err, new(*served)):
	case errors.Is(err, http.ErrAbortHandler):
		panic(http.ErrAbortHandler)
	case rec.status != 0: // half an answer must not look like a whole one
		panic(http.ErrAbortHandler)
	default:
		h.config.Refuse(w, r, err)
	}
}

// served is the error of a request whose answer says that the server failed.
type served struct{ status int }

func (s *served) Error() string { return "answered with " + strconv.Itoa(s.status) }

// serve calls the handler and says how that went. A handler that aborts on
// purpose is no panic to be counted.
func serve(next http.Handler, w *recorder, r *http.Request) (err error) {
	defer func() {
		switch v := recover(); {
		case v == nil:
		case v == http.ErrAbortHandler:
			err = http.ErrAbortHandler
		default:
			panic(v)
		}
	}()
	next.ServeHTTP(w, r)
	if w.status == 0 && r.Context().Err() != nil {
		return r.Context().Err() // it gave up as its time was up
	}
	if w.status >= 500 {
		return &served{w.status}
	}
	return nil
}

func judgeServed(_ struct{}, err error) fault.Verdict {
	if errors.Is(err, http.ErrAbortHandler) {
		return fault.Verdict{Outcome: fault.Ignored}
	}
	v := fault.Judge(err)
	if s, ok := errors.AsType[*served](err); ok {
		v.Overload = s.status == http.StatusServiceUnavailable
	}
	return v
}

// Refuse answers a request that was not served: 429 above a rate limit, 500 after
// a panic, 503 for any other reason; with Retry-After if it is known when to come
// back, in whole seconds.
func Refuse(w http.ResponseWriter, _ *http.Request, err error) {
	status := http.StatusServiceUnavailable
	if errors.Is(err, fault.ErrLimited) {
		status = http.StatusTooManyRequests
	}
	if _, ok := errors.AsType[*panics.Error](err); ok {
		status = http.StatusInternalServerError
	}
	if r, ok := errors.AsType[*fault.Refusal](err); ok && r.Wait > 0 && r.Wait < 365*24*time.Hour {
		w.Header().Set("Retry-After", strconv.FormatInt(int64((r.Wait+time.Second-1)/time.Second), 10))
	}
	http.Error(w, http.StatusText(status), status)
}

// ByClient returns a function that makes the client's address the key of a rate
// limit: an IPv4 address, or the /64 of an IPv6 one, all of which belongs to one
// client (RFC 6177). Behind a proxy the address is the proxy's.
func ByClient() func(*http.Request) fault.Call {
	seed := maphash.MakeSeed()
	return func(r *http.Request) fault.Call {
		return fault.Call{Key: maphash.Comparable(seed, Client(r.RemoteAddr))}
	}
}

// Client returns the addresses that belong to the client at the remote address
// (host:port); see [ByClient]. Of what is no address it is the zero Prefix.
func Client(remote string) netip.Prefix {
	at, err := netip.ParseAddrPort(remote)
	if err != nil {
		return netip.Prefix{}
	}
	addr := at.Addr().Unmap().WithZone("")
	bits := addr.BitLen()
	if addr.Is6() {
		bits = 64
	}
	return netip.PrefixFrom(addr, bits).Masked()
}
