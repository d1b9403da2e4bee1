package repository

// MaxChunkBytes is the size of the largest chunk that Cut makes.
const MaxChunkBytes = maxChunkBytes

// Cut returns the length of the first chunk of data, for callers that read a file by several goroutines in turns and
// give its chunks to SaveBlob. The result is final if it is less than len(data), if data holds MaxChunkBytes, or if data
// is all that is left of the file: SaveReader would cut at the same places. It may be called from several goroutines.
func (w *Writer) Cut(data []byte) int { return w.gear.cut(data) }
