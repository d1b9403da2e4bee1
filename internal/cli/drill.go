package cli

import (
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/trivet-ha/trivet/api"
)

// drillVerb is `trivet drill NAME`. A drill is a job of the running Trivet, or of this process, as a backup is.
type drillVerb struct{ backupByName }

func (e *env) drillCommand() *cobra.Command {
	v := &drillVerb{backupByName{env: e}}
	c := &cobra.Command{
		Use:   "drill NAME...",
		Short: "Rehearse a recovery: restore, open, check, measure, throw away",
		Long: `Drill does a drill of the configuration file now: the database is restored into a scratch folder, opened by the real
engine, checked with its own check and with the drill's queries, and thrown away. How long that took, and how much would have been lost,
is kept. The running Trivet does it; if none runs, say --config FILE. The exit code is 1 if the drill failed.`,
		Example: "  trivet drill restore-shop\n  trivet drill restore-shop --config trivet.yaml",
		Args:    cobra.MinimumNArgs(1),
		RunE:    v.run,
	}
	c.Flags().StringVarP(&v.file, "config", "c", "", "the configuration file, when no Trivet runs")
	v.flags(c)
	return c
}

func (v *drillVerb) run(cmd *cobra.Command, names []string) error {
	ctx := cmd.Context()
	maker, end, err := v.maker(ctx)
	if err != nil {
		return err
	}
	var list []api.Backup
	for _, name := range names {
		some, err := maker.StartBackup(ctx, "drill:"+name, "")
		if err != nil {
			_ = end()
			return err
		}
		list = append(list, some...)
	}
	list, err = v.follow(ctx, maker, list)
	if eerr := end(); err == nil {
		err = eerr
	}
	if err != nil {
		return err
	}
	if err := v.result(list, func(w io.Writer) { v.write(w, list) }); err != nil {
		return err
	}
	return verdictOf(list)
}

func (v *drillVerb) write(w io.Writer, list []api.Backup) {
	for i := range list {
		b := &list[i]
		switch {
		case b.Error != "":
			v.say("%s failed: %s", b.Job, b.Error)
		case b.Done < b.Run:
			v.say("%s: stopped before it began", b.Job)
		default:
			fmt.Fprintf(w, "%s passed: %s\n", b.Job, b.Outcome.Text)
		}
	}
}

// writeDatabases shows how far databases are durable.
func writeDatabases(w io.Writer, p painter, list []api.Database, now time.Time) {
	var t table
	t.heading("DATABASE", "REPOSITORY", "STATE", ">LAG", ">POSITION", "DURABLE", "WHY")
	for i := range list {
		d := &list[i]
		state := cell{text: d.State, color: green}
		if d.Error != "" {
			state.color = red
		}
		durable := "-"
		if !d.Durable.IsZero() {
			durable = ago(max(0, now.Sub(d.Durable))) + " ago"
		}
		t.row(text(d.Name), text(d.Repository), state, cell{text: short(time.Duration(d.Lag * float64(time.Millisecond))), right: true},
			cell{text: fmt.Sprint(d.Position), right: true}, text(durable), cell{text: firstLine(d.Error), color: dim})
	}
	t.write(w, p)
}
