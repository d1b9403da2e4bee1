package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/trivet-ha/trivet"
	"github.com/trivet-ha/trivet/api"
	"github.com/trivet-ha/trivet/config"
	"github.com/trivet-ha/trivet/internal/backupcli"
)

// repositoryCommands are the verbs about repositories. That of a backup also knows the backups of the file by their names.
func (e *env) repositoryCommands() []*cobra.Command {
	commands := backupcli.Commands(Version())
	for _, c := range commands {
		if c.Name() == "backup" {
			(&backupByName{env: e}).install(c)
		}
		if c.Name() == "restore" {
			(&restoreByName{env: e}).install(c)
		}
	}
	return commands
}

// backupByName is `trivet backup NAME`.
type backupByName struct {
	*env
	target
	file   string
	into   string
	noWait bool
	stop   bool
}

func (v *backupByName) install(c *cobra.Command) {
	byPath := c.RunE
	c.Use = "backup NAME | backup --repo REPO PATH..."
	c.Short = "Make a backup that the configuration file names, or save files into a repository"
	c.Long = `With the NAME of a backup in the configuration file, the running Trivet makes that backup now, and its progress is shown
here. If none runs, say --config FILE: it is then made without one. A backup that is under way already is not begun again:
its progress is shown. An interrupt ends the show, not the backup; --stop does that.

With --repo (or $TRIVET_REPOSITORY, $RESTIC_REPOSITORY), ` + strings.ToLower(c.Long[:1]) + c.Long[1:]
	c.Example = "  trivet backup uploads\n  trivet backup uploads --config trivet.yaml\n" + c.Example
	c.ValidArgsFunction = v.complete
	c.RunE = func(cmd *cobra.Command, args []string) error {
		if !v.isNamed(cmd, args) {
			return byPath(cmd, args)
		}
		return v.run(cmd, args)
	}
	f := c.Flags()
	f.StringVarP(&v.file, "config", "c", "", "the configuration file, for a backup by name when no Trivet runs")
	f.StringVar(&v.into, "into", "", "of a backup by name: only into this repository of the file")
	f.BoolVar(&v.noWait, "no-wait", false, "of a backup by name: begin it and do not wait for its end")
	f.BoolVar(&v.stop, "stop", false, "of a backup by name: stop it; what is stored already is not stored again")
	v.flags(c)
}

// isNamed tells whether the arguments are names of backups: they are unless a repository is given.
func (v *backupByName) isNamed(cmd *cobra.Command, args []string) bool {
	changed := func(name string) bool { return cmd.Flags().Changed(name) }
	if slices.ContainsFunc([]string{"config", "into", "no-wait", "stop", "socket", "address"}, changed) {
		return true
	}
	if slices.ContainsFunc([]string{"repo", "repository-file", "stdin", "stdin-from-command", "files-from", "files-from-verbatim", "files-from-raw"}, changed) {
		return false
	}
	for _, name := range []string{"TRIVET_REPOSITORY", "RESTIC_REPOSITORY", "TRIVET_REPOSITORY_FILE", "RESTIC_REPOSITORY_FILE"} {
		if os.Getenv(name) != "" {
			return false
		}
	}
	return !slices.ContainsFunc(args, func(arg string) bool { return strings.ContainsRune(arg, '/') || arg == "." })
}

// backupMaker makes the backups of a file: the running Trivet, or this process.
type backupMaker interface {
	Backups(ctx context.Context, name string) ([]api.Backup, error)
	StartBackup(ctx context.Context, name, repository string) ([]api.Backup, error)
	StopBackup(ctx context.Context, name, repository string) ([]api.Backup, error)
}

