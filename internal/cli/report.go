package cli

import (
	"context"
	"fmt"
	"io"
	"math"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/trivet-ha/trivet/api"
	"github.com/trivet-ha/trivet/avail"
	"github.com/trivet-ha/trivet/avail/report"
	"github.com/trivet-ha/trivet/config"
	"github.com/trivet-ha/trivet/internal/page"
	"github.com/trivet-ha/trivet/internal/plan"
)

func (e *env) reportCommand() *cobra.Command {
	var t target
	window, html, rules := "", "", ""
	cmd := &cobra.Command{
		Use:   "report",
		Short: "Put what was promised, predicted and measured side by side",
		Long: `Report asks the running Trivet what it delivered in a window (that of the objectives, unless another is
given) and shows it beside what objectives promise and what trivet plan predicts, each measured
figure with the interval that chance leaves it, and names the biggest gap. What is measured is kept in
the state file for thirteen months.

With --rules it writes alerts for Prometheus instead, from a file: they need no running Trivet.

Exit status: 0, or 1 when a promise was broken.`,
		Example: "  trivet report --window 7d\n  trivet report --html report.html\n  trivet report --rules=trivet.yaml > /etc/prometheus/trivet.rules.yml",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if rules != "" {
				return e.writeRules(rules)
			}
			if _, err := config.ParseDuration(window); window != "" && err != nil {
				return usage(fmt.Sprintf("--window %q: %v", window, err), "write --window 30d")
			}
			return t.ask(cmd.Context(), func(ctx context.Context, c *api.Client) error {
				r, err := c.Report(ctx, window)
				if err != nil {
					return err
				}
				if err := e.planned(r, func(w io.Writer) { writeReport(w, painterFor(w), &r) }, reportPage(&r), html); err != nil {
					return err
				}
				if !r.Kept {
					return exit(exitFailed)
				}
				return nil
			})
		},
	}
	cmd.Flags().StringVar(&window, "window", "", "how far back, as in 24h or 30d")
	htmlFlag(cmd, &html)
	cmd.Flags().StringVar(&rules, "rules", "", "write Prometheus rules for the objectives of this file")
	cmd.Flags().Lookup("rules").NoOptDefVal = "trivet.yaml"
	t.flags(cmd)
	return cmd
}

func (e *env) writeRules(path string) error {
	file, err := e.loadFile([]string{path})
	if problems, invalid := config.IsInvalid(err); invalid {
		return e.showInvalid(problems)
	}
	if err != nil {
		return fileProblem(err)
	}
	o := &file.Objectives
	text := report.Rules(report.Promise{Availability: o.Availability.Fraction(), Window: o.Window, LatencyP99: o.LatencyP99}, o.MinRequests)
	if text == "" {
		return usage(path+" promises no availability", "write objectives: {availability: 99.9%}")
	}
	_, err = io.WriteString(e.Out, text)
	return err
}

// figure writes one figure of a line; nil is not known.
func figure(l *report.Line, f *float64) string {
	switch {
	case f == nil:
		return "-"
	case l.Unit == report.Times:
		return plan.Duration(avail.Seconds(*f))
	}
	return plan.Percent(*f)
}

// between writes an interval.
func between(l *report.Line) string {
	switch {
	case l.Low == nil && l.High == nil:
		return ""
	case l.High == nil:
		return "at least " + figure(l, l.Low)
	}
	return figure(l, l.Low) + " to " + figure(l, l.High)
}

// howMany writes a number, or nothing for none.
func howMany(n int) string {
	if n == 0 {
		return ""
	}
	return count(n)
}

func used(l *report.Line) string {
	switch {
	case l.Used == nil:
		return ""
	case *l.Used > 1000:
		return "> 1000 times"
	}
	return strconv.FormatFloat(*l.Used*100, 'f', 0, 64) + " %"
}

