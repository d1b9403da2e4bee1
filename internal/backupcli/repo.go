package backupcli

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/trivet-ha/trivet/backup/repository"
	"github.com/trivet-ha/trivet/backup/store"
)

func (v *verbs) repo() *cobra.Command {
	cmd := group(&cobra.Command{Use: "repo", Short: "Make a repository; its passwords, locks and figures"})
	cmd.AddCommand(v.repoInit(), v.repoKey(), v.check(), v.repoUnlock(), v.repoStats(), v.repoRepair())
	return cmd
}

func (v *verbs) repoInit() *cobra.Command {
	var p place
	cmd := &cobra.Command{
		Use:   "init --repo REPO",
		Short: "Make a new repository",
		Long: `Init makes a new, empty repository in restic's format, version 2, sealed with a new key that the password opens. Whoever
loses all passwords loses the backups.`,
		Example: "  trivet repo init -r /mnt/disk/repo -p pw",
		Args:    exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			location, err := p.where()
			if err != nil {
				return err
			}
			options, err := p.options()
			if err != nil {
				return err
			}
			password, err := p.password(cmd, "password of the new repository", true)
			if err != nil {
				return err
			}
			st, err := p.openStore(cmd, location, true)
			if err != nil {
				return err
			}
			defer closeStore(st)
			repo, err := repository.Init(cmd.Context(), st, password, repository.InitOptions{Options: options})
			if err != nil {
				return fmt.Errorf("make repository: %w", err)
			}
			defer repo.Close()
			if asJSON(cmd) {
				return writeJSON(cmd.OutOrStdout(), map[string]string{"message_type": "initialized", "id": repo.ID(), "repository": location})
			}
			fmt.Fprintf(cmd.OutOrStdout(), "made repository %s\n", repo.ID()[:10])
			say(cmd, "Keep the password safe: without it nobody can read the backups.")
			return nil
		},
	}
	p.flags(cmd)
	return cmd
}

func (v *verbs) repoUnlock() *cobra.Command {
	var p place
	var all bool
	cmd := &cobra.Command{
		Use:     "unlock --repo REPO",
		Example: "  trivet repo unlock -r /mnt/disk/repo -p pw",
		Short:   "Remove locks that were left behind",
		Args:    exactly(),
	}
	cmd.RunE = p.withRepository(func(cmd *cobra.Command, repo *opened, _ []string) error {
		which := repository.UnlockStale
		if all {
			which = repository.UnlockAll
		}
		n, err := repo.Unlock(cmd.Context(), which)
		if err != nil {
			return err
		}
		if asJSON(cmd) {
			return writeJSON(cmd.OutOrStdout(), map[string]int{"removed": n})
		}
		fmt.Fprintf(cmd.OutOrStdout(), "removed %s\n", plural(n, "lock"))
		locks, err := repo.Locks(cmd.Context())
		for _, l := range locks {
			say(cmd, "held: %v", l)
		}
		return err
	})
	p.flags(cmd)
	cmd.Flags().BoolVar(&all, "remove-all", false, "also remove locks of processes that may still run")
	return cmd
}

func (v *verbs) repoRepair() *cobra.Command {
	var p place
	var readAll bool
	cmd := &cobra.Command{
		Use:     "repair-index --repo REPO",
		Example: "  trivet repo repair-index -r /mnt/disk/repo -p pw",
		Short:   "Make the index anew from the packs that are there",
		Args:    exactly(),
	}
	cmd.RunE = p.withRepository(func(cmd *cobra.Command, repo *opened, _ []string) error {
		s, err := repo.RepairIndex(cmd.Context(), repository.RepairOptions{ReadAllPacks: readAll}, func(pack repository.ID, err error) {
			say(cmd, "pack %s cannot be read: %v", pack.Short(), err)
		})
		if err != nil {
			return err
		}
		if asJSON(cmd) {
			return writeJSON(cmd.OutOrStdout(), s)
		}
		fmt.Fprintf(cmd.OutOrStdout(), "%s indexed: %s added, %s dropped, %s unreadable\n", plural(s.Packs, "pack"), number(s.AddedPacks), number(s.DroppedPacks), number(s.BrokenPacks))
		return nil
	})
	p.flags(cmd)
	cmd.Flags().BoolVar(&readAll, "read-all-packs", false, "take nothing from the old index")
	return cmd
}

