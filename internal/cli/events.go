package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/trivet-ha/trivet/api"
	"github.com/trivet-ha/trivet/config"
	"github.com/trivet-ha/trivet/events"
)

// span is a duration flag that also takes days and weeks, as the configuration does.
type span time.Duration

func (s *span) String() string {
	if *s == 0 {
		return ""
	}
	return time.Duration(*s).String()
}

func (*span) Type() string { return "duration" }

func (s *span) Set(text string) error {
	d, err := config.ParseDuration(text)
	if err != nil {
		return fmt.Errorf("%q %w", text, err)
	}
	*s = span(d)
	return nil
}

// since is the moment so long ago; zero is none.
func (s span) since() time.Time {
	if s == 0 {
		return time.Time{}
	}
	return time.Now().Add(-time.Duration(s))
}

// eventsVerb is the flags of `trivet events`.
type eventsVerb struct {
	*env
	target
	filter events.Filter
	since  span
	level  string
	follow bool
}

func (e *env) eventsCommand() *cobra.Command {
	v := &eventsVerb{env: e}
	cmd := &cobra.Command{
		Use:   "events",
		Short: "Show what happened and what was done about it",
		Long: `Events shows faults that were seen and actions that were taken: endpoints that went down and came
back, processes that were started again, files that were loaded. With a state file they are there
after a restart, too; without one, the latest are.

With --follow it shows the latest few and then what happens, until interrupted; it goes on when
Trivet is upgraded or restarted.`,
		Example: `  trivet events --since 1h
  trivet events --follow --level warn
  trivet events --pool shop --kind 'process.*' --json | jq .evidence`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			v.filter.Level, v.filter.Since = events.Level(v.level), v.since.since()
			return v.ask(cmd.Context(), func(ctx context.Context, c *api.Client) error {
				if v.follow {
					return v.followAll(ctx, c)
				}
				list, err := c.Events(ctx, v.filter)
				if err != nil {
					return err
				}
				return v.result(list, func(w io.Writer) { v.write(w, list) })
			})
		},
	}
	f := cmd.Flags()
	f.BoolVarP(&v.follow, "follow", "f", false, "go on showing what happens")
	f.Var(&v.since, "since", "only what happened in this time, as in 30m, 12h or 7d")
	f.StringVar(&v.filter.Pool, "pool", "", "only of this pool")
	f.StringVar(&v.filter.Endpoint, "endpoint", "", "only of this endpoint")
	f.StringVar(&v.filter.Process, "process", "", "only of this process, as in shop/0")
	f.StringVar(&v.filter.Listener, "listener", "", "only of this listener")
	f.StringVar(&v.filter.Backup, "backup", "", "only of this backup")
	f.StringVar(&v.filter.Repository, "repository", "", "only of this repository")
	f.StringSliceVar(&v.filter.Kinds, "kind", nil, "only of these kinds, as in endpoint.down or process.*")
	f.StringVar(&v.level, "level", "", "only what matters as much as this: info, warn or error")
	f.Int64Var(&v.filter.Incident, "incident", 0, "only of this incident, by its number")
	f.IntVarP(&v.filter.Limit, "limit", "n", 100, "the latest so many")
	v.flags(cmd)
	return cmd
}

// followShows is how many events are shown before those to come.
const followShows = 10

// followAll shows what happens until ctx ends. When the stream ends, because Trivet was upgraded or restarted, it looks for the
// next process for a while.
func (v *eventsVerb) followAll(ctx context.Context, c *api.Client) error {
	if v.filter.Since.IsZero() {
		v.filter.Limit = min(v.filter.Limit, followShows)
	}
	list, err := c.Events(ctx, v.filter)
	if err != nil {
		return err
	}
	v.show(list...)
	f := v.filter
	f.Since, f.After = time.Time{}, time.Now().Add(-time.Second).UnixMicro() // numbers are from the clock
	if len(list) > 0 {
		f.After = list[len(list)-1].ID
	}
	const patience = 30 * time.Second // for a process that is restarted
	var lost time.Time
	for {
		err := c.FollowEvents(ctx, f, func(e events.Event, missed uint64) error {
			lost = time.Time{}
			if missed > 0 {
				v.say("%d events were lost: they came faster than they could be shown", missed)
			}
			f.After = e.ID
			v.show(e)
			return nil
		})
		var answer *api.Error
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.As(err, &answer) && answer.Status != 0:
			return err
		case lost.IsZero():
			lost = time.Now()
		case time.Since(lost) > patience:
			return err
		}
		c.Close()
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// show writes events one by one: as JSON, one on each line.
func (v *eventsVerb) show(list ...events.Event) {
	if !v.json {
		v.write(v.Out, list)
		return
	}
	for _, e := range list {
		line, _ := json.Marshal(e) // texts and numbers always marshal
		fmt.Fprintf(v.Out, "%s\n", line)
	}
}

func (v *eventsVerb) write(w io.Writer, list []events.Event) {
	p, now := painterFor(w), time.Now()
	for i := range list {
		writeEvent(w, p, &list[i], now)
	}
}

// writeEvent writes an event on one line.
func writeEvent(w io.Writer, p painter, e *events.Event, now time.Time) {
	shade := map[events.Level]color{events.Warn: yellow, events.Error: red}[e.Level]
	line := p.paint(dim, clock(e.At, now)) + "  " + p.paint(shade, fmt.Sprintf("%-18s", e.Kind))
	if where := placeOf(e.Where); where != "" {
		line += "  " + where
	}
	var more []string
	if e.Evidence != "" {
		more = append(more, strings.ReplaceAll(strings.TrimSpace(e.Evidence), "\n", " | "))
	}
	if e.Action != "" {
		more = append(more, e.Action)
	}
	if e.Took != 0 {
		more = append(more, "after "+short(e.Took.Duration()))
	}
	if len(more) > 0 {
		line += "  " + p.paint(dim, strings.Join(more, "; "))
	}
	fmt.Fprintln(w, strings.TrimRight(line, " "))
}

// placeOf names the thing that an event is about, shortly.
func placeOf(w events.Where) string {
	var parts []string
	switch {
	case w.Process != "":
		parts = append(parts, w.Process)
	case w.Pool != "":
		parts = append(parts, w.Pool)
	}
	switch {
	case w.Backup != "":
		parts = append(parts, w.Backup+"@"+w.Repository)
	case w.Repository != "":
		parts = append(parts, w.Repository)
	}
	for _, name := range []string{w.Endpoint, w.Listener, w.Hook} {
		if name != "" {
			parts = append(parts, name)
		}
	}
	return strings.Join(parts, " ")
}

// short writes a duration with the digits that matter.
func short(d time.Duration) string {
	switch {
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	case d < time.Minute:
		return d.Round(100 * time.Millisecond).String()
	default:
		return ago(d)
	}
}
