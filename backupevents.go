package trivet

import (
	"fmt"
	"time"

	"github.com/trivet-ha/trivet/backup"
	"github.com/trivet-ha/trivet/events"
)

// tell makes events of what happens to a job, and counts its runs.
func (b *Backups) tell(e backup.Event) {
	kind, where := whereOf(e.Job)
	b.count(&e)
	publish := func(k events.Kind, evidence, action string) {
		b.publish(events.Event{Kind: k, Where: where, Evidence: shorten(evidence), Action: action, Took: tookOf(&e)})
	}
	if kind == "drill" {
		tellDrill(&e, publish)
		return
	}
	if kind != "backup" {
		tellUpkeep(kind, &e, publish)
		return
	}
	o := &e.State.Outcome
	switch e.What {
	case backup.JobBegan:
		publish(events.BackupStarted, "", "")
	case backup.JobSucceeded:
		done := events.BackupFinished
		if o.Partial {
			done = events.BackupIncomplete
		}
		publish(done, o.Text, "")
		for _, n := range o.Notices {
			publish(noticeKinds[n.Kind], n.Text, "keeps all snapshots this time")
		}
	case backup.JobStopped:
		publish(events.BackupInterrupted, errorText(e.Err), "")
	case backup.JobFailed, backup.JobLost:
		publish(events.BackupFailed, errorText(e.Err), "is tried again")
		if e.NowOverdue {
			publish(events.BackupOverdue, lastText(&e.State), "")
		}
	}
}

var noticeKinds = map[backup.NoticeKind]events.Kind{
	backup.Shrunk: events.BackupShrunk, backup.Grown: events.BackupGrown, backup.Rewritten: events.BackupRewritten,
	backup.Scrambled: events.BackupScrambled, backup.NothingNow: events.BackupEmpty,
}

// tellUpkeep is tell for what looks after a repository.
func tellUpkeep(kind string, e *backup.Event, publish func(k events.Kind, evidence, action string)) {
	fine, failed := events.RepositoryPruned, events.RepositoryPruneFailed
	if kind == "verify" {
		fine, failed = events.RepositoryVerified, events.RepositoryVerifyFailed
	}
	o := &e.State.Outcome
	switch e.What {
	case backup.JobSucceeded:
		if o.Damage != "" {
			fine = events.RepositoryDamaged
		}
		publish(fine, o.Text, "")
		for _, n := range o.Notices {
			publish(events.RepositoryRobbed, n.Text, "")
		}
	case backup.JobFailed, backup.JobLost:
		publish(failed, errorText(e.Err), "is tried again")
	}
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// lastText says how old the last success is.
func lastText(r *backup.Record) string {
	if r.Succeeded.IsZero() {
		return fmt.Sprintf("it has never succeeded, and fails since %s", r.FailingSince.Format(time.DateTime))
	}
	return fmt.Sprintf("the last success was at %s", r.Succeeded.Format(time.DateTime))
}

// tookOf is how long a run took that has ended.
func tookOf(e *backup.Event) events.Span {
	if e.What == backup.JobBegan {
		return 0
	}
	return events.Span(e.State.Duration())
}

// count adds up what runs came to.
func (b *Backups) count(e *backup.Event) {
	b.mu.Lock()
	defer b.mu.Unlock()
	c := b.counts[e.Job]
	if c == nil {
		c = &runCount{}
		b.counts[e.Job] = c
	}
	switch e.What {
	case backup.JobFailed:
		c.failed++
	case backup.JobSucceeded:
		if e.State.Outcome.Partial || e.State.Outcome.Damage != "" {
			c.partial++
		} else {
			c.fine++
		}
		c.stored += uint64(e.State.Outcome.Stored)
	}
}
