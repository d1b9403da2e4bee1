// Package supervise keeps the processes of a pool running.
//
// A [Group] starts a command in several places, gives each a free port on
// loopback, waits until it is ready, starts it again when it ends or hangs,
// replaces it by a newer version without a gap, and ends it with all that it has
// started. What is to be done when is decided by package life; this package does
// it. Who balances learns through a [Traffic] where the processes are.
//
// # Keepers
//
// Between this process and each command stands a small process of its own, the
// keeper ([Keep]). It is the command's parent, and adopts whatever the command
// leaves behind, so that nothing escapes: when the command ends, or when nobody
// holds the other end of the keeper's socket any more, all of it is ended. The
// kernel ends the command should the keeper be killed. And the keeper survives an
// upgrade, because its socket can be handed to another process: the command never
// notices. See
// docs/decisions/0008-a-keeper-for-each-process.md.
//
// Nothing here is sent a signal that was not started here.
package supervise
