package cli

import (
	"github.com/spf13/cobra"

	"github.com/trivet-ha/trivet/config"
)

func (e *env) schemaCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "schema",
		Short: "Print the JSON schema of the configuration file, for editors",
		Long: `Schema prints a JSON schema (draft 2020-12) of trivet.yaml. Editors that know it complete keys and
show what they mean. With the YAML language server, write at the top of the file:

  # yaml-language-server: $schema=trivet.schema.json`,
		Example: "  trivet schema > trivet.schema.json",
		Args:    noArgs,
		RunE: func(*cobra.Command, []string) error {
			_, err := e.Out.Write(config.Schema())
			return err
		},
	}
}
