// Package replication speaks PostgreSQL's streaming replication protocol, versions 13 to 18, as its client: base backups
// with manifest, the write-ahead log as it is written, slots, and histories of timelines. It needs a role with
// REPLICATION and a line in pg_hba.conf, and nothing on the server's machine.
//
// It knows nothing of where the bytes go: it never writes a file, never retries, and never acknowledges anything by
// itself but that it is alive.
//
// The protocol: https://www.postgresql.org/docs/current/protocol-replication.html
package replication
