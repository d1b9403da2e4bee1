// Package stream keeps the log of a database's changes between two backups: what PostgreSQL calls WAL, MariaDB the
// binary log, SQLite pages. It lies beside the repository, below pitr/, sealed with a key of the repository.
//
// A Log is the history of one database. It consists of lines: a line is what one system wrote on one timeline, and
// lines never mix. A line is a sequence of records, each of which takes the database from one Position to the next;
// what a position is, and what is in a record, only the engine knows. Records are gathered in objects, which are
// written once, every second or so, and later replaced by fewer, larger ones with the same records.
//
//	pitr/orders/00000001-5c1e…/line                      which system, which timeline
//	pitr/orders/00000001-5c1e…/0/<numbers and positions> an object of a second
//	pitr/orders/00000001-5c1e…/2/<numbers and positions> the same records as many of level 0
//
// Each record is chained to the one before by a hash, and the name of an object says where in the chain it begins
// and ends. So a listing alone shows whether something is missing (a Gap), or whether two wrote the same line (a Fork).
//
// It never acknowledges what is not durable, never overwrites an object, never removes one before its records were
// read back from another, and never holds more than a few objects in memory.
package stream
