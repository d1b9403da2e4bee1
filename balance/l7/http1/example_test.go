package http1_test

import (
	"fmt"

	"github.com/trivet-ha/trivet/balance/l7/http1"
)

// A proxy reads a request, decides by its facts, and writes what may go on.
func Example() {
	buf := []byte("POST http://shop.example/orders?id=7 HTTP/1.1\r\n" +
		"Host: shop.example\r\n" +
		"Connection: keep-alive, X-Trace\r\n" +
		"X-Trace: on\r\n" +
		"Transfer-Encoding: chunked\r\n" +
		"\r\n" +
		"5;note=\"no one reads this\"\r\nhello\r\n0\r\n\r\n")

	var request http1.Request
	n, err := request.Parse(buf, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("%s %s of %s, body: %s\n", request.Method, request.Path, request.Host, request.Framing)

	out := http1.AppendRequestLine(nil, request.MethodText, request.Target)
	out = http1.AppendFields(out, request.Fields)
	out = http1.AppendKnown(out, http1.XForwardedFor, []byte("192.0.2.1"))
	out = http1.AppendChunked(out)
	out = http1.AppendEnd(out)

	var body http1.Body
	body.Reset(request.Framing, request.Length, http1.Verbatim)
	keep, _, err := body.Pass(buf[n:])
	if err != nil {
		fmt.Println(err)
		return
	}
	out = append(out, buf[n:][:keep]...)
	out = append(out, body.Tail()...)
	fmt.Printf("%q\n", out)
	// Output:
	// POST /orders of shop.example, body: chunked
	// "POST /orders?id=7 HTTP/1.1\r\nHost: shop.example\r\nX-Forwarded-For: 192.0.2.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
}

// A refusal names its rule, and says what to answer and what to do.
func ExampleError() {
	var request http1.Request
	_, err := request.Parse([]byte("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"), nil)
	fmt.Println(err)
	// Output:
	// length-and-coding: both Content-Length and Transfer-Encoding; send one
}
