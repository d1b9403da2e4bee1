package l7_test

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"time"
)

// cutter writes in pieces whose sizes follow a list, over and over.
type cutter struct {
	net.Conn
	sizes []byte
	at    int
}

func (c *cutter) Write(b []byte) (n int, err error) {
	for n < len(b) && err == nil {
		size := len(b)
		if len(c.sizes) > 0 {
			size = 1 + int(c.sizes[c.at%len(c.sizes)])*int(c.sizes[c.at%len(c.sizes)])
			c.at++
		}
		var m int
		m, err = c.Conn.Write(b[n:min(len(b), n+size)])
		n += m
	}
	return n, err
}

// FuzzCiphertextInPieces sends handshake and request cut anywhere: the endpoint gets the body as it was, by either
// version of TLS.
func FuzzCiphertextInPieces(f *testing.F) {
	f.Add([]byte{}, []byte("hello"), false)
	f.Add([]byte{0}, []byte("hello"), true)
	f.Add([]byte{2, 200, 3}, bytes.Repeat([]byte("x"), 40000), false)
	with, client := secured(f)
	st := serve(f, []string{hashing(f, nil)}, with)
	f.Fuzz(func(t *testing.T, sizes, body []byte, old bool) {
		if len(body) > 48<<10 { // three records: byte by byte, more would only take longer
			body = body[:48<<10]
		}
		raw, err := net.Dial("tcp", st.address)
		if err != nil {
			t.Fatal(err)
		}
		defer raw.Close()
		_ = raw.SetDeadline(time.Now().Add(patient))
		cfg := client.Clone()
		if old {
			cfg.MaxVersion = tls.VersionTLS12
		}
		conn := tls.Client(&cutter{Conn: raw, sizes: sizes}, cfg)
		if _, err := fmt.Fprintf(conn, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s", len(body), body); err != nil {
			t.Fatal(err)
		}
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		got, _ := io.ReadAll(resp.Body)
		if want := fmt.Sprintf("%x", sha256.Sum256(body)); string(got) != want {
			t.Errorf("the endpoint got another body of %d bytes", len(body))
		}
	})
}

// FuzzGarbageInsteadOfAHandshake sends anything: the server goes on, and nothing of the connection is left.
func FuzzGarbageInsteadOfAHandshake(f *testing.F) {
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"))
	f.Add([]byte("\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00"))
	f.Add([]byte("\x80\x2e\x01\x00\x02"))
	with, _ := secured(f)
	st := serve(f, []string{gone(f)}, with)
	f.Fuzz(func(t *testing.T, p []byte) {
		raw, err := net.Dial("tcp", st.address)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = raw.Write(p)
		_ = raw.(*net.TCPConn).CloseWrite()
		_, _ = io.Copy(io.Discard, raw)
		raw.Close()
		until(t, "no connection is left", func() bool { return st.srv.Connections() == 0 })
	})
}
