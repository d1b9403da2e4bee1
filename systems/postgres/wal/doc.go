// Package wal reads PostgreSQL's write-ahead log: positions in it, timelines and their histories, names of segments, and the
// records that say when which transaction was committed.
//
// A Scanner is fed the log in pieces of any size, checks every record on the way, and keeps nothing of it but the record
// that is not whole yet. The package opens no file and no connection, writes nothing, and never fails on what it is fed: what
// is damaged it counts and steps over.
//
// The formats are those of PostgreSQL 13 to 18: src/include/access/xlogrecord.h, xlog_internal.h and xact.h, cited by
// the names of their structures.
package wal
