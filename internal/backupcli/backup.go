package backupcli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/trivet-ha/trivet/backup"
	"github.com/trivet-ha/trivet/backup/repository"
	"github.com/trivet-ha/trivet/systems/files"
)

// backupVerb is the state of `trivet backup`.
type backupVerb struct {
	*verbs
	place
	skip skipFlags

	also                        []string
	tags                        []string
	host, at, parent            string
	force, skipUnchanged        bool
	stdin, stdinCommand         bool
	stdinName                   string
	filesFrom, verbatim, rawNUL []string
	ignoreInode, ignoreCtime    bool
	withAtime, noXattrs         bool
	workers                     int
	reopen                      string
	before, after               string
	verbose                     bool
}

func (v *verbs) backup() *cobra.Command {
	b := &backupVerb{verbs: v}
	cmd := &cobra.Command{
		Use:   "backup --repo REPO PATH...",
		Short: "Save files and directories into a repository",
		Long: `Backup saves files with all their metadata and makes a snapshot of them. What the repository has already is
not stored again, and directories that did not change since the last time are not even looked up in it: run it often.

A file that cannot be read is reported and left out; the exit code is then 3. The format is restic's: restic restores what
Trivet saved, and the other way round.`,
		Example: `  trivet backup --repo /mnt/disk/repo --password-file pw /home /etc
  trivet backup -r s3://backups/web -p pw --exclude '*.tmp' --one-file-system /
  pg_dump shop | trivet backup -r /mnt/disk/repo -p pw --stdin --stdin-filename shop.sql`,
		RunE: b.run,
	}
	b.place.flags(cmd)
	b.skip.flags(cmd)
	f := cmd.Flags()
	f.StringArrayVar(&b.also, "also", nil, "save into this repository too, opened with the same password; may be repeated")
	f.StringArrayVar(&b.tags, "tag", nil, "mark the snapshot with tags, separated by commas")
	f.StringVarP(&b.host, "host", "H", os.Getenv("RESTIC_HOST"), "name of the machine in the snapshot (default: this one's)")
	f.StringVar(&b.at, "time", "", `time of the snapshot, "2006-01-02 15:04:05" (default: now)`)
	f.StringVar(&b.parent, "parent", "", "compare with this snapshot (default: the last of the same host and paths)")
	f.BoolVarP(&b.force, "force", "f", false, "read every file, whatever was known of it")
	f.BoolVar(&b.skipUnchanged, "skip-if-unchanged", false, "make no snapshot if nothing changed")
	f.BoolVar(&b.stdin, "stdin", false, "save what comes on the standard input")
	f.BoolVar(&b.stdinCommand, "stdin-from-command", false, "save the output of the program in the arguments; if it fails there is no snapshot")
	f.StringVar(&b.stdinName, "stdin-filename", "stdin", "name of the file made of the input")
	f.StringArrayVar(&b.filesFrom, "files-from", nil, "read patterns of paths from a file, one a line")
	f.StringArrayVar(&b.verbatim, "files-from-verbatim", nil, "read paths from a file, one a line, as they are")
	f.StringArrayVar(&b.rawNUL, "files-from-raw", nil, "read paths from a file, each ended by a zero byte")
	f.BoolVar(&b.ignoreInode, "ignore-inode", false, "an unchanged file may have another inode number")
	f.BoolVar(&b.ignoreCtime, "ignore-ctime", false, "an unchanged file may have another ctime")
	f.BoolVar(&b.withAtime, "with-atime", false, "keep times of access")
	f.BoolVar(&b.noXattrs, "no-xattrs", false, "leave out extended attributes, ACLs and capabilities")
	f.IntVar(&b.workers, "workers", 0, "files read at once (default: one per core; more for slow network file systems)")
	f.StringVar(&b.reopen, "reopen", "5%", "share of the new data that is opened again after sealing, to catch bad memory")
	f.StringVar(&b.before, "before", "", "program to run first; no backup is made if it fails")
	f.StringVar(&b.after, "after", "", "program to run last, in any case; TRIVET_RESULT and TRIVET_SNAPSHOT tell it what came of it")
	f.BoolVarP(&b.verbose, "verbose", "v", false, "say more")
	return cmd
}

