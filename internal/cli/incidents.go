package cli

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/trivet-ha/trivet/api"
	"github.com/trivet-ha/trivet/events"
)

func (e *env) incidentsCommand() *cobra.Command {
	var t target
	var f events.IncidentFilter
	var since span
	cmd := &cobra.Command{
		Use:   "incidents",
		Short: "Show faults from their first sign to their end, and how long that took",
		Long: `Incidents shows each fault as one: when it began, after how long it was detected, and after how long
it was over. The events of one are shown by trivet events --incident NUMBER.`,
		Example: "  trivet incidents --open\n  trivet incidents --since 30d --pool shop",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			f.Since = since.since()
			return t.ask(cmd.Context(), func(ctx context.Context, c *api.Client) error {
				list, err := c.Incidents(ctx, f)
				if err != nil {
					return err
				}
				return e.result(list, func(w io.Writer) { writeIncidents(w, painterFor(w), list, time.Now()) })
			})
		},
	}
	flags := cmd.Flags()
	flags.BoolVar(&f.Open, "open", false, "only those that are not over")
	flags.Var(&since, "since", "only those that were open in this time, as in 30m, 12h or 7d")
	flags.StringVar(&f.Pool, "pool", "", "only of this pool")
	flags.StringVar(&f.Endpoint, "endpoint", "", "only of this endpoint")
	flags.StringVar(&f.Process, "process", "", "only of this process, as in shop/0")
	flags.IntVarP(&f.Limit, "limit", "n", 100, "the latest so many")
	t.flags(cmd)
	return cmd
}

func writeIncidents(w io.Writer, p painter, list []events.Incident, now time.Time) {
	if len(list) == 0 {
		fmt.Fprintln(w, "no incidents")
		return
	}
	var t table
	t.heading("BEGAN", "STATE", "WHERE", "WHAT", ">DETECTED AFTER", ">OVER AFTER", ">NUMBER", "WHY")
	for i := range list {
		one := &list[i]
		state, over := cell{text: string(one.State)}, cell{text: "-", right: true}
		switch one.State {
		case events.Open:
			state.color = red
			over.text = short(now.Sub(one.Began)) + " so far"
		case events.Recovered:
			state.color, over.text = green, short(one.ToRecover.Duration())
		}
		t.row(text(clock(one.Began, now)), state, text(placeOf(one.Where)), text(kindsOf(one)), cell{text: short(one.ToDetect.Duration()), right: true},
			over, cell{text: fmt.Sprint(one.ID), right: true}, cell{text: firstLine(one.Evidence), color: dim})
	}
	t.write(w, p)
	writeMeans(w, list)
}

func kindsOf(i *events.Incident) string {
	var kinds []string
	for _, k := range i.Kinds {
		kinds = append(kinds, string(k))
	}
	return strings.Join(kinds, ", ")
}

func firstLine(text string) string {
	line, _, more := strings.Cut(text, "\n")
	if more {
		line += " ..."
	}
	return line
}

// writeMeans sums up the incidents that have recovered.
func writeMeans(w io.Writer, list []events.Incident) {
	var detect, recovery []time.Duration
	for _, i := range list {
		if i.State == events.Recovered {
			detect, recovery = append(detect, i.ToDetect.Duration()), append(recovery, i.ToRecover.Duration())
		}
	}
	if len(recovery) == 0 {
		return
	}
	fmt.Fprintf(w, "\n%s recovered: detected after %s on average, %s at most; over after %s on average, %s at most\n", plural(len(recovery), "incident"),
		short(mean(detect)), short(slices.Max(detect)), short(mean(recovery)), short(slices.Max(recovery)))
}

func mean(all []time.Duration) time.Duration {
	sum := time.Duration(0)
	for _, d := range all {
		sum += d
	}
	return sum / time.Duration(len(all))
}
