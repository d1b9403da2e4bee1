// Package sqlite backs up SQLite databases while others write them: a base, which is the file as it was at one moment, and
// after it every transaction, captured from the write-ahead log (WAL) within a fraction of a second and kept in a log of
// package backup/stream. It restores a database as it was after any of them.
//
// How nothing is missed: SQLite begins its WAL anew only when all of it is in the database file and nobody reads it.
// A Tracker always holds either a read transaction, or the lock that writers need. It lets the WAL begin anew only while
// it holds the writers' lock, has captured the WAL to its end, and the store has it.
//
// It never changes a database, never opens one that another Trivet tracks, and never writes a restored database over a
// file. It knows when a transaction was captured, not when it was committed: SQLite does not write that down.
package sqlite
