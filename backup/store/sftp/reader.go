package sftp

import (
	"io"

	"github.com/pkg/sftp"
)

// readBytes is how much is asked for at once: enough requests in flight for a line with a long delay.
const readBytes = 1 << 20

// reader reads a range of a file, a large piece at a time, and hands it out in small ones.
type reader struct {
	s           *Store
	c           *sftp.Client
	f           *sftp.File
	offset, end int64
	buf         []byte // read, not yet handed out
	space       []byte
}

func (r *reader) Read(p []byte) (int, error) {
	if len(r.buf) == 0 {
		if r.offset >= r.end {
			return 0, io.EOF
		}
		if err := r.fill(); err != nil {
			return 0, err
		}
	}
	n := copy(p, r.buf)
	r.buf = r.buf[n:]
	return n, nil
}

func (r *reader) fill() error {
	want := min(readBytes, r.end-r.offset)
	if int64(cap(r.space)) < want {
		r.space = make([]byte, want)
	}
	n, err := r.f.ReadAt(r.space[:want], r.offset)
	r.buf = r.space[:n]
	r.offset += int64(n)
	if n > 0 {
		return nil
	}
	if err == io.EOF {
		return io.EOF
	}
	r.s.line.judge(r.c, err)
	return meaning(err)
}

// Close gives the handle back. It cannot fail: the bytes are read already, and a server forgets the handles of a line
// that has broken.
func (r *reader) Close() error {
	if err := r.f.Close(); err != nil {
		r.s.line.judge(r.c, err)
	}
	return nil
}
