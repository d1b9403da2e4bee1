package trivet_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"

	"github.com/trivet-ha/trivet"
	"github.com/trivet-ha/trivet/config"
)

// A program of its own balances over two servers.
func Example() {
	hello := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "hello") })
	one, two := httptest.NewServer(hello), httptest.NewServer(hello)
	defer one.Close()
	defer two.Close()

	file, err := config.Parse("example", []byte(`
listeners:
  web: {address: "127.0.0.1:0", pool: site}
pools:
  site: {endpoints: [`+one.Listener.Addr().String()+`, `+two.Listener.Addr().String()+`]}
admin: {socket: off}
`))
	if err != nil {
		fmt.Println(err)
		return
	}
	node, err := trivet.New(trivet.Config{File: file})
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	ended := make(chan error)
	go func() { ended <- node.Run(ctx) }()

	resp, err := http.Get("http://" + node.Status().Listeners[0].Addresses[0])
	if err != nil {
		fmt.Println(err)
		return
	}
	body, _ := io.ReadAll(resp.Body)
	resp.Body.Close()
	fmt.Println(resp.StatusCode, string(body))

	stop()
	http.DefaultClient.CloseIdleConnections()
	fmt.Println(<-ended)
	// Output:
	// 200 hello
	// <nil>
}
