package cli

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/trivet-ha/trivet/api"
	"github.com/trivet-ha/trivet/config"
	"github.com/trivet-ha/trivet/internal/backupcli"
)

// problem is an error for a person: what is wrong, what to do, and the exit code. Without a message it only ends with the
// code: everything has been said.
type problem struct {
	message string
	hint    string
	code    int
	cause   error
}

func (p *problem) Error() string { return p.message }

func (p *problem) Unwrap() error { return p.cause }

// usage is an error in the command line itself.
func usage(message, hint string) error {
	return &problem{message: message, hint: hint, code: exitUsage}
}

// fail is an error with what to do about it.
func fail(err error, hint string) error {
	return &problem{message: err.Error(), hint: hint, code: exitFailed, cause: err}
}

// exit ends with a code after everything has been said.
func exit(code int) error {
	if code == exitFine {
		return nil
	}
	return &problem{code: code}
}

// explained turns any error into a problem.
func explained(err error) *problem {
	var known *problem
	var answer *api.Error
	var invalid config.Errors
	var backup *backupcli.Problem
	switch {
	case errors.As(err, &known):
		return known
	case errors.As(err, &backup):
		return &problem{message: backup.Error(), hint: backup.Hint(), code: backup.ExitCode(), cause: err}
	case errors.As(err, &answer) && len(answer.Problems) > 0:
		return &problem{message: answer.Error(), hint: answer.Hint, code: exitUsage, cause: err}
	case errors.As(err, &answer):
		return &problem{message: answer.Message, hint: answer.Hint, code: exitFailed, cause: err}
	case errors.As(err, &invalid):
		return &problem{message: invalid.Error(), code: exitUsage, cause: err}
	default:
		return &problem{message: err.Error(), code: exitFailed, cause: err}
	}
}

// report writes the error of a command, if there is one, and gives the exit code.
func (e *env) report(cmd *cobra.Command, err error) int {
	if err == nil {
		return exitFine
	}
	p := explained(err)
	switch {
	case p.message == "":
	case e.json:
		text, _ := json.Marshal(map[string]string{"error": p.message, "hint": p.hint}) // texts always marshal
		fmt.Fprintf(e.Err, "%s\n", text)
	default:
		name := "trivet"
		if v := verb(cmd); v != "" {
			name += ": " + v
		}
		fmt.Fprintf(e.Err, "%s: %s\n", name, p.message)
		if p.hint != "" {
			fmt.Fprintf(e.Err, "hint: %s\n", p.hint)
		}
	}
	return p.code
}
