package api

import (
	"context"
	"net/http"
	"net/url"
	"time"
)

// Backupper makes backups.
type Backupper interface {
	// Backups returns those of a name, one for each of its repositories; or all, with what looks after repositories, if the
	// name is empty.
	Backups(name string) ([]Backup, error)
	// StartBackup begins those of a name, or the one of a repository, and does not wait for their end.
	StartBackup(name, repository string) ([]Backup, error)
	// StopBackup stops them, if they run.
	StopBackup(name, repository string) ([]Backup, error)
}

// Backup is something done to a repository, on a schedule or when it is asked for.
type Backup struct {
	Job        string `json:"job"`            // NAME@REPOSITORY, prune:REPOSITORY or verify:REPOSITORY
	Kind       string `json:"kind"`           // backup, prune or verify
	Name       string `json:"name,omitempty"` // of the backup
	Repository string `json:"repository"`
	Schedule   string `json:"schedule,omitempty"` // "" is by command only
	// State is idle, waiting (for the repository, which one job uses at a time) or running.
	State string `json:"state"`
	// Run is the number of the run that is under way, or else of the last; since the process began, from 1. Done is the number of
	// the last run that has ended, which the fields below are about; those of before a restart have none.
	Run       uint64    `json:"run"`
	Done      uint64    `json:"done"`
	Joined    bool      `json:"joined,omitempty"` // the answer to a start: it was under way already
	Began     time.Time `json:"began,omitzero"`   // the last run
	Ended     time.Time `json:"ended,omitzero"`   // zero while it runs
	Succeeded time.Time `json:"succeeded,omitzero"`
	Next      time.Time `json:"next,omitzero"`
	// Error is why the last run failed; "" if it did not. Failures are those in a row.
	Error    string `json:"error,omitempty"`
	Failures int    `json:"failures,omitempty"`
	Overdue  bool   `json:"overdue,omitempty"` // it has failed for more than two regular times
	// Outcome is what came of the last successful run.
	Outcome  BackupOutcome   `json:"outcome"`
	Progress *BackupProgress `json:"progress,omitempty"` // while it runs
}

// BackupOutcome is what came of a run.
type BackupOutcome struct {
	Text     string         `json:"text,omitempty"`
	Partial  bool           `json:"partial,omitempty"`  // some files could not be saved
	Snapshot string         `json:"snapshot,omitempty"` // "" if nothing had changed and none was made
	Files    int64          `json:"files"`
	Bytes    int64          `json:"bytes"`
	Added    int64          `json:"added"`  // bytes that the repository did not have
	Stored   int64          `json:"stored"` // bytes that those came to
	Missing  int            `json:"missing,omitempty"`
	Notices  []BackupNotice `json:"notices,omitempty"`
	Damage   string         `json:"damage,omitempty"` // of the repository, found by a verification
}

// BackupNotice is something unusual about a backup.
type BackupNotice struct {
	Kind string `json:"kind"` // shrunk, grown, rewritten, scrambled, empty or removed
	Text string `json:"text"`
}

// BackupProgress is how far a run is.
type BackupProgress struct {
	Files      int64   `json:"files"`
	Bytes      int64   `json:"bytes"`
	TotalFiles int64   `json:"total_files,omitempty"` // as many as the last time; 0 is not known
	TotalBytes int64   `json:"total_bytes,omitempty"`
	Problems   int64   `json:"problems,omitempty"`
	Elapsed    float64 `json:"elapsed_ms"`
	Current    string  `json:"current,omitempty"`
}

// Backups asks how the backups of a name stand, or all if it is empty.
func (c *Client) Backups(ctx context.Context, name string) ([]Backup, error) {
	path := "/v1/backups"
	if name != "" {
		path += "/" + url.PathEscape(name)
	}
	return ask[[]Backup](ctx, c, http.MethodGet, path, nil)
}

// StartBackup has a backup made: into all of its repositories, or into one. It returns how they stand at once; the backup goes on.
func (c *Client) StartBackup(ctx context.Context, name, repository string) ([]Backup, error) {
	return ask[[]Backup](ctx, c, http.MethodPost, backupPath(name, repository), nil)
}

// StopBackup stops a backup that runs.
func (c *Client) StopBackup(ctx context.Context, name, repository string) ([]Backup, error) {
	return ask[[]Backup](ctx, c, http.MethodDelete, backupPath(name, repository), nil)
}

func backupPath(name, repository string) string {
	path := "/v1/backups/" + url.PathEscape(name)
	if repository != "" {
		path += "?repository=" + url.QueryEscape(repository)
	}
	return path
}

func (h handler) backups(r *http.Request) (any, error) {
	list, err := h.node.Backups(r.PathValue("name"))
	return append([]Backup{}, list...), err
}

func (h handler) startBackup(r *http.Request) (any, error) {
	return h.node.StartBackup(r.PathValue("name"), r.URL.Query().Get("repository"))
}

func (h handler) stopBackup(r *http.Request) (any, error) {
	return h.node.StopBackup(r.PathValue("name"), r.URL.Query().Get("repository"))
}
