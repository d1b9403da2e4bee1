// Command trivet keeps a service up and its data safe. See trivet --help.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/trivet-ha/trivet/internal/cli"
)

//go:generate go run . docs ../../docs/reference

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the program at once
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	code := cli.Main(ctx, os.Args[1:], cli.Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr})
	stop()
	os.Exit(code)
}
