package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"syscall"
	"time"

	"github.com/trivet-ha/trivet/internal/demo/load"
)

const contSignal = syscall.SIGCONT

func (s *scene) ports() (ports []int) {
	for _, b := range s.backends {
		ports = append(ports, b.port)
	}
	return ports
}

// tell sets the mode of a backend.
func (s *scene) tell(i int, mode string) error {
	req, err := http.NewRequest(http.MethodPut, fmt.Sprintf("http://127.0.0.1:%d/mode", s.backends[i].control), strings.NewReader(mode))
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	return resp.Body.Close()
}

// asked is how many requests the backends have got, those that are gone left out.
func (s *scene) asked() (n int) {
	client := http.Client{Timeout: time.Second}
	for _, b := range s.backends {
		resp, err := client.Get(fmt.Sprintf("http://127.0.0.1:%d/asked", b.control))
		if err != nil {
			n += b.asked // it was killed
			continue
		}
		b.asked = 0
		_, _ = fmt.Fscan(resp.Body, &b.asked)
		resp.Body.Close()
		n += b.asked
	}
	return n
}

// flap lets one backend go and come every second.
func (s *scene) flap(ctx context.Context) error {
	for end := time.Now().Add(s.c.storm); time.Now().Before(end); {
		for _, mode := range []string{modeGone, modeWell} {
			if err := s.tell(1, mode); err != nil {
				return err
			}
			if err := pause(ctx, time.Second); err != nil {
				return err
			}
		}
	}
	return nil
}

// allGone takes all backends away for two seconds.
func (s *scene) allGone(ctx context.Context) error {
	for _, mode := range []string{modeGone, modeWell} {
		for i := range s.backends {
			if err := s.tell(i, mode); err != nil {
				return err
			}
		}
		if err := pause(ctx, 2*time.Second); err != nil {
			return err
		}
	}
	return pause(ctx, s.c.storm)
}

// overload adds so much load that the whole is times what the backends can bear.
func (s *scene) overload(ctx context.Context, times float64) error {
	capacity := float64(backendsOfAScene*s.c.workers) / s.c.work.Seconds()
	return s.send(ctx, capacity*times-s.c.rate, func(ctx context.Context) error { return pause(ctx, s.c.storm) })
}

// inFlightMax lets a proxy that hangs for five seconds be seen to do so.
const inFlightMax = 12000

// send sends requests at a constant rate for as long as the story takes, and returns once all is answered.
func (s *scene) send(ctx context.Context, perSecond float64, story func(context.Context) error) error {
	request := []byte("GET / HTTP/1.1\r\nHost: bench\r\n\r\n")
	g, err := load.New(load.Config{
		Address: s.address, Rate: perSecond, Next: func(uint64) []byte { return request }, Observe: s.rec.Observe, ConnectionsMax: inFlightMax,
	})
	if err != nil {
		return err
	}
	sending, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- g.Run(sending) }()
	err = story(ctx)
	stop()
	return errors.Join(err, <-ended)
}
