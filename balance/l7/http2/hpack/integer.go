package hpack

// integerMax bounds integers: nothing in HTTP/2 needs more, and it keeps sums far from overflow.
const integerMax = 1<<31 - 1

// readInteger reads an integer whose first byte has room for the low bits of mask (RFC 7541 §5.1), and returns the
// number of bytes it takes.
func readInteger(p []byte, mask byte) (v uint32, n int, err Error) {
	if len(p) == 0 {
		return 0, 0, ErrTruncated
	}
	v = uint32(p[0] & mask)
	if v < uint32(mask) {
		return v, 1, 0
	}
	sum := uint64(v)
	for i, shift := 1, 0; ; i, shift = i+1, shift+7 {
		switch {
		case shift > 28: // a sixth byte could only hold zeros, or what is too large
			return 0, 0, ErrInteger
		case i == len(p):
			return 0, 0, ErrTruncated
		}
		sum += uint64(p[i]&0x7f) << shift
		if p[i] < 0x80 {
			if sum > integerMax {
				return 0, 0, ErrInteger
			}
			return uint32(sum), i + 1, 0
		}
	}
}

// appendInteger appends v, with the low bits of mask in the first byte and the pattern above them.
func appendInteger(dst []byte, pattern, mask byte, v uint32) []byte {
	if v < uint32(mask) {
		return append(dst, pattern|byte(v))
	}
	dst = append(dst, pattern|mask)
	v -= uint32(mask)
	for v >= 0x80 {
		dst = append(dst, byte(v)|0x80)
		v >>= 7
	}
	return append(dst, byte(v))
}