// repoFigures are what `trivet repo stats` tells.
type repoFigures struct {
	Snapshots    int    `json:"snapshots"`
	RestoreFiles uint64 `json:"total_file_count"`
	RestoreBytes uint64 `json:"total_size"`
	Blobs        int    `json:"total_blob_count"`
	Packs        int    `json:"packs"`
	StoredBytes  int64  `json:"total_stored_size"`
	IndexFiles   int    `json:"index_files"`
	IndexMemory  int    `json:"index_memory"`
	Version      uint   `json:"version"`
	RepositoryID string `json:"repository_id"`
}

func (v *verbs) repoStats() *cobra.Command {
	var p place
	var filter filterFlags
	cmd := &cobra.Command{
		Use:   "stats --repo REPO [SNAPSHOT...]",
		Short: "Show how much snapshots hold and what they cost",
	}
	cmd.RunE = p.withRepository(func(cmd *cobra.Command, repo *opened, args []string) error {
		f := repoFigures{Version: repo.Config().Version, RepositoryID: repo.ID()}
		list, err := filter.choose(cmd, repo, args)
		if err != nil {
			return err
		}
		f.Snapshots = len(list)
		for _, s := range list {
			if err := addSnapshot(cmd, repo, s, &f); err != nil {
				return err
			}
		}
		x, err := repo.IndexStats(cmd.Context())
		if err != nil {
			return err
		}
		f.Blobs, f.IndexFiles, f.IndexMemory = x.Blobs, x.Files, x.MemoryBytes
		err = repo.store.List(cmd.Context(), store.Pack, "", func(i store.Info) error {
			f.Packs++
			f.StoredBytes += i.SizeBytes
			return nil
		})
		if err != nil {
			return err
		}
		if asJSON(cmd) {
			return writeJSON(cmd.OutOrStdout(), f)
		}
		writeFigures(cmd, f)
		return nil
	})
	p.flags(cmd)
	filter.flags(cmd)
	return cmd
}

// addSnapshot counts what a snapshot would restore: from its summary, or, if it has none, from its trees.
func addSnapshot(cmd *cobra.Command, repo *opened, s *repository.Snapshot, f *repoFigures) error {
	if s.Summary != nil {
		f.RestoreFiles += uint64(s.Summary.TotalFilesProcessed)
		f.RestoreBytes += s.Summary.TotalBytesProcessed
		return nil
	}
	if s.Tree == nil {
		return nil
	}
	return repo.Walk(cmd.Context(), *s.Tree, func(_ string, n *repository.Node) error {
		if n.Type == repository.TypeFile {
			f.RestoreFiles++
			f.RestoreBytes += n.Size
		}
		return nil
	})
}

func writeFigures(cmd *cobra.Command, f repoFigures) {
	out := cmd.OutOrStdout()
	fmt.Fprintf(out, "repository %s, format version %d\n", f.RepositoryID[:min(10, len(f.RepositoryID))], f.Version)
	fmt.Fprintf(out, "%s with %s, %s to restore\n", plural(f.Snapshots, "snapshot"), plural(f.RestoreFiles, "file"), size(f.RestoreBytes))
	fmt.Fprintf(out, "%s in %s, %s stored\n", plural(f.Blobs, "blob"), plural(f.Packs, "pack"), size(f.StoredBytes))
	if f.StoredBytes > 0 && f.RestoreBytes > 0 {
		fmt.Fprintf(out, "%.1f bytes to restore for each byte stored\n", float64(f.RestoreBytes)/float64(f.StoredBytes))
	}
	fmt.Fprintf(out, "%s, %s in memory\n", plural(f.IndexFiles, "index file"), size(f.IndexMemory))
}

func (v *verbs) repoKey() *cobra.Command {
	cmd := group(&cobra.Command{Use: "key", Short: "The passwords of a repository"})
	cmd.AddCommand(v.keyList(), v.keyAdd(), v.keyRemove(), v.keyPasswd())
	return cmd
}

