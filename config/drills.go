package config

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Drill is a rehearsal of a recovery: a database is restored into a scratch folder, opened by the real engine, checked, and thrown
// away. What it took is kept in the state file.
type Drill struct {
	// The drill's name.
	Name Name `yaml:",name"`
	// The database, by its name.
	Restore Name `yaml:"restore,required" aka:"database of"`
	// Which moment: the newest that is durable, or a random one since the oldest base.
	Point DrillPoint `yaml:"point" default:"newest" aka:"to"`
	// Queries. The first column of the first row of each must be true: not 0, not empty, not NULL.
	Check []string `yaml:"check" aka:"checks query queries expect"`
	// How often.
	Every time.Duration `yaml:"every" min:"1m" max:"365d" aka:"interval"`
	// When, as cron writes it, in the time zone of the machine: `0 4 * * *`, `@daily`.
	Schedule Cron `yaml:"schedule" aka:"cron at when"`
	// How much later at most.
	Jitter time.Duration `yaml:"jitter" default:"0s" max:"1d" aka:"randomized_delay splay"`
	// What becomes of a run that was due while nobody ran.
	Missed Missed `yaml:"missed" default:"run" aka:"persistent"`
	// Where. It needs as much space as the database. The default is the system's folder for temporary files ($TMPDIR).
	Scratch FilePath `yaml:"scratch" aka:"dir folder tmp"`
	// Restore nothing larger: the drill fails instead. 0 is no limit.
	MaxSize Size `yaml:"max_size" default:"0" aka:"limit"`
	// How long it may take.
	Timeout time.Duration `yaml:"timeout" default:"1h" min:"1s" max:"7d"`
	// How long a recovery may take. A drill that takes longer fails. The default is no limit but timeout.
	RecoveryTime time.Duration `yaml:"recovery_time" max:"7d" aka:"rto"`
	// How old the newest durable transaction, or the last look at the database that found none, may be. The default is no limit.
	RecoveryPoint time.Duration `yaml:"recovery_point" max:"7d" aka:"rpo"`
}

// DrillPoint is the moment that a drill goes back to.
type DrillPoint string

// The points.
const (
	DrillNewest DrillPoint = "newest" // the last that is durable
	DrillRandom DrillPoint = "random" // any since the oldest base
)

// Values is every point.
func (DrillPoint) Values() []string { return []string{string(DrillNewest), string(DrillRandom)} }

// Drill is the drill of that name, or nil.
func (c *Config) Drill(name Name) *Drill {
	i := slices.IndexFunc(c.Drills, func(d Drill) bool { return d.Name == name })
	if i < 0 {
		return nil
	}
	return &c.Drills[i]
}

func (d *Drill) validate(c *checker, path string) {
	c.timing(path, d.Every, d.Schedule, false)
	if d.Restore != "" && c.config.Database(d.Restore) == nil && !slices.Contains(c.broken, "databases") {
		names := make([]string, len(c.config.Databases))
		for i, one := range c.config.Databases {
			names[i] = string(one.Name)
		}
		hint := didYouMean(string(d.Restore), names)
		if len(names) == 0 {
			hint = "there are none: write databases: {" + string(d.Restore) + ": {sqlite: FILE, repository: NAME}}"
		}
		c.fail(join(path, "restore"), fmt.Sprintf("there is no database %q", d.Restore), hint)
	}
	for i, q := range d.Check {
		if strings.TrimSpace(q) == "" {
			c.fail(fmt.Sprintf("%s[%d]", join(path, "check"), i), "is empty", `write a query: "select count(*) > 0 from orders"`)
		}
	}
}
