package config

import (
	"strings"
	"time"

	"github.com/robfig/cron/v3"
)

// Cron is a time that comes again and again, as cron writes it.
type Cron string

// Missed is what becomes of a run that was due while nobody ran.
type Missed string

// The policies.
const (
	MissedRun  Missed = "run"  // made up at the start, once
	MissedSkip Missed = "skip" // left out
)

// Values is every policy.
func (Missed) Values() []string { return []string{string(MissedRun), string(MissedSkip)} }

func parseCron(text string) (Cron, error) {
	const hint = `write minute, hour, day of the month, month and weekday, as in "0 2 * * sun", or @daily; for an interval write every: 1h`
	if strings.HasPrefix(text, "@every") || strings.HasPrefix(text, "every") {
		return "", wrong("is an interval", "write every: "+strings.TrimSpace(strings.TrimPrefix(strings.TrimPrefix(text, "@"), "every")))
	}
	if _, err := cron.ParseStandard(text); err != nil {
		return "", wrong("is no time that cron knows: "+err.Error(), hint)
	}
	return Cron(text), nil
}

// timing reports a schedule that says nothing, or two things.
func (c *checker) timing(path string, every time.Duration, schedule Cron, required bool) {
	switch {
	case every > 0 && schedule != "":
		c.failKey(join(path, "schedule"), "every and schedule exclude each other", "keep one of the two")
	case every > 0 || schedule != "" || c.isBroken(path):
	case required:
		c.failKey(path, "does not say when", `write every: 7d, or schedule: "0 4 * * sun"`)
	default:
		for _, key := range []string{"jitter", "missed"} {
			if c.has(join(path, key)) {
				c.failKey(join(path, key), "has no effect without a schedule", "write every: 1h, or remove "+key)
			}
		}
	}
}