func writeReport(w io.Writer, p painter, r *report.Report) {
	shade := green
	if !r.Kept {
		shade = red
	}
	fmt.Fprintf(w, "%s to %s, of which %s were measured\n\n%s\n\n", r.From.Local().Format("2006-01-02 15:04"), r.To.Local().Format("2006-01-02 15:04"),
		plan.Duration(r.Counted), p.paint(shade, r.Gap))
	var t table
	t.heading("WHAT", ">PROMISED", ">PREDICTED", ">MEASURED", "SURE TO 95 %", ">OF", ">USED")
	for i := range r.Lines {
		l := &r.Lines[i]
		measured := right(figure(l, l.Measured))
		if l.Used != nil {
			measured.color = green
			if !l.Kept() {
				measured.color = red
			}
		}
		of := cell{}
		if l.Of > 0 {
			of = number(l.Of)
		}
		t.row(text(l.Name), right(figure(l, l.Promised)), right(figure(l, l.Predicted)), measured, cell{text: between(l), color: dim}, of, right(used(l)))
	}
	t.write(w, p)
	writeBudget(w, p, r.Budget)
	writeReportRows(w, p, "ROUTE", r.Routes)
	writeReportRows(w, p, "POOL", r.Pools)
	writeFaults(w, p, r)
}

func writeBudget(w io.Writer, p painter, b *report.Budget) {
	if b == nil {
		return
	}
	shade := green
	if b.Left < 0 {
		shade = red
	}
	fmt.Fprintf(w, "\nerror budget: %s", p.paint(shade, fmt.Sprintf("%.1f %% left", b.Left*100)))
	for _, one := range b.Burns {
		if one.Fires {
			fmt.Fprintf(w, "; %s", p.paint(red, fmt.Sprintf("it burns %.1f times too fast over %s", one.AtLong, plan.Duration(one.Long))))
			break
		}
	}
	fmt.Fprintln(w)
}

func writeReportRows(w io.Writer, p painter, what string, rows []report.Row) {
	if len(rows) == 0 {
		return
	}
	fmt.Fprintln(w)
	var t table
	if what == "ROUTE" {
		t.heading(what, ">REQUESTS", ">FAILED", ">ANSWERED", ">P99")
	} else {
		t.heading(what, ">REQUESTS", ">FAILED", ">ANSWERED", ">THERE", ">ENDPOINTS UP", ">FAULTS", ">UNNOTICED", ">MTBF", ">MTTR", ">DETECTED AFTER", "LOAD")
	}
	for i := range rows {
		r := &rows[i]
		failed := number(r.Failed)
		if r.Failed > 0 {
			failed.color = red
		}
		cells := []cell{text(r.Name), number(r.Requests), failed, right(plan.Percent(r.Availability))}
		if what == "ROUTE" {
			t.row(append(cells, right(timeOf(r.P99)))...)
			continue
		}
		t.row(append(cells, right(plan.Percent(r.There)), right(plan.Percent(r.Endpoints)), number(r.Faults), number(r.Covered), right(timeOf(r.MTBF)), right(timeOf(r.MTTR)),
			right(timeOf(r.ToDetect)), text(loadOf(r)))...)
	}
	t.write(w, p)
}

func timeOf(s report.Seconds) string {
	if math.IsInf(float64(s), 0) {
		return "-"
	}
	return plan.Duration(avail.Seconds(s))
}

// loadOf is what a pool carries: requests a second, how busy that makes it if that is known, and where its knee is.
func loadOf(r *report.Row) string {
	text := fmt.Sprintf("%.3g/s", r.Rate)
	if r.Utilisation > 0 {
		text += ", " + plan.Share(r.Utilisation) + " busy"
	}
	if r.Knee != nil {
		text += fmt.Sprintf(", knee at %.4g/s and %s", r.Knee.Rate, plan.Duration(r.Knee.Latency))
	}
	return text
}

// faultsShown is how many of the last faults are listed.
const faultsShown = 10

func writeFaults(w io.Writer, p painter, r *report.Report) {
	if len(r.Faults) == 0 {
		return
	}
	fmt.Fprintln(w)
	var t table
	t.heading("FAULT", "BEGAN", ">DETECTED AFTER", ">OVER AFTER", ">REQUESTS LOST")
	now := time.Now()
	for _, f := range r.Faults[max(0, len(r.Faults)-faultsShown):] {
		lost := number(f.Failed)
		if f.Failed > 0 {
			lost.color = red
		}
		t.row(text(f.Where+" "+f.What), text(clock(f.Began, now)), right(plan.Duration(f.ToDetect)), right(plan.Duration(f.ToRecover)), lost)
	}
	t.write(w, p)
}

