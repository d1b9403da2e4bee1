package cli

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/trivet-ha/trivet/config"
	"github.com/trivet-ha/trivet/config/lint"
	"github.com/trivet-ha/trivet/internal/plan"
)

// defaultFiles is where the configuration is looked for when none is named.
var defaultFiles = []string{"trivet.yaml", "/etc/trivet/trivet.yaml"}

func (e *env) checkCommand() *cobra.Command {
	strict := false
	cmd := &cobra.Command{
		Use:   "check [FILE]",
		Short: "Say whether a configuration file is right, and what would make it safer",
		Long: `Check reads a configuration file (trivet.yaml here, or else /etc/trivet/trivet.yaml; - is standard
input) and shows everything that is wrong with it. If nothing is, it looks for what would cost
availability: single points of failure, waits without an end, probes that see nothing; each with
why it matters and what to write; certificates that end soon, keys that others can read, and backups on
the disk of what they save. At the end stand the single points of failure, by the downtime a year that
each can be expected to cost (see trivet plan). It connects to nothing.

Exit status: 0 when nothing grave was found, 1 when something was that is marked "error"
(with --strict also "warning"), 2 when the file is not valid.`,
		Example: "  trivet check\n  trivet check --strict shop.yaml\n  trivet check --json shop.yaml | jq '.findings[].rule'",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 1 {
				return usage("takes one file at a time", "write trivet check FILE")
			}
			return nil
		},
		RunE: func(_ *cobra.Command, args []string) error {
			file, err := e.loadFile(args)
			if problems, invalid := config.IsInvalid(err); invalid {
				return e.showInvalid(problems)
			}
			if err != nil {
				return fileProblem(err)
			}
			return e.showFindings(file, slices.Concat(lint.Check(file), lint.Certificates(file, time.Now()), lint.Disks(file), plan.Findings(file)), strict)
		},
	}
	cmd.Flags().BoolVar(&strict, "strict", false, "fail on warnings too")
	return cmd
}

// loadFile reads the configuration that args names, or the default one.
func (e *env) loadFile(args []string) (*config.Config, error) {
	path, err := configPath(args)
	if err != nil {
		return nil, err
	}
	if path != "-" {
		return config.Load(path)
	}
	src, err := io.ReadAll(e.In)
	if err != nil {
		return nil, err
	}
	return config.Parse("standard input", src)
}

// configPath is the file that args names, or the first default file that exists.
func configPath(args []string) (string, error) {
	if len(args) > 0 {
		return args[0], nil
	}
	for _, path := range defaultFiles {
		if _, err := os.Stat(path); err == nil {
			return path, nil
		}
	}
	return "", usage("there is no "+strings.Join(defaultFiles, " and no "), "name the file, or begin with the six lines at the top of docs/reference/configuration.md")
}

// fileProblem is why a file could not be read: wrong usage, as far as the command is concerned.
func fileProblem(err error) error {
	p := explained(err)
	return &problem{message: p.message, hint: p.hint, code: exitUsage, cause: err}
}

// checked is the result of a check, as JSON.
type checked struct {
	Valid    bool           `json:"valid"`
	Errors   config.Errors  `json:"errors"`
	Findings []lint.Finding `json:"findings"`
}

func (e *env) showInvalid(problems config.Errors) error {
	err := e.result(checked{Errors: problems, Findings: []lint.Finding{}}, func(w io.Writer) {
		for i, p := range problems {
			if i > 0 {
				fmt.Fprintln(w)
			}
			fmt.Fprint(w, p.Text())
		}
	})
	if err != nil {
		return err
	}
	if !e.json {
		e.say("\n%s is not valid: %s", problems[0].File, plural(len(problems), "error"))
	}
	return exit(exitUsage)
}

func (e *env) showFindings(file *config.Config, findings []lint.Finding, strict bool) error {
	err := e.result(checked{Valid: true, Errors: config.Errors{}, Findings: append([]lint.Finding{}, findings...)}, func(w io.Writer) {
		p := painterFor(w)
		for i, f := range findings {
			if i > 0 {
				fmt.Fprintln(w)
			}
			writeFinding(w, p, f)
		}
	})
	if err != nil {
		return err
	}
	if !e.json {
		if len(findings) > 0 {
			e.say("")
		}
		e.say("%s is valid: %s", file.File(), summary(findings))
	}
	worst := lint.Worst(findings)
	if worst == lint.Error || strict && worst == lint.Warning {
		return exit(exitFailed)
	}
	return nil
}

func writeFinding(w io.Writer, p painter, f lint.Finding) {
	shade := map[lint.Severity]color{lint.Error: red, lint.Warning: yellow}[f.Severity]
	place := f.File
	if f.Line > 0 {
		place = fmt.Sprintf("%s:%d:%d", f.File, f.Line, f.Column)
	}
	fmt.Fprintf(w, "%s: %s: %s (%s)\n", place, p.paint(shade, string(f.Severity)), f.What, f.Rule)
	if f.Line > 0 {
		fmt.Fprint(w, config.Excerpt(f.Line, f.Column, f.Width, f.Source))
	}
	fmt.Fprintf(w, "  why:   %s\n  write: %s\n", f.Why, f.Write)
}

func summary(findings []lint.Finding) string {
	if len(findings) == 0 {
		return "nothing to improve"
	}
	counts := map[lint.Severity]int{}
	for _, f := range findings {
		counts[f.Severity]++
	}
	var parts []string
	for _, s := range []lint.Severity{lint.Error, lint.Warning, lint.Note} {
		if counts[s] > 0 {
			parts = append(parts, plural(counts[s], string(s)))
		}
	}
	return strings.Join(parts, ", ")
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
