package cli

import (
	"context"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/trivet-ha/trivet"
	"github.com/trivet-ha/trivet/config"
)

func (e *env) runCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "run [FILE]",
		Short: "Serve what a configuration file says",
		Long: `Run serves what a configuration file says (trivet.yaml here, or else /etc/trivet/trivet.yaml) until it
is told to stop, and logs to stderr.

SIGTERM and an interrupt end it gently: every request in progress gets its answer (a second one ends
it at once). SIGHUP loads the file again, as "trivet reload" does; SIGUSR2 hands over to the program
that now stands in this one's place, as "trivet upgrade" does.`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 1 {
				return usage("takes one file", "write trivet run FILE")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			file, err := e.loadFile(args)
			if _, invalid := config.IsInvalid(err); err != nil && !invalid {
				return fileProblem(err)
			}
			if err != nil {
				return err
			}
			return e.run(cmd.Context(), file)
		},
	}
}

func (e *env) run(ctx context.Context, file *config.Config) error {
	inheritance, err := trivet.Inherited()
	if err != nil {
		return err
	}
	node, err := trivet.New(trivet.Config{File: file, Log: e.logger(file.Log), Version: Version(), Inherit: inheritance})
	if err != nil {
		return err
	}
	stop := handle(ctx, node)
	defer stop()
	return node.Run(ctx)
}

// handle does what the signals of a running node ask for, until stop is called.
func handle(ctx context.Context, node *trivet.Node) (stop func()) {
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGHUP, syscall.SIGUSR2)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for s := range signals {
			if s == syscall.SIGUSR2 {
				_ = node.Upgrade(ctx) // the node has logged what is wrong
			} else {
				_ = node.ReloadFile(ctx)
			}
		}
	}()
	return func() {
		signal.Stop(signals)
		close(signals)
		<-done
	}
}

// logger writes what Trivet says about itself.
func (e *env) logger(l config.Log) *slog.Logger {
	opt := &slog.HandlerOptions{Level: levels[l.Level]}
	if l.Format == config.LogJSON {
		return slog.New(slog.NewJSONHandler(e.Err, opt))
	}
	return slog.New(slog.NewTextHandler(e.Err, opt))
}

var levels = map[config.LogLevel]slog.Level{
	config.LogDebug: slog.LevelDebug, config.LogInfo: slog.LevelInfo, config.LogWarn: slog.LevelWarn, config.LogError: slog.LevelError,
}
