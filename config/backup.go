package config

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/trivet-ha/trivet/backup/retention"
)

// Backup is something that is saved into one or several repositories, again and again, or when `trivet backup NAME` says so.
// Jobs of one repository never run at the same time, and neither do those of one backup.
type Backup struct {
	// The backup's name. It becomes a tag of its snapshots, `plan:NAME`.
	Name Name `yaml:",name"`
	// The files and folders, with all that is in them. What can't be read is reported and left out.
	Files []FilePath `yaml:"files,required" aka:"paths path sources source include"`
	// Leave out what matches, as restic writes it: `*.tmp`, `/srv/cache`, `a/**/b`; `!keep` takes an earlier one back.
	Exclude []string `yaml:"exclude" aka:"excludes ignore"`
	// Read more of these from files, one a line, at each run.
	ExcludeFile []FilePath `yaml:"exclude_file" aka:"exclude_files exclude_from"`
	// Honour files of this name in the folders, in the language of .gitignore.
	IgnoreFile []string `yaml:"ignore_file" aka:"ignore_files gitignore"`
	// Leave out what is in folders that are marked as caches (CACHEDIR.TAG).
	ExcludeCaches bool `yaml:"exclude_caches" default:"false"`
	// Leave out what is in folders that hold a file of this name.
	ExcludeIfPresent []string `yaml:"exclude_if_present"`
	// Leave out larger files. 0 leaves none out.
	ExcludeLargerThan Size `yaml:"exclude_larger_than" default:"0" aka:"max_size"`
	// Stay on the file system of each of the files.
	OneFileSystem bool `yaml:"one_file_system" default:"false"`
	// Leave out extended attributes, and with them ACLs and capabilities.
	NoXattrs bool `yaml:"no_xattrs" default:"false"`
	// An unchanged file may have another inode number, and another time of change of its inode: for network file systems.
	IgnoreInode bool `yaml:"ignore_inode" default:"false"`
	// Files read at once. The default 0 is one for each processor; more help where the disk is slow to answer.
	Workers int `yaml:"workers" default:"0" min:"0" max:"256"`

	// Where to: one repository, or several.
	Repository []Name `yaml:"repository,required" aka:"repositories target targets to repo"`
	// How often.
	Every time.Duration `yaml:"every" min:"1m" max:"365d" aka:"interval"`
	// When, as cron writes it, in the time zone of the machine: `0 2 * * sun`, `@daily`.
	Schedule Cron `yaml:"schedule" aka:"cron at when"`
	// How much later at most. Each backup is late by its own part of it, always the same, so that many do not begin at once.
	Jitter time.Duration `yaml:"jitter" default:"0s" max:"1d" aka:"randomized_delay splay"`
	// What becomes of a run that was due while nobody ran.
	Missed Missed `yaml:"missed" default:"run" aka:"persistent"`

	// Which of its snapshots stay; the others are forgotten after each backup, but not after one that is unusual. The default is
	// all. What they held goes with the repository's prune.
	Keep *Keep `yaml:"keep" aka:"retention forget"`
	// Make no snapshot if nothing has changed.
	SkipUnchanged bool `yaml:"skip_unchanged" default:"false" aka:"skip_if_unchanged"`
	// More tags for its snapshots.
	Tags []string `yaml:"tags" aka:"tag"`
	// The name of the machine in its snapshots. The default is this machine's.
	Host string `yaml:"host" aka:"hostname"`

	// A program to run first, without a shell: to take a snapshot of a volume, say. If it fails there is no backup.
	Before []string `yaml:"before" aka:"pre pre_hook run_before"`
	// A program to run last, in any case: TRIVET_RESULT (ok, partial or failed) and TRIVET_SNAPSHOT tell it what came of it.
	After []string `yaml:"after" aka:"post post_hook run_after"`
	// How long each of the two may take.
	HookTimeout time.Duration `yaml:"hook_timeout" default:"1h" min:"1s" max:"7d"`

	// How much of what is written is opened and hashed again, to catch bad memory.
	Reopen Percent `yaml:"reopen" default:"5%" min:"0%" max:"100%"`
	// What is reported as unusual: it may be harmless, or the first sign of a disk that is not mounted, or of blackmail.
	Canary Canary `yaml:"canary" aka:"alerts thresholds"`
}

