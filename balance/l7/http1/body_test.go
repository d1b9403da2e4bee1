package http1

import (
	"bytes"
	"errors"
	"strings"
	"testing"
)

// passAll feeds raw to the body in pieces of step bytes (0: all at once) and
// returns what was forwarded, with the tail, and how many bytes were used.
func passAll(b *Body, raw []byte, step int) (out []byte, used int, err error) {
	if step == 0 {
		step = max(1, len(raw))
	}
	for used < len(raw) && !b.Done() && err == nil {
		piece := bytes.Clone(raw[used:min(len(raw), used+step)])
		var keep, n int
		keep, n, err = b.Pass(piece)
		out = append(out, piece[:keep]...)
		used += n
	}
	return append(out, b.Tail()...), used, err
}

// bodyTable holds chunked bodies, how many bytes belong to them, what is
// forwarded in each mode, and the rule that refuses them or "more".
var bodyTable = []struct {
	name, raw         string
	verbatim, decoded string
	payload           int64
	refusal           string
}{
	{"empty", "0\r\n\r\n", "0\r\n\r\n", "", 0, ""},
	{"one chunk", "5\r\nhello\r\n0\r\n\r\n", "5\r\nhello\r\n0\r\n\r\n", "hello", 5, ""},
	{"two chunks", "5\r\nhello\r\nA\r\n, world!!!\r\n0\r\n\r\n", "5\r\nhello\r\nA\r\n, world!!!\r\n0\r\n\r\n", "hello, world!!!", 15, ""},
	{"what follows is left", "1\r\na\r\n0\r\n\r\nGET / HTTP/1.1\r\n", "1\r\na\r\n0\r\n\r\n", "a", 1, ""},
	{"line ends in the data", "4\r\n\r\n\r\n\r\n0\r\n\r\n", "4\r\n\r\n\r\n\r\n0\r\n\r\n", "\r\n\r\n", 4, ""},
	{"extension", "5;a=b\r\nhello\r\n0;c\r\n\r\n", "5\r\nhello\r\n0\r\n\r\n", "hello", 5, ""},
	{"quoted extension", "1;a=\"; x\"\r\nz\r\n0\r\n\r\n", "1\r\nz\r\n0\r\n\r\n", "z", 1, ""},
	{"empty extension", "1;\r\nz\r\n0\r\n\r\n", "1\r\nz\r\n0\r\n\r\n", "z", 1, ""},
	{"leading zeros", "0003\r\nabc\r\n0000\r\n\r\n", "03\r\nabc\r\n0\r\n\r\n", "abc", 3, ""},
	{"one leading zero", "0a\r\n0123456789\r\n0\r\n\r\n", "0a\r\n0123456789\r\n0\r\n\r\n", "0123456789", 10, ""},
	{"zero inside a size", "10\r\n0123456789abcdef\r\n0\r\n\r\n", "10\r\n0123456789abcdef\r\n0\r\n\r\n", "0123456789abcdef", 16, ""},
	{"16 digits", "0000000000000001\r\na\r\n0\r\n\r\n", "01\r\na\r\n0\r\n\r\n", "a", 1, ""},
	{"trailers", "0\r\nX-Sum: 1\r\nGrpc-Status: 0\r\n\r\nrest", "0\r\nX-Sum: 1\r\nGrpc-Status: 0\r\n\r\n", "", 0, ""},
	{"trailer that passes after one that does not", "0\r\nHost: h\r\nX: y\r\n\r\n", "0\r\nX: y\r\n\r\n", "", 0, ""},
	{"trailer that passes before one that does not", "0\r\nX: y\r\nContent-Length: 9\r\n\r\n", "0\r\nX: y\r\n\r\n", "", 0, ""},
	{"trailers that smuggle (CVE-2026-88004)", "0\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\nHost: h\r\nConnection: close\r\nX-Forwarded-For: 1\r\nAuthorization: x\r\nCookie: a\r\nSet-Cookie: b\r\nContent-Type: c\r\nTE: d\r\nExpect: e\r\nX_User: f\r\nProxy: g\r\n\r\n", "0\r\n\r\n", "", 0, ""},
	{"empty trailer value", "0\r\nX:\r\n\r\n", "0\r\nX:\r\n\r\n", "", 0, ""},

	{"no size", "\r\nhello\r\n", "", "", 0, "chunk-size"},
	{"plus size", "+5\r\nhello\r\n0\r\n\r\n", "", "", 0, "chunk-size"},
	{"minus size", "-5\r\nhello\r\n0\r\n\r\n", "", "", 0, "chunk-size"},
	{"hexadecimal prefix", "0x5\r\nhello\r\n0\r\n\r\n", "0", "", 0, "chunk-size"},
	{"underscore in size", "1_0\r\nhello\r\n", "1", "", 0, "chunk-size"},
	{"no digit", "G\r\nhello\r\n", "", "", 0, "chunk-size"},
	{"space before size", " 5\r\nhello\r\n0\r\n\r\n", "", "", 0, "chunk-size"},
	{"space after size", "5 \r\nhello\r\n0\r\n\r\n", "5", "", 0, "chunk-size"},
	{"tab before extension", "5\t;a\r\nhello\r\n", "5", "", 0, "chunk-size"},
	{"nul after size", "5\x00\r\nhello\r\n", "5", "", 0, "chunk-size"},
	{"17 digits", "00000000000000001\r\na\r\n", "0", "", 0, "chunk-size"},
	{"largest size", "7fffffffffffffff\r\nab", "7fffffffffffffff\r\nab", "ab", 2, "more"},
	{"size overflows int64", "8000000000000000\r\nab", "800000000000000", "", 0, "chunk-size"},
	{"size overflows uint64", "10000000000000005\r\nhello\r\n", "1000000000000000", "", 0, "chunk-size"},
	{"size truncated to 32 bits", "100000005\r\nhello\r\n0\r\n\r\n", "100000005\r\nhello\r\n0\r\n\r\n", "hello\r\n0\r\n\r\n", 12, "more"},
	{"lf after size (CVE-2025-22871)", "5\nhello\r\n0\r\n\r\n", "5", "", 0, "chunk-line"},
	{"cr alone after size", "5\rhello\r\n0\r\n\r\n", "5\r", "", 0, "chunk-line"},
	{"lf in extension (TERM.EXT)", "5;a\nhello\r\n0\r\n\r\n", "5", "", 0, "chunk-line"},
	{"cr in extension", "5;a\rb\r\nhello\r\n", "5\r", "", 0, "chunk-line"},
	{"nul in extension", "5;a\x00b\r\nhello\r\n", "5", "", 0, "chunk-extension"},
	{"longest extension", "1;" + strings.Repeat("x", 1023) + "\r\na\r\n0\r\n\r\n", "1\r\na\r\n0\r\n\r\n", "a", 1, ""},
	{"long extension", "1;" + strings.Repeat("x", 1024) + "\r\na\r\n0\r\n\r\n", "1", "", 0, "chunk-extension"},
	{"data longer than its size", "4\r\nhello\r\n0\r\n\r\n", "4\r\nhell", "hell", 4, "chunk-end"},
	{"data shorter than its size", "6\r\nhello\r\n0\r\n\r\n", "6\r\nhello\r", "hello\r", 6, "chunk-end"},
	{"lf after data", "5\r\nhello\n0\r\n\r\n", "5\r\nhello", "hello", 5, "chunk-end"},
	{"cr after data", "5\r\nhello\r0\r\n\r\n", "5\r\nhello\r", "hello", 5, "chunk-end"},
	{"two bytes after data (EXT.TERM)", "5\r\nhelloXX0\r\n\r\n", "5\r\nhello", "hello", 5, "chunk-end"},
	{"lf at the very end", "0\r\n\n", "0\r\n", "", 0, "trailer-field"},
	{"cr at the very end", "0\r\n\rX", "0\r\n\r", "", 0, "trailer-field"},
	{"trailer without colon", "0\r\nX\r\n\r\n", "0\r\n", "", 0, "trailer-field"},
	{"trailer with no name", "0\r\n: x\r\n\r\n", "0\r\n", "", 0, "trailer-field"},
	{"trailer with a space before the colon", "0\r\nX : y\r\n\r\n", "0\r\n", "", 0, "trailer-field"},
	{"trailer line ended by lf", "0\r\nX: y\n\r\n", "0\r\n", "", 0, "trailer-field"},
	{"trailer with cr inside", "0\r\nX: y\rz\r\n\r\n", "0\r\n", "", 0, "trailer-field"},
	{"trailer with nul", "0\r\nX: y\x00\r\n\r\n", "0\r\n", "", 0, "trailer-field"},
	{"folded trailer", "0\r\nX: y\r\n z\r\n\r\n", "0\r\n", "", 0, "trailer-field"},
	{"many trailers", "0\r\n" + strings.Repeat("X: y\r\n", 33) + "\r\n", "0\r\n", "", 0, "trailer-size"},
	{"large trailers", "0\r\nX: " + strings.Repeat("y", 8192) + "\r\n\r\n", "0\r\n", "", 0, "trailer-size"},
	{"cut in a size", "5", "5", "", 0, "more"},
	{"cut in data", "5\r\nhel", "5\r\nhel", "hel", 3, "more"},
	{"cut before the end", "5\r\nhello\r\n0\r\n", "5\r\nhello\r\n0\r\n", "hello", 5, "more"},
}

