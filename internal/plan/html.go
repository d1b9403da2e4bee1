package plan

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/trivet-ha/trivet/avail"
	"github.com/trivet-ha/trivet/avail/design"
	"github.com/trivet-ha/trivet/internal/page"
)

// Percent writes an availability with all the nines that it has, and two digits more.
func Percent(availability float64) string {
	digits := 2
	if down := 1 - availability; down > 0 && down < 0.1 {
		digits = min(max(2, int(math.Ceil(-math.Log10(down)-1e-6))), 10)
	}
	return strconv.FormatFloat(availability*100, 'f', digits, 64) + " %"
}

// Time writes minutes.
func (m Minutes) Time() string { return Duration(avail.Seconds(m)) }

// Text writes a time.
func (s Seconds) Text() string { return Duration(avail.Seconds(s)) }

// Share writes a share of requests or of time, small or large.
func Share(p float64) string {
	switch {
	case p == 0 || p >= 0.0001:
		return strconv.FormatFloat(p*100, 'f', 2, 64) + " %"
	case p < 1e-12:
		return "0 %"
	}
	return strconv.FormatFloat(p*100, 'g', 2, 64) + " %"
}

// Verdict says in a sentence whether the promise is kept.
func (p *Plan) Verdict() string {
	if p.Objective.Availability == 0 {
		return fmt.Sprintf("This design can be expected to be available %s of the time: %s of downtime a year.", Percent(p.Availability), p.DownPerYear.Time())
	}
	promise := fmt.Sprintf("%s over %s allows %s of downtime; %s are to be expected", Percent(p.Objective.Availability), duration(p.Objective.Window),
		Duration(p.Objective.Allowed().In(p.window)), p.DownPerWindow.Time())
	if p.Met {
		return promise + ": the promise can be kept."
	}
	return promise + ": the promise can not be kept."
}

// Page is the plan as a page.
func (p *Plan) Page() *page.Page {
	tone := page.Good
	if !p.Met {
		tone = page.Bad
	}
	return &page.Page{
		Title: "What " + p.File + " can give", Lead: p.Verdict(), Good: tone,
		Facts: []page.Fact{
			{Name: "expected availability", Value: Percent(p.Availability), Tone: tone},
			{Name: "downtime in a year", Value: p.DownPerYear.Time(), Note: fmt.Sprintf("%.3g outages of %s", p.OutagesPerYear, p.OutageMean.Time())},
			{Name: "chance to keep the promise", Value: Share(p.Kept), Note: "in one window of " + duration(p.Objective.Window)},
			{Name: "19 windows in 20", Value: Percent(p.Low), Note: "to " + Percent(p.High)},
		},
		Sections: p.sections(), Foot: foot,
	}
}

const foot = "Means that were assumed give means that are as good as the assumptions. Independent failures and exponential times are assumed where nothing else is said."

func (p *Plan) sections() []page.Section {
	all := []page.Section{p.remedySection(), p.importanceSection(), p.partsSection(), p.nextServers(), p.whatIfSection()}
	for i := range p.Parts {
		if l := p.Parts[i].Capacity; l != nil {
			all = append(all, l.sections("Capacity of "+p.Parts[i].Name)...)
		}
	}
	t := &page.Table{Heads: []string{"Assumed", "Value", "From"}}
	for _, a := range p.Assumed {
		t.Rows = append(t.Rows, page.Cells(a.What, a.Value, a.From))
	}
	all = append(all, page.Section{Title: "What is taken for granted", Text: "Set them under objectives.assume, or let them be measured.", Table: t})
	kept := all[:0]
	for _, s := range all {
		if s.Title != "" {
			kept = append(kept, s)
		}
	}
	return kept
}

func (p *Plan) remedySection() page.Section {
	switch {
	case p.Met:
		return page.Section{}
	case p.Cheapest == nil:
		return page.Section{Title: "What would keep the promise", Text: "No six changes of those that are known here do: it takes another design, or another promise."}
	}
	r := p.Cheapest
	return page.Section{Title: "The cheapest change that keeps the promise", Text: fmt.Sprintf("%s. It costs %.4g (%.4g for each nine) and gives %s, %s a year.",
		sentence(strings.Join(r.Changes, ", and ")), r.Cost, r.CostPerNine, Percent(r.Availability), r.DownPerYear.Time())}
}

func sentence(s string) string {
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:]
}

