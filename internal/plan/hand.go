package plan

import (
	"errors"
	"fmt"

	"github.com/trivet-ha/trivet/avail"
)

// ByHand is what figures on a command line come to.
type ByHand struct {
	Servers  int     `json:"servers"`
	Needed   int     `json:"needed"`
	Crews    int     `json:"crews"`
	MTBF     Seconds `json:"mtbf_seconds"`
	MTTR     Seconds `json:"mttr_seconds"`
	Coverage float64 `json:"coverage"`
	Common   float64 `json:"common_cause"`

	Availability   float64 `json:"availability"`
	Nines          float64 `json:"nines"`
	DownPerYear    Minutes `json:"down_minutes_per_year"`
	OutagesPerYear float64 `json:"outages_per_year"`
	OutageMean     Minutes `json:"outage_mean_minutes"`
	// MTTF is from all servers well to the first outage.
	MTTF Seconds `json:"mean_time_to_outage_seconds"`
	// Low and High are what a year's downtime lies between, 19 times in 20.
	Low  Minutes `json:"down_minutes_low"`
	High Minutes `json:"down_minutes_high"`
	// Ratio is R = MTTR/MTBF of one server, and One its availability.
	Ratio float64 `json:"mttr_by_mtbf"`
	One   float64 `json:"availability_of_one"`
	// Independent is what is promised by a formula that leaves out crews, coverage and common causes.
	Independent float64  `json:"availability_if_independent"`
	WhatIf      []WhatIf `json:"what_if"`

	r avail.Repairable
}

// NewByHand works out a design of equal servers.
func NewByHand(r avail.Repairable) (*ByHand, error) {
	down := r.Down()
	if !(down >= 0) {
		return nil, errors.New("the figures are no design: needed is 1 to servers, mtbf and mttr are above 0, coverage and common cause 0 to 100 %")
	}
	outages, one := r.Outages(), avail.FromTimes(r.MTBF, r.MTTR)
	sure := outages.Interval(avail.Year, Confidence)
	h := &ByHand{
		Servers: r.N, Needed: r.Needed, Crews: r.Crews, MTBF: Seconds(r.MTBF), MTTR: Seconds(r.MTTR), Coverage: 1 - r.Uncovered, Common: r.Common,
		Availability: down.Availability(), Nines: down.Nines(), DownPerYear: Minutes(down.PerYear()), OutagesPerYear: outages.Expected(avail.Year),
		OutageMean: Minutes(outages.Mean), MTTF: Seconds(r.MTTF()), Low: Minutes(sure.Low), High: Minutes(sure.High),
		Ratio: avail.RecoveryRatio(r.MTTR, r.MTBF), One: one.Availability(), Independent: avail.KOfN(r.Needed, r.N, one).Availability(), r: r,
	}
	for _, c := range questions(r) {
		changed := r
		c.apply(&changed)
		d := changed.Down()
		h.WhatIf = append(h.WhatIf, WhatIf{What: c.what, Availability: d.Availability(), DownPerYear: Minutes(d.PerYear())})
	}
	return h, nil
}

type change struct {
	what  string
	apply func(*avail.Repairable)
}

// questions is what people ask about a design.
func questions(r avail.Repairable) []change {
	all := []change{
		{"one more server", func(r *avail.Repairable) { r.N++ }},
		{"repairs twice as fast", func(r *avail.Repairable) { r.MTTR /= 2 }},
		{"failures half as often", func(r *avail.Repairable) { r.MTBF *= 2 }},
	}
	if r.N > r.Needed {
		for _, coverage := range []float64{0.95, 0.99, 1} {
			if 1-r.Uncovered != coverage {
				all = append(all, change{fmt.Sprintf("coverage %g %%", coverage*100), func(r *avail.Repairable) { r.Uncovered = 1 - coverage }})
			}
		}
	}
	if r.Common == 0 && r.N > 1 {
		all = append(all, change{"2 % of failures take all servers", func(r *avail.Repairable) { r.Common = 0.02 }})
	} else if r.Common > 0 {
		all = append(all, change{"no failure takes all servers", func(r *avail.Repairable) { r.Common = 0 }})
	}
	if r.N > 1 && r.Crews > 0 && r.Crews < r.N {
		all = append(all, change{"a repair crew for every server", func(r *avail.Repairable) { r.Crews = 0 }})
	}
	return all
}