func TestBodyTable(t *testing.T) {
	for _, c := range bodyTable {
		t.Run(c.name, func(t *testing.T) {
			for _, step := range []int{0, 1, 2, 3, 7} {
				for mode, want := range map[Mode]string{Verbatim: c.verbatim, Decode: c.decoded} {
					var b Body
					b.Reset(FramingChunked, 0, mode)
					out, used, err := passAll(&b, []byte(c.raw), step)
					refusal := ""
					if err != nil {
						var e *Error
						if !errors.As(err, &e) {
							t.Fatalf("error %v is not an *Error", err)
						}
						refusal = e.Rule
					} else if !b.Done() {
						refusal = "more"
					}
					if refusal != c.refusal || b.Received() != c.payload {
						t.Errorf("step %d, mode %d: refused by %q after %d bytes, want %q after %d", step, mode, refusal, b.Received(), c.refusal, c.payload)
					}
					if string(out) != want {
						t.Errorf("step %d, mode %d: forwarded %q, want %q", step, mode, out, want)
					}
					if refusal == "" && used+len(rest(c.raw)) != len(c.raw) {
						t.Errorf("step %d: used %d bytes of %q", step, used, c.raw)
					}
					if ended := b.End() == nil; ended != (refusal == "") {
						t.Errorf("step %d: complete at the end of the connection: %v", step, ended)
					}
				}
			}
		})
	}
}

