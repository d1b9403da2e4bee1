package http1

// AppendRequestLine appends "METHOD target HTTP/1.1" and CR LF.
func AppendRequestLine(dst, method, target []byte) []byte {
	dst = append(dst, method...)
	dst = append(dst, ' ')
	dst = append(dst, target...)
	return append(dst, " HTTP/1.1\r\n"...)
}

// AppendStatus appends a status line with version HTTP/1.minor. With a nil
// reason it takes the usual phrase, or none for a status that has none.
func AppendStatus(dst []byte, minor, status int, reason []byte) []byte {
	dst = append(dst, "HTTP/1."...)
	dst = append(dst, '0'+byte(minor), ' ')
	dst = AppendUint(dst, uint64(status))
	dst = append(dst, ' ')
	if reason == nil {
		dst = append(dst, Reason(status)...)
	} else {
		dst = append(dst, reason...)
	}
	return append(dst, "\r\n"...)
}

// AppendField appends a field line. Neither part is checked.
func AppendField(dst, name, value []byte) []byte {
	dst = append(dst, name...)
	dst = append(dst, ": "...)
	dst = append(dst, value...)
	return append(dst, "\r\n"...)
}

// AppendKnown appends a field line with a known name.
func AppendKnown(dst []byte, name Name, value []byte) []byte {
	dst = append(dst, nameTexts[name]...)
	dst = append(dst, ": "...)
	dst = append(dst, value...)
	return append(dst, "\r\n"...)
}

// AppendFields appends the field lines that may be forwarded: all that are
// not marked Hop.
func AppendFields(dst []byte, fields []Field) []byte {
	for i := range fields {
		if f := &fields[i]; !f.Hop {
			dst = AppendField(dst, f.Name, f.Value)
		}
	}
	return dst
}

// AppendContentLength appends a Content-Length field line.
func AppendContentLength(dst []byte, n int64) []byte {
	dst = append(dst, "Content-Length: "...)
	dst = AppendUint(dst, uint64(n))
	return append(dst, "\r\n"...)
}

// AppendChunked appends the field line "Transfer-Encoding: chunked".
func AppendChunked(dst []byte) []byte {
	return append(dst, "Transfer-Encoding: chunked\r\n"...)
}

// AppendEnd appends the empty line that ends a head.
func AppendEnd(dst []byte) []byte { return append(dst, "\r\n"...) }

// AppendChunk appends data as one chunk, or nothing if there is no data.
func AppendChunk(dst, data []byte) []byte {
	if len(data) == 0 {
		return dst
	}
	dst = AppendChunkSize(dst, len(data))
	dst = append(dst, data...)
	return append(dst, "\r\n"...)
}

// AppendChunkSize appends the line before a chunk of n bytes, n > 0; CR LF
// must follow the data.
func AppendChunkSize(dst []byte, n int) []byte {
	dst = appendHex(dst, uint64(n))
	return append(dst, "\r\n"...)
}

// AppendLastChunk appends the end of a chunked body that has no trailers.
func AppendLastChunk(dst []byte) []byte { return append(dst, "0\r\n\r\n"...) }

// AppendUint appends n in decimal.
func AppendUint(dst []byte, n uint64) []byte {
	var digits [20]byte
	i := len(digits)
	for {
		i--
		digits[i] = '0' + byte(n%10)
		n /= 10
		if n == 0 {
			return append(dst, digits[i:]...)
		}
	}
}

func appendHex(dst []byte, n uint64) []byte {
	var digits [16]byte
	i := len(digits)
	for {
		i--
		digits[i] = "0123456789abcdef"[n&15]
		n >>= 4
		if n == 0 {
			return append(dst, digits[i:]...)
		}
	}
}
