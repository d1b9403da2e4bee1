package backupcli

import (
	"fmt"
	"path/filepath"
	"sync"

	"github.com/spf13/cobra"

	"github.com/trivet-ha/trivet/backup"
	"github.com/trivet-ha/trivet/backup/repository"
	"github.com/trivet-ha/trivet/systems/files"
)

// restoreVerb is the state of `trivet restore`.
type restoreVerb struct {
	place
	filterFlags

	target                                  string
	includes, iincludes, includeFiles       []string
	excludes, iexcludes, excludeFiles       []string
	overwrite                               string
	delete, verify, dryRun, noHoles, sparse bool
	noOwner, sync, yes, verbose             bool
	workers                                 int
}

func (v *verbs) restore() *cobra.Command {
	r := &restoreVerb{}
	cmd := &cobra.Command{
		Use:   "restore --repo REPO --target DIR SNAPSHOT[:PATH]",
		Short: "Restore files of a snapshot into a directory",
		Long: `Restore puts the files of a snapshot, or what is below a path in it, into a directory. "latest" is the
newest snapshot.

Files that are there already are changed in place: their content is compared with the snapshot's by chunks, and only
what differs is fetched. Nothing outside of the target is changed. Without root's rights, owners are not restored. What could
not be restored is reported, and the exit code is then 3.`,
		Example: `  trivet restore -r /mnt/disk/repo -p pw --target /tmp/out latest
  trivet restore -r /mnt/disk/repo -p pw --target /srv/www latest:/srv/www --delete --verify
  trivet restore -r /mnt/disk/repo -p pw --target / --include /etc/nginx --dry-run latest`,
		Args: exactly("SNAPSHOT"),
	}
	cmd.RunE = r.withRepository(r.run)
	r.place.flags(cmd)
	r.filterFlags.flags(cmd)
	f := cmd.Flags()
	f.StringVarP(&r.target, "target", "t", "", "directory to restore into; it is made if need be")
	f.StringArrayVarP(&r.includes, "include", "i", nil, "restore only what matches the pattern; may be repeated")
	f.StringArrayVar(&r.iincludes, "iinclude", nil, "the same, without regard to case")
	f.StringArrayVar(&r.includeFiles, "include-file", nil, "read such patterns from a file")
	f.StringArrayVarP(&r.excludes, "exclude", "e", nil, "leave out what matches the pattern; may be repeated")
	f.StringArrayVar(&r.iexcludes, "iexclude", nil, "the same, without regard to case")
	f.StringArrayVar(&r.excludeFiles, "exclude-file", nil, "read such patterns from a file")
	f.StringVar(&r.overwrite, "overwrite", "always", "what becomes of files that are there: always, if-changed, if-newer, never")
	f.BoolVar(&r.delete, "delete", false, "delete what is in the restored directories and not in the snapshot")
	f.BoolVar(&r.verify, "verify", false, "read every restored file again and compare it with the snapshot")
	f.BoolVarP(&r.dryRun, "dry-run", "n", false, "change nothing; show the plan")
	f.BoolVar(&r.sparse, "sparse", true, "leave holes where files have long runs of zeros")
	f.BoolVar(&r.noHoles, "no-sparse", false, "write zeros")
	f.BoolVar(&r.noOwner, "no-owner", false, "leave everything to the current user")
	f.BoolVar(&r.sync, "sync", false, "return only when everything is durable")
	f.BoolVarP(&r.yes, "yes", "y", false, "do not ask before --delete")
	f.BoolVarP(&r.verbose, "verbose", "v", false, "list what is restored")
	f.IntVar(&r.workers, "workers", 0, "packs read at once (default: one per core)")
	return cmd
}

func (r *restoreVerb) run(cmd *cobra.Command, repo *opened, args []string) error {
	if r.target == "" {
		return usage("add --target DIR", "no target directory is named")
	}
	o, err := r.options()
	if err != nil {
		return err
	}
	snapshot, sub, tree, err := r.directory(cmd, repo, args[0])
	if err != nil {
		return err
	}
	if r.delete && !r.dryRun {
		if err := r.askDelete(cmd, repo, tree, o); err != nil {
			return err
		}
	}
	if !asJSON(cmd) && !r.quiet {
		say(cmd, "restoring snapshot %s of %s, %s, into %s", snapshot.ID().Short(), moment(snapshot.Time), printable(sub), r.target)
	}
	lock, err := repo.Lock(cmd.Context(), repository.Shared)
	if err != nil {
		return err
	}
	defer func() { _ = lock.Unlock() }()
	o.Progress = &backup.Progress{}
	files1, bytes := int64(0), int64(0)
	if s := snapshot.Summary; s != nil && sub == "/" {
		files1, bytes = int64(s.TotalFilesProcessed), int64(s.TotalBytesProcessed)
	}
	o.Progress.Expect(files1, bytes)
	d := show(cmd, o.Progress, r.quiet)
	o.Report = d.problem
	if r.verbose || r.dryRun && !r.quiet {
		var mu sync.Mutex
		o.Plan = func(path string, a files.Action, bytes int64) {
			mu.Lock()
			defer mu.Unlock()
			r.line(cmd, d, path, a, bytes)
		}
	}
	result, err := files.Restore(lock.Context(), repo.Repository, tree, o)
	d.end()
	if err != nil {
		return err
	}
	if err := r.summary(cmd, snapshot, result, o.Progress.Look()); err != nil {
		return err
	}
	if result.Missing > 0 {
		return partly("%s could not be restored", plural(result.Missing, "thing"))
	}
	return nil
}

