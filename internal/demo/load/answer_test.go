package load

import (
	"bufio"
	"errors"
	"io"
	"strings"
	"testing"
)

func TestReadsAnswersToTheirEnd(t *testing.T) {
	for _, tt := range []struct {
		name, in string
		status   int
		reusable bool
		body     string
	}{
		{"length", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", 200, true, "hello"},
		{"nothing", "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", 200, true, ""},
		{"no content", "HTTP/1.1 204 No Content\r\n\r\n", 204, true, ""},
		{"not modified has a length and no body", "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", 304, true, ""},
		{"chunks", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6;x=y\r\n world\r\n0\r\nTrailer: 1\r\n\r\n", 200, true, "hello world"},
		{"early hints first", "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\nok", 201, true, "ok"},
		{"told to close", "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok", 200, false, "ok"},
		{"until the end", "HTTP/1.1 200 OK\r\n\r\nall there is", 200, false, "all there is"},
		{"version 1.0", "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", 200, false, "ok"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, keep := range []bool{true, false} {
				r := bufio.NewReader(strings.NewReader(tt.in))
				status, reusable, body, err := readAnswer(r, keep)
				if err != nil || status != tt.status || reusable != tt.reusable {
					t.Fatalf("keep %v: status %d reusable %v err %v, want %d %v", keep, status, reusable, err, tt.status, tt.reusable)
				}
				if keep && string(body) != tt.body {
					t.Errorf("body %q, want %q", body, tt.body)
				}
				if rest, _ := io.ReadAll(r); len(rest) > 0 {
					t.Errorf("keep %v: left %q unread", keep, rest)
				}
			}
		})
	}
}

func TestRefusesWhatIsNotAnAnswer(t *testing.T) {
	for _, tt := range []struct {
		name, in string
		want     error
	}{
		{"another protocol", "SSH-2.0-OpenSSH_9.2\r\n", errMalformed},
		{"no status", "HTTP/1.1 abc OK\r\n\r\n", errMalformed},
		{"a field without a colon", "HTTP/1.1 200 OK\r\nnonsense\r\n\r\n", errMalformed},
		{"a negative length", "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", errMalformed},
		{"a chunk size that is none", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", errMalformed},
		{"a chunk that runs over", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhello\r\n0\r\n\r\n", errMalformed},
		{"a line without end", "HTTP/1.1 200 " + strings.Repeat("x", 1<<16), errMalformed},
		{"half a head", "HTTP/1.1 200 OK\r\nContent-Le", io.ErrUnexpectedEOF},
		{"half a body", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel", io.ErrUnexpectedEOF},
		{"half a chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel", io.ErrUnexpectedEOF},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, _, _, err := readAnswer(bufio.NewReader(strings.NewReader(tt.in)), true)
			if !errors.Is(err, tt.want) {
				t.Errorf("err %v, want %v", err, tt.want)
			}
		})
	}
}

func FuzzReadAnswer(f *testing.F) {
	f.Add("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")
	f.Add("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n")
	f.Add("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No\r\n\r\n")
	f.Fuzz(func(t *testing.T, in string) {
		status, _, kept, err := readAnswer(bufio.NewReader(strings.NewReader(in)), true)
		again, _, _, errAgain := readAnswer(bufio.NewReader(strings.NewReader(in)), false)
		if len(kept) > answerBytesMax {
			t.Fatalf("kept %d bytes", len(kept))
		}
		if err == nil && (errAgain != nil || again != status) {
			t.Fatalf("kept: %d; discarded: %d, %v", status, again, errAgain)
		}
	})
}
