package trivet

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

var (
	metricStreamUp       = metric("database_streaming", "1 while a database is streamed into its repository and the store takes it.", "database", "repository")
	metricStreamLag      = metric("database_stream_lag_seconds", "How long the oldest captured transaction waits that is not durable in the store; 0 if all are.", "database", "repository")
	metricStreamPosition = metric("database_durable_position", "The last position of the database that is durable in the store.", "database", "repository")
	metricStreamDurable  = metric("database_durable_timestamp_seconds", "Up to when nothing is missing in the store.", "database", "repository")
	metricStreamFailures = metric("database_stream_failures_total", "Attempts of streaming that failed, and losses that were found in the store.", "database", "repository")

	metricDrillPassed = metric("drill_last_passed", "1 if the last drill has passed.", "drill", "database")
	metricDrillAge    = metric("drill_last_success_age_seconds", "How long ago a drill has passed last.", "drill", "database")
	metricDrillTime   = metric("drill_last_recovery_seconds", "How long the recovery of the last drill took.", "drill", "database")
	metricDrillPoint  = metric("drill_last_recovery_point_seconds", "How much time would have been lost at the last drill.", "drill", "database")
	metricDrillRuns   = metric("drill_runs_total", "Drills by what came of them: ok or failed.", "drill", "database", "result")
)

// collectDatabases tells of streams and drills.
func (c collector) collectDatabases(count func(*prometheus.Desc, uint64, ...string), gauge func(*prometheus.Desc, float64, ...string)) {
	b, now := c.n.backups, time.Now()
	for _, d := range b.streamStatus() {
		labels := []string{d.Name, d.Repository}
		gauge(metricStreamUp, truth(d.State == "streaming"), labels...)
		count(metricStreamFailures, d.Failures, labels...)
		if d.Line == "" {
			continue
		}
		gauge(metricStreamLag, d.Lag/1000, labels...)
		gauge(metricStreamPosition, float64(d.Position), labels...)
		gauge(metricStreamDurable, unixSeconds(d.Durable), labels...)
	}
	for _, d := range b.drillStatus() {
		labels := []string{d.last.Drill, d.last.Of}
		count(metricDrillRuns, d.passed, append(labels, "ok")...)
		count(metricDrillRuns, d.failed, append(labels, "failed")...)
		gauge(metricDrillPassed, truth(d.last.Passed()), labels...)
		if !d.lastPassed.IsZero() {
			gauge(metricDrillAge, now.Sub(d.lastPassed).Seconds(), labels...)
		}
		if d.last.RecoveryTime > 0 {
			gauge(metricDrillTime, d.last.RecoveryTime.Seconds(), labels...)
			gauge(metricDrillPoint, d.last.RecoveryPoint.Seconds(), labels...)
		}
	}
}
