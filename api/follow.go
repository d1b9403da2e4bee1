package api

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/trivet-ha/trivet/events"
)

// Events asks what has happened: the newest DefaultEvents that the filter chooses, unless its limit says otherwise.
func (c *Client) Events(ctx context.Context, f events.Filter) ([]events.Event, error) {
	return ask[[]events.Event](ctx, c, http.MethodGet, "/v1/events?"+query(f), nil)
}

// Incidents asks for incidents: the newest DefaultEvents that the filter chooses, unless its limit says otherwise.
func (c *Client) Incidents(ctx context.Context, f events.IncidentFilter) ([]events.Incident, error) {
	q, _ := url.ParseQuery(query(events.Filter{Since: f.Since, Pool: f.Pool, Endpoint: f.Endpoint, Process: f.Process, Backup: f.Backup, Repository: f.Repository, Limit: f.Limit}))
	if f.Open {
		q.Set("open", "true")
	}
	return ask[[]events.Incident](ctx, c, http.MethodGet, "/v1/incidents?"+q.Encode(), nil)
}

// ErrStreamEnded says that the stream of events has ended in an orderly way: the process ends, or another takes its place.
var ErrStreamEnded = errors.New("the stream of events has ended")

// FollowEvents calls each for every event that the filter chooses as it happens; before, for those after Filter.After or since
// Filter.Since, if either is set. lost is how many events before this one were lost. It returns when ctx ends, when the stream
// does (ErrStreamEnded), or with the error of each.
func (c *Client) FollowEvents(ctx context.Context, f events.Filter, each func(e events.Event, lost uint64) error) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.base+"/v1/events?"+query(f), nil)
	if err != nil {
		return err
	}
	req.Header.Set("Accept", "text/event-stream")
	if f.After > 0 {
		req.Header.Set("Last-Event-ID", strconv.FormatInt(f.After, 10))
	}
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	res, err := c.http.Do(req)
	if err != nil {
		return c.unreachable(err)
	}
	defer res.Body.Close()
	if res.StatusCode >= 400 {
		return readError(res)
	}
	return c.readStream(ctx, bufio.NewScanner(res.Body), each)
}

// readStream reads server-sent events as this API writes them: one line of data each.
func (c *Client) readStream(ctx context.Context, lines *bufio.Scanner, each func(events.Event, uint64) error) error {
	lines.Buffer(nil, 4<<20)
	lost := uint64(0)
	kind := ""
	for lines.Scan() {
		field, value, _ := strings.Cut(lines.Text(), ": ")
		switch field {
		case "event":
			kind = value
			continue
		case "data":
		default:
			continue
		}
		if kind == "lost" {
			var l struct{ Lost uint64 }
			_ = json.Unmarshal([]byte(value), &l) // an odd one counts for nothing
			lost += l.Lost
			kind = ""
			continue
		}
		var e events.Event
		if err := json.Unmarshal([]byte(value), &e); err != nil {
			return fmt.Errorf("read the events of %s: %w", c.where, err)
		}
		if err := each(e, lost); err != nil {
			return err
		}
		lost = 0
	}
	switch err := lines.Err(); {
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		return fmt.Errorf("read the events of %s: %w", c.where, err)
	}
	return ErrStreamEnded
}
