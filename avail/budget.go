package avail

import "math"

// Budget is what an objective allows to go wrong: a share Allowed of requests, or of time, over a Window. 99.9 % over
// 30 days is 43.2 minutes.
type Budget struct {
	Allowed Down    // 1 − objective; above 0
	Window  Seconds // above 0
}

// Time is how long all may be down in the window: Allowed·Window.
func (b Budget) Time() Seconds { return b.Allowed.In(b.Window) }

// Requests is how many of total may fail: Allowed·total.
func (b Budget) Requests(total float64) float64 { return float64(b.Allowed) * total }

// Burn is how many times faster than allowed the budget is spent when a share bad (0 to 1) goes wrong: bad/Allowed. At 1
// the budget ends with the window. Source: Beyer et al., "The Site Reliability Workbook", 2018, ch. 5.
func (b Budget) Burn(bad Down) float64 { return float64(bad / b.Allowed) }

// Spent is the share of the budget that a burn rate uses up in a time: burn·during/Window.
func (b Budget) Spent(burn float64, during Seconds) float64 { return burn * float64(during/b.Window) }

// Left is the share of the budget that is left when bad of total went wrong so far in the window; below 0 it is
// overspent. NaN without a total.
func (b Budget) Left(bad, total float64) float64 { return 1 - bad/total/float64(b.Allowed) }

// Lasts is how long the share left of the budget lasts at a burn rate; +Inf if nothing burns.
func (b Budget) Lasts(left, burn float64) Seconds {
	return Seconds(max(left, 0)/burn) * b.Window
}

// BurnAlert tells when a budget burns too fast: when both the long and the short window burn at Factor or more. The
// long one says that it matters, the short one that it is still so.
type BurnAlert struct {
	Long, Short Seconds
	Factor      float64
	Page        bool // somebody is woken; else it is a ticket
}

// Alerts are those that the Site Reliability Workbook (2018, ch. 5, table 5-8) recommends, for the budget's window: a
// page when 2 % of the budget is gone in an hour or 5 % in six, a ticket when 10 % is in one day or in three. The
// windows are scaled with the budget's (they are for 30 days); the short ones are a twelfth. The factors are
// spent·Window/Long: 14.4, 6, 3 and 1.
func (b Budget) Alerts() []BurnAlert {
	scale := b.Window / (30 * Day)
	alert := func(spent float64, long Seconds, page bool) BurnAlert {
		return BurnAlert{Long: long * scale, Short: long * scale / 12, Factor: spent * float64(30*Day/long), Page: page}
	}
	return []BurnAlert{alert(0.02, Hour, true), alert(0.05, 6*Hour, true), alert(0.10, Day, false), alert(0.10, 3*Day, false)}
}

// Fires reports whether the alert is due at these burn rates of its windows.
func (a BurnAlert) Fires(long, short float64) bool { return long >= a.Factor && short >= a.Factor }

// After is how long an outage of a share bad (above 0, to 1) lasts before the alert fires, if all was well before:
// Factor·Allowed·Long/bad; +Inf if it never does, as bad is less than that burns.
func (b Budget) After(a BurnAlert, bad Down) Seconds {
	if !(bad > 0) || b.Burn(bad) < a.Factor {
		return Seconds(math.Inf(1))
	}
	return Seconds(a.Factor*float64(b.Allowed/bad)) * a.Long
}
