package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/trivet-ha/trivet/config"
	"github.com/trivet-ha/trivet/events"
)

// Historian tells what has happened.
type Historian interface {
	// Events returns those that are chosen, the oldest first.
	Events(context.Context, events.Filter) ([]events.Event, error)
	// Incidents returns those that are chosen, in the order in which they were opened.
	Incidents(context.Context, events.IncidentFilter) ([]events.Incident, error)
	// Follow reads what comes after an event, as far as it is in memory.
	Follow(after int64) Follower
}

// Follower reads events as they happen.
type Follower interface {
	// Next waits for events; lost is how many came before them that it was too slow for. The error is that of ctx, or says that
	// no more will come.
	Next(context.Context) (batch []events.Event, lost uint64, err error)
}

// Limits of what is told at a time.
const (
	// DefaultEvents is how many events, or incidents, are listed unless the limit says otherwise: the newest.
	DefaultEvents = 1000
	maxEvents     = 100_000
	// maxFollowers is how many may follow events at a time: people and a few programs.
	maxFollowers = 100
	// aliveEvery is how often a follower hears something, so that nobody in between takes the connection for dead.
	aliveEvery = 15 * time.Second
)

func (h handler) listEvents(r *http.Request) (any, error) {
	f, err := eventFilter(r.URL.Query())
	if err != nil {
		return nil, err
	}
	list, err := h.node.Events(r.Context(), f)
	return append([]events.Event{}, list...), err
}

func (h handler) listIncidents(r *http.Request) (any, error) {
	q := r.URL.Query()
	p := parser{q}
	f := events.IncidentFilter{
		Pool: q.Get("pool"), Endpoint: q.Get("endpoint"), Process: q.Get("process"), Backup: q.Get("backup"), Repository: q.Get("repository"),
		Open: q.Get("open") == "true",
	}
	var err error
	if f.Since, err = p.moment("since"); err != nil {
		return nil, err
	}
	if f.Limit, err = p.limit(); err != nil {
		return nil, err
	}
	list, err := h.node.Incidents(r.Context(), f)
	return append([]events.Incident{}, list...), err
}

// events answers with a list, or with a stream for whoever asks for one.
func (h handler) events(list http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.Contains(r.Header.Get("Accept"), "text/event-stream") {
			list.ServeHTTP(w, r)
			return
		}
		f, err := eventFilter(r.URL.Query())
		if err == nil && r.Header.Get("Last-Event-ID") != "" {
			f.After, err = strconv.ParseInt(r.Header.Get("Last-Event-ID"), 10, 64)
			if err != nil {
				err = Invalid("Last-Event-ID is no number", "send the id of the last event that was seen")
			}
		}
		if err != nil {
			writeError(w, asError(err))
			return
		}
		select {
		case h.followers <- struct{}{}:
			defer func() { <-h.followers }()
		default:
			writeError(w, &Error{Status: http.StatusServiceUnavailable, Message: fmt.Sprintf("%d follow the events already", maxFollowers)})
			return
		}
		h.follow(w, r, f)
	})
}

// follow sends events as they happen, in the format of https://html.spec.whatwg.org/multipage/server-sent-events.html: first
// those after Last-Event-ID or since, if either is said.
func (h handler) follow(w http.ResponseWriter, r *http.Request, f events.Filter) {
	s := &sender{w: w, control: http.NewResponseController(w), filter: f, last: math.MaxInt64}
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	s.comment("these are events of Trivet")
	if f.After > 0 || !f.Since.IsZero() {
		past, err := h.node.Events(r.Context(), f)
		if err != nil {
			return // the client asks again
		}
		s.last = f.After
		s.send(past)
	}
	from := h.node.Follow(s.last)
	for s.err == nil {
		ctx, cancel := context.WithTimeout(r.Context(), aliveEvery)
		batch, lost, err := from.Next(ctx)
		cancel()
		switch {
		case err == nil:
			s.lost(lost)
			s.send(batch)
		case errors.Is(err, context.DeadlineExceeded) && r.Context().Err() == nil:
			s.comment("alive")
		default:
			return
		}
	}
}

// sender writes server-sent events until writing fails.
type sender struct {
	w       http.ResponseWriter
	control *http.ResponseController
	filter  events.Filter
	last    int64 // the ID of the last event that was sent
	err     error
}