func (b *backupVerb) run(cmd *cobra.Command, args []string) error {
	before, after, err := b.hooks()
	if err != nil {
		return err
	}
	options, err := b.saveOptions()
	if err != nil {
		return err
	}
	locations := b.also
	first, err := b.where()
	if err != nil {
		return err
	}
	locations = append([]string{first}, locations...)
	if len(locations) > 1 && (b.stdin || b.stdinCommand) {
		return usage("save it into a file first", "a stream can be read once, and there are %d repositories", len(locations))
	}
	partial := false
	var failed error
	_, err = backup.Between(cmd.Context(), before, after, func(context.Context) (worst backup.Result, _ error) {
		for _, location := range locations {
			r, err := b.into(cmd, location, args, options)
			if err != nil {
				failed = errors.Join(failed, err)
				continue
			}
			if r.Missing > 0 {
				partial = true
			}
			if worst.Missing <= r.Missing {
				worst = r
			}
		}
		return worst, failed
	})
	switch {
	case failed != nil && len(locations) == 1:
		return explain(failed)
	case err != nil:
		return err
	case partial:
		return partly("some files could not be read; the snapshot has everything else")
	}
	return nil
}

func (b *backupVerb) hooks() (before, after backup.Hook, err error) {
	for _, h := range []struct {
		line string
		to   *backup.Hook
	}{{b.before, &before}, {b.after, &after}} {
		if h.to.Argv, err = splitWords(h.line); err != nil {
			return before, after, usage("quote it like a shell would", "the hook %q cannot be read: %v", h.line, err)
		}
	}
	return before, after, nil
}

func (b *backupVerb) saveOptions() (backup.Options, error) {
	o := backup.Options{
		Host: b.host, Tags: splitTags(b.tags), Parent: b.parent, Fresh: b.force, SkipUnchanged: b.skipUnchanged, Program: "trivet " + b.version,
		Excludes: b.skip.forSnapshot(),
	}
	share, err := repository.ParseShare(b.reopen)
	switch {
	case b.reopen == "0" || b.reopen == "0%" || b.reopen == "none":
		o.Writer.Reopen = -1
	case err != nil || share.Of > 1:
		return o, usage("write --reopen 5%, all or none", "the share %q cannot be read", b.reopen)
	case share == repository.AllData():
		o.Writer.Reopen = 1
	default:
		o.Writer.Reopen = share.Percent / 100
	}
	if b.at != "" {
		if o.Time, err = time.ParseInLocation("2006-01-02 15:04:05", b.at, time.Local); err != nil {
			return o, usage(`write --time "2006-01-02 15:04:05"`, "the time %q cannot be read", b.at)
		}
	}
	return o, nil
}

// into saves into one repository.
func (b *backupVerb) into(cmd *cobra.Command, location string, args []string, o backup.Options) (r backup.Result, err error) {
	source, finish, err := b.source(cmd, args)
	if err != nil {
		return r, err
	}
	repo, err := b.openAt(cmd, location)
	if err != nil {
		return r, errors.Join(err, finish())
	}
	defer repo.close()
	o.Progress = &backup.Progress{}
	b.guess(cmd, repo, source, o)
	d := show(cmd, o.Progress, b.quiet)
	o.Report = func(p backup.Problem) {
		if p.Severity == backup.Missing || b.verbose || !errors.Is(p.Err, files.ErrSocket) {
			d.problem(p)
		}
	}
	r, err = backup.Save(cmd.Context(), repo.Repository, source, o)
	d.end()
	if err != nil {
		return r, err
	}
	return r, b.summary(cmd, repo, r, o.Progress.Look().Elapsed)
}

// guess tells the progress how much there will be: as much as the last time.
func (b *backupVerb) guess(cmd *cobra.Command, repo *opened, source backup.Source, o backup.Options) {
	host := o.Host
	if host == "" {
		host, _ = os.Hostname()
	}
	if !isTerminal(cmd.ErrOrStderr()) && !asJSON(cmd) {
		o.Progress.Expect(0, 0)
		return
	}
	s, err := repo.FindSnapshot(cmd.Context(), "latest", repository.SnapshotFilter{Hosts: []string{host}, Paths: source.Paths()})
	if err != nil || s.Summary == nil {
		o.Progress.Expect(0, 0)
		return
	}
	o.Progress.Expect(int64(s.Summary.TotalFilesProcessed), int64(s.Summary.TotalBytesProcessed))
}

// source builds what is saved, and a function to be called if it is not.
func (b *backupVerb) source(cmd *cobra.Command, args []string) (backup.Source, func() error, error) {
	nothing := func() error { return nil }
	switch {
	case b.stdinCommand:
		return b.commandSource(cmd, args)
	case b.stdin:
		if len(args) > 0 {
			return nil, nil, usage("leave the paths out", "paths and --stdin do not go together")
		}
		s, err := files.NewStream(b.stdinName, cmd.InOrStdin())
		return s, nothing, err
	}
	paths, err := b.paths(args)
	if err != nil {
		return nil, nil, err
	}
	skip, err := b.skip.skip()
	if err != nil {
		return nil, nil, err
	}
	s, err := files.New(files.Config{
		Paths: paths, Skip: skip, NoXattrs: b.noXattrs, WithAtime: b.withAtime, IgnoreInode: b.ignoreInode, IgnoreCtime: b.ignoreCtime,
		ReadAll: b.force, Workers: b.workers,
	})
	return s, nothing, err
}

