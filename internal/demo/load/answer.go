package load

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
)

var errMalformed = errors.New("malformed answer")

// readAnswer reads one answer to its end, past any 1xx before it. The body is returned only if keep is set; it is
// valid until the next read. It expects answers to GET, PUT and POST: one to HEAD would be read wrongly.
func readAnswer(r *bufio.Reader, keep bool) (status int, reusable bool, body []byte, err error) {
	for {
		h, err := readHead(r)
		if err != nil {
			return 0, false, nil, err
		}
		if h.status < 200 && h.status != 101 {
			continue
		}
		body, err := h.readBody(r, keep)
		return h.status, !h.close, body, err
	}
}

// A head is what of an answer's status line and fields decides how its body ends (RFC 9112 §6.3).
type head struct {
	status  int
	close   bool
	chunked bool
	length  int64 // -1 when not said
}

func readHead(r *bufio.Reader) (head, error) {
	h := head{length: -1}
	line, err := readLine(r)
	if err != nil {
		return h, err
	}
	if len(line) < 12 || !bytes.HasPrefix(line, []byte("HTTP/1.")) || line[8] != ' ' {
		return h, fmt.Errorf("%w: status line %q", errMalformed, line)
	}
	h.close = line[7] == '0'
	if h.status, err = strconv.Atoi(string(line[9:12])); err != nil || h.status < 100 {
		return h, fmt.Errorf("%w: status line %q", errMalformed, line)
	}
	for {
		line, err := readLine(r)
		if err != nil || len(line) == 0 {
			return h, err
		}
		name, value, ok := bytes.Cut(line, []byte(":"))
		if !ok {
			return h, fmt.Errorf("%w: field line %q", errMalformed, line)
		}
		if err := h.field(name, bytes.TrimSpace(value)); err != nil {
			return h, err
		}
	}
}

func (h *head) field(name, value []byte) (err error) {
	switch {
	case bytes.EqualFold(name, []byte("content-length")):
		h.length, err = strconv.ParseInt(string(value), 10, 64)
		if err != nil || h.length < 0 {
			return fmt.Errorf("%w: content-length %q", errMalformed, value)
		}
	case bytes.EqualFold(name, []byte("transfer-encoding")):
		h.chunked = bytes.EqualFold(value, []byte("chunked"))
	case bytes.EqualFold(name, []byte("connection")):
		h.close = h.close || bytes.EqualFold(value, []byte("close"))
	}
	return nil
}

func (h *head) readBody(r *bufio.Reader, keep bool) (body []byte, err error) {
	sink := func(n int64) error {
		if !keep {
			_, err := io.CopyN(io.Discard, r, n)
			return err
		}
		if int64(len(body))+n > answerBytesMax {
			return fmt.Errorf("%w: body above %d bytes", errMalformed, answerBytesMax)
		}
		start := len(body)
		body = append(body, make([]byte, n)...)
		_, err := io.ReadFull(r, body[start:])
		return err
	}
	switch {
	case h.status == 204 || h.status == 304 || h.status == 101:
		return nil, nil
	case h.chunked:
		err = readChunks(r, sink)
		return body, err
	case h.length >= 0:
		err = sink(h.length)
		return body, err
	}
	h.close = true
	if !keep {
		_, err = io.Copy(io.Discard, r)
		return nil, err
	}
	return io.ReadAll(io.LimitReader(r, answerBytesMax))
}

// readChunks reads a chunked body and its trailer section (RFC 9112 §7.1).
func readChunks(r *bufio.Reader, sink func(int64) error) error {
	for {
		line, err := readLine(r)
		if err != nil {
			return err
		}
		digits, _, _ := bytes.Cut(line, []byte(";"))
		size, err := strconv.ParseInt(string(bytes.TrimSpace(digits)), 16, 64)
		if err != nil || size < 0 {
			return fmt.Errorf("%w: chunk size %q", errMalformed, line)
		}
		if size == 0 {
			break
		}
		if err := sink(size); err != nil {
			return err
		}
		if line, err := readLine(r); err != nil || len(line) > 0 {
			return errors.Join(err, fmt.Errorf("%w: %q after a chunk", errMalformed, line))
		}
	}
	for {
		line, err := readLine(r)
		if err != nil || len(line) == 0 {
			return err
		}
	}
}

// readLine returns a line without its end. It is valid until the next read.
func readLine(r *bufio.Reader) ([]byte, error) {
	line, err := r.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		return nil, fmt.Errorf("%w: line above %d bytes", errMalformed, r.Size())
	}
	if err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return nil, err
	}
	return bytes.TrimSuffix(line[:len(line)-1], []byte("\r")), nil
}