// rest is what stands behind the body in a row of the table.
func rest(raw string) string {
	for _, s := range []string{"rest", "GET / HTTP/1.1\r\n"} {
		if strings.HasSuffix(raw, s) {
			return s
		}
	}
	return ""
}

func TestBodyWithoutChunks(t *testing.T) {
	for _, c := range []struct {
		framing  Framing
		length   int64
		raw, out string
		done     bool // before the end of the connection
		complete bool // after it
	}{
		{FramingNone, 0, "GET", "", true, true},
		{FramingLength, 0, "GET", "", true, true},
		{FramingLength, 5, "helloGET", "hello", true, true},
		{FramingLength, 5, "hell", "hell", false, false},
		{FramingClose, 0, "hello", "hello", false, true},
		{FramingClose, 0, "", "", false, true},
	} {
		for _, step := range []int{0, 1, 3} {
			var b Body
			b.Reset(c.framing, c.length, Verbatim)
			out, used, err := passAll(&b, []byte(c.raw), step)
			if err != nil || string(out) != c.out || used != len(c.out) || b.Received() != int64(len(c.out)) {
				t.Errorf("%v: forwarded %q, used %d, error %v", c, out, used, err)
			}
			if b.Done() != c.done {
				t.Errorf("%v: Done is %v", c, b.Done())
			}
			if complete := b.End() == nil; complete != c.complete || complete != b.Done() {
				t.Errorf("%v: complete %v, Done %v", c, complete, b.Done())
			}
		}
	}
}

func TestZeroBodyIsDone(t *testing.T) {
	var b Body
	if !b.Done() || b.End() != nil {
		t.Error("not done")
	}
	if keep, used, err := b.Pass([]byte("x")); keep != 0 || used != 0 || err != nil {
		t.Error(keep, used, err)
	}
}

