package backup

import (
	"fmt"
	"hash/fnv"
	"strings"
	"time"

	"github.com/robfig/cron/v3"
)

// Schedule says when something is due. The zero Schedule is never.
type Schedule struct {
	spec   string
	cron   cron.Schedule
	every  time.Duration
	jitter time.Duration
}

// shortestInterval keeps a typing error ("every 1s") from hammering a repository.
const shortestInterval = time.Minute

// ParseSchedule reads a cron expression of five fields ("0 2 * * sun"), @hourly, @daily, @weekly, @monthly, or "every 1h".
// A Go duration alone means the same as with "every". Cron times are those of the local time zone.
func ParseSchedule(spec string) (Schedule, error) {
	text := strings.TrimSpace(spec)
	if text == "" {
		return Schedule{}, nil
	}
	interval := strings.TrimSpace(strings.TrimPrefix(strings.TrimPrefix(text, "@every"), "every"))
	if d, err := time.ParseDuration(interval); err == nil {
		if d < shortestInterval {
			return Schedule{}, fmt.Errorf("schedule %q: the shortest interval is %v", spec, shortestInterval)
		}
		return Schedule{spec: "every " + interval, every: d}, nil
	}
	c, err := cron.ParseStandard(text)
	if err != nil {
		return Schedule{}, fmt.Errorf(`schedule %q: %w (write five fields, "minute hour day month weekday", or "every 1h")`, spec, err)
	}
	return Schedule{spec: text, cron: c}, nil
}

// Every is due when so much time has passed. An interval below a minute becomes one.
func Every(d time.Duration) Schedule {
	d = max(d, shortestInterval)
	return Schedule{spec: "every " + spanText(d), every: d}
}

// spanText writes a span without parts that are zero: 7d, 1h, 1h30m.
func spanText(d time.Duration) string {
	const day = 24 * time.Hour
	if d%day == 0 {
		return fmt.Sprintf("%dd", d/day)
	}
	text := d.String()
	for _, zero := range [][2]string{{"m0s", "m"}, {"h0m", "h"}} {
		if short, found := strings.CutSuffix(text, zero[0]); found {
			text = short + zero[1]
		}
	}
	return text
}

// WithJitter spreads what is due at the same time: each name is late by its own part of d, always the same.
func (s Schedule) WithJitter(d time.Duration) Schedule {
	s.jitter = max(d, 0)
	return s
}

// String is what ParseSchedule read.
func (s Schedule) String() string { return s.spec }

// IsZero reports whether nothing is ever due.
func (s Schedule) IsZero() bool { return s.cron == nil && s.every == 0 }

// Next is when it is due after the last time; the zero time for never. last is zero if it never happened: then an interval
// is due at once, and a cron expression at its next time after now.
func (s Schedule) Next(name string, last, now time.Time) time.Time {
	late := s.late(name)
	switch {
	case s.every > 0 && last.IsZero():
		return now.Add(min(late, s.every/10))
	case s.every > 0:
		return last.Add(s.every)
	case s.cron != nil && last.IsZero():
		return s.cron.Next(now).Add(late)
	case s.cron != nil:
		return s.cron.Next(last).Add(late)
	}
	return time.Time{}
}

// late is the part of the jitter that belongs to a name.
func (s Schedule) late(name string) time.Duration {
	if s.jitter <= 0 {
		return 0
	}
	h := fnv.New64a()
	h.Write([]byte(name))
	return time.Duration(h.Sum64() % uint64(s.jitter))
}