func (p *Plan) importanceSection() page.Section {
	s := page.Section{Title: "What costs most", Text: "Downtime a year that there would not be if the thing never failed. They do not add up: with two servers, each is the other's help."}
	most := avail.Seconds(0)
	for _, i := range p.Importances {
		most = max(most, avail.Seconds(i.DownPerYear))
	}
	for _, i := range p.Importances[:min(len(p.Importances), 12)] {
		b := page.Bar{Name: i.What, Value: i.DownPerYear.Time(), Size: 100 * float64(avail.Seconds(i.DownPerYear)/most)}
		if i.Single {
			b.Tone, b.Note = page.Bad, "single point of failure"
		}
		s.Bars = append(s.Bars, b)
	}
	return s
}

func (p *Plan) partsSection() page.Section {
	t := &page.Table{Heads: []string{"Part", "Servers", "Needed", "Availability", "Down a year", "Why so many"}, Right: []bool{false, true, true, true, true}}
	for _, part := range p.Parts {
		t.Rows = append(t.Rows, page.Cells(part.Name, strconv.Itoa(part.Servers), strconv.Itoa(part.Needed), Percent(part.Availability), part.DownPerYear.Time(), part.Why))
	}
	return page.Section{Title: "The parts", Text: "Each by itself, with its machines.", Table: t}
}

// nextServers shows what one more server of each part does, and another.
func (p *Plan) nextServers() page.Section {
	const more = 4
	c := &page.Chart{XName: "servers more", YName: "minutes down a year", Log: true}
	for n := range more + 1 {
		c.X = append(c.X, float64(n))
	}
	for i := range p.design.Parts {
		d, line := p.design.Clone(), page.Line{Name: p.design.Parts[i].Name}
		for n := range more + 1 {
			if n > 0 {
				design.OneMore(line.Name, 0).Apply(d)
			}
			line.Y = append(line.Y, float64(d.Down().PerYear()/avail.Minute))
		}
		c.Lines = append(c.Lines, line)
	}
	if p.Objective.Availability > 0 {
		promised := page.Line{Name: "promised", Dash: true, Tone: page.Good}
		for range c.X {
			promised.Y = append(promised.Y, float64(p.Objective.Allowed().PerYear()/avail.Minute))
		}
		c.Lines = append(c.Lines, promised)
	}
	return page.Section{Title: "What more servers give", Text: "Of one part at a time, each on a machine of its own. A line that is flat says that the trouble is elsewhere.", Chart: c}
}

func (p *Plan) whatIfSection() page.Section { return whatIfTable(p.WhatIf, p.DownPerYear) }

func whatIfTable(all []WhatIf, now Minutes) page.Section {
	t := &page.Table{Heads: []string{"If", "Availability", "Down a year", "Change"}, Right: []bool{false, true, true, true}}
	for _, w := range all {
		row := page.Cells(w.What, Percent(w.Availability), w.DownPerYear.Time(), w.Change(now))
		switch {
		case w.DownPerYear < now:
			row[3].Tone = page.Good
		case w.DownPerYear > now:
			row[3].Tone = page.Bad
		}
		t.Rows = append(t.Rows, row)
	}
	return page.Section{Title: "What if", Table: t}
}

// Change is how much more or less downtime a year that is.
func (w *WhatIf) Change(now Minutes) string {
	switch d := avail.Seconds(w.DownPerYear - now); {
	case d >= 0.5:
		return "+" + Duration(d)
	case d <= -0.5:
		return "−" + Duration(-d)
	}
	return "none"
}

// Page is the capacity of a load as a page.
func (l *Loading) Page() *page.Page {
	return &page.Page{Title: "Servers for " + l.load(), Lead: l.Verdict(), Good: l.tone(), Sections: l.sections("Waiting"), Foot: foot}
}

func (l *Loading) load() string {
	return fmt.Sprintf("%g requests a second of %s", l.Rate, duration(avail.Seconds(l.Service).Duration()))
}

func (l *Loading) tone() page.Tone {
	if l.Servers < 0 || l.Have > 0 && l.Have < l.Servers {
		return page.Bad
	}
	return page.Good
}

// Verdict says in a sentence what is needed.
func (l *Loading) Verdict() string {
	wait, share := l.Wait()
	if l.Servers < 0 {
		return "No number of servers does."
	}
	text := fmt.Sprintf("%d servers", l.Servers)
	if l.Servers == 1 {
		text = "One server"
	}
	if l.Workers > 1 {
		text += fmt.Sprintf(" with %d workers each", l.Workers)
	}
	verb := " let "
	if l.Servers == 1 {
		verb = " lets "
	}
	text += fmt.Sprintf("%s%s of requests wait at most %s.", verb, Share(share), duration(wait))
	if l.Have > 0 {
		text += fmt.Sprintf(" There are %d.", l.Have)
	}
	return text
}

