package http2_test

import (
	"fmt"
	"strings"

	"github.com/trivet-ha/trivet/balance/l7/http2"
)

// A client and a server talk without a network: what one has to say is given to the other.
func Example() {
	var (
		set     http2.Settings
		scratch [2]http2.Scratch
		server  = http2.NewServer(&set, &scratch[0])
		client  = http2.NewClient(&set, &scratch[1])
	)
	_, err := client.SendRequest([]byte("GET /cakes?n=2 HTTP/1.1\r\nHost: shop.example.com\r\nCookie: a=1\r\n\r\n"), http2.End)
	if err != nil {
		fmt.Println(err)
	}
	for len(client.Out)+len(server.Out) > 0 {
		server.Receive(client.Out, 0)
		client.Out = nil
		for ev := server.Next(); ev != nil; ev = server.Next() {
			if ev.Kind == http2.KindRequest {
				fmt.Printf("server: %s %s of %s\n", ev.Request.Method, ev.Request.Path, ev.Request.Host)
				_ = server.SendResponse(ev.Stream, []byte("HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n"), 0)
				server.SendData(ev.Stream, []byte("two of them\n"), http2.End)
			}
		}
		client.Receive(server.Out, 0)
		server.Out = nil
		for ev := client.Next(); ev != nil; ev = client.Next() {
			switch ev.Kind {
			case http2.KindResponse:
				fmt.Printf("client: %d, %d bytes\n", ev.Response.Status, ev.Response.Length)
			case http2.KindData:
				fmt.Printf("client: %s", ev.Data)
				client.Consumed(ev.Stream, len(ev.Data))
			}
		}
	}
	// Output:
	// server: GET /cakes of shop.example.com
	// client: 200, 12 bytes
	// client: two of them
}

// A peer that breaks a rule is told which, and so is the driver.
func ExampleConn_Err() {
	var scratch http2.Scratch
	c := http2.NewServer(new(http2.Settings), &scratch)
	c.Receive([]byte(strings.Repeat("no preface ", 3)), 0)
	fmt.Println(c.Next(), c.Err())
	// Output:
	// <nil> preface: the connection does not begin with the client's preface
}
