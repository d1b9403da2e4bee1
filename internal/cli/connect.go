package cli

import (
	"context"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/trivet-ha/trivet/api"
	"github.com/trivet-ha/trivet/config"
)

// target says which running Trivet a verb is for.
type target struct {
	socket    string
	address   string
	tokenFile string
}

// flags adds the flags of t to cmd and every verb below it.
func (t *target) flags(cmd *cobra.Command) {
	f := cmd.PersistentFlags()
	f.StringVar(&t.socket, "socket", "", "the control socket of the running Trivet (default $TRIVET_SOCKET, or "+socketDefaultText+")")
	f.StringVar(&t.address, "address", "", "its TCP address instead, as in admin.address")
	f.StringVar(&t.tokenFile, "token-file", "", "the file with the token for --address (default: the token in $TRIVET_TOKEN)")
}

const socketDefaultText = "/run/trivet/trivet.sock for root, else trivet.sock in $XDG_RUNTIME_DIR"

// client is the way to the running Trivet.
func (t *target) client() (*api.Client, error) {
	if t.socket != "" && t.address != "" {
		return nil, usage("--socket and --address exclude each other", "keep one of the two")
	}
	if t.address == "" {
		if t.tokenFile != "" {
			return nil, usage("--token-file is for --address", "the socket needs no token")
		}
		return api.Dial(t.path()), nil
	}
	token := os.Getenv("TRIVET_TOKEN")
	if t.tokenFile != "" {
		content, err := os.ReadFile(t.tokenFile)
		if err != nil {
			return nil, fileProblem(err)
		}
		token = strings.TrimRight(string(content), "\r\n")
	}
	if token == "" {
		return nil, usage("--address needs a token", "add --token-file FILE, or set TRIVET_TOKEN")
	}
	return api.DialTCP(t.address, token), nil
}

func (t *target) path() string {
	if t.socket != "" {
		return t.socket
	}
	if path := os.Getenv("TRIVET_SOCKET"); path != "" {
		return path
	}
	return config.DefaultSocket()
}

// ask connects and runs f.
func (t *target) ask(ctx context.Context, f func(context.Context, *api.Client) error) error {
	c, err := t.client()
	if err != nil {
		return err
	}
	defer c.Close()
	return f(ctx, c)
}
