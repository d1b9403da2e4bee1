// Package hpack answers how the header fields of HTTP/2 are written and read: HPACK, RFC 7541.
//
// A [Decoder] reads the fields of a header block one by one, as slices of the block, of its dynamic table or of the
// caller's [Field]. An [Encoder] appends fields to the caller's buffer. Neither allocates once it has been used for a
// while, which is why the package exists beside golang.org/x/net/http2/hpack: that one makes a string of every literal
// it reads, and wants strings to write (docs/decisions/0004 has the figures). It is tested against it.
//
// The package does no input or output, starts no goroutine, and holds no more than 4 KiB of fields for each
// direction. It judges nothing but the compression: which names and values HTTP allows is for package http2.
package hpack

// TableSize is the size of a dynamic table in bytes, as RFC 7541 §4.1 counts them: the default of
// SETTINGS_HEADER_TABLE_SIZE (RFC 9113 §6.5.2), and the most that this package uses.
const TableSize = 4096

// Overhead is what RFC 7541 §4.1 adds to the bytes of a field's name and value to get its size.
const Overhead = 32

// Error says why a header block can't be read. After one, what the sender's table holds is unknown, so that no block
// of the connection can be read any more (RFC 9113 §4.3: COMPRESSION_ERROR).
type Error uint8

// The errors.
const (
	ErrTruncated  Error = iota + 1 // the block ends inside a field
	ErrInteger                     // an integer of more than 31 bits
	ErrIndex                       // an index of no field
	ErrHuffman                     // a string that is no Huffman code, or is padded wrongly
	ErrTableSize                   // a table size above what was announced
	ErrTableOrder                  // a change of the table size after a field
)

var errorTexts = [...]string{
	ErrTruncated:  "the header block ends inside a field",
	ErrInteger:    "an integer in the header block is too large",
	ErrIndex:      "an index in the header block points to no field",
	ErrHuffman:    "a string in the header block is not coded as RFC 7541 Appendix B says",
	ErrTableSize:  "the header block wants a dynamic table larger than announced",
	ErrTableOrder: "the header block changes the size of the dynamic table after its first field",
}

// Error implements error.
func (e Error) Error() string {
	if int(e) < len(errorTexts) {
		return "hpack: " + errorTexts[e]
	}
	return "hpack: unknown error"
}