func (s *sender) send(batch []events.Event) {
	for i := range batch {
		if e := &batch[i]; s.filter.Match(e) {
			text, err := json.Marshal(e)
			if err != nil {
				s.err = err
				return
			}
			s.write(fmt.Sprintf("id: %d\ndata: %s\n\n", e.ID, text))
			s.last = e.ID
		}
	}
	s.flush()
}

// lost tells how many events the client was too slow for.
func (s *sender) lost(n uint64) {
	if n > 0 {
		s.write(fmt.Sprintf("event: lost\ndata: {\"lost\": %d}\n\n", n))
	}
}

func (s *sender) comment(text string) {
	s.write(": " + text + "\n\n")
	s.flush()
}

func (s *sender) write(text string) {
	if s.err == nil {
		_, s.err = s.w.Write([]byte(text))
	}
}

func (s *sender) flush() {
	if s.err == nil {
		s.err = s.control.Flush()
	}
}

// parser reads the parameters of a query.
type parser struct{ url.Values }

// moment reads a time, or how long ago it was.
func (p parser) moment(name string) (time.Time, error) {
	text := p.Get(name)
	if text == "" {
		return time.Time{}, nil
	}
	if t, err := time.Parse(time.RFC3339Nano, text); err == nil {
		return t, nil
	}
	d, err := config.ParseDuration(text)
	if err != nil {
		return time.Time{}, Invalid(fmt.Sprintf("%s=%q is no time", name, text), "write how long ago, as 1h or 7d, or a time as 2026-05-04T09:00:00Z")
	}
	return time.Now().Add(-d), nil
}

func (p parser) number(name string) (int64, error) {
	text := p.Get(name)
	if text == "" {
		return 0, nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 {
		return 0, Invalid(fmt.Sprintf("%s=%q is no number", name, text), "write digits only")
	}
	return n, nil
}

func (p parser) limit() (int, error) {
	n, err := p.number("limit")
	switch {
	case err != nil:
		return 0, err
	case n == 0:
		return DefaultEvents, nil
	}
	return int(min(n, maxEvents)), nil
}

// eventFilter reads the parameters of /v1/events.
func eventFilter(q url.Values) (f events.Filter, err error) {
	p := parser{q}
	f = events.Filter{
		Pool: q.Get("pool"), Endpoint: q.Get("endpoint"), Process: q.Get("process"), Listener: q.Get("listener"),
		Backup: q.Get("backup"), Repository: q.Get("repository"), Level: events.Level(q.Get("level")),
	}
	if f.Level != "" && !slices.Contains(events.Levels(), f.Level) {
		return f, Invalid(fmt.Sprintf("%q is no level", f.Level), "one of info, warn, error")
	}
	for _, list := range q["kind"] {
		for pattern := range strings.SplitSeq(list, ",") {
			if !slices.ContainsFunc(events.Kinds(), func(k events.Kind) bool { return k.Matches(pattern) }) {
				return f, Invalid(fmt.Sprintf("%q is no kind of event", pattern), "write endpoint.down, or process.* for all of them")
			}
			f.Kinds = append(f.Kinds, pattern)
		}
	}
	var errs [5]error
	f.Since, errs[0] = p.moment("since")
	f.Until, errs[1] = p.moment("until")
	f.After, errs[2] = p.number("after")
	f.Incident, errs[3] = p.number("incident")
	f.Limit, errs[4] = p.limit()
	for _, err := range errs {
		if err != nil {
			return f, err
		}
	}
	return f, nil
}

// query is the parameters that mean the filter; see eventFilter.
func query(f events.Filter) string {
	q := url.Values{}
	set := func(name, value string) {
		if value != "" {
			q.Set(name, value)
		}
	}
	moment := func(name string, t time.Time) {
		if !t.IsZero() {
			q.Set(name, t.Format(time.RFC3339Nano))
		}
	}
	number := func(name string, n int64) {
		if n != 0 {
			q.Set(name, strconv.FormatInt(n, 10))
		}
	}
	set("pool", f.Pool)
	set("endpoint", f.Endpoint)
	set("process", f.Process)
	set("listener", f.Listener)
	set("backup", f.Backup)
	set("repository", f.Repository)
	set("level", string(f.Level))
	set("kind", strings.Join(f.Kinds, ","))
	moment("since", f.Since)
	moment("until", f.Until)
	number("after", f.After)
	number("incident", f.Incident)
	number("limit", int64(f.Limit))
	return q.Encode()
}
