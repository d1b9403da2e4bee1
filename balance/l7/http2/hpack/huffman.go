package hpack

import (
	"encoding/binary"
	"slices"
)

// codeLengths holds the number of bits of each symbol's code, from RFC 7541 Appendix B; the last is EOS. The code is a
// canonical one: sorted by length and then by symbol, the codes count upwards. So the lengths say everything.
var codeLengths = [257]uint8{
	13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28,
	28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28,
	6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6,
	5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10,
	13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
	7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
	15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5,
	6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28,
	20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23,
	24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
	22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23,
	21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
	26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25,
	19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
	20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23,
	26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
	30,
}

const (
	eos       = 256
	codeMin   = 5  // bits of the shortest code
	codeMax   = 30 // bits of the longest
	quickBits = 9  // codes of up to 8 bits are found by one look at this many; the next longer ones have 10
)

// A quick entry is a symbol and the length of its code; the length is 0 where the code is longer than quickBits.
type quick struct{ symbol, bits uint8 }

// code is the Huffman code in the forms that coding and decoding want.
type code struct {
	codes  [257]uint32
	quick  [1 << quickBits]quick
	first  [codeMax + 2]uint32 // by length: the first code of it
	start  [codeMax + 2]uint16 // by length: where its symbols begin in sorted
	sorted [257]uint16
}

// huffman is computed from the lengths when the program starts: about 10 µs.
var huffman = func() (h code) {
	next, at := uint32(0), 0
	for bits := uint8(codeMin); bits <= codeMax; bits++ {
		h.first[bits], h.start[bits] = next, uint16(at)
		for symbol, n := range codeLengths {
			if n != bits {
				continue
			}
			h.codes[symbol] = next
			h.sorted[at] = uint16(symbol)
			if bits <= quickBits {
				from := next << (quickBits - bits)
				for i := range uint32(1) << (quickBits - bits) {
					h.quick[from+i] = quick{uint8(symbol), bits}
				}
			}
			next, at = next+1, at+1
		}
		next <<= 1
	}
	h.start[codeMax+1] = uint16(at)
	return h
}()

// huffmanLength returns the number of bytes that appendHuffman appends.
func huffmanLength(p []byte) int {
	bits := 0
	for _, c := range p {
		bits += int(codeLengths[c])
	}
	return (bits + 7) / 8
}

// appendHuffman appends the code of p, padded with ones (RFC 7541 §5.2).
func appendHuffman(dst, p []byte) []byte {
	var acc uint64 // the low bits are to be written
	bits := uint(0)
	for _, c := range p {
		n := uint(codeLengths[c])
		acc = acc<<(n&31) | uint64(huffman.codes[c])
		if bits += n; bits >= 32 {
			bits -= 32
			dst = binary.BigEndian.AppendUint32(dst, uint32(acc>>(bits&31)))
		}
	}
	for bits >= 8 {
		bits -= 8
		dst = append(dst, byte(acc>>bits))
	}
	if bits > 0 {
		dst = append(dst, byte(acc<<(8-bits))|0xff>>bits)
	}
	return dst
}

// readHuffman appends to dst what p stands for.
func readHuffman(dst, p []byte) ([]byte, Error) {
	dst = slices.Grow(dst, len(p)*8/codeMin)
	var acc uint64 // the upper bits are to be read; those behind them are as they are in p, or 0
	bits := uint(0)
	for len(p) >= 8 {
		acc |= binary.BigEndian.Uint64(p) >> (bits & 63)
		n := (63 - bits) / 8
		p = p[n:]
		for bits += 8 * n; bits >= codeMax; {
			q := huffman.quick[acc>>(64-quickBits)]
			symbol, n := uint16(q.symbol), uint(q.bits)
			if n == 0 {
				if symbol, n = longCode(acc); symbol == eos {
					return dst, ErrHuffman
				}
			}
			dst = append(dst, byte(symbol))
			acc <<= n & 31
			bits -= n
		}
	}
	return readHuffmanEnd(dst, p, acc, bits)
}

// readHuffmanEnd is readHuffman for the last bytes, of which acc holds some bits.
func readHuffmanEnd(dst, p []byte, acc uint64, bits uint) ([]byte, Error) {
	for {
		for bits <= 56 && len(p) > 0 {
			acc |= uint64(p[0]) << (56 - bits)
			p = p[1:]
			bits += 8
		}
		q := huffman.quick[acc>>(64-quickBits)]
		symbol, n := uint16(q.symbol), uint(q.bits)
		if n == 0 {
			symbol, n = longCode(acc)
		}
		if n > bits {
			return dst, checkPadding(acc, bits)
		}
		if symbol == eos {
			return dst, ErrHuffman
		}
		dst = append(dst, byte(symbol))
		acc <<= n
		bits -= n
	}
}

// longCode reads a code of more than quickBits at the top of acc. The code is complete: there always is one.
func longCode(acc uint64) (symbol uint16, bits uint) {
	for n := quickBits + 1; ; n++ {
		i := uint32(acc>>(64-n)) - huffman.first[n] // far too large if below
		if i < uint32(huffman.start[n+1]-huffman.start[n]) {
			return huffman.sorted[huffman.start[n]+uint16(i)], uint(n)
		}
	}
}

// checkPadding looks at what is left when no whole code is: fewer than eight bits, all ones.
func checkPadding(acc uint64, bits uint) Error {
	if bits > 7 || acc>>(64-bits) != 1<<bits-1 {
		return ErrHuffman
	}
	return 0
}
