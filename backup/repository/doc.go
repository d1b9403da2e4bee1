// Package repository reads and writes backup repositories in restic's format: it writes version 2
// and reads versions 1 and 2. Stock restic restores, checks, prunes and copies what it wrote, and it does the same
// with restic's.
//
// The layers, from the bottom: crypto (seal and open), pack (many blobs in one file), index (which
// pack holds a blob), tree and snapshot (JSON), lock. Above them stand the Writer (backup), the read
// planner (restore), Check, Prune, Copy, Diff and Find.
//
// It never deletes a pack that a snapshot needs, whoever wrote that snapshot and whatever else runs
// at the time; it never announces a snapshot that it has not read back; it never walks a file system: package
// systems/files does.
//
// The format is described by restic in its "Design" document, doc/design.rst, cited below as
// "restic design".
package repository
