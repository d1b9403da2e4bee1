package report

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/trivet-ha/trivet/avail"
)

// Rules are the alerts of a promise as Prometheus rules, over Trivet's own metrics: the share of requests that fail in each
// window, recorded, and an alert where the budget burns too fast in a long and in a short window (see avail.Budget.Alerts).
// They are "" if no availability is promised. A service with few requests (under least in the long window) raises none.
func Rules(p Promise, least int) string {
	if p.Availability <= 0 {
		return ""
	}
	b := avail.Budget{Allowed: avail.FromAvailability(p.Availability), Window: avail.Of(p.Window)}
	alerts := b.Alerts()
	var windows []avail.Seconds
	for _, a := range alerts {
		windows = append(windows, a.Long, a.Short)
	}
	slices.Sort(windows)
	var out strings.Builder
	fmt.Fprintf(&out, "# Prometheus rules for a promise of %.10g %% over %s, by `trivet report --rules`.\n", p.Availability*100, prometheus(b.Window))
	out.WriteString("# A request fails if it is answered with 5xx; who goes away before an answer does not count.\ngroups:\n- name: trivet-objectives\n  rules:\n")
	for _, w := range slices.Compact(windows) {
		span := prometheus(w)
		fmt.Fprintf(&out, "  - record: trivet:request_failures:ratio_rate%s\n", span)
		fmt.Fprintf(&out, "    expr: sum(rate(trivet_requests_total{status=\"5xx\"}[%s])) / sum(rate(trivet_requests_total{status!=\"none\"}[%s]))\n", span, span)
	}
	for _, a := range alerts {
		rule(&out, b, a, least)
	}
	if p.LatencyP99 > 0 {
		fmt.Fprintf(&out, "  - alert: TrivetLatency\n    expr: histogram_quantile(0.99, sum by (le) (rate(trivet_request_duration_seconds_bucket[5m]))) > %g\n    for: 10m\n", p.LatencyP99.Seconds())
		fmt.Fprintf(&out, "    labels: {severity: ticket}\n    annotations:\n      summary: \"One request in a hundred takes longer than %s.\"\n", p.LatencyP99)
	}
	return out.String()
}

func rule(out *strings.Builder, b avail.Budget, a avail.BurnAlert, least int) {
	severity := "ticket"
	if a.Page {
		severity = "page"
	}
	long, short := prometheus(a.Long), prometheus(a.Short)
	limit := a.Factor * float64(b.Allowed)
	fmt.Fprintf(out, "  - alert: TrivetBudgetBurns\n    expr: |\n      trivet:request_failures:ratio_rate%s > %.6g and trivet:request_failures:ratio_rate%s > %.6g\n", long, limit, short, limit)
	fmt.Fprintf(out, "      and sum(increase(trivet_requests_total{status!=\"none\"}[%s])) > %d\n", long, least)
	fmt.Fprintf(out, "    labels: {severity: %s, window: %s}\n    annotations:\n      summary: \"Requests fail %.4g times as fast as is promised: %.2g %% of the budget is gone in %s.\"\n", severity, long, a.Factor,
		100*b.Spent(a.Factor, a.Long), long)
}

// prometheus writes a time as Prometheus does, in one unit.
func prometheus(s avail.Seconds) string {
	d := s.Duration().Round(time.Second)
	for _, u := range []struct {
		name string
		long time.Duration
	}{{"d", 24 * time.Hour}, {"h", time.Hour}, {"m", time.Minute}} {
		if d >= u.long && d%u.long == 0 {
			return fmt.Sprintf("%d%s", d/u.long, u.name)
		}
	}
	return fmt.Sprintf("%ds", max(1, int(d.Seconds())))
}
