package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/trivet-ha/trivet"
	"github.com/trivet-ha/trivet/backup"
	"github.com/trivet-ha/trivet/backup/stream"
	"github.com/trivet-ha/trivet/config"
)

// restoreByName is `trivet restore NAME --to TIME --target FILE`, of a database of the file.
type restoreByName struct {
	*env
	target
	file string
	to   string
}

func (v *restoreByName) install(c *cobra.Command) {
	bySnapshot := c.RunE
	args := c.Args
	c.Use = "restore NAME --to TIME --target FILE | restore --repo REPO --target DIR SNAPSHOT[:PATH]"
	c.Short = "Bring a database back as it was at a time, or restore files of a snapshot"
	c.Long = `With the NAME of a database in the configuration file, and the moment (--to), that database is restored to a new file, which
must not exist: put it in the place of the old one when nothing uses that any more. The plan is shown first. The file appears
only after all of it was found sound. No Trivet needs to run; if none does, say --config FILE.

The moment is a time of the local zone ("2026-11-23 10:31:59", a fraction if wanted), one of RFC 3339, latest, "transaction N",
"before N" (just before that transaction) or "position N". At a time means: every transaction that was captured until then, and none
after.

With --repo (or $TRIVET_REPOSITORY, $RESTIC_REPOSITORY), ` + strings.ToLower(c.Long[:1]) + c.Long[1:]
	c.Example = "  trivet restore shop --to '2026-11-23 10:31:59' --target /srv/shop/back.db\n" + c.Example
	c.Args = func(cmd *cobra.Command, list []string) error {
		if v.isNamed(cmd) && len(list) == 1 {
			return nil
		}
		return args(cmd, list)
	}
	c.RunE = func(cmd *cobra.Command, list []string) error {
		if !v.isNamed(cmd) {
			return bySnapshot(cmd, list)
		}
		return v.run(cmd, list[0])
	}
	f := c.Flags()
	f.StringVar(&v.to, "to", "", "of a database by name: the moment to go back to")
	f.StringVarP(&v.file, "config", "c", "", "of a database by name: the configuration file (default: that of the running Trivet)")
	// -t is the target's.
	f.StringVar(&v.socket, "socket", "", "of a database by name: admin socket of the running Trivet")
}

// isNamed tells whether it is about a database of the file: --to says so.
func (v *restoreByName) isNamed(cmd *cobra.Command) bool {
	return slices.ContainsFunc([]string{"to", "config", "socket"}, cmd.Flags().Changed)
}

func (v *restoreByName) run(cmd *cobra.Command, name string) error {
	ctx := cmd.Context()
	target, _ := cmd.Flags().GetString("target")
	dry, _ := cmd.Flags().GetBool("dry-run")
	yes, _ := cmd.Flags().GetBool("yes")
	if target == "" {
		return usage("lacks --target FILE", "name a file that does not exist yet")
	}
	to, err := stream.ParseTarget(v.to)
	if err != nil {
		return usage(err.Error(), "")
	}
	file, err := v.configuration(ctx)
	if err != nil {
		return err
	}
	r, err := trivet.PlanDatabaseRestore(ctx, trivet.Config{File: file, Log: v.logger(file.Log), Version: Version()}, name, to)
	if err != nil {
		return fail(err, hintOf(err))
	}
	defer func() { _ = r.Close() }()
	plan := describePlan(r, target)
	if err := r.CheckTarget(target); err != nil {
		v.showPlan(&plan)
		return fail(err, "nothing was changed")
	}
	if dry {
		return v.result(plan, func(w io.Writer) { plan.write(w) })
	}
	v.showPlan(&plan)
	if !yes && !v.json {
		v.say("nothing is written but %s", target)
	}
	return v.restore(ctx, r, &plan)
}

// configuration is the file that is named, or that of the running Trivet.
func (v *restoreByName) configuration(ctx context.Context) (*config.Config, error) {
	path := v.file
	if path == "" {
		c, err := v.client()
		if err != nil {
			return nil, err
		}
		defer c.Close()
		s, err := c.Status(ctx)
		if err != nil {
			return nil, fail(err, "say --config FILE to restore without a running Trivet")
		}
		path = s.File.Path
	}
	file, err := v.loadFile([]string{path})
	if _, invalid := config.IsInvalid(err); err != nil && !invalid {
		return nil, fileProblem(err)
	}
	return file, err
}

func hintOf(err error) string {
	var gap *stream.Gap
	switch {
	case errors.Is(err, stream.ErrBeyond):
		return "--to latest restores all there is"
	case errors.Is(err, stream.ErrNoBase):
		return "trivet backup NAME makes a base"
	case errors.As(err, &gap):
		return "a time before the gap, or after the next base, can be restored"
	}
	return ""
}

