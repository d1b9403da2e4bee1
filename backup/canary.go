package backup

import (
	"fmt"

	"github.com/trivet-ha/trivet/backup/repository"
)

// Notice is something unusual about a backup. It may be harmless; a person should look.
type Notice struct {
	Kind NoticeKind
	Text string
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
)

const (
	// Below these a backup is too small for its share of anything to mean much.
	noticeFiles = 50
	noticeBytes = 16 << 20

	// shrunkShare of files or bytes gone, grownFactor times as many, and rewrittenShare of the files changed are unusual.
	shrunkShare    = 0.5
	grownFactor    = 3
	rewrittenShare = 0.5

	// packedShare: what does not compress below it looks encrypted. Photographs and archives do, too: it is a notice only
	// together with many changed files, and if what was there before compressed better by compressedGap.
	packedShare   = 0.97
	compressedGap = 0.10
)

// Compare looks for what is unusual about a snapshot, compared with its parent. It needs the summaries of both.
func Compare(now, before *repository.Snapshot) []Notice {
	if now == nil || before == nil || now.Summary == nil || before.Summary == nil {
		return nil
	}
	n, b := now.Summary, before.Summary
	var notices []Notice
	add := func(kind NoticeKind, format string, args ...any) {
		notices = append(notices, Notice{kind, fmt.Sprintf(format, args...)})
	}
	files, filesBefore := float64(n.TotalFilesProcessed), float64(b.TotalFilesProcessed)
	bytes, bytesBefore := float64(n.TotalBytesProcessed), float64(b.TotalBytesProcessed)
	large := filesBefore >= noticeFiles || bytesBefore >= noticeBytes
	switch {
	case files == 0 && filesBefore > 0:
		add(NothingNow, "no file is left of %d: is a file system not mounted?", b.TotalFilesProcessed)
	case large && files < filesBefore*(1-shrunkShare):
		add(Shrunk, "%d files, after %d the last time", n.TotalFilesProcessed, b.TotalFilesProcessed)
	case large && bytes < bytesBefore*(1-shrunkShare):
		add(Shrunk, "%d bytes, after %d the last time", n.TotalBytesProcessed, b.TotalBytesProcessed)
	case large && files > filesBefore*grownFactor && files > noticeFiles:
		add(Grown, "%d files, after %d the last time", n.TotalFilesProcessed, b.TotalFilesProcessed)
	case large && bytes > bytesBefore*grownFactor && bytes > noticeBytes:
		add(Grown, "%d bytes, after %d the last time", n.TotalBytesProcessed, b.TotalBytesProcessed)
	}
	changed := float64(n.FilesChanged + n.FilesNew)
	rewritten := files >= noticeFiles && changed > files*rewrittenShare && float64(n.FilesUnmodified) < filesBefore*(1-rewrittenShare)
	if rewritten {
		add(Rewritten, "%d of %d files are new or changed", n.FilesChanged+n.FilesNew, n.TotalFilesProcessed)
	}
	if rewritten && n.DataAdded >= noticeBytes {
		packed := float64(n.DataAddedPacked) / float64(n.DataAdded)
		if was := packedBefore(b); packed > packedShare && was < packed-compressedGap {
			add(Scrambled, "what is new does not compress (%.0f %%, before %.0f %%): was it encrypted by somebody else?", 100*packed, 100*was)
		}
	}
	return notices
}

// packedBefore is how well the parent's new data compressed; 1 if it had too little to tell.
func packedBefore(b *repository.Summary) float64 {
	if b.DataAdded < noticeBytes {
		return 1
	}
	return float64(b.DataAddedPacked) / float64(b.DataAdded)
}
