package http1

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
)

const (
	wrkRequest = "GET /index.html HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n\r\n"

	curlRequest = "GET / HTTP/1.1\r\nHost: shop.example.com\r\nUser-Agent: curl/7.88.1\r\nAccept: */*\r\n\r\n"

	browserRequest = "GET /products/list?category=12&sort=price HTTP/1.1\r\n" +
		"Host: shop.example.com\r\n" +
		"User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\n" +
		"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n" +
		"Accept-Language: en-US,en;q=0.5\r\n" +
		"Accept-Encoding: gzip, deflate, br\r\n" +
		"Connection: keep-alive\r\n" +
		"Cookie: session=8f14e45fceea167a5a36dedd4bea2543; theme=dark\r\n" +
		"Upgrade-Insecure-Requests: 1\r\n\r\n"

	postRequest = "POST /api/orders HTTP/1.1\r\nHost: shop.example.com\r\nContent-Type: application/json\r\n" +
		"Content-Length: 128\r\nAuthorization: Bearer abcdefghijklmnopqrstuvwxyz\r\n\r\n"

	smallResponse = "HTTP/1.1 200 OK\r\nServer: nginx\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n" +
		"Content-Type: text/plain\r\nContent-Length: 128\r\nConnection: keep-alive\r\n\r\n"
)

func BenchmarkRequestParse(b *testing.B) {
	for _, c := range []struct{ name, text string }{
		{"wrk", wrkRequest}, {"curl", curlRequest}, {"browser", browserRequest}, {"post", postRequest},
	} {
		b.Run(c.name, func(b *testing.B) {
			buf := []byte(c.text)
			var r Request
			b.SetBytes(int64(len(buf)))
			b.ReportAllocs()
			for b.Loop() {
				if n, err := r.Parse(buf, nil); n != len(buf) || err != nil {
					b.Fatal(n, err)
				}
			}
		})
	}
}

func BenchmarkResponseParse(b *testing.B) {
	buf := []byte(smallResponse)
	var r Response
	b.SetBytes(int64(len(buf)))
	b.ReportAllocs()
	for b.Loop() {
		if n, err := r.Parse(buf, GET, nil); n != len(buf) || err != nil {
			b.Fatal(n, err)
		}
	}
}

func BenchmarkHeadEnd(b *testing.B) {
	buf := []byte(browserRequest)
	b.SetBytes(int64(len(buf)))
	for b.Loop() {
		if HeadEnd(buf, 0) != len(buf) {
			b.Fatal("not found")
		}
	}
}

func BenchmarkAppendFields(b *testing.B) {
	var r Request
	if _, err := r.Parse([]byte(browserRequest), nil); err != nil {
		b.Fatal(err)
	}
	dst := make([]byte, 0, 4096)
	b.ReportAllocs()
	for b.Loop() {
		dst = AppendRequestLine(dst[:0], r.MethodText, r.Target)
		dst = AppendFields(dst, r.Fields)
		dst = AppendEnd(dst)
	}
}

// BenchmarkBodyPass shows that chunks cost by their number: a body of one
// size in larger chunks takes less time.
func BenchmarkBodyPass(b *testing.B) {
	const size = 1 << 20
	for _, chunk := range []int{64, 4 << 10, 64 << 10} {
		for _, mode := range []Mode{Verbatim, Decode} {
			name := fmt.Sprintf("%s/%d", [...]string{"verbatim", "decode"}[mode], chunk)
			b.Run(name, func(b *testing.B) {
				data := []byte(strings.Repeat("x", chunk))
				var body []byte
				for range size / chunk {
					body = AppendChunk(body, data)
				}
				body = AppendLastChunk(body)
				scratch := bytes.Clone(body)
				var pass Body
				b.SetBytes(size)
				b.ReportAllocs()
				for b.Loop() {
					if mode == Decode {
						copy(scratch, body) // was compacted
					}
					pass.Reset(FramingChunked, 0, mode)
					if _, _, err := pass.Pass(scratch); err != nil || !pass.Done() {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/(size/float64(chunk)), "ns/chunk")
			})
		}
	}
}