func (r *restoreVerb) options() (o files.RestoreOptions, err error) {
	o = files.RestoreOptions{
		Target: filepath.Clean(r.target), Delete: r.delete, NoHoles: r.noHoles || !r.sparse, NoOwner: r.noOwner, Verify: r.verify, Sync: r.sync,
		DryRun: r.dryRun, Workers: r.workers,
	}
	if o.Overwrite, err = files.ParseOverwrite(r.overwrite); err != nil {
		return o, usage("", "%v", err)
	}
	if o.Include, _, err = patternLists(r.includes, r.iincludes, r.includeFiles, nil); err != nil {
		return o, err
	}
	o.Exclude, _, err = patternLists(r.excludes, r.iexcludes, r.excludeFiles, nil)
	return o, err
}

// askDelete says what would be deleted, and asks.
func (r *restoreVerb) askDelete(cmd *cobra.Command, repo *opened, tree repository.ID, o files.RestoreOptions) error {
	o.DryRun = true
	var doomed []string
	var mu sync.Mutex
	o.Plan = func(path string, a files.Action, _ int64) {
		if a == files.Deleted {
			mu.Lock()
			doomed = append(doomed, path)
			mu.Unlock()
		}
	}
	if _, err := files.Restore(cmd.Context(), repo.Repository, tree, o); err != nil {
		return err
	}
	if len(doomed) == 0 {
		return nil
	}
	for _, path := range doomed[:min(len(doomed), 20)] {
		say(cmd, "delete %s", printable(filepath.Join(r.target, path)))
	}
	if more := len(doomed) - 20; more > 0 {
		say(cmd, "… and %s more", number(more))
	}
	return confirm(cmd, r.yes)
}

func (r *restoreVerb) line(cmd *cobra.Command, d *display, path string, a files.Action, bytes int64) {
	if asJSON(cmd) {
		d.mu.Lock()
		defer d.mu.Unlock()
		_ = writeJSON(cmd.OutOrStdout(), map[string]any{"message_type": "verbose_status", "action": a, "item": path, "size": bytes})
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.clear()
	if bytes > 0 {
		fmt.Fprintf(cmd.OutOrStdout(), "%-9s %s (%s)\n", a, printable(path), size(bytes))
	} else {
		fmt.Fprintf(cmd.OutOrStdout(), "%-9s %s\n", a, printable(path))
	}
}

func (r *restoreVerb) summary(cmd *cobra.Command, snapshot *repository.Snapshot, result files.RestoreResult, p backup.ProgressSnapshot) error {
	if asJSON(cmd) {
		return writeJSON(cmd.OutOrStdout(), map[string]any{
			"message_type": "summary", "snapshot_id": snapshot.ID().String(), "dry_run": r.dryRun, "seconds_elapsed": p.Elapsed.Seconds(),
			"files_restored": result.Files, "directories_restored": result.Directories, "others_restored": result.Others,
			"files_unchanged": result.Unchanged, "files_skipped": result.Kept, "files_deleted": result.Deleted,
			"total_bytes": result.Bytes, "bytes_restored": result.Written, "files_verified": result.Verified, "missing": result.Missing,
		})
	}
	if r.quiet {
		return nil
	}
	out := cmd.OutOrStdout()
	verb := "restored"
	if r.dryRun {
		verb = "would restore"
	}
	fmt.Fprintf(out, "%s %s, %s, %s of %s written", verb, plural(result.Files, "file"), plural(result.Directories, "directory"), size(result.Written), size(result.Bytes))
	for _, c := range []struct {
		n    int64
		what string
	}{{result.Unchanged, "unchanged"}, {result.Kept, "left alone"}, {result.Deleted, "deleted"}, {result.Verified, "verified"}} {
		if c.n > 0 {
			fmt.Fprintf(out, ", %s %s", number(c.n), c.what)
		}
	}
	fmt.Fprintf(out, ", in %s\n", duration(p.Elapsed))
	return nil
}
