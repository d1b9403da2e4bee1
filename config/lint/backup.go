package lint

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"

	"github.com/trivet-ha/trivet/config"
)

func backupRules() []rule {
	return []rule{
		{"unscheduled-backup", Warning, "a backup that somebody has to think of is one that is not there when it is needed", unscheduledBackup},
		{"no-retention", Note, "every snapshot stays, and the repository grows until its disk is full", noRetention},
		{"never-pruned", Note, "forgotten snapshots leave their data behind: the repository only grows", neverPruned},
		{"never-verified", Warning, "disks and people lose bytes in silence: what was never read again is found out at the restore", neverVerified},
		{"only-local", Warning, "what takes this machine takes its backups: a fire, a thief, somebody who breaks in", onlyLocal},
		{"backup-of-itself", Error, "each backup then saves what the one before has stored, and grows without end", backupOfItself},
		{"unused-repository", Warning, "no backup and no database leads there: a name is wrong, or it can go", unusedRepository},
	}
}

func eachBackup(c *config.Config, visit func(b *config.Backup, path string)) {
	for i := range c.Backups {
		visit(&c.Backups[i], "backups."+string(c.Backups[i].Name))
	}
}

// eachRepository visits those that some backup uses.
func eachRepository(c *config.Config, visit func(r *config.Repository, path string)) {
	for i := range c.Repositories {
		if r := &c.Repositories[i]; len(usersOf(c, r)) > 0 {
			visit(r, "repositories."+string(r.Name))
		}
	}
}

func usersOf(c *config.Config, r *config.Repository) (users []*config.Backup) {
	eachBackup(c, func(b *config.Backup, _ string) {
		if slices.Contains(b.Repository, r.Name) {
			users = append(users, b)
		}
	})
	return users
}

func unscheduledBackup(c *config.Config, report report) {
	eachBackup(c, func(b *config.Backup, path string) {
		if !b.Scheduled() {
			report(path, fmt.Sprintf("backup %s is made by command only", b.Name), "every: 1h, or schedule: \"0 2 * * *\"")
		}
	})
}

func noRetention(c *config.Config, report report) {
	eachBackup(c, func(b *config.Backup, path string) {
		if b.Keep == nil && slices.ContainsFunc(b.Repository, func(name config.Name) bool { r := c.Repository(name); return r != nil && !r.AppendOnly }) {
			report(path, fmt.Sprintf("no snapshot of backup %s is ever forgotten", b.Name), "keep: {within: 7d, weekly: 5, monthly: 12}")
		}
	})
}

func neverPruned(c *config.Config, report report) {
	eachRepository(c, func(r *config.Repository, path string) {
		forgets := slices.ContainsFunc(usersOf(c, r), func(b *config.Backup) bool { return b.Keep != nil })
		if r.Prune == nil && !r.AppendOnly && forgets {
			report(path, fmt.Sprintf("repository %s is never pruned", r.Name), "prune: 7d")
		}
	})
}

func neverVerified(c *config.Config, report report) {
	eachRepository(c, func(r *config.Repository, path string) {
		if r.Verify == nil {
			report(path, fmt.Sprintf("repository %s is never verified", r.Name), "verify: 7d, which reads another tenth of it each week")
		}
	})
}

func onlyLocal(c *config.Config, report report) {
	eachBackup(c, func(b *config.Backup, path string) {
		for _, name := range b.Repository {
			if r := c.Repository(name); r == nil || r.Store.IsLocal() == "" {
				return
			}
		}
		report(path+".repository", fmt.Sprintf("backup %s is kept on this machine only", b.Name), "repository: ["+string(b.Repository[0])+", another], one that is somewhere else")
	})
}

func backupOfItself(c *config.Config, report report) {
	eachBackup(c, func(b *config.Backup, path string) {
		for _, name := range b.Repository {
			r := c.Repository(name)
			if r == nil {
				continue
			}
			dir := r.Store.IsLocal()
			if dir != "" && b.Contains(dir) && !excluded(b, dir) {
				report(path+".files", fmt.Sprintf("backup %s saves the repository %s too, %s", b.Name, name, dir), "exclude: ["+dir+"]")
			}
		}
	})
}

// excluded tells whether a pattern names a folder or one above it. Wildcards are given the benefit of the doubt.
func excluded(b *config.Backup, dir string) bool {
	return len(b.ExcludeFile) > 0 || slices.ContainsFunc(b.Exclude, func(pattern string) bool {
		pattern = strings.TrimSuffix(pattern, "/")
		return strings.ContainsAny(pattern, "*?[") || strings.HasPrefix(dir+"/", pattern+"/") ||
			!strings.HasPrefix(pattern, "/") && strings.Contains(dir+"/", "/"+pattern+"/")
	})
}

func unusedRepository(c *config.Config, report report) {
	for i := range c.Repositories {
		r := &c.Repositories[i]
		streamed := slices.ContainsFunc(c.Databases, func(d config.Database) bool { return d.Repository == r.Name })
		if len(usersOf(c, r)) == 0 && !streamed {
			report("repositories."+string(r.Name), fmt.Sprintf("repository %s is used by nothing", r.Name), "repository: "+string(r.Name)+", in a backup")
		}
	}
}

// Disks judges where backups are kept: it looks which disk their files and their repositories are on, and reads nothing.
func Disks(c *config.Config) []Finding {
	return findAll(c, []rule{
		{"same-disk", Warning, "when that disk fails, what was saved fails with it", sameDisk},
	})
}

func sameDisk(c *config.Config, report report) {
	eachBackup(c, func(b *config.Backup, path string) {
		for _, f := range b.Files {
			disk, ok := diskOf(string(f))
			if !ok || !onlyOn(c, b, disk) {
				continue
			}
			report(path+".repository", fmt.Sprintf("%s and all that backup %s keeps of it are on one disk", f, b.Name), "repository: ["+string(b.Repository[0])+", another], one on another disk, or better on another machine")
			return
		}
	})
}

// onlyOn tells whether all repositories of a backup are on a disk.
func onlyOn(c *config.Config, b *config.Backup, disk uint64) bool {
	for _, name := range b.Repository {
		r := c.Repository(name)
		if r == nil || r.Store.IsLocal() == "" {
			return false
		}
		if at, ok := diskOf(r.Store.IsLocal()); !ok || at != disk {
			return false
		}
	}
	return true
}

// diskOf is the device number of the file system that holds a path; false if it is not there.
func diskOf(path string) (uint64, bool) {
	info, err := os.Stat(path)
	if err != nil {
		return 0, false
	}
	s, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, false
	}
	return s.Dev, true
}