func TestBodyIsNotTouchedInTheUsualCase(t *testing.T) {
	raw := AppendLastChunk(AppendChunk(AppendChunk(nil, []byte("hello")), []byte("world")))
	p := bytes.Clone(raw)
	var b Body
	b.Reset(FramingChunked, 0, Verbatim)
	keep, used, err := b.Pass(p)
	if keep != len(raw) || used != len(raw) || err != nil || !bytes.Equal(p, raw) || len(b.Tail()) > 0 {
		t.Error(keep, used, err, p)
	}
}

func TestBodyLimit(t *testing.T) {
	for _, c := range []struct {
		framing Framing
		length  int64
		raw     string
		want    string
		fails   bool
	}{
		{FramingChunked, 0, "3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", "3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", false},
		{FramingChunked, 0, "3\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n", "3\r\nabc\r\n3\r", true},
		{FramingChunked, 0, "7fffffffffffffff\r\nabc", "7fffffffffffffff\r", true},
		{FramingLength, 5, "abcde", "abcde", false},
		{FramingLength, 6, "abcdef", "abcde", true},
		{FramingClose, 0, "abcde", "abcde", false},
		{FramingClose, 0, "abcdef", "abcde", true},
	} {
		for _, step := range []int{0, 1, 4} {
			b := Body{Limit: 5}
			b.Reset(c.framing, c.length, Verbatim)
			out, _, err := passAll(&b, []byte(c.raw), step)
			if string(out) != c.want {
				t.Errorf("%v in steps of %d: forwarded %q", c, step, out)
			}
			if c.fails != (err != nil) || c.fails && refused(t, err) != "!413 body-size" {
				t.Errorf("%v in steps of %d: error %v", c, step, err)
			}
		}
	}
}

// TestChunkExtensionsAreBounded: many small chunks, each with an extension
// below the limit of one, are refused; extensions that the data outweighs are
// not.
func TestChunkExtensionsAreBounded(t *testing.T) {
	var b Body
	b.Reset(FramingChunked, 0, Verbatim)
	_, _, err := passAll(&b, bytes.Repeat([]byte("1;"+strings.Repeat("x", 500)+"\r\na\r\n"), 40), 0)
	if err == nil || refused(t, err) != "!400 chunk-waste" {
		t.Errorf("error %v", err)
	}
	if got := b.Received(); got != 32 { // 16384 / (501 - 1)
		t.Errorf("%d chunks passed", got)
	}
	b.Reset(FramingChunked, 0, Verbatim)
	chunk := []byte("200;" + strings.Repeat("x", 500) + "\r\n" + strings.Repeat("a", 512) + "\r\n")
	if _, _, err := passAll(&b, bytes.Repeat(chunk, 1000), 0); err != nil {
		t.Errorf("error %v", err)
	}
}

func TestDropIsAskedAboutTrailersThatPass(t *testing.T) {
	var asked []string
	b := Body{Drop: func(name []byte) bool {
		asked = append(asked, string(name))
		return string(name) == "X-Auth-User"
	}}
	b.Reset(FramingChunked, 0, Verbatim)
	out, _, err := passAll(&b, []byte("0\r\nX-Auth-User: root\r\nHost: h\r\nX-Sum: 1\r\n\r\n"), 0)
	if err != nil || string(out) != "0\r\nX-Sum: 1\r\n\r\n" {
		t.Errorf("forwarded %q, error %v", out, err)
	}
	if strings.Join(asked, " ") != "X-Auth-User X-Sum" {
		t.Errorf("asked about %q", asked)
	}
}

func TestTailIsEmptyBeforeTheEnd(t *testing.T) {
	var b Body
	b.Reset(FramingChunked, 0, Verbatim)
	if _, _, err := b.Pass([]byte("0\r\nX: y\r\n")); err != nil || b.Tail() != nil {
		t.Errorf("tail %q, error %v", b.Tail(), err)
	}
}

func TestBodyAllocatesNothing(t *testing.T) {
	raw := []byte("5;a=b\r\nhello\r\n0\r\nX-Sum: 1\r\nHost: h\r\n\r\n")
	scratch := make([]byte, len(raw))
	var b Body
	if n := testing.AllocsPerRun(100, func() {
		copy(scratch, raw)
		b.Reset(FramingChunked, 0, Verbatim)
		if _, _, err := b.Pass(scratch); err != nil || string(b.Tail()) != "X-Sum: 1\r\n\r\n" {
			t.Error(err, b.Tail())
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
