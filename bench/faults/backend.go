package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// A backend is a small HTTP server that can be told to misbehave. It runs as a process of its own, so that it can
// be killed and stopped too.
type backend struct {
	work    time.Duration // what a request takes
	workers chan struct{} // how many are served at a time
	mode    atomic.Pointer[string]
	turn    atomic.Uint64 // requests served while every second one fails
	asked   atomic.Uint64 // requests that came, probes left out
}

// Modes of a backend, as told by PUT /mode.
const (
	modeWell   = "well"
	modeSlow   = "slow"   // takes ten times as long
	modeErrors = "errors" // answers every second request with 500
	modeResets = "resets" // breaks off in the middle of its answer
	modeGone   = "gone"   // closes its door: connections are refused
)

// answerSize is the size of an answer's body, in bytes.
const answerSize = 128

func runBackend(ctx context.Context, address, control string, work time.Duration, workers int) error {
	b := &backend{work: work, workers: make(chan struct{}, workers)}
	b.set(modeWell)
	doors := make(chan bool, 16)
	steer := http.NewServeMux()
	steer.HandleFunc("PUT /mode", func(w http.ResponseWriter, r *http.Request) {
		mode, _ := io.ReadAll(io.LimitReader(r.Body, 64))
		was := b.get()
		b.set(string(mode))
		if (was == modeGone) != (string(mode) == modeGone) {
			doors <- string(mode) != modeGone
		}
	})
	steer.HandleFunc("GET /asked", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, b.asked.Load()) })
	l, err := net.Listen("tcp", control)
	if err != nil {
		return err
	}
	go http.Serve(l, steer)
	for {
		srv := &http.Server{Addr: address, Handler: b}
		ended := make(chan error, 1)
		go func() { ended <- srv.ListenAndServe() }()
		select {
		case <-ctx.Done():
			return srv.Close()
		case err := <-ended:
			return err
		case <-doors:
			srv.Close()
		}
		select {
		case <-ctx.Done():
			return nil
		case <-doors:
		}
	}
}

func (b *backend) set(mode string) { b.mode.Store(&mode) }
func (b *backend) get() string     { return *b.mode.Load() }

// ServeHTTP works on a request as long as the mode wants.
func (b *backend) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/healthz" {
		return
	}
	b.asked.Add(1)
	b.workers <- struct{}{}
	work := b.work
	mode := b.get()
	if mode == modeSlow {
		work *= 10
	}
	time.Sleep(work)
	<-b.workers
	switch {
	case mode == modeErrors && b.turn.Add(1)%2 == 0:
		http.Error(w, "broken", http.StatusInternalServerError)
		return
	case mode == modeResets:
		breakOff(w)
		return
	}
	w.Header().Set("Content-Length", strconv.Itoa(answerSize))
	io.WriteString(w, strings.Repeat("x", answerSize))
}

// breakOff resets the connection behind half an answer.
func breakOff(w http.ResponseWriter) {
	conn, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		return
	}
	fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", answerSize, strings.Repeat("x", answerSize/2))
	if tcp, ok := conn.(*net.TCPConn); ok {
		tcp.SetLinger(0)
	}
	conn.Close()
}
