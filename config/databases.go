package config

import (
	"fmt"
	"slices"
	"time"
)

// Database is a database that is streamed into a repository: whole now and then (a base), and in between each transaction within a
// second or so. `trivet restore NAME --to TIME` brings it back as it was at any second.
type Database struct {
	// The database's name. Its bases carry it as a tag, `plan:NAME`.
	Name Name `yaml:",name"`
	// An SQLite file, with a write-ahead log (journal_mode = wal). Others may write it meanwhile.
	SQLite FilePath `yaml:"sqlite,required" aka:"sqlite3 file path"`
	// Where to. Its store must be a folder, S3, SFTP or rclone: a REST server has no place for the stream.
	Repository Name `yaml:"repository,required" aka:"target to repo"`
	// How often a base is made. More make a recovery faster; what has not changed is not stored again. The default is 1h.
	Every time.Duration `yaml:"every" min:"1m" max:"365d" aka:"interval full"`
	// When, as cron writes it, in the time zone of the machine: `0 2 * * sun`, `@daily`.
	Schedule Cron `yaml:"schedule" aka:"cron at when"`
	// How much later at most. Each database is late by its own part of it.
	Jitter time.Duration `yaml:"jitter" default:"0s" max:"1d" aka:"randomized_delay splay"`
	// Stream the transactions between bases.
	Stream bool `yaml:"stream" default:"true"`
	// How long a transaction waits at most until it is on its way to the store.
	Flush time.Duration `yaml:"flush" default:"1s" min:"50ms" max:"1m" aka:"sync_interval"`
	// Which bases stay, and with the oldest of them the stream from there on. The default is all.
	Keep *Keep `yaml:"keep" aka:"retention forget"`
}

// defaultBase is how often a base is made if nothing is said.
const defaultBase = time.Hour

// BaseEvery is how often a base is made; 0 if Schedule says when.
func (d *Database) BaseEvery() time.Duration {
	if d.Every == 0 && d.Schedule == "" {
		return defaultBase
	}
	return d.Every
}

// Database is the database of that name, or nil.
func (c *Config) Database(name Name) *Database {
	i := slices.IndexFunc(c.Databases, func(d Database) bool { return d.Name == name })
	if i < 0 {
		return nil
	}
	return &c.Databases[i]
}

func (d *Database) validate(c *checker, path string) {
	if d.Every > 0 || d.Schedule != "" {
		c.timing(path, d.Every, d.Schedule, false)
	}
	c.repositoryExists(join(path, "repository"), d.Repository)
	if c.config.Backup(d.Name) != nil {
		c.fail(path, fmt.Sprintf("there is a backup %s, too", d.Name), "give one of the two another name")
	}
	for i := range c.config.Databases {
		other := &c.config.Databases[i]
		if other == d {
			break
		}
		if other.SQLite == d.SQLite && d.SQLite != "" {
			c.fail(join(path, "sqlite"), fmt.Sprintf("is that of the database %s", other.Name), "keep one of the two")
		}
	}
	if d.Keep != nil && c.config.appendOnly(d.Repository) {
		c.failKey(join(path, "keep"), "has no effect: nothing is ever removed from "+string(d.Repository)+" (append_only)", "remove it, or append_only")
	}
}
