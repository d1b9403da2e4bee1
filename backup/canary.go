package backup

import (
	"fmt"

	"github.com/trivet-ha/trivet/backup/repository"
)

// Notice is something unusual about a backup. It may be harmless; a person should look.
type Notice struct {
	Kind NoticeKind `json:"kind"`
	Text string     `json:"text"`
}

// NoticeKind says what is unusual.
type NoticeKind string

// What is looked for. Ransomware changes many files at once and leaves what no longer compresses; a mount that is
// missing, or a program that went wild, changes the size.
const (
	Shrunk     NoticeKind = "shrunk"
	Grown      NoticeKind = "grown"
	Rewritten  NoticeKind = "rewritten"
	Scrambled  NoticeKind = "scrambled"
	NothingNow NoticeKind = "empty"
	// Removed: somebody else removed snapshots.
	Removed NoticeKind = "removed"
)

// Canary says from when on a backup is unusual. The zero Canary has its defaults, which are right for most.
type Canary struct {
	// Off looks at nothing.
	Off bool
	// Shrink: this share of files or bytes is gone; half if 0.
	Shrink float64
	// Grow: so many times as many files or bytes; 3 if 0.
	Grow float64
	// Rewrite: this share of the files is new or changed; half if 0.
	Rewrite float64
	// Files and Bytes: below both, a backup is too small for its share of anything to mean much; 50 and 16 MiB if 0.
	Files, Bytes uint64
}

func (c Canary) withDefaults() Canary {
	c.Shrink, c.Grow, c.Rewrite = orElse(c.Shrink, 0.5), orElse(c.Grow, 3), orElse(c.Rewrite, 0.5)
	c.Files, c.Bytes = orElse(c.Files, 50), orElse(c.Bytes, 16<<20)
	return c
}

func orElse[T float64 | uint64](v, fallback T) T {
	if v == 0 {
		return fallback
	}
	return v
}

const (
	// packedShare: what does not compress below it looks encrypted. Photographs and archives do, too: it is a notice only
	// together with many changed files, and if what was there before compressed better by compressedGap.
	packedShare   = 0.97
	compressedGap = 0.10
)

// Compare looks for what is unusual about a snapshot, compared with its parent. It needs the summaries of both.
func (c Canary) Compare(now, before *repository.Snapshot) []Notice {
	if c.Off || now == nil || before == nil || now.Summary == nil || before.Summary == nil {
		return nil
	}
	c = c.withDefaults()
	n, b := now.Summary, before.Summary
	var notices []Notice
	add := func(kind NoticeKind, format string, args ...any) {
		notices = append(notices, Notice{kind, fmt.Sprintf(format, args...)})
	}
	files, filesBefore := float64(n.TotalFilesProcessed), float64(b.TotalFilesProcessed)
	bytes, bytesBefore := float64(n.TotalBytesProcessed), float64(b.TotalBytesProcessed)
	large := filesBefore >= float64(c.Files) || bytesBefore >= float64(c.Bytes)
	switch {
	case files == 0 && filesBefore > 0:
		add(NothingNow, "no file is left of %d: is a file system not mounted?", b.TotalFilesProcessed)
	case large && files < filesBefore*(1-c.Shrink):
		add(Shrunk, "%d files, after %d the last time", n.TotalFilesProcessed, b.TotalFilesProcessed)
	case large && bytes < bytesBefore*(1-c.Shrink):
		add(Shrunk, "%d bytes, after %d the last time", n.TotalBytesProcessed, b.TotalBytesProcessed)
	case large && files > filesBefore*c.Grow && files > float64(c.Files):
		add(Grown, "%d files, after %d the last time", n.TotalFilesProcessed, b.TotalFilesProcessed)
	case large && bytes > bytesBefore*c.Grow && bytes > float64(c.Bytes):
		add(Grown, "%d bytes, after %d the last time", n.TotalBytesProcessed, b.TotalBytesProcessed)
	}
	changed := float64(n.FilesChanged + n.FilesNew)
	rewritten := files >= float64(c.Files) && changed > files*c.Rewrite && float64(n.FilesUnmodified) < filesBefore*(1-c.Rewrite)
	if rewritten {
		add(Rewritten, "%d of %d files are new or changed", n.FilesChanged+n.FilesNew, n.TotalFilesProcessed)
	}
	if rewritten && n.DataAdded >= c.Bytes {
		packed := float64(n.DataAddedPacked) / float64(n.DataAdded)
		if was := c.packedBefore(b); packed > packedShare && was < packed-compressedGap {
			add(Scrambled, "what is new does not compress (to %.0f %% of its size): was it encrypted by somebody else?", 100*packed)
		}
	}
	return notices
}

// packedBefore is how well the parent's new data compressed; 0 if it had too little to tell: a small backup before a
// large change is the usual case, and no reason to say nothing.
func (c Canary) packedBefore(b *repository.Summary) float64 {
	if b.DataAdded < c.Bytes {
		return 0
	}
	return float64(b.DataAddedPacked) / float64(b.DataAdded)
}