// restorePlan is what is going to happen, and what came of it.
type restorePlan struct {
	Database string    `json:"database"`
	To       string    `json:"to"`
	Target   string    `json:"target"`
	Snapshot string    `json:"base"`
	BaseAt   time.Time `json:"base_at"`
	Base     int64     `json:"base_bytes"`
	Log      int64     `json:"log_bytes"`
	Span     float64   `json:"log_seconds"`
	Expected float64   `json:"expected_seconds,omitempty"`

	Last     uint64    `json:"last_transaction"`
	LastAt   time.Time `json:"last_captured,omitzero"`
	Next     uint64    `json:"next_transaction,omitempty"`
	NextAt   time.Time `json:"next_captured,omitzero"`
	Blind    bool      `json:"next_was_not_watched,omitempty"`
	Restored int64     `json:"restored_bytes,omitempty"`
	Applied  int       `json:"applied,omitempty"`
	Took     float64   `json:"took_seconds,omitempty"`
}

func describePlan(r *trivet.DatabaseRestore, target string) restorePlan {
	p := r.Plan
	plan := restorePlan{
		Database: p.Database, To: p.Target.String(), Target: target, Snapshot: p.Base.Snapshot.ID().Short(), BaseAt: p.Base.Time,
		Base: p.BaseBytes, Log: p.LogBytes, Span: p.LogTime().Seconds(), Expected: r.Expected.Seconds(),
		Last: uint64(p.Point.Position), LastAt: p.Point.Last.Time, Next: p.Point.Next.ID, NextAt: p.Point.Next.Time, Blind: p.Point.Next.Origin != 0,
	}
	if plan.LastAt.IsZero() {
		plan.LastAt = p.Base.Time
	}
	return plan
}

// precisely is a time with all that is known of it.
func precisely(t time.Time) string { return t.Local().Format("2006-01-02 15:04:05.000000") }

func (p *restorePlan) write(w io.Writer) {
	fmt.Fprintf(w, "restore %s to %s, into %s\n", p.Database, p.To, p.Target)
	fmt.Fprintf(w, "  base   snapshot %s of %s, %s\n", p.Snapshot, precisely(p.BaseAt), bytesText(p.Base))
	fmt.Fprintf(w, "  log    %s, %s of transactions\n", bytesText(p.Log), short(time.Duration(p.Span*float64(time.Second))))
	fmt.Fprintf(w, "  last   transaction %d, captured %s\n", p.Last, precisely(p.LastAt))
	switch {
	case p.Next == 0:
		fmt.Fprintf(w, "  next   none is known\n")
	case p.Blind:
		fmt.Fprintf(w, "  next   transaction %d, which is all that was committed while nobody watched, until %s\n", p.Next, precisely(p.NextAt))
	default:
		fmt.Fprintf(w, "  next   transaction %d, captured %s, is left out\n", p.Next, precisely(p.NextAt))
	}
	if p.Expected > 0 {
		fmt.Fprintf(w, "  takes  %s, after the last drill\n", short(time.Duration(p.Expected*float64(time.Second))))
	} else {
		fmt.Fprintf(w, "  takes  nobody knows: no drill has measured it\n")
	}
}

// showPlan shows the plan beside the result.
func (v *restoreByName) showPlan(p *restorePlan) {
	if !v.json {
		p.write(v.Err)
	}
}

func (v *restoreByName) restore(ctx context.Context, r *trivet.DatabaseRestore, plan *restorePlan) error {
	progress := &backup.Progress{}
	line := liveLine{w: v.Err, off: v.json}
	done := make(chan struct{})
	shown := make(chan struct{})
	go func() { // until done, which is waited for
		defer close(shown)
		tick := time.NewTicker(lookEvery)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				s := progress.Look()
				line.show(fmt.Sprintf("restoring  %s of about %s", bytesText(s.Bytes), bytesText(s.TotalBytes)))
			case <-done:
				return
			}
		}
	}()
	began := time.Now()
	restored, err := r.Restore(ctx, plan.Target, progress)
	close(done)
	<-shown
	line.clear()
	if err != nil {
		return fail(err, "nothing was left at "+plan.Target)
	}
	plan.Restored, plan.Applied, plan.Took = restored.Bytes, restored.Applied, time.Since(began).Seconds()
	return v.result(plan, func(w io.Writer) {
		fmt.Fprintf(w, "%s is %s as it was after transaction %d, captured %s: %s, %s replayed, found sound, in %s\n", plan.Target, plan.Database,
			plan.Last, precisely(plan.LastAt), bytesText(plan.Restored), plural(plan.Applied, "transaction"), short(time.Since(began)))
	})
}