func (v *backupByName) run(cmd *cobra.Command, names []string) error {
	if len(names) == 0 {
		return usage("lacks the name of a backup, or --repo", "trivet status shows the backups of the running Trivet; or write "+cmd.UseLine())
	}
	ctx := cmd.Context()
	maker, end, err := v.maker(ctx)
	if err != nil {
		return err
	}
	var list []api.Backup
	for _, name := range names {
		do := maker.StartBackup
		if v.stop {
			do = maker.StopBackup
		}
		some, err := do(ctx, name, v.into)
		if err != nil {
			return errors.Join(err, end())
		}
		list = append(list, some...)
	}
	if !v.stop && !v.noWait {
		list, err = v.follow(ctx, maker, list)
	}
	if err = errors.Join(err, end()); err != nil {
		return err
	}
	if err := v.result(list, func(w io.Writer) { v.write(w, list) }); err != nil {
		return err
	}
	if v.stop || v.noWait {
		return nil
	}
	return verdictOf(list)
}

// maker finds who makes the backup. end ends it.
func (v *backupByName) maker(ctx context.Context) (m backupMaker, end func() error, err error) {
	var file *config.Config
	if v.file != "" {
		file, err = v.loadFile([]string{v.file})
		if _, invalid := config.IsInvalid(err); err != nil && !invalid {
			return nil, nil, fileProblem(err)
		}
		if err != nil {
			return nil, nil, err
		}
		if v.socket == "" && v.address == "" {
			if v.socket = file.Admin.SocketPath(); v.socket == "" {
				return v.alone(file)
			}
		}
	}
	c, err := v.client()
	if err != nil {
		return nil, nil, err
	}
	_, err = c.Status(ctx)
	var answer *api.Error
	switch {
	case err == nil:
		return c, func() error { c.Close(); return nil }, nil
	case errors.As(err, &answer) && answer.Nobody() && file != nil && !v.stop:
		return v.alone(file)
	case errors.As(err, &answer) && answer.Nobody() && file == nil:
		answer.Hint = "start one with trivet run; say --config FILE to make the backup without one; or --repo to save into a repository"
	}
	return nil, nil, err
}

// alone makes backups in this process.
func (v *backupByName) alone(file *config.Config) (backupMaker, func() error, error) {
	b, err := trivet.OpenBackups(trivet.Config{File: file, Log: v.logger(file.Log), Version: Version()})
	if err != nil {
		return nil, nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = b.Run(ctx) }) // ends with ctx
	<-b.Ready()
	return localBackups{own: b}, func() error {
		stop()
		wg.Wait()
		return b.Close()
	}, nil
}

// localBackups are the backups of this process.
type localBackups struct{ own *trivet.Backups }

func (l localBackups) Backups(_ context.Context, name string) ([]api.Backup, error) {
	return l.own.Backups(name)
}

func (l localBackups) StartBackup(_ context.Context, name, repository string) ([]api.Backup, error) {
	return l.own.StartBackup(name, repository)
}

func (l localBackups) StopBackup(_ context.Context, name, repository string) ([]api.Backup, error) {
	return l.own.StopBackup(name, repository)
}

// lookEvery is how often the progress is looked at.
const lookEvery = 100 * time.Millisecond

// follow shows the progress of what was started until all of it has ended.
func (v *backupByName) follow(ctx context.Context, maker backupMaker, started []api.Backup) ([]api.Backup, error) {
	for _, b := range started {
		if b.Joined {
			v.say("%s is under way already, since %s", b.Job, clock(b.Began, time.Now()))
		}
	}
	line := liveLine{w: v.Err, off: v.json}
	defer line.clear()
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		now, err := v.look(ctx, maker, started)
		if err == nil {
			line.show(progressOf(started, now))
			if !slices.ContainsFunc(now, func(b api.Backup) bool { return b.State != "idle" }) {
				return now, nil
			}
		}
		if err != nil && ctx.Err() == nil {
			return nil, err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			line.clear()
			if _, own := maker.(localBackups); !own {
				v.say("the backup goes on: trivet status shows it, trivet backup --stop NAME stops it")
			}
			return nil, exit(exitFailed)
		}
	}
}

