package faulthttp

import (
	"bufio"
	"io"
	"net"
	"net/http"
)

// recorder is a ResponseWriter that knows what was answered. What else the writer
// behind it can do, http.ResponseController finds.
type recorder struct {
	http.ResponseWriter
	status int // 0 is nothing yet
}

func (r *recorder) WriteHeader(status int) {
	if r.status == 0 && (status >= 200 || status == http.StatusSwitchingProtocols) {
		r.status = status
	}
	r.ResponseWriter.WriteHeader(status)
}

func (r *recorder) Write(p []byte) (int, error) {
	r.began()
	return r.ResponseWriter.Write(p)
}

// ReadFrom lets a file go the short way to the connection.
func (r *recorder) ReadFrom(src io.Reader) (int64, error) {
	r.began()
	return io.Copy(r.ResponseWriter, src)
}

// FlushError sends what was written so far.
func (r *recorder) FlushError() error {
	r.began()
	return http.NewResponseController(r.ResponseWriter).Flush()
}

// Flush is FlushError for those who know no better.
func (r *recorder) Flush() { _ = r.FlushError() }

// Hijack takes the connection over.
func (r *recorder) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(r.ResponseWriter).Hijack()
	if err == nil {
		r.status = http.StatusSwitchingProtocols
	}
	return conn, rw, err
}

// Unwrap returns the writer behind, for http.ResponseController.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

func (r *recorder) began() {
	if r.status == 0 {
		r.status = http.StatusOK
	}
}
