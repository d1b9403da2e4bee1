package http1

import "bytes"

// Mode says what becomes of the chunk framing of a body.
type Mode uint8

// The modes. They make no difference to a body that is not chunked.
const (
	// Verbatim keeps the chunks, for a receiver that speaks HTTP/1.1. Chunk
	// extensions and trailers that must not pass are taken out.
	Verbatim Mode = iota
	// Decode leaves the payload alone: no sizes. The trailers that may pass are
	// in Trailers.
	Decode
)

// Body passes the bytes of a message body through and knows where it ends.
// Its work for a chunked body is proportional to the number of chunks, not of
// bytes. The zero value is a body that is done; Reset begins one.
type Body struct {
	// Limit is the number of payload bytes to let pass; 0: no limit. Reset
	// keeps it.
	Limit int64
	// Drop, if not nil, is asked about each trailer field name that the rules
	// would let pass, and tells whether to drop it. Whoever removes a field
	// from heads for safety's sake must remove it here too. Reset keeps it.
	Drop func(name []byte) bool

	framing Framing
	mode    Mode
	state   bodyState

	left     int64 // payload bytes to come of the body or the chunk
	received int64

	digits   int8  // of the chunk size so far
	line     int   // bytes of the chunk extension so far
	waste    int64 // bytes of extensions not yet outweighed by data
	trailers int   // trailer lines so far
	seen     int   // bytes of the trailer section so far

	held []byte // trailer lines that pass, then perhaps the one being read
	from int    // where the line being read begins in held
}

// bodyState says what the next byte is. Those up to stateData stand for
// payload.
type bodyState uint8

const (
	stateDone     bodyState = iota
	stateData               // payload, left bytes of it (FramingClose: any number)
	stateDataCR             // CR after a chunk's data
	stateDataLF             // LF after that
	stateSize               // chunk size
	stateExt                // chunk extension
	stateSizeLF             // LF after either
	stateLine               // first byte of a trailer line, or of the last one
	stateTrailer            // inside a trailer line
	stateLineLF             // LF after that
	stateFinishLF           // LF of the empty line at the end
)

// Reset begins a body with the framing of its head. length is that of
// FramingLength.
func (b *Body) Reset(f Framing, length int64, mode Mode) {
	*b = Body{Limit: b.Limit, Drop: b.Drop, held: b.held[:0], framing: f, mode: mode}
	switch f {
	case FramingLength:
		b.left = length
		if length > 0 {
			b.state = stateData
		}
	case FramingChunked:
		b.state = stateSize
	case FramingClose:
		b.state = stateData
	}
}

// Done reports whether the body is complete. With FramingClose only the end of
// the connection tells, see End.
func (b *Body) Done() bool { return b.state == stateDone }

// Received returns the number of payload bytes that have passed.
func (b *Body) Received() int64 { return b.received }

// Tail returns the bytes that must follow what Pass gave when it finished the
// body: the trailers and the end of the chunked framing. It is empty unless
// the body is done, kept its chunks, and has trailers that pass. Reset
// invalidates it.
func (b *Body) Tail() []byte {
	if b.state != stateDone || b.mode == Decode {
		return nil
	}
	return b.held
}

// Trailers returns the trailer lines that may pass, each with its line end, of a
// body in mode Decode that is done. Reset invalidates them.
func (b *Body) Trailers() []byte {
	if b.state != stateDone || b.mode != Decode {
		return nil
	}
	return b.held
}

// End tells that the peer has closed its side. It returns nil if the body is
// complete with that, and an *Error if it was cut off.
func (b *Body) End() error {
	if b.state == stateDone {
		return nil
	}
	if b.framing == FramingClose {
		b.state = stateDone
		return nil
	}
	return &requestErrors[truncated]
}

// Pass takes body bytes from p, in pieces of any size. It consumes p[:used],
// which is all of p unless the body ends before, and moves what is to be
// forwarded to p[:keep]. Usually that is where it stands already and nothing
// is copied.
//
// Every error is an *Error with the status for a request; p[:keep] is sound
// even then, but the message can't be completed.
func (b *Body) Pass(p []byte) (keep, used int, err error) {
	if b.framing != FramingChunked {
		return b.passPlain(p)
	}
	for used < len(p) && b.state != stateDone {
		if b.state == stateData {
			n := int(min(b.left, int64(len(p)-used)))
			if keep != used {
				copy(p[keep:], p[used:used+n])
			}
			keep += n
			used += n
			b.received += int64(n)
			if b.left -= int64(n); b.left == 0 {
				b.state = stateDataCR
			}
			continue
		}
		c := p[used]
		used++
		emit, broken := b.step(c)
		if broken != none {
			return keep, used - 1, &requestErrors[broken]
		}
		if emit {
			p[keep] = c
			keep++
		}
	}
	return keep, used, nil
}

// passPlain is Pass for a body without chunks.
func (b *Body) passPlain(p []byte) (keep, used int, err error) {
	if b.state == stateDone {
		return 0, 0, nil
	}
	n := int64(len(p))
	if b.framing == FramingLength {
		n = min(n, b.left)
	}
	if b.Limit > 0 && n > b.Limit-b.received {
		n = b.Limit - b.received
		err = &requestErrors[bodySize]
	}
	b.received += n
	if b.framing == FramingLength {
		if b.left -= n; b.left == 0 {
			b.state = stateDone
		}
	}
	return int(n), int(n), err
}