// Canary says from when on a backup is unusual, compared with the one before.
type Canary struct {
	// Report nothing.
	Off bool `yaml:"off" default:"false" scalar:"off"`
	// This share of the files, or of their bytes, is gone.
	Shrink Percent `yaml:"shrink" default:"50%" min:"1%" max:"100%"`
	// There are so many times as many files, or bytes.
	Grow float64 `yaml:"grow" default:"3" min:"1.01" max:"1000000"`
	// This share of the files is new or has changed. If what is new does not compress either, it looks encrypted.
	Rewrite Percent `yaml:"rewrite" default:"50%" min:"1%" max:"100%"`
	// A backup of fewer files than this, and of fewer bytes than min_bytes, is too small for shares to mean much.
	MinFiles int `yaml:"min_files" default:"50" min:"1" max:"1000000000"`
	// See min_files.
	MinBytes Size `yaml:"min_bytes" default:"16MiB" min:"1"`
}

// Keep is which snapshots stay: those that any of its rules keeps. Times are those of the machine's time zone.
type Keep struct {
	// The newest so many.
	Last KeepCount `yaml:"last" default:"0" aka:"keep_last"`
	// The last of each of so many hours that have one.
	Hourly KeepCount `yaml:"hourly" default:"0" aka:"keep_hourly"`
	// The last of each of so many days.
	Daily KeepCount `yaml:"daily" default:"0" aka:"keep_daily"`
	// The last of each of so many weeks.
	Weekly KeepCount `yaml:"weekly" default:"0" aka:"keep_weekly"`
	// The last of each of so many months.
	Monthly KeepCount `yaml:"monthly" default:"0" aka:"keep_monthly"`
	// The last of each of so many years.
	Yearly KeepCount `yaml:"yearly" default:"0" aka:"keep_yearly"`
	// All within this span before the newest.
	Within KeepSpan `yaml:"within" aka:"keep_within"`
	// The last of each hour within this span.
	WithinHourly KeepSpan `yaml:"within_hourly"`
	// The last of each day within this span.
	WithinDaily KeepSpan `yaml:"within_daily"`
	// The last of each week within this span.
	WithinWeekly KeepSpan `yaml:"within_weekly"`
	// The last of each month within this span.
	WithinMonthly KeepSpan `yaml:"within_monthly"`
	// The last of each year within this span.
	WithinYearly KeepSpan `yaml:"within_yearly"`
	// Those with this tag.
	Tags []string `yaml:"tags" aka:"tag keep_tag"`
}

// KeepCount is a number of snapshots; -1 is all of them.
type KeepCount int

// KeepSpan is a stretch of the calendar.
type KeepSpan struct{ retention.Span }

func parseKeepCount(text string) (KeepCount, error) {
	if text == "all" {
		return retention.All, nil
	}
	n, err := parseInt(text)
	if err != nil || n.(int) < 0 {
		return 0, wrong("is no number of snapshots", "write a number, or all")
	}
	return KeepCount(n.(int)), nil
}

func parseKeepSpan(text string) (KeepSpan, error) {
	span, err := retention.ParseSpan(text)
	if err != nil {
		return KeepSpan{}, wrong("is no stretch of the calendar", "write years, months, days and hours: 7d, 1y6m, 12h; weeks are days: 14d")
	}
	return KeepSpan{span}, nil
}

func backupScalars() []scalarType {
	return []scalarType{
		scalar("store", "a folder, `s3:https://host/bucket/prefix`, `s3://bucket/prefix`, `sftp:user@host:/path`, `rest:https://host:8000/path` or `rclone:remote:path`.",
			"string", "", parseStoreLocation, "/mnt/disk/backups", "s3:https://s3.example.com/backups"),
		scalar("cron time", "minute, hour, day of the month, month and weekday, as cron(5) has them: `0 2 * * sun`; or `@hourly`, `@daily`, `@weekly`, `@monthly`.",
			"string", "", parseCron, "0 2 * * *", "@daily"),
		scalar("number of snapshots", "a number, or `all`.", "string|integer", "^([0-9]+|all)$", parseKeepCount, "7", "all"),
		scalar("span", "years, months, days and hours of the calendar: `7d`, `1y6m`, `12h`.", "string", "^([0-9]+[ymdh])+$", parseKeepSpan, "7d", "1y6m"),
	}
}

// Policy is the rules, for those who apply them.
func (k *Keep) Policy() retention.Policy {
	if k == nil {
		return retention.Policy{}
	}
	p := retention.Policy{
		Last: int(k.Last), Hourly: int(k.Hourly), Daily: int(k.Daily), Weekly: int(k.Weekly), Monthly: int(k.Monthly), Yearly: int(k.Yearly),
		Within: k.Within.Span, WithinHourly: k.WithinHourly.Span, WithinDaily: k.WithinDaily.Span, WithinWeekly: k.WithinWeekly.Span,
		WithinMonthly: k.WithinMonthly.Span, WithinYearly: k.WithinYearly.Span,
	}
	for _, tag := range k.Tags {
		p.Tags = append(p.Tags, []string{tag})
	}
	return p
}