// reportPage is the report as a page.
func reportPage(r *report.Report) *page.Page {
	tone := page.Good
	if !r.Kept {
		tone = page.Bad
	}
	p := &page.Page{
		Title: "Promised, predicted, measured", Lead: r.Gap, Good: tone,
		Foot: fmt.Sprintf("%s to %s. Intervals hold the truth 19 times in 20.", r.From.UTC().Format(time.RFC3339), r.To.UTC().Format(time.RFC3339)),
	}
	lines := &page.Table{Heads: []string{"", "Promised", "Predicted", "Measured", "Sure to 95 %", "Of", "Used"}, Right: []bool{false, true, true, true, false, true, true}}
	for i := range r.Lines {
		l := &r.Lines[i]
		row := page.Cells(l.Name, figure(l, l.Promised), figure(l, l.Predicted), figure(l, l.Measured), between(l), howMany(l.Of), used(l))
		if l.Used != nil {
			row[3].Tone = map[bool]page.Tone{true: page.Good, false: page.Bad}[l.Kept()]
		}
		lines.Rows = append(lines.Rows, row)
		if i < 2 {
			p.Facts = append(p.Facts, page.Fact{Name: l.Name, Value: figure(l, l.Measured), Note: "promised: " + figure(l, l.Promised), Tone: row[3].Tone})
		}
	}
	if b := r.Budget; b != nil {
		p.Facts = append(p.Facts, page.Fact{Name: "error budget left", Value: fmt.Sprintf("%.1f %%", b.Left*100), Tone: map[bool]page.Tone{true: page.Bad}[b.Left < 0]})
	}
	p.Sections = append(p.Sections, page.Section{Title: "Figures", Table: lines})
	p.Sections = append(p.Sections, reportCharts(r)...)
	return p
}

func reportCharts(r *report.Report) (all []page.Section) {
	if len(r.Series) > 1 {
		failed, rate := page.Line{Name: "failed", Tone: page.Bad}, page.Line{Name: "requests a second"}
		var x []float64
		for _, s := range r.Series {
			x, failed.Y, rate.Y = append(x, float64(s.At)), append(failed.Y, 100*(1-s.Availability)), append(rate.Y, s.Rate)
		}
		all = append(all, page.Section{Title: "Requests that failed", Text: "In per cent of all.", Chart: &page.Chart{X: x, Time: true, YName: "%", Steps: true, Lines: []page.Line{failed}}},
			page.Section{Title: "Load", Chart: &page.Chart{X: x, Time: true, YName: "requests a second", Steps: true, Lines: []page.Line{rate}}})
	}
	t := &page.Table{Heads: []string{"Pool", "Requests", "Failed", "There", "Endpoints up", "Faults", "Unnoticed", "MTBF", "MTTR", "Detected after"}, Right: []bool{false, true, true, true, true, true, true, true, true, true}}
	for i := range r.Pools {
		p := &r.Pools[i]
		t.Rows = append(t.Rows, page.Cells(p.Name, count(p.Requests), count(p.Failed), plan.Percent(p.There), plan.Percent(p.Endpoints), strconv.Itoa(p.Faults), strconv.Itoa(p.Covered),
			timeOf(p.MTBF), timeOf(p.MTTR), timeOf(p.ToDetect)))
	}
	all = append(all, page.Section{Title: "Pools", Table: t})
	if len(r.Faults) > 0 {
		s := page.Section{Title: "Faults", Text: "How long each lasted; red are those that clients noticed.", Bars: nil}
		longest := avail.Seconds(0)
		for _, f := range r.Faults {
			longest = max(longest, f.ToRecover)
		}
		for _, f := range r.Faults[max(0, len(r.Faults)-50):] {
			b := page.Bar{Name: f.Where, Value: plan.Duration(f.ToRecover), Note: fmt.Sprintf("%s at %s, detected after %s", f.What, f.Began.UTC().Format("2006-01-02 15:04:05"), plan.Duration(f.ToDetect)),
				Size: 100 * float64(f.ToRecover/longest)}
			if f.Failed > 0 {
				b.Tone, b.Note = page.Bad, b.Note+fmt.Sprintf(", %d requests lost", f.Failed)
			}
			s.Bars = append(s.Bars, b)
		}
		all = append(all, s)
	}
	return all
}
