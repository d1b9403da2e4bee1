package apitest

import (
	"slices"
	"time"

	"github.com/trivet-ha/trivet/api"
)

// backupsOf are the backups of every node: one that is fine, and one that fails at one of its places.
func backupsOf(started time.Time) []api.Backup {
	return []api.Backup{
		{
			Job: "uploads@vault", Kind: "backup", Name: "uploads", Repository: "vault", Schedule: "every 1h0m0s", State: "idle",
			Began: started, Ended: started.Add(90 * time.Second), Succeeded: started, Next: started.Add(time.Hour),
			Outcome: api.BackupOutcome{Text: "snapshot 12345678: 1000 files, 5000000 bytes, 20 new, 10 stored", Snapshot: "1234567812345678", Files: 1000, Bytes: 5_000_000, Added: 20, Stored: 10},
		},
		{
			Job: "uploads@offsite", Kind: "backup", Name: "uploads", Repository: "offsite", Schedule: "every 1h0m0s", State: "idle",
			Began: started, Ended: started.Add(time.Second), Error: "connect: connection refused", Failures: 3, Overdue: true,
		},
		{Job: "verify:vault", Kind: "verify", Repository: "vault", Schedule: "0 4 * * sun", State: "idle"},
	}
}

// Backups implements api.Backupper.
func (n *Node) Backups(name string) ([]api.Backup, error) { return n.backupsAt(name, "", nil) }

// StartBackup implements api.Backupper. What is started has ended at the next look.
func (n *Node) StartBackup(name, repository string) ([]api.Backup, error) {
	return n.backupsAt(name, repository, func(b *api.Backup) { b.Run++; b.State = "running"; b.Progress = &api.BackupProgress{Files: 10} })
}

// StopBackup implements api.Backupper.
func (n *Node) StopBackup(name, repository string) ([]api.Backup, error) {
	return n.backupsAt(name, repository, func(b *api.Backup) { b.State, b.Progress = "idle", nil })
}

func (n *Node) backupsAt(name, repository string, change func(*api.Backup)) ([]api.Backup, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	var found []api.Backup
	for i := range n.backups {
		b := &n.backups[i]
		if name != "" && b.Name != name || repository != "" && b.Repository != repository {
			continue
		}
		if change != nil {
			n.calls++
			change(b)
		}
		found = append(found, *b)
		if change == nil && b.State == "running" {
			b.State, b.Done, b.Progress = "idle", b.Run, nil
		}
	}
	if len(found) == 0 && name != "" {
		return nil, api.NotFound("there is no backup \""+name+"\"", "there are uploads")
	}
	return slices.Clone(found), nil
}
