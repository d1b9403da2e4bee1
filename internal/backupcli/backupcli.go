// Package backupcli answers the verbs about backups: backup, restore, snapshots, ls, find, diff, dump, verify, forget, prune,
// copy, mount, tag and repo, one file per verb. Results go to the standard output, talk and progress to the standard error.
//
// It understands restic's environment and most of its flags, so that scripts go on. It never ends the process, never
// prints a secret, and never deletes anything before it has said what, and was told to.
package backupcli

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"
)

// Commands are the verbs, in the order of help. Version is written into snapshots. A persistent flag --json of the
// root is honoured.
func Commands(version string) []*cobra.Command {
	v := &verbs{version: version}
	return []*cobra.Command{
		v.backup(), v.restore(), v.snapshots(), v.ls(), v.find(), v.diff(), v.dump(), v.verify(), v.forget(), v.prune(), v.copy(), v.mount(), v.tag(), v.repo(),
	}
}

// verbs is what all verbs know.
type verbs struct{ version string }

// Exit codes.
const (
	exitFailed  = 1
	exitUsage   = 2
	exitPartial = 3
)

// Problem is an error for a person: what is wrong, what to do about it, and the exit code.
type Problem struct {
	message string
	hint    string
	code    int
	cause   error
}

// Error is what is wrong; empty if all has been said already.
func (p *Problem) Error() string { return p.message }

// Unwrap is the cause.
func (p *Problem) Unwrap() error { return p.cause }

// Hint is what to do about it; maybe empty.
func (p *Problem) Hint() string { return p.hint }

// ExitCode is 1 for a failure, 2 for wrong usage, 3 if a part was done.
func (p *Problem) ExitCode() int { return p.code }

// usage is an error in the command line.
func usage(hint, format string, args ...any) error {
	return &Problem{message: fmt.Sprintf(format, args...), hint: hint, code: exitUsage}
}

// partly is for work of which some is missing. What is missing has been said.
func partly(format string, args ...any) error {
	return &Problem{message: fmt.Sprintf(format, args...), code: exitPartial}
}

// hinted adds what to do to an error.
func hinted(err error, hint string) error {
	var p *Problem
	if err == nil || errors.As(err, &p) {
		return err
	}
	return &Problem{message: err.Error(), hint: hint, code: exitFailed, cause: err}
}

// exactly wants as many arguments as there are names.
func exactly(names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) < len(names):
			return usage("write "+cmd.UseLine(), "lacks %s", names[len(args)])
		case len(args) > len(names):
			return usage("write "+cmd.UseLine(), "does not know what to do with %q", args[len(names)])
		}
		return nil
	}
}

// atLeast wants an argument for each name.
func atLeast(names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) < len(names) {
			return usage("write "+cmd.UseLine(), "lacks %s", names[len(args)])
		}
		return nil
	}
}

// group is a verb that has verbs of its own.
func group(cmd *cobra.Command) *cobra.Command {
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if len(args) > 0 {
			return usage("see "+cmd.CommandPath()+" --help", "there is no %q", cmd.CommandPath()+" "+args[0])
		}
		return nil
	}
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	return cmd
}
