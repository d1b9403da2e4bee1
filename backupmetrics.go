package trivet

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

var (
	metricBackupRuns     = metric("backup_runs_total", "Runs of a backup by what came of them: ok, partial (some files could not be saved) or failed.", "backup", "repository", "result")
	metricBackupStored   = metric("backup_stored_bytes_total", "Bytes that a backup has added to its repository, as they are stored.", "backup", "repository")
	metricBackupRunning  = metric("backup_running", "1 while a backup runs.", "backup", "repository")
	metricBackupSuccess  = metric("backup_last_success_timestamp_seconds", "When the last successful run of a backup began, before a restart too.", "backup", "repository")
	metricBackupAge      = metric("backup_last_success_age_seconds", "How long ago that is.", "backup", "repository")
	metricBackupNext     = metric("backup_next_timestamp_seconds", "When a backup runs next.", "backup", "repository")
	metricBackupDuration = metric("backup_last_duration_seconds", "How long the last run of a backup took.", "backup", "repository")
	metricBackupFailures = metric("backup_failures", "Runs of a backup that have failed in a row.", "backup", "repository")
	metricBackupOverdue  = metric("backup_overdue", "1 while a backup has failed for more than two of its regular times.", "backup", "repository")
	metricBackupFiles    = metric("backup_last_files", "Files in the last successful run of a backup.", "backup", "repository")
	metricBackupBytes    = metric("backup_last_bytes", "Bytes of those files.", "backup", "repository")
	metricBackupAdded    = metric("backup_last_added_bytes", "Bytes in the last successful run of a backup that the repository did not have.", "backup", "repository")
	metricBackupMissing  = metric("backup_last_missing", "Things that the last successful run of a backup could not save.", "backup", "repository")
	metricBackupNotices  = metric("backup_last_notices", "What was unusual about the last successful run of a backup.", "backup", "repository")

	metricUpkeepRuns    = metric("repository_runs_total", "Runs of what looks after a repository (job: prune or verify), by what came of them: ok, damage or failed.", "repository", "job", "result")
	metricUpkeepSuccess = metric("repository_last_success_timestamp_seconds", "When the last successful run of the job began, before a restart too.", "repository", "job")
	metricUpkeepAge     = metric("repository_last_success_age_seconds", "How long ago that is.", "repository", "job")
	metricUpkeepLength  = metric("repository_last_duration_seconds", "How long the last run of the job took.", "repository", "job")
	metricDamaged       = metric("repository_damaged", "1 if the last verification has found damage.", "repository")
)

// collectBackups tells of backups and what looks after repositories.
func (c collector) collectBackups(count func(*prometheus.Desc, uint64, ...string), gauge func(*prometheus.Desc, float64, ...string)) {
	b, now := c.n.backups, time.Now()
	for _, one := range b.list() {
		if one.Kind == "drill" {
			continue // see collectDatabases
		}
		runs := b.runs(one.Job)
		labels, success, age, length := []string{one.Name, one.Repository}, metricBackupSuccess, metricBackupAge, metricBackupDuration
		total, middle := metricBackupRuns, "partial"
		if one.Kind != "backup" {
			labels, success, age, length = []string{one.Repository, one.Kind}, metricUpkeepSuccess, metricUpkeepAge, metricUpkeepLength
			total, middle = metricUpkeepRuns, "damage"
		}
		for result, n := range map[string]uint64{"ok": runs.fine, middle: runs.partial, "failed": runs.failed} {
			count(total, n, append(labels, result)...)
		}
		if !one.Succeeded.IsZero() {
			gauge(success, unixSeconds(one.Succeeded), labels...)
			gauge(age, now.Sub(one.Succeeded).Seconds(), labels...)
		}
		if one.Ended.After(one.Began) {
			gauge(length, one.Ended.Sub(one.Began).Seconds(), labels...)
		}
		if one.Kind == "verify" {
			gauge(metricDamaged, truth(one.Outcome.Damage != ""), one.Repository)
		}
		if one.Kind != "backup" {
			continue
		}
		count(metricBackupStored, runs.stored, labels...)
		gauge(metricBackupRunning, truth(one.State == "running"), labels...)
		gauge(metricBackupFailures, float64(one.Failures), labels...)
		gauge(metricBackupOverdue, truth(one.Overdue), labels...)
		if !one.Next.IsZero() {
			gauge(metricBackupNext, unixSeconds(one.Next), labels...)
		}
		if one.Succeeded.IsZero() {
			continue
		}
		gauge(metricBackupFiles, float64(one.Outcome.Files), labels...)
		gauge(metricBackupBytes, float64(one.Outcome.Bytes), labels...)
		gauge(metricBackupAdded, float64(one.Outcome.Added), labels...)
		gauge(metricBackupMissing, float64(one.Outcome.Missing), labels...)
		gauge(metricBackupNotices, float64(len(one.Outcome.Notices)), labels...)
	}
}

func unixSeconds(t time.Time) float64 { return float64(t.UnixMilli()) / 1000 }

// runs is what runs of a job came to since the process began.
func (b *Backups) runs(job string) runCount {
	b.mu.Lock()
	defer b.mu.Unlock()
	if c := b.counts[job]; c != nil {
		return *c
	}
	return runCount{}
}
