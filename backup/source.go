package backup

import (
	"context"
	"fmt"

	"github.com/trivet-ha/trivet/backup/repository"
)

// Source is something that can be saved: a set of files, a database. Its present state becomes a tree in a
// repository.
//
// Beyond these two methods, a source may implement Committer and Tagger.
type Source interface {
	// Paths are the paths that the snapshot lists, absolute; they and the host tell which snapshots are of
	// the same source.
	Paths() []string
	// Save stores the present state through the writer and returns its root. What can be left out without a lie (a file
	// that may not be read) is reported and left out; any other failure is an error.
	Save(ctx context.Context, t Target) (Saved, error)
}

// Committer is a Source that keeps something for its next run.
type Committer interface {
	// Committed is called after the snapshot of the last Save is in the repository and was read back.
	Committed(ctx context.Context, snapshot *repository.Snapshot) error
}

// Tagger is a Source that marks its snapshots.
type Tagger interface {
	// Tags are those of the snapshot of the last Save, besides those of Options.
	Tags() []string
}

// Target is where a Source saves to, and how it tells about it.
type Target struct {
	Repository *repository.Repository
	Writer     *repository.Writer
	// Parent finds the snapshot to compare with, for a source that kept nothing better for itself: nil if there
	// is none. It reads the list of snapshots.
	Parent func(context.Context) (*repository.Snapshot, error)
	// Fresh forbids to compare with anything: everything is read.
	Fresh bool
	// Progress counts what is done.
	Progress *Progress
	// Report hears of each problem, maybe from several goroutines at once.
	Report func(Problem)
}

// Saved is what Source.Save did.
type Saved struct {
	Tree repository.ID
	// Parent is the snapshot that was compared with; zero if there was none.
	Parent repository.ID
	// Summary has the counts of files and directories; the rest is filled in by the caller.
	Summary repository.Summary
}

// Severity says how bad a Problem is.
type Severity uint8

const (
	// Note: nothing is lost that could have been saved (a socket, a file that changed while it was read).
	Note Severity = iota
	// Missing: the snapshot lacks something that it should have. The backup is partly done.
	Missing
)

// Problem is something that a person should know.
type Problem struct {
	Severity Severity
	Path     string
	Err      error
}

// Error is the problem for people.
func (p Problem) Error() string { return fmt.Sprintf("%s: %v", p.Path, p.Err) }

// Unwrap returns the cause.
func (p Problem) Unwrap() error { return p.Err }