func (l *Loading) sections(title string) []page.Section {
	wait, _ := l.Wait()
	t := &page.Table{Heads: []string{"Servers", "Busy", "Wait at all", "Mean wait", "Mean response", "Wait longer", "99 % wait at most"}, Right: []bool{true, true, true, true, true, true, true}}
	c := &page.Chart{XName: "servers", YName: "share that waits longer", Log: true, Marked: float64(l.Servers)}
	line := page.Line{Name: "wait longer than " + duration(wait)}
	for _, s := range l.Table {
		row := page.Cells(strconv.Itoa(s.Servers), Share(s.Utilisation), Share(s.WaitChance), s.MeanWait.Text(), s.MeanResponse.Text(), Share(s.Longer), s.P99.Text())
		if s.Enough {
			row[0].Tone = page.Good
		} else {
			row[0].Tone = page.Bad
		}
		t.Rows = append(t.Rows, row)
		c.X, line.Y = append(c.X, float64(s.Servers)), append(line.Y, math.Max(s.Longer, 1e-12))
	}
	c.Lines = []page.Line{line}
	return []page.Section{{Title: title, Text: l.load() + fmt.Sprintf(" keep %.4g workers busy: by n/m = s/t that is %.4g servers, which would be busy all the time, with a queue that never ends.", l.Offered, l.Simple), Chart: c, Table: t}}
}

// Verdict says in a sentence what the figures come to.
func (h *ByHand) Verdict() string {
	return fmt.Sprintf("%s available: %s of downtime a year, in %.3g outages of %s.", Percent(h.Availability), h.DownPerYear.Time(), h.OutagesPerYear, h.OutageMean.Time())
}

// Page is the figures as a page.
func (h *ByHand) Page() *page.Page {
	coverage := &page.Chart{XName: "% of failures that are taken over", YName: "minutes down a year"}
	line := page.Line{Name: "downtime"}
	for c := 90.0; c <= 100; c += 0.5 {
		r := h.r
		r.Uncovered = 1 - c/100
		coverage.X, line.Y = append(coverage.X, c), append(line.Y, float64(r.Down().PerYear()/avail.Minute))
	}
	coverage.Lines, coverage.Marked = []page.Line{line}, h.Coverage*100
	servers := &page.Chart{XName: "servers", YName: "minutes down a year", Log: true, Marked: float64(h.Servers)}
	real, simple := page.Line{Name: "with coverage, crews and common causes"}, page.Line{Name: "if all were independent", Dash: true}
	for n := h.Needed; n <= max(h.Servers+3, h.Needed+5); n++ {
		r := h.r
		r.N = n
		servers.X = append(servers.X, float64(n))
		real.Y = append(real.Y, float64(r.Down().PerYear()/avail.Minute))
		simple.Y = append(simple.Y, float64(avail.KOfN(r.Needed, n, avail.FromTimes(r.MTBF, r.MTTR)).PerYear()/avail.Minute))
	}
	servers.Lines = []page.Line{real, simple}
	return &page.Page{
		Title: fmt.Sprintf("%d servers of which %d must work", h.Servers, h.Needed), Lead: h.Verdict(),
		Facts: []page.Fact{
			{Name: "availability", Value: Percent(h.Availability), Note: fmt.Sprintf("%.3g nines", h.Nines)},
			{Name: "downtime in a year", Value: h.DownPerYear.Time(), Note: fmt.Sprintf("19 years in 20: %s to %s", h.Low.Time(), h.High.Time())},
			{Name: "to the first outage", Value: h.MTTF.Text(), Note: "on average, from all well"},
			{Name: "one server alone", Value: Percent(h.One), Note: fmt.Sprintf("R = MTTR/MTBF = %.4g are its odds of being down", h.Ratio)},
		},
		Sections: []page.Section{
			whatIfTable(h.WhatIf, h.DownPerYear),
			{Title: "More servers", Text: "The dashed line leaves out that failovers fail, that crews are busy and that causes are shared.", Chart: servers},
			{Title: "Coverage", Text: "The share of failures that the other servers take over. What is not tested is not covered.", Chart: coverage},
		}, Foot: foot,
	}
}
