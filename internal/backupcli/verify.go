package backupcli

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"github.com/spf13/cobra"

	"github.com/trivet-ha/trivet/backup"
	"github.com/trivet-ha/trivet/backup/repository"
)

// verifyVerb is the state of `trivet verify` and `trivet repo check`.
type verifyVerb struct {
	place
	data     string
	rotate   uint
	readData bool
	chain    bool
}

func (v *verbs) verify() *cobra.Command {
	c := &verifyVerb{}
	cmd := &cobra.Command{
		Use:   "verify --repo REPO",
		Short: "Check that everything in a repository is there, and readable",
		Long: `Verify looks at every index, pack, snapshot and directory, and that all that they need is there. With --data it
also reads a share of the stored data, and opens and hashes every blob in it; with --rotate N another Nth part each time, so
that N runs read everything. It also looks for snapshots that were removed by somebody else.`,
		Example: "  trivet verify -r /mnt/disk/repo -p pw --data all\n  trivet verify -r s3://backups/web -p pw --rotate 30",
		Args:    exactly(),
	}
	c.install(cmd)
	return cmd
}

// check is restic's name for it.
func (v *verbs) check() *cobra.Command {
	c := &verifyVerb{}
	cmd := &cobra.Command{
		Use:     "check --repo REPO",
		Example: "  trivet repo check -r /mnt/disk/repo -p pw",
		Short:   "The same as trivet verify, with the flags of restic check",
		Args:    exactly(),
	}
	c.install(cmd)
	return cmd
}

func (c *verifyVerb) install(cmd *cobra.Command) {
	cmd.RunE = c.withRepository(c.run)
	c.place.flags(cmd)
	f := cmd.Flags()
	f.StringVar(&c.data, "data", "", "share of the data to read: all, 5% (at random), 2/7 (the second seventh)")
	f.StringVar(&c.data, "read-data-subset", "", "restic's name of --data")
	f.BoolVar(&c.readData, "read-data", false, "restic's name of --data all")
	f.UintVar(&c.rotate, "rotate", 0, "read another Nth of the data each time")
	f.BoolVar(&c.chain, "chain", true, "look for snapshots that were removed by somebody else")
}

func (c *verifyVerb) run(cmd *cobra.Command, repo *opened, _ []string) error {
	share, remember, err := c.share(repo)
	if err != nil {
		return err
	}
	progress := &backup.Progress{}
	d := show(cmd, progress, c.quiet)
	var mu sync.Mutex
	last := int64(0)
	stats, err := repo.Check(cmd.Context(), repository.CheckOptions{Data: share, Progress: func(_, _ int, bytes int64) {
		mu.Lock()
		defer mu.Unlock()
		progress.Done(0, bytes-last)
		last = bytes
	}}, func(p repository.Problem) {
		if p.Harmless() {
			if !c.quiet {
				d.say("note: %v", p)
			}
			return
		}
		d.say("damage: %v", p)
	})
	d.end()
	if err != nil {
		return err
	}
	gaps, err := c.checkChain(cmd, repo)
	if err != nil {
		return err
	}
	if err := c.summary(cmd, stats, gaps); err != nil {
		return err
	}
	if stats.Problems > 0 {
		return &Problem{message: plural(stats.Problems, "problem") + " found", hint: "back up again with --force to store what is missing and still exists; \"trivet repo repair-index\" helps if only the index is damaged", code: exitFailed}
	}
	if gaps > 0 {
		return &Problem{message: plural(gaps, "snapshot") + " removed by somebody else", hint: "if that was stock restic, all is well", code: exitFailed}
	}
	return remember()
}

// share is what to read, and a function that remembers it for the next turn.
func (c *verifyVerb) share(repo *opened) (repository.Share, func() error, error) {
	nothing := func() error { return nil }
	switch {
	case c.readData:
		return repository.AllData(), nothing, nil
	case c.data != "":
		share, err := repository.ParseShare(c.data)
		if err != nil {
			return share, nothing, usage("write --data all, 5% or 2/7", "%v", err)
		}
		return share, nothing, nil
	case c.rotate == 0:
		return repository.Share{}, nothing, nil
	}
	file := repo.CachePath("verify-rotation")
	if file == "" {
		return repository.Share{}, nothing, usage("leave --no-cache out, or say which part: --data 2/7", "--rotate has no place to remember its turn")
	}
	var turn struct{ Part, Of uint }
	if text, err := os.ReadFile(file); err == nil {
		_ = json.Unmarshal(text, &turn) // unreadable: begin with the first part
	}
	turn.Part = turn.Part%c.rotate + 1
	if turn.Of != c.rotate {
		turn.Part, turn.Of = 1, c.rotate
	}
	return repository.Share{Part: turn.Part, Of: turn.Of}, func() error {
		text, err := json.Marshal(turn)
		if err == nil {
			err = os.MkdirAll(filepath.Dir(file), 0o700)
		}
		if err == nil {
			err = os.WriteFile(file, text, 0o600)
		}
		if err != nil {
			return fmt.Errorf("remember the turn: %w", err)
		}
		return nil
	}, nil
}

// chainHead is the end of the chain of snapshots, as it was seen here last.
const chainHead = "chain-head"

// checkChain looks for removed snapshots, since the first one and since the last look from this machine.
func (c *verifyVerb) checkChain(cmd *cobra.Command, repo *opened) (gaps int, err error) {
	if !c.chain {
		return 0, nil
	}
	var known repository.ChainHead
	file := repo.CachePath(chainHead)
	if file != "" {
		if text, err := os.ReadFile(file); err == nil {
			_ = json.Unmarshal(text, &known) // unreadable: begin anew
		}
	}
	found, head, err := repo.VerifyChain(cmd.Context(), known)
	if err != nil {
		return 0, err
	}
	for _, g := range found {
		say(cmd, "gap: %v", g)
	}
	if file != "" && len(found) == 0 {
		if text, err := json.Marshal(head); err == nil {
			_ = os.MkdirAll(filepath.Dir(file), 0o700)
			_ = os.WriteFile(file, text, 0o600) // the next look begins at the beginning, if this fails
		}
	}
	return len(found), nil
}

func (c *verifyVerb) summary(cmd *cobra.Command, s repository.CheckStats, gaps int) error {
	if asJSON(cmd) {
		return writeJSON(cmd.OutOrStdout(), map[string]any{
			"message_type": "summary", "num_errors": s.Problems, "removed_snapshots": gaps, "snapshots": s.Snapshots, "trees": s.Trees, "blobs": s.Blobs,
			"packs": s.Packs, "unused_blobs": s.UnusedBlobs, "packs_read": s.PacksRead, "bytes_read": s.BytesRead,
		})
	}
	if c.quiet && s.Problems == 0 {
		return nil
	}
	out := cmd.OutOrStdout()
	fmt.Fprintf(out, "checked %s, %s, %s in %s\n", plural(s.Snapshots, "snapshot"), plural(s.Trees, "directory"), plural(s.Blobs, "blob"), plural(s.Packs, "pack"))
	if s.PacksRead > 0 {
		fmt.Fprintf(out, "read %s, %s\n", plural(s.PacksRead, "pack"), size(s.BytesRead))
	}
	if s.UnusedBlobs > 0 {
		fmt.Fprintf(out, "%s unused: \"trivet prune\" removes them\n", plural(s.UnusedBlobs, "blob"))
	}
	if s.Problems == 0 && gaps == 0 {
		fmt.Fprintln(out, "no errors found")
	}
	return nil
}