// commandSource saves the output of a program. A failure of the program comes as the failure of its output.
func (b *backupVerb) commandSource(cmd *cobra.Command, args []string) (backup.Source, func() error, error) {
	if len(args) == 0 {
		return nil, nil, usage("write -- PROGRAM ARGUMENT...", "no program is named")
	}
	program := exec.CommandContext(cmd.Context(), args[0], args[1:]...)
	program.Stderr = cmd.ErrOrStderr()
	out, err := program.StdoutPipe()
	if err != nil {
		return nil, nil, err
	}
	if err := program.Start(); err != nil {
		return nil, nil, fmt.Errorf("start %s: %w", args[0], err)
	}
	s, err := files.NewStream(b.stdinName, &programOutput{out: out, program: program})
	return s, func() error { _ = program.Process.Kill(); return program.Wait() }, err
}

// programOutput ends with io.EOF only if the program ended well.
type programOutput struct {
	out     io.Reader
	program *exec.Cmd
	err     error
}

func (p *programOutput) Read(b []byte) (int, error) {
	if p.err != nil {
		return 0, p.err
	}
	n, err := p.out.Read(b)
	if err == nil {
		return n, nil
	}
	if p.err = p.program.Wait(); p.err == nil {
		p.err = io.EOF
	} else {
		p.err = fmt.Errorf("%s: %w", p.program.Path, p.err)
	}
	return n, p.err
}

// summary tells what was done: restic's words and fields.
func (b *backupVerb) summary(cmd *cobra.Command, repo *opened, r backup.Result, elapsed time.Duration) error {
	if r.Kept != nil && !b.quiet {
		say(cmd, "note: %v", r.Kept)
	}
	for _, n := range r.Notices {
		say(cmd, "notice: this backup is unusual (%s): %s", n.Kind, n.Text)
	}
	if asJSON(cmd) {
		return writeJSON(cmd.OutOrStdout(), backupJSON(repo, r, elapsed))
	}
	out := cmd.OutOrStdout()
	if r.Snapshot == nil {
		fmt.Fprintln(out, "nothing changed; no snapshot was made")
		return nil
	}
	s := r.Snapshot.Summary
	if !b.quiet {
		fmt.Fprintf(out, "files: %s new, %s changed, %s unmodified\n", number(s.FilesNew), number(s.FilesChanged), number(s.FilesUnmodified))
		fmt.Fprintf(out, "added: %s, %s stored\n", size(s.DataAdded), size(s.DataAddedPacked))
		fmt.Fprintf(out, "processed %s, %s in %s\n", plural(s.TotalFilesProcessed, "file"), size(s.TotalBytesProcessed), duration(elapsed))
		if r.Missing > 0 {
			fmt.Fprintf(out, "%s could not be saved\n", plural(r.Missing, "thing"))
		}
	}
	fmt.Fprintf(out, "snapshot %s saved\n", r.Snapshot.ID().Short())
	return nil
}

func backupJSON(repo *opened, r backup.Result, elapsed time.Duration) map[string]any {
	m := map[string]any{"message_type": "summary", "total_duration": elapsed.Seconds(), "missing": r.Missing, "repository": repo.ID()}
	if r.Snapshot == nil {
		return m
	}
	s := r.Snapshot.Summary
	for name, value := range map[string]any{
		"files_new": s.FilesNew, "files_changed": s.FilesChanged, "files_unmodified": s.FilesUnmodified,
		"dirs_new": s.DirsNew, "dirs_changed": s.DirsChanged, "dirs_unmodified": s.DirsUnmodified, "data_blobs": s.DataBlobs, "tree_blobs": s.TreeBlobs,
		"data_added": s.DataAdded, "data_added_packed": s.DataAddedPacked, "total_files_processed": s.TotalFilesProcessed,
		"total_bytes_processed": s.TotalBytesProcessed, "snapshot_id": r.Snapshot.ID().String(), "backup_start": s.BackupStart, "backup_end": s.BackupEnd,
	} {
		m[name] = value
	}
	if len(r.Notices) > 0 {
		m["notices"] = r.Notices
	}
	return m
}

// splitTags reads lists of tags.
func splitTags(lists []string) (tags []string) {
	for _, list := range lists {
		for tag := range strings.SplitSeq(list, ",") {
			if tag = strings.TrimSpace(tag); tag != "" {
				tags = append(tags, tag)
			}
		}
	}
	return tags
}