// look finds how what was started stands. What a later run has overtaken counts as ended.
func (v *backupByName) look(ctx context.Context, maker backupMaker, started []api.Backup) ([]api.Backup, error) {
	all, err := maker.Backups(ctx, "")
	if err != nil {
		return nil, err
	}
	out := slices.Clone(started)
	for i := range out {
		at := slices.IndexFunc(all, func(b api.Backup) bool { return b.Job == out[i].Job })
		if at < 0 || all[at].Run < out[i].Run {
			return nil, fail(fmt.Errorf("%s is out of sight: the file has changed, or another process has taken over", out[i].Job), "trivet status shows how the backups stand")
		}
		if all[at].Run > out[i].Run {
			all[at].State = "idle"
		}
		out[i] = all[at]
	}
	return out, nil
}

// progressOf is a line about what runs.
func progressOf(started, now []api.Backup) string {
	for i := range now {
		b := &now[i]
		switch {
		case b.State == "waiting":
			return b.Job + " waits for its repository"
		case b.State != "running" || b.Run > started[i].Run || b.Progress == nil:
			continue
		}
		p := b.Progress
		elapsed := time.Duration(p.Elapsed * float64(time.Millisecond))
		parts := []string{fmt.Sprintf("%s [%d:%02d]", b.Job, int(elapsed.Minutes()), int(elapsed.Seconds())%60)}
		if p.TotalBytes > 0 {
			parts = append(parts, fmt.Sprintf("%5.1f%%", min(100, 100*float64(p.Bytes)/float64(p.TotalBytes))))
		}
		parts = append(parts, count(p.Files)+" files", bytesText(p.Bytes))
		if p.Problems > 0 {
			parts = append(parts, plural(int(p.Problems), "problem"))
		}
		if p.Current != "" {
			parts = append(parts, p.Current)
		}
		return strings.Join(parts, "  ")
	}
	return ""
}

// verdictOf is the error of backups of which some or all have failed.
func verdictOf(list []api.Backup) error {
	bad, part := 0, 0
	for _, b := range list {
		switch {
		case b.Error != "" || b.Done < b.Run:
			bad++
		case b.Outcome.Partial:
			part++
		}
	}
	switch {
	case bad == len(list):
		return exit(exitFailed)
	case bad+part > 0:
		return exit(exitPartial)
	}
	return nil
}

func (v *backupByName) write(w io.Writer, list []api.Backup) {
	for i := range list {
		b := &list[i]
		switch {
		case v.stop && b.State == "idle":
			fmt.Fprintf(w, "%s does not run\n", b.Job)
		case v.stop:
			fmt.Fprintf(w, "%s stops\n", b.Job)
		case v.noWait:
			fmt.Fprintf(w, "%s has begun\n", b.Job)
		case b.Error != "":
			v.say("%s: %s", b.Job, b.Error)
		case b.Done < b.Run:
			v.say("%s: stopped before it began", b.Job)
		default:
			writeOutcome(w, b)
		}
	}
}

func writeOutcome(w io.Writer, b *api.Backup) {
	o := &b.Outcome
	if o.Snapshot == "" {
		fmt.Fprintf(w, "%s: nothing changed; no snapshot was made\n", b.Job)
	} else {
		fmt.Fprintf(w, "%s: snapshot %.8s of %s files, %s; %s new, %s stored, in %s\n", b.Job, o.Snapshot, count(o.Files), bytesText(o.Bytes),
			bytesText(o.Added), bytesText(o.Stored), short(b.Ended.Sub(b.Began)))
	}
	if o.Missing > 0 {
		fmt.Fprintf(w, "  %s could not be saved: the log names them\n", plural(o.Missing, "thing"))
	}
	for _, n := range o.Notices {
		fmt.Fprintf(w, "  unusual (%s): %s\n", n.Kind, n.Text)
	}
}