func (k *Keep) validate(c *checker, path string) {
	if k.Policy().Empty() {
		c.fail(path, "keeps nothing", "write daily: 7, weekly: 5 and monthly: 12, say; without keep all snapshots stay")
	}
}

func (k *Canary) validate(c *checker, path string) { c.offAlone(path, k.Off) }

// Scheduled tells whether it runs by itself.
func (b *Backup) Scheduled() bool { return b.Every > 0 || b.Schedule != "" }

// Backup is the backup of that name, or nil.
func (c *Config) Backup(name Name) *Backup {
	i := slices.IndexFunc(c.Backups, func(b Backup) bool { return b.Name == name })
	if i < 0 {
		return nil
	}
	return &c.Backups[i]
}

func (b *Backup) validate(c *checker, path string) {
	c.timing(path, b.Every, b.Schedule, false)
	if len(b.Files) == 0 {
		c.failKey(join(path, "files"), "names nothing", "write files: [/srv/uploads]")
	}
	if len(b.Repository) == 0 {
		c.failKey(join(path, "repository"), "names none", "write repository: vault")
	}
	for i, name := range b.Repository {
		at := fmt.Sprintf("%s[%d]", join(path, "repository"), i)
		c.repositoryExists(at, name)
		if slices.Contains(b.Repository[:i], name) {
			c.fail(at, fmt.Sprintf("%s stands here twice", name), "remove one")
		}
	}
	b.validateTags(c, path)
	for _, h := range []struct {
		key  string
		argv []string
	}{{"before", b.Before}, {"after", b.After}} {
		if c.has(join(path, h.key)) && (len(h.argv) == 0 || h.argv[0] == "") {
			c.fail(join(path, h.key), "names no program", "write "+h.key+": [/usr/local/bin/"+h.key+"-backup]")
		}
	}
	if b.Keep != nil && len(b.Repository) > 0 && !slices.ContainsFunc(b.Repository, func(name Name) bool { return !c.config.appendOnly(name) }) {
		c.failKey(join(path, "keep"), "has no effect: nothing is ever removed from "+string(b.Repository[0])+" (append_only)", "remove it, or append_only")
	}
	for i, f := range b.Files {
		for _, name := range b.Repository {
			if r := c.config.Repository(name); r != nil && string(f) == r.Store.IsLocal() {
				c.fail(fmt.Sprintf("%s[%d]", join(path, "files"), i), "is the repository "+string(name)+" itself", "name what is to be saved")
			}
		}
	}
}

func (b *Backup) validateTags(c *checker, path string) {
	for i, tag := range b.Tags {
		at := fmt.Sprintf("%s[%d]", join(path, "tags"), i)
		switch {
		case tag == "" || strings.ContainsAny(tag, ",\n"):
			c.fail(at, quote(tag)+" is no tag", "write a word without a comma")
		case strings.HasPrefix(tag, "plan:") || strings.HasPrefix(tag, "chain:"):
			c.fail(at, quote(tag)+" looks like one of those that Trivet gives itself", "choose another")
		}
	}
}

// appendOnly tells whether nothing is removed from a repository; one that there is not counts as not.
func (c *Config) appendOnly(name Name) bool {
	r := c.Repository(name)
	return r != nil && r.AppendOnly
}

// repositoryExists reports a reference to a repository that is not in the file.
func (c *checker) repositoryExists(path string, name Name) {
	if name == "" || c.config.Repository(name) != nil || slices.Contains(c.broken, "repositories") {
		return
	}
	names := make([]string, len(c.config.Repositories))
	for i, r := range c.config.Repositories {
		names[i] = string(r.Name)
	}
	hint := didYouMean(string(name), names)
	if len(names) == 0 {
		hint = "there are none: write repositories: {" + string(name) + ": {store: /mnt/disk/backups, password_file: FILE}}"
	}
	c.fail(path, fmt.Sprintf("there is no repository %q", name), hint)
}

// Contains tells whether the backup saves what is at a path, as far as its files say.
func (b *Backup) Contains(path string) bool {
	return slices.ContainsFunc(b.Files, func(f FilePath) bool {
		rel, err := filepath.Rel(string(f), path)
		return err == nil && rel != ".." && !strings.HasPrefix(rel, "../")
	})
}