func (v *verbs) keyList() *cobra.Command {
	var p place
	cmd := &cobra.Command{Use: "list --repo REPO", Example: "  trivet repo key list -r /mnt/disk/repo -p pw", Short: "List passwords, by their IDs", Args: exactly()}
	cmd.RunE = p.withRepository(func(cmd *cobra.Command, repo *opened, _ []string) error {
		keys, err := repo.Keys(cmd.Context())
		if err != nil {
			return err
		}
		if asJSON(cmd) {
			out := []map[string]any{}
			for _, k := range keys {
				out = append(out, map[string]any{"current": k.Current, "id": k.ID, "userName": k.Username, "hostName": k.Hostname, "created": k.Created})
			}
			return writeJSON(cmd.OutOrStdout(), out)
		}
		t := newTable("", "ID", "User", "Host", "Created")
		for _, k := range keys {
			mark := ""
			if k.Current {
				mark = "*"
			}
			t.row(mark, k.ID.Short(), printable(k.Username), printable(k.Hostname), moment(k.Created))
		}
		t.write(cmd.OutOrStdout())
		return nil
	})
	p.flags(cmd)
	return cmd
}

// newPassword reads the password that is to be added.
func newPassword(cmd *cobra.Command, file string) (string, error) {
	if file != "" {
		return readPassword(file)
	}
	if text := os.Getenv("TRIVET_NEW_PASSWORD"); text != "" {
		return text, nil
	}
	return askPassword(cmd, "new password", true)
}

func (v *verbs) keyAdd() *cobra.Command {
	var p place
	var file, host, user string
	cmd := &cobra.Command{Use: "add --repo REPO --new-password-file FILE", Example: "  trivet repo key add -r /mnt/disk/repo -p pw --new-password-file pw2", Short: "Add a password", Args: exactly()}
	cmd.RunE = p.withRepository(func(cmd *cobra.Command, repo *opened, _ []string) error {
		password, err := newPassword(cmd, file)
		if err != nil {
			return err
		}
		id, err := repo.AddKey(cmd.Context(), password, repository.KeyOptions{Hostname: host, Username: user})
		if err != nil {
			return err
		}
		return keyResult(cmd, "added", id)
	})
	p.flags(cmd)
	cmd.Flags().StringVar(&file, "new-password-file", "", "file with the new password ($TRIVET_NEW_PASSWORD holds it otherwise)")
	cmd.Flags().StringVar(&host, "host", "", "machine that the password is for")
	cmd.Flags().StringVar(&user, "user", "", "user that the password is for")
	return cmd
}

func keyResult(cmd *cobra.Command, what string, id repository.ID) error {
	if asJSON(cmd) {
		return writeJSON(cmd.OutOrStdout(), map[string]any{what: id})
	}
	_, err := fmt.Fprintf(cmd.OutOrStdout(), "%s key %s\n", what, id.Short())
	return err
}

func (v *verbs) keyPasswd() *cobra.Command {
	var p place
	var file string
	cmd := &cobra.Command{Use: "passwd --repo REPO --new-password-file FILE", Example: "  trivet repo key passwd -r /mnt/disk/repo -p pw --new-password-file pw2", Short: "Change the password in use", Args: exactly()}
	cmd.RunE = p.withRepository(func(cmd *cobra.Command, repo *opened, _ []string) error {
		password, err := newPassword(cmd, file)
		if err != nil {
			return err
		}
		id, err := repo.ChangePassword(cmd.Context(), password, repository.KeyOptions{})
		if err != nil {
			return err
		}
		return keyResult(cmd, "changed to", id)
	})
	p.flags(cmd)
	cmd.Flags().StringVar(&file, "new-password-file", "", "file with the new password ($TRIVET_NEW_PASSWORD holds it otherwise)")
	return cmd
}

func (v *verbs) keyRemove() *cobra.Command {
	var p place
	cmd := &cobra.Command{
		Use:     "remove --repo REPO ID",
		Example: "  trivet repo key remove -r /mnt/disk/repo -p pw 5f3a",
		Short:   "Remove a password",
		Long:    "Remove removes a password. Who copied the repository and the key file, or once opened it, can still read what was stored by then.",
		Args:    exactly("ID"),
	}
	cmd.RunE = p.withRepository(func(cmd *cobra.Command, repo *opened, args []string) error {
		keys, err := repo.Keys(cmd.Context())
		if err != nil {
			return err
		}
		var found []repository.ID
		for _, k := range keys {
			if len(args[0]) >= 4 && len(args[0]) <= 64 && k.ID.String()[:len(args[0])] == args[0] {
				found = append(found, k.ID)
			}
		}
		if len(found) != 1 {
			return hinted(fmt.Errorf("%s match %q", plural(len(found), "key"), args[0]), `"trivet repo key list" lists them`)
		}
		if err := repo.RemoveKey(cmd.Context(), found[0]); err != nil {
			return err
		}
		return keyResult(cmd, "removed", found[0])
	})
	p.flags(cmd)
	return cmd
}