// writeBackups shows backups with the age of their last success.
func writeBackups(w io.Writer, p painter, list []api.Backup, now time.Time) {
	var t table
	t.heading("BACKUP", "SCHEDULE", "STATE", ">LAST SUCCESS", ">TOOK", ">FILES", ">SIZE", ">STORED", "NEXT", "WHY")
	for i := range list {
		b := &list[i]
		age, took := cell{text: "never", right: true, color: yellow}, cell{text: "-", right: true}
		if !b.Succeeded.IsZero() {
			age = cell{text: ago(now.Sub(b.Succeeded)) + " ago", right: true}
		}
		if b.Overdue {
			age.color = red
		}
		if b.Ended.After(b.Began) {
			took.text = short(b.Ended.Sub(b.Began))
		}
		next := "-"
		if !b.Next.IsZero() {
			next = "in " + ago(max(0, b.Next.Sub(now)))
		}
		t.row(text(b.Job), text(dash(b.Schedule)), backupState(b), age, took, number(int(b.Outcome.Files)), cell{text: bytesText(b.Outcome.Bytes), right: true},
			cell{text: bytesText(b.Outcome.Stored), right: true}, text(next), cell{text: firstLine(backupReason(b)), color: dim})
	}
	t.write(w, p)
}

func backupState(b *api.Backup) cell {
	switch {
	case b.State == "running" && b.Progress != nil && b.Progress.TotalBytes > 0:
		return cell{text: fmt.Sprintf("running %d%%", min(100, 100*b.Progress.Bytes/b.Progress.TotalBytes)), color: green}
	case b.State != "idle":
		return cell{text: b.State, color: green}
	case b.Outcome.Damage != "":
		return cell{text: "damage", color: red}
	case b.Overdue:
		return cell{text: "overdue", color: red}
	case b.Failures > 0:
		return cell{text: "failed", color: red}
	case b.Outcome.Partial || len(b.Outcome.Notices) > 0:
		return cell{text: "unusual", color: yellow}
	case b.Succeeded.IsZero():
		return cell{text: "new"}
	}
	return cell{text: "fine", color: green}
}

// backupReason says why a backup is not simply fine.
func backupReason(b *api.Backup) string {
	switch {
	case b.Error != "":
		return b.Error
	case b.Outcome.Damage != "":
		return b.Outcome.Damage
	case len(b.Outcome.Notices) > 0:
		return b.Outcome.Notices[0].Text
	case b.Outcome.Missing > 0:
		return plural(b.Outcome.Missing, "thing") + " could not be saved"
	}
	return ""
}

// bytesText writes a number of bytes with three digits: 512 B, 1.20 KiB, 34.0 MiB.
func bytesText(n int64) string {
	f, unit := float64(n), "B"
	for _, next := range []string{"KiB", "MiB", "GiB", "TiB", "PiB"} {
		if f < 1000 {
			break
		}
		f, unit = f/1024, next
	}
	switch {
	case unit == "B":
		return fmt.Sprintf("%d B", n)
	case f < 10:
		return fmt.Sprintf("%.2f %s", f, unit)
	case f < 100:
		return fmt.Sprintf("%.1f %s", f, unit)
	}
	return fmt.Sprintf("%.0f %s", f, unit)
}

// liveLine is a line at the end of a terminal that is written again and again.
type liveLine struct {
	w     io.Writer
	off   bool
	shown bool
}

func (l *liveLine) show(text string) {
	if l.off || !isTerminal(l.w) {
		return
	}
	const columns = 79
	if runes := []rune(text); len(runes) > columns {
		text = string(runes[:columns-1]) + "…"
	}
	fmt.Fprintf(l.w, "\r%s\x1b[K", text)
	l.shown = true
}

func (l *liveLine) clear() {
	if l.shown {
		fmt.Fprint(l.w, "\r\x1b[K")
		l.shown = false
	}
}

// complete offers the backups of the running Trivet to the shell, and files.
func (v *backupByName) complete(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if !v.isNamed(cmd, args) {
		return nil, cobra.ShellCompDirectiveDefault
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), time.Second) // a shell that waits is worse than one that offers nothing
	defer cancel()
	var offers []string
	_ = v.ask(ctx, func(ctx context.Context, c *api.Client) error { // without an answer there is nothing to offer
		list, err := c.Backups(ctx, "")
		for _, b := range list {
			if b.Name != "" && !slices.Contains(offers, b.Name) {
				offers = append(offers, b.Name)
			}
		}
		return err
	})
	return offers, cobra.ShellCompDirectiveDefault
}
