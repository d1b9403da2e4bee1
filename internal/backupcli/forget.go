package backupcli

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/trivet-ha/trivet/backup/repository"
	"github.com/trivet-ha/trivet/backup/retention"
)

// forgetVerb is the state of `trivet forget`.
type forgetVerb struct {
	place
	filterFlags
	keep   keepFlags
	by     string
	dryRun bool
	yes    bool
	prune  bool
	pruneFlags
}

// keepFlags say what to keep.
type keepFlags struct {
	last, hourly, daily, weekly, monthly, yearly        string
	within, withinH, withinD, withinW, withinM, withinY string
	tags                                                []string
}

func (v *verbs) forget() *cobra.Command {
	g := &forgetVerb{}
	cmd := &cobra.Command{
		Use:   "forget --repo REPO [SNAPSHOT...]",
		Short: "Remove snapshots by name, or all but those that rules keep",
		Long: `Forget removes the snapshots named, or applies rules to those of each host and set of paths and removes what no
rule keeps. The data stays until "trivet prune", or --prune here. The plan is shown, and confirmed, first.`,
		Example: "  trivet forget -r /mnt/disk/repo -p pw --keep-daily 7 --keep-weekly 5 --keep-monthly 12 --prune\n  trivet forget -r /mnt/disk/repo -p pw 1f3a92bc",
	}
	cmd.RunE = g.withRepository(g.run)
	g.place.flags(cmd)
	g.filterFlags.flags(cmd)
	f := cmd.Flags()
	k := &g.keep
	for _, c := range []struct {
		name, short string
		to          *string
		help        string
	}{
		{"last", "l", &k.last, "the last N"}, {"hourly", "", &k.hourly, "the last of each of N hours"}, {"daily", "d", &k.daily, "the last of each of N days"},
		{"weekly", "w", &k.weekly, "the last of each of N weeks"}, {"monthly", "m", &k.monthly, "the last of each of N months"}, {"yearly", "y", &k.yearly, "the last of each of N years"},
	} {
		f.StringVarP(c.to, "keep-"+c.name, c.short, "", "keep "+c.help+`; "unlimited" for all`)
	}
	f.StringVar(&k.within, "keep-within", "", "keep all within a span before the newest: 7d, 1y6m")
	f.StringVar(&k.withinH, "keep-within-hourly", "", "keep the last of each hour within a span")
	f.StringVar(&k.withinD, "keep-within-daily", "", "keep the last of each day within a span")
	f.StringVar(&k.withinW, "keep-within-weekly", "", "keep the last of each week within a span")
	f.StringVar(&k.withinM, "keep-within-monthly", "", "keep the last of each month within a span")
	f.StringVar(&k.withinY, "keep-within-yearly", "", "keep the last of each year within a span")
	f.StringArrayVar(&k.tags, "keep-tag", nil, "keep those with all of these tags; may be repeated")
	f.StringVarP(&g.by, "group-by", "g", "host,paths", "what belongs together: host, paths, tags")
	f.BoolVarP(&g.dryRun, "dry-run", "n", false, "show the plan and change nothing")
	f.BoolVar(&g.yes, "yes", false, "do not ask")
	f.BoolVar(&g.prune, "prune", false, "prune when snapshots were removed")
	g.pruneFlags.flags(cmd)
	return cmd
}

