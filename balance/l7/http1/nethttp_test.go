package http1

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"net/textproto"
	"slices"
	"strings"
	"testing"
)

// The tests of this file compare with net/http. What this package accepts,
// net/http accepts with the same meaning; the reverse does not hold.
//
// Known exceptions, all by intent:
//   - empty lines before a request: skipped here, by net/http only in its
//     server, not in ReadRequest
//   - net/http adds Cache-Control: no-cache to messages with Pragma: no-cache
//   - net/http reports the announced names instead of the Trailer field, and
//     takes Host, framing fields and Connection: close out of the header
//   - Content-Length is forwarded without leading zeros
//   - the values of net/http's Trailer hold every trailer field, here those
//     that pass

func TestRequestsMeanTheSameToNetHTTP(t *testing.T) {
	for _, c := range requestTable {
		t.Run(c.name, func(t *testing.T) { compareRequest(t, []byte(c.raw)) })
	}
	for _, c := range bodyTable {
		t.Run("body: "+c.name, func(t *testing.T) {
			compareRequest(t, []byte("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"+c.raw))
		})
	}
}

func TestResponsesMeanTheSameToNetHTTP(t *testing.T) {
	for _, c := range responseTable {
		t.Run(c.name, func(t *testing.T) { compareResponse(t, []byte(c.raw), c.to) })
	}
	for _, c := range bodyTable {
		t.Run("body: "+c.name, func(t *testing.T) {
			compareResponse(t, []byte("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"+c.raw), GET)
		})
	}
}

func compareRequest(t *testing.T, raw []byte) {
	t.Helper()
	var ours Request
	n, err := ours.Parse(raw, nil)
	if n == 0 || err != nil {
		return
	}
	reader := bufio.NewReaderSize(bytes.NewReader(raw[afterEmptyLines(raw):]), 1<<17)
	theirs, err := http.ReadRequest(reader)
	if err != nil {
		t.Fatalf("net/http refuses %q: %v", raw, err)
	}
	if theirs.Method != string(ours.MethodText) || theirs.Host != string(ours.Host) {
		t.Fatalf("%q: net/http reads method %q, host %q", raw, theirs.Method, theirs.Host)
	}
	if theirs.ProtoMinor != ours.Minor || theirs.Close == ours.KeepAlive {
		t.Fatalf("%q: net/http reads version 1.%d, close %v", raw, theirs.ProtoMinor, theirs.Close)
	}
	compareTarget(t, &ours, theirs)
	compareFraming(t, raw, ours.Framing, ours.Length, theirs.TransferEncoding, theirs.ContentLength)
	compareFields(t, raw, ours.Fields, theirs.Header)
	var b Body
	b.Reset(ours.Framing, ours.Length, Decode)
	compareBody(t, raw, n, &b, theirs.Body)
}

func compareTarget(t *testing.T, ours *Request, theirs *http.Request) {
	t.Helper()
	target := string(ours.Target)
	if theirs.URL.Host == "" {
		if target != theirs.RequestURI {
			t.Fatalf("target %q, net/http reads %q", target, theirs.RequestURI)
		}
		return
	}
	_, rest, _ := strings.Cut(theirs.RequestURI, "://")
	rest = strings.TrimPrefix(rest, theirs.URL.Host)
	switch {
	case rest == "" && ours.Method == OPTIONS:
		rest = "*"
	case rest == "" || rest[0] == '?':
		rest = "/" + rest
	}
	if target != rest {
		t.Fatalf("target %q of %q, want %q", target, theirs.RequestURI, rest)
	}
}

func compareResponse(t *testing.T, raw []byte, to Method) {
	t.Helper()
	var ours Response
	n, err := ours.Parse(raw, to, nil)
	if n == 0 || err != nil {
		return
	}
	reader := bufio.NewReaderSize(bytes.NewReader(raw), 1<<17)
	theirs, err := http.ReadResponse(reader, &http.Request{Method: to.String()})
	if err != nil {
		t.Fatalf("net/http refuses %q: %v", raw, err)
	}
	if theirs.StatusCode != ours.Status || theirs.ProtoMinor != ours.Minor {
		t.Fatalf("%q: net/http reads status %d, version 1.%d", raw, theirs.StatusCode, theirs.ProtoMinor)
	}
	if theirs.Close && ours.KeepAlive {
		t.Fatalf("%q: net/http closes the connection", raw)
	}
	if ours.Framing != FramingNone { // else net/http reports a length without a body
		length := ours.Length
		if ours.Framing == FramingClose {
			length = -1
		}
		compareFraming(t, raw, ours.Framing, length, theirs.TransferEncoding, theirs.ContentLength)
	}
	compareFields(t, raw, ours.Fields, theirs.Header)
	var b Body
	b.Reset(ours.Framing, ours.Length, Decode)
	if ours.Status >= 200 {
		compareBody(t, raw, n, &b, theirs.Body)
	}
}

func compareFraming(t *testing.T, raw []byte, f Framing, length int64, codings []string, theirLength int64) {
	t.Helper()
	if chunked := len(codings) > 0; chunked != (f == FramingChunked) {
		t.Fatalf("%q: net/http reads transfer codings %v", raw, codings)
	}
	if f != FramingChunked && length != theirLength {
		t.Fatalf("%q: net/http reads length %d", raw, theirLength)
	}
}

// compareFields: each field line has the name and value that net/http reads,
// in the same order within a name.
func compareFields(t *testing.T, raw []byte, fields []Field, header http.Header) {
	t.Helper()
	want := http.Header{}
	for _, f := range fields {
		switch f.Known {
		case Host, Connection, TransferEncoding, Trailer, ContentLength, Pragma, CacheControl:
		default:
			key := textproto.CanonicalMIMEHeaderKey(string(f.Name))
			want[key] = append(want[key], string(f.Value))
		}
	}
	for _, key := range []string{"Host", "Connection", "Transfer-Encoding", "Trailer", "Content-Length", "Pragma", "Cache-Control"} {
		delete(header, key)
	}
	for key, values := range want {
		if !slices.Equal(header[key], values) {
			t.Fatalf("%q: %s is %q, net/http reads %q", raw, key, values, header[key])
		}
	}
	if len(header) != len(want) {
		t.Fatalf("%q: fields %v, net/http reads %v", raw, want, header)
	}
}

// compareBody: a body that is complete for us is complete and the same for
// net/http.
func compareBody(t *testing.T, raw []byte, n int, b *Body, theirs io.Reader) {
	t.Helper()
	out, _, err := passAll(b, bytes.Clone(raw[n:]), 0)
	if err != nil || b.End() != nil {
		return
	}
	want, err := io.ReadAll(theirs)
	if err != nil {
		t.Fatalf("net/http refuses the body of %q: %v", raw, err)
	}
	if !bytes.Equal(out, want) {
		t.Fatalf("%q: body %q, net/http reads %q", raw, out, want)
	}
}