// step takes one byte of chunk framing and tells whether to forward it.
func (b *Body) step(c byte) (emit bool, broken rule) {
	verbatim := b.mode == Verbatim
	switch b.state {
	case stateDataCR:
		if c != '\r' {
			return false, chunkEnd
		}
		b.state = stateDataLF
		return verbatim, none
	case stateDataLF:
		if c != '\n' {
			return false, chunkEnd
		}
		b.state = stateSize
		return verbatim, none
	case stateSize:
		emit, broken = b.stepSize(c)
		return emit && verbatim, broken
	case stateExt:
		emit, broken = b.stepExtension(c)
		return emit && verbatim, broken
	case stateSizeLF:
		if c != '\n' {
			return false, chunkLine
		}
		return verbatim, b.beginChunk()
	}
	return b.stepTrailer(c)
}

// stepSize reads a chunk size (RFC 9112 §7.1). Of its leading zeros the first
// passes: only the next byte would tell whether it is the whole number.
func (b *Body) stepSize(c byte) (emit bool, broken rule) {
	if d := hexDigit(c); d < 16 {
		if b.digits == maxChunkDigits || b.left >= 1<<59 {
			return false, chunkSize
		}
		padding := b.digits > 0 && b.left == 0 && d == 0
		b.digits++
		b.left = b.left<<4 | int64(d)
		return !padding, none
	}
	switch {
	case b.digits == 0:
		return false, chunkSize
	case c == '\r':
		b.state = stateSizeLF
		return true, none
	case c == ';':
		b.state = stateExt
		b.line = 1
		return false, none
	case c == '\n':
		return false, chunkLine
	}
	return false, chunkSize
}

// stepExtension skips a chunk extension. RFC 9112 §7.1.1: a recipient ignores
// the ones that it doesn't know, and a proxy may remove them.
func (b *Body) stepExtension(c byte) (emit bool, broken rule) {
	switch {
	case c == '\r':
		b.state = stateSizeLF
		return true, none
	case c == '\n':
		return false, chunkLine
	case !valueChars[c] || b.line == maxChunkLine:
		return false, chunkExtension
	}
	b.line++
	return false, none
}

// beginChunk follows the line that gave the chunk's size.
func (b *Body) beginChunk() rule {
	b.waste = max(0, b.waste+int64(b.line)-b.left)
	if b.waste > maxChunkWaste {
		return chunkWaste
	}
	if b.Limit > 0 && b.left > b.Limit-b.received {
		return bodySize
	}
	b.digits, b.line = 0, 0
	b.state = stateData
	if b.left == 0 {
		b.state = stateLine
	}
	return none
}

// stepTrailer reads the trailer section (RFC 9112 §7.1.2). A line can only be
// judged when its name is complete, so lines are held back for Tail.
func (b *Body) stepTrailer(c byte) (emit bool, broken rule) {
	if b.seen++; b.seen > maxTrailerBytes {
		return false, trailerSize
	}
	switch b.state {
	case stateLine:
		if c == '\r' {
			b.state = stateFinishLF
			return b.hold("\r"), none
		}
		if b.trailers++; b.trailers > maxTrailers {
			return false, trailerSize
		}
		if !tokenChars[c] {
			return false, trailerField
		}
		b.from = len(b.held)
		b.held = append(b.held, c)
		b.state = stateTrailer
	case stateTrailer:
		if c == '\r' {
			b.state = stateLineLF
			return false, none
		}
		if !valueChars[c] {
			return false, trailerField
		}
		b.held = append(b.held, c)
	case stateLineLF:
		if c != '\n' {
			return false, trailerField
		}
		b.state = stateLine
		return false, b.judgeTrailer()
	case stateFinishLF:
		if c != '\n' {
			return false, trailerField
		}
		b.state = stateDone
		return b.hold("\n"), none
	}
	return false, none
}

// hold puts a part of the framing's end behind the trailers held. Without
// trailers it reports that the part can go where it stands.
func (b *Body) hold(end string) (emit bool) {
	if b.mode == Decode {
		return false
	}
	if len(b.held) == 0 {
		return true
	}
	b.held = append(b.held, end...)
	return false
}

// judgeTrailer decides about the trailer line at held[from:].
func (b *Body) judgeTrailer() rule {
	name, _, ok := bytes.Cut(b.held[b.from:], []byte{':'})
	if !ok || !isToken(name) {
		return trailerField
	}
	if !trailerPasses(name) || b.Drop != nil && b.Drop(name) {
		b.held = b.held[:b.from]
		return none
	}
	b.held = append(b.held, "\r\n"...)
	return none
}

// trailerPasses reports whether a field may come in a trailer section. RFC
// 9110 §6.5.1 forbids those for framing, routing, authentication, request
// modifiers and content handling, which is what the known names are for.
// A name with an underscore may be an alias of one.
func trailerPasses(name []byte) bool {
	return lookup(name) == Other && bytes.IndexByte(name, '_') < 0
}
