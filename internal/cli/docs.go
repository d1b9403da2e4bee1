package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

func (e *env) docsCommand() *cobra.Command {
	man := ""
	cmd := &cobra.Command{
		Use:    "docs FOLDER",
		Short:  "Write the reference page of the commands, cli.md, and man pages",
		Hidden: true,
		Args:   exactly("FOLDER"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := writeFile(filepath.Join(args[0], "cli.md"), commandPage(cmd.Root())); err != nil {
				return err
			}
			if man == "" {
				return nil
			}
			for _, c := range documented(cmd.Root()) {
				name := strings.ReplaceAll(c.CommandPath(), " ", "-") + ".1"
				if err := writeFile(filepath.Join(man, name), manPage(c)); err != nil {
					return err
				}
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&man, "man", "", "write man pages into this folder too")
	return cmd
}

func writeFile(path, content string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, []byte(content), 0o644)
}

// documented is c and every command below it that is shown, in order.
func documented(c *cobra.Command) []*cobra.Command {
	c.InitDefaultHelpFlag()
	all := []*cobra.Command{c}
	for _, sub := range c.Commands() {
		if !sub.Hidden && sub.Name() != "help" && sub.Name() != "completion" {
			all = append(all, documented(sub)...)
		}
	}
	return all
}

// long is a command's description.
func long(c *cobra.Command) string {
	if c.Long != "" {
		return c.Long
	}
	return c.Short + "."
}

// options lists the flags of c: its own, then those from above.
func options(c *cobra.Command) []*pflag.Flag {
	var flags []*pflag.Flag
	for _, set := range []*pflag.FlagSet{c.LocalFlags(), c.InheritedFlags()} {
		set.VisitAll(func(f *pflag.Flag) {
			if !f.Hidden && f.Name != "help" {
				flags = append(flags, f)
			}
		})
	}
	return flags
}

// spelled is a flag as it is written: "-w, --watch", "--every duration".
func spelled(f *pflag.Flag) string {
	name := "--" + f.Name
	if f.Shorthand != "" {
		name = "-" + f.Shorthand + ", " + name
	}
	if kind, _ := pflag.UnquoteUsage(f); kind != "" {
		name += " " + kind
	}
	return name
}

const exitStatus = "0 it went well, 1 it failed, 2 wrong usage or an invalid file, 3 partly done."

// commandPage is the reference page of all commands, in Markdown.
func commandPage(root *cobra.Command) string {
	var b strings.Builder
	b.WriteString("# The command line\n\n<!-- Generated from internal/cli by \"make gen\": change the commands there, not this page. -->\n\n")
	b.WriteString("Results go to stdout and talk to stderr. `--json` makes results, and errors, readable for programs. Verbs that may\n" +
		"do harm say what they will do and ask; `--yes` skips the question.\n\nExit status: " + exitStatus + "\n\n" +
		"`trivet completion bash` (or `zsh`, `fish`, `powershell`) prints a script that makes the shell complete commands, pools and\nendpoints.\n")
	for _, c := range documented(root) {
		fmt.Fprintf(&b, "\n## %s\n\n%s\n\n```\n%s\n```\n", c.CommandPath(), long(c), c.UseLine())
		if c.Example != "" {
			fmt.Fprintf(&b, "\nFor example:\n\n```sh\n%s\n```\n", unindent(c.Example))
		}
		if flags := options(c); len(flags) > 0 && c != root && !c.HasSubCommands() {
			b.WriteString("\n")
			for _, f := range flags {
				_, text := pflag.UnquoteUsage(f)
				fmt.Fprintf(&b, "- `%s`: %s\n", spelled(f), text)
			}
		}
	}
	return b.String()
}

func unindent(example string) string {
	return strings.ReplaceAll(strings.TrimPrefix(example, "  "), "\n  ", "\n")
}

// manPage is the manual page of a command, in man(7)'s macros.
func manPage(c *cobra.Command) string {
	var b strings.Builder
	name := strings.ReplaceAll(c.CommandPath(), " ", "-")
	fmt.Fprintf(&b, ".TH %s 1 \"\" \"trivet %s\" \"User Commands\"\n", strings.ToUpper(name), roff(Version()))
	fmt.Fprintf(&b, ".SH NAME\n%s \\- %s\n", roff(name), roff(strings.ToLower(c.Short[:1])+c.Short[1:]))
	fmt.Fprintf(&b, ".SH SYNOPSIS\n.B %s\n", roff(c.UseLine()))
	fmt.Fprintf(&b, ".SH DESCRIPTION\n%s\n", paragraphs(long(c)))
	if flags := options(c); len(flags) > 0 {
		b.WriteString(".SH OPTIONS\n")
		for _, f := range flags {
			_, text := pflag.UnquoteUsage(f)
			fmt.Fprintf(&b, ".TP\n.B %s\n%s\n", roff(spelled(f)), roff(text))
		}
	}
	if c.Example != "" {
		fmt.Fprintf(&b, ".SH EXAMPLES\n.nf\n%s\n.fi\n", roff(unindent(c.Example)))
	}
	fmt.Fprintf(&b, ".SH EXIT STATUS\n%s\n", roff(exitStatus))
	if related := relatives(c); len(related) > 0 {
		fmt.Fprintf(&b, ".SH SEE ALSO\n%s\n", strings.Join(related, ",\n"))
	}
	return b.String()
}

func relatives(c *cobra.Command) []string {
	var names []string
	reference := func(other *cobra.Command) {
		names = append(names, fmt.Sprintf(".BR %s (1)", roff(strings.ReplaceAll(other.CommandPath(), " ", "-"))))
	}
	if c.HasParent() {
		reference(c.Parent())
	}
	for _, sub := range documented(c)[1:] {
		if sub.Parent() == c {
			reference(sub)
		}
	}
	return names
}

// paragraphs parts text at empty lines; what is indented stays as it is.
func paragraphs(text string) string {
	var out []string
	for i, part := range strings.Split(text, "\n\n") {
		if i > 0 {
			out = append(out, ".PP")
		}
		if strings.HasPrefix(part, "  ") {
			out = append(out, ".nf", roff(part), ".fi")
		} else {
			out = append(out, roff(part))
		}
	}
	return strings.Join(out, "\n")
}

// roff escapes what troff would take for its own: backslashes, hyphens, and dots and quotes that begin a line.
func roff(text string) string {
	lines := strings.Split(strings.NewReplacer(`\`, `\e`, "-", `\-`).Replace(text), "\n")
	for i, line := range lines {
		if strings.HasPrefix(line, ".") || strings.HasPrefix(line, "'") {
			lines[i] = `\&` + line
		}
	}
	return strings.Join(lines, "\n")
}
