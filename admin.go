package trivet

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"syscall"

	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/sys/unix"

	"github.com/trivet-ha/trivet/api"
	"github.com/trivet-ha/trivet/config"
)

// admin serves the control API and the metrics.
type admin struct {
	doors []door
}

type door struct {
	listener net.Listener
	handler  http.Handler
}

// openAdmin opens the sockets of the file's admin section.
func (n *Node) openAdmin(file *config.Config) (*admin, error) {
	a := &admin{}
	metrics := promhttp.HandlerFor(n.metricsRegistry(), promhttp.HandlerOpts{})
	err := a.open(n, file, metrics)
	if err != nil {
		for _, d := range a.doors {
			d.listener.Close()
		}
		return nil, err
	}
	return a, nil
}

func (a *admin) open(n *Node, file *config.Config, metrics http.Handler) error {
	handler := api.NewHandler(n, metrics)
	if path := file.Admin.SocketPath(); path != "" {
		listen := api.ListenSocket
		if n.inherit != nil {
			listen = api.TakeOverSocket
		}
		l, err := listen(path)
		if err != nil {
			return fmt.Errorf("admin socket: %w", err)
		}
		a.doors = append(a.doors, door{l, handler})
	}
	if address := file.Admin.Address; !address.IsZero() {
		l, err := listenAdmin(address)
		if err != nil {
			return fmt.Errorf("admin address: %w", err)
		}
		a.doors = append(a.doors, door{l, api.RequireToken(file.Admin.Token.Reveal(), handler)})
	}
	if address := file.Admin.Metrics; !address.IsZero() {
		l, err := listenAdmin(address)
		if err != nil {
			return fmt.Errorf("admin metrics: %w", err)
		}
		mux := http.NewServeMux()
		mux.Handle("GET /metrics", metrics)
		a.doors = append(a.doors, door{l, mux})
	}
	return nil
}

// run serves until ctx ends. Calls in progress are given a moment.
func (a *admin) run(ctx context.Context) error {
	var wg sync.WaitGroup
	errs := make([]error, len(a.doors))
	for i, d := range a.doors {
		wg.Go(func() { errs[i] = api.Serve(ctx, d.listener, d.handler) })
	}
	wg.Wait()
	<-ctx.Done()
	return errors.Join(errs...)
}

// listenAdmin listens on TCP in a way that lets the next process listen while this one still does.
func listenAdmin(a config.Address) (net.Listener, error) {
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var failed error
		err := c.Control(func(fd uintptr) {
			failed = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
		})
		return errors.Join(err, failed)
	}}
	return lc.Listen(context.Background(), a.Network(), a.Dial())
}
