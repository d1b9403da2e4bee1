// Package cli answers what is typed after "trivet": one file per verb. Results go to stdout and talk to stderr; an error says
// what, why and what to do; --json makes results readable for programs. It never ends the process: Main gives the exit code.
package cli

import (
	"context"
	"errors"
	"io"
	"strings"

	"github.com/spf13/cobra"
)

// Exit codes.
const (
	exitFine    = 0
	exitFailed  = 1 // it failed
	exitUsage   = 2 // wrong usage, or an invalid file
	exitPartial = 3 // partly done
)

// Streams is where a command reads and writes.
type Streams struct {
	In       io.Reader
	Out, Err io.Writer
}

// Main runs the command line in args (without the program's name) and gives the exit code. A canceled ctx ends it.
func Main(ctx context.Context, args []string, streams Streams) int {
	e := &env{Streams: streams}
	root := e.root()
	root.SetArgs(args)
	command, err := root.ExecuteContextC(ctx)
	return e.report(command, err)
}

// env is what every verb gets: the streams and the flags that hold for all.
type env struct {
	Streams
	json bool
}

// commands is every verb, in the order of help.
func (e *env) commands() []*cobra.Command {
	return []*cobra.Command{
		e.demoCommand(),
		e.runCommand(),
		e.checkCommand(),
		e.planCommand(),
		e.reportCommand(),
		e.statusCommand(),
		e.drillCommand(),
		e.poolCommand(),
		e.processCommand(),
		e.eventsCommand(),
		e.incidentsCommand(),
		e.explainCommand(),
		e.dnsCommand(),
		e.reloadCommand(),
		e.upgradeCommand(),
		e.schemaCommand(),
		e.versionCommand(),
		e.docsCommand(),
		e.demoShopCommand(),
		e.keepCommand(),
	}
}

func (e *env) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "trivet",
		Short: "Keep a service up and its data safe",
		Long: `Trivet spreads load, handles faults and keeps a service up: one binary, one file.

Start with "trivet demo", which shows it all on this machine, or write a trivet.yaml and say
"trivet check" and "trivet run". The file is explained in docs/reference/configuration.md.`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          noArgs,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetIn(e.In)
	root.SetOut(e.Out)
	root.SetErr(e.Err)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usage(strings.TrimSuffix(err.Error(), "\n"), "see "+cmd.CommandPath()+" --help")
	})
	root.PersistentFlags().BoolVar(&e.json, "json", false, "write results (and errors) as JSON")
	root.AddCommand(e.commands()...)
	root.AddCommand(e.repositoryCommands()...)
	return root
}

// noArgs refuses arguments; at the root and above verbs, they are verbs that there are not.
func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	if !cmd.HasSubCommands() {
		return usage("takes no argument, but was given "+quoteAll(args), "see "+cmd.CommandPath()+" --help")
	}
	hint := "see " + cmd.CommandPath() + " --help"
	cmd.SuggestionsMinimumDistance = 2
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		hint = `did you mean "` + cmd.CommandPath() + " " + near[0] + `"?`
	}
	return usage(`there is no "`+cmd.CommandPath()+" "+args[0]+`"`, hint)
}

// exactly wants as many arguments as there are names.
func exactly(names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) < len(names):
			return usage("lacks "+strings.Join(names[len(args):], " and "), "write "+cmd.UseLine())
		case len(args) > len(names):
			return usage("does not know what to do with "+quoteAll(args[len(names):]), "write "+cmd.UseLine())
		}
		return nil
	}
}

// atLeast wants an argument for each name; the last may come several times.
func atLeast(names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) < len(names) {
			return usage("lacks "+strings.Join(names[len(args):], " and "), "write "+cmd.UseLine())
		}
		return nil
	}
}

func quoteAll(words []string) string {
	return `"` + strings.Join(words, `" "`) + `"`
}

// verb is the command's name without the program's, for errors.
func verb(cmd *cobra.Command) string {
	_, name, _ := strings.Cut(cmd.CommandPath(), " ")
	return name
}

// canceled tells an end that was asked for.
func canceled(err error) bool { return errors.Is(err, context.Canceled) }