func (k *keepFlags) policy() (retention.Policy, error) {
	p := retention.Policy{}
	for _, c := range []struct {
		text string
		to   *int
	}{{k.last, &p.Last}, {k.hourly, &p.Hourly}, {k.daily, &p.Daily}, {k.weekly, &p.Weekly}, {k.monthly, &p.Monthly}, {k.yearly, &p.Yearly}} {
		switch c.text {
		case "":
		case "unlimited", "-1":
			*c.to = retention.All
		default:
			if n, err := fmt.Sscanf(c.text, "%d", c.to); n != 1 || err != nil || *c.to < 0 {
				return p, usage(`write a number, or "unlimited"`, "%q is no number of snapshots", c.text)
			}
		}
	}
	for _, s := range []struct {
		text string
		to   *retention.Span
	}{
		{k.within, &p.Within}, {k.withinH, &p.WithinHourly}, {k.withinD, &p.WithinDaily}, {k.withinW, &p.WithinWeekly}, {k.withinM, &p.WithinMonthly}, {k.withinY, &p.WithinYearly},
	} {
		if s.text == "" {
			continue
		}
		span, err := retention.ParseSpan(s.text)
		if err != nil {
			return p, usage("", "%v", err)
		}
		*s.to = span
	}
	for _, list := range k.tags {
		p.Tags = append(p.Tags, splitTags([]string{list}))
	}
	return p, p.Check()
}

func (g *forgetVerb) run(cmd *cobra.Command, repo *opened, args []string) error {
	policy, err := g.keep.policy()
	if err != nil {
		return err
	}
	var doomed []*repository.Snapshot
	switch {
	case len(args) > 0 && !policy.Empty():
		return usage("name snapshots, or give rules", "snapshots and rules do not go together")
	case len(args) > 0:
		if doomed, err = g.choose(cmd, repo, args); err != nil {
			return err
		}
		for _, s := range doomed {
			say(cmd, "remove snapshot %s of %s, host %s, %s", s.ID().Short(), moment(s.Time), printable(s.Hostname), printable(shortPaths(s.Paths)))
		}
	case policy.Empty():
		return usage("add rules like --keep-daily 7, or name snapshots", "nothing says what to keep")
	default:
		if doomed, err = g.byRules(cmd, repo, policy); err != nil {
			return err
		}
	}
	if g.dryRun || len(doomed) == 0 {
		say(cmd, "%s would be removed", plural(len(doomed), "snapshot"))
		return nil
	}
	if err := confirm(cmd, g.yes); err != nil {
		return err
	}
	if err := repo.RemoveSnapshots(cmd.Context(), doomed); err != nil {
		return err
	}
	if asJSON(cmd) {
		if err := writeJSON(cmd.OutOrStdout(), map[string]any{"removed": snapshotsJSON(doomed)}); err != nil {
			return err
		}
	} else {
		fmt.Fprintf(cmd.OutOrStdout(), "removed %s\n", plural(len(doomed), "snapshot"))
	}
	if !g.prune {
		return nil
	}
	o, err := g.pruneOptions()
	if err != nil {
		return err
	}
	return runPrune(cmd, repo, o)
}

// byRules applies the rules to each group and shows what stays, and why.
func (g *forgetVerb) byRules(cmd *cobra.Command, repo *opened, policy retention.Policy) (doomed []*repository.Snapshot, err error) {
	by, err := retention.ParseBy(g.by)
	if err != nil {
		return nil, usage("", "%v", err)
	}
	list, err := g.choose(cmd, repo, nil)
	if err != nil {
		return nil, err
	}
	known := forRetention(list)
	for _, group := range retention.Groups(known, by) {
		members := make([]retention.Snapshot, len(group.Snapshots))
		for i, at := range group.Snapshots {
			members[i] = known[at]
		}
		decisions := retention.Apply(policy, members, time.Now())
		t := newTable("", "ID", "Time", "Tags", "Reasons")
		for i, d := range decisions {
			s := list[group.Snapshots[i]]
			mark := "keep"
			if !d.Keep {
				mark = "remove"
				doomed = append(doomed, s)
			}
			t.row(mark, s.ID().Short(), moment(s.Time), printable(strings.Join(visibleTags(s), ",")), strings.Join(d.Reasons, ", "))
		}
		if !g.quiet {
			fmt.Fprintln(cmd.ErrOrStderr(), groupName(group))
			t.write(cmd.ErrOrStderr())
		}
	}
	return doomed, nil
}
