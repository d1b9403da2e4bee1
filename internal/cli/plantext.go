package cli

import (
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/trivet-ha/trivet/internal/plan"
)

func right(text string) cell { return cell{text: text, right: true} }

func writePlan(w io.Writer, p painter, l *plan.Plan) {
	shade := green
	if !l.Met {
		shade = red
	}
	fmt.Fprintf(w, "%s\n\n", p.paint(shade, l.Verdict()))
	fmt.Fprintf(w, "  availability   %s, 19 windows in 20 %s to %s\n", p.paint(bold, plan.Percent(l.Availability)), plan.Percent(l.Low), plan.Percent(l.High))
	fmt.Fprintf(w, "  downtime       %s a year: %.3g outages of %s\n", l.DownPerYear.Time(), l.OutagesPerYear, l.OutageMean.Time())
	if l.Objective.Availability > 0 {
		fmt.Fprintf(w, "  promise kept   in %s of windows\n", plan.Share(l.Kept))
	}
	writeRemedy(w, p, l)
	writeImportances(w, p, l)
	writeParts(w, p, l)
	writeWhatIf(w, p, l.WhatIf, l.DownPerYear)
	for i := range l.Parts {
		if c := l.Parts[i].Capacity; c != nil {
			fmt.Fprintln(w)
			writeLoading(w, p, c, l.Parts[i].Name+": ")
		}
	}
	fmt.Fprintf(w, "\n%s\n", p.paint(bold, "Taken for granted"))
	t := table{indent: "  "}
	for _, a := range l.Assumed {
		t.row(text(a.What), text(a.Value), cell{text: a.From, color: dim})
	}
	t.write(w, p)
}

func writeRemedy(w io.Writer, p painter, l *plan.Plan) {
	switch r := l.Cheapest; {
	case l.Met:
	case r == nil:
		fmt.Fprintf(w, "\n%s\n  no six changes of those known here keep the promise: it takes another design, or another promise\n", p.paint(bold, "What would keep it"))
	default:
		fmt.Fprintf(w, "\n%s\n  %s\n  for %.4g (%.4g a nine): %s, %s down a year\n", p.paint(bold, "The cheapest change that keeps it"), strings.Join(r.Changes, "\n  "), r.Cost, r.CostPerNine,
			plan.Percent(r.Availability), r.DownPerYear.Time())
	}
}

func writeImportances(w io.Writer, p painter, l *plan.Plan) {
	fmt.Fprintf(w, "\n%s\n", p.paint(bold, "What costs most"))
	t := table{indent: "  "}
	for _, i := range l.Importances[:min(len(l.Importances), 10)] {
		note := cell{}
		if i.Single {
			note = cell{text: "single point of failure", color: red}
		}
		t.row(right(i.DownPerYear.Time()+" a year"), text(i.What), note)
	}
	t.write(w, p)
}

func writeParts(w io.Writer, p painter, l *plan.Plan) {
	fmt.Fprintln(w)
	var t table
	t.heading("PART", ">SERVERS", ">NEEDED", ">AVAILABILITY", ">DOWN A YEAR", "WHY SO MANY")
	for _, part := range l.Parts {
		t.row(text(part.Name), number(part.Servers), number(part.Needed), right(plan.Percent(part.Availability)), right(part.DownPerYear.Time()), cell{text: part.Why, color: dim})
	}
	t.write(w, p)
}

func writeWhatIf(w io.Writer, p painter, all []plan.WhatIf, now plan.Minutes) {
	fmt.Fprintln(w)
	var t table
	t.heading("IF", ">AVAILABILITY", ">DOWN A YEAR", ">CHANGE")
	for _, i := range all {
		change := right(i.Change(now))
		switch {
		case i.DownPerYear < now:
			change.color = green
		case i.DownPerYear > now:
			change.color = red
		}
		t.row(text(i.What), right(plan.Percent(i.Availability)), right(i.DownPerYear.Time()), change)
	}
	t.write(w, p)
}

func writeLoading(w io.Writer, p painter, l *plan.Loading, name string) {
	wait, _ := l.Wait()
	shade := green
	if l.Servers < 0 || l.Have > 0 && l.Have < l.Servers {
		shade = red
	}
	fmt.Fprintf(w, "%s%s\n\n", p.paint(bold, name), p.paint(shade, l.Verdict()))
	var t table
	t.heading(">SERVERS", ">BUSY", ">WAIT AT ALL", ">MEAN WAIT", ">MEAN RESPONSE", ">WAIT > "+strings.ToUpper(wait.String()), ">99% WAIT AT MOST", "")
	for _, s := range l.Table {
		mark := cell{}
		switch {
		case s.Servers == l.Servers:
			mark = cell{text: "enough", color: green}
		case s.Servers == l.Have && !s.Enough:
			mark = cell{text: "now", color: red}
		case s.Utilisation >= 1:
			mark = cell{text: "the queue never ends", color: red}
		}
		t.row(right(strconv.Itoa(s.Servers)), right(plan.Share(s.Utilisation)), right(plan.Share(s.WaitChance)), right(s.MeanWait.Text()), right(s.MeanResponse.Text()),
			right(plan.Share(s.Longer)), right(s.P99.Text()), mark)
	}
	t.write(w, p)
	fmt.Fprintf(w, "\nn/m = s/t asks for %.4g: they would be busy all the time, and the queue would never end.\n", l.Simple)
}

func writeByHand(w io.Writer, p painter, h *plan.ByHand) {
	fmt.Fprintf(w, "%s\n\n", p.paint(bold, h.Verdict()))
	fmt.Fprintf(w, "  a year         %s to %s of downtime, 19 years in 20\n", h.Low.Time(), h.High.Time())
	fmt.Fprintf(w, "  first outage   after %s on average, from all well\n", h.MTTF.Text())
	fmt.Fprintf(w, "  nines          %.4g\n", h.Nines)
	fmt.Fprintf(w, "  one server     %s; R = MTTR/MTBF = %.4g are its odds of being down\n", plan.Percent(h.One), h.Ratio)
	if h.Servers > 1 {
		fmt.Fprintf(w, "  independent    %s, if nothing were shared, every failover worked and each had a repair crew\n", plan.Percent(h.Independent))
	}
	writeWhatIf(w, p, h.WhatIf, h.DownPerYear)
}
