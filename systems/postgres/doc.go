// Package postgres saves whole PostgreSQL clusters, versions 13 to 18, and brings them back to any point in time.
//
// A Source takes a base backup over the replication protocol into a snapshot: the files of the data directory as they
// are, with the server's manifest, so that stock restic restores what stock PostgreSQL starts. A Streamer follows the
// write-ahead log into package stream, from where a Recovery replays it: to a time, a position, a transaction, a named
// point, or the end. A Server starts the engine on what was restored.
//
// The layout of a snapshot:
//
//	/postgres/<name>/base.json          a Base: which cluster, which part of its log is needed
//	/postgres/<name>/data/              the data directory, backup_manifest in it
//	/postgres/<name>/tablespaces/<oid>/ the tablespaces; pg_tblspc in data has relative links to them
//
// It acknowledges to the server only what is durable in the store; it never mixes timelines; it never lets the server keep
// more of its log for it than it was told; it never touches a target before it knows that the recovery can be done; and it
// never runs a shell. It needs, from whoever wires it: a repository, a stream.Log, and where to report.
package postgres
