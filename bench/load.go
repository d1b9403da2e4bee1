package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"strconv"
	"syscall"
	"time"

	"github.com/trivet-ha/trivet/internal/demo/load"
)

// An outcome is what a load saw.
type outcome struct {
	requests, errors float64
	seconds          float64
	p50, p99         time.Duration
	cpu              time.Duration // of a load generator that is a process of its own
}

// closedLoop lets wrk send as fast as answers come back.
func closedLoop(ctx context.Context, url string, connections int, perRequest bool, seconds float64) (outcome, error) {
	program, err := findProgram("wrk")
	if err != nil {
		return outcome{}, err
	}
	args := []string{"-t2", "-c" + strconv.Itoa(connections), fmt.Sprintf("-d%.0fs", seconds), "--timeout", "10s", "--latency"}
	if perRequest {
		args = append(args, "-H", "Connection: close")
	}
	cmd := exec.CommandContext(ctx, program, append(args, url)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	text, err := cmd.CombinedOutput()
	if err != nil {
		return outcome{}, fmt.Errorf("run wrk: %v: %s", err, bytes.TrimSpace(text))
	}
	out, err := parseWrk(string(text))
	out.cpu = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	return out, err
}

var (
	wrkTotal  = regexp.MustCompile(`(\d+) requests in ([0-9.]+)(m|s)`)
	wrkP50    = regexp.MustCompile(`\s50%\s+([0-9.]+(?:us|ms|s|m))`)
	wrkP99    = regexp.MustCompile(`\s99%\s+([0-9.]+(?:us|ms|s|m))`)
	wrkErrors = regexp.MustCompile(`Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)`)
	wrkStatus = regexp.MustCompile(`Non-2xx or 3xx responses: (\d+)`)
)

// parseWrk reads what wrk prints at its end.
func parseWrk(text string) (out outcome, err error) {
	total := wrkTotal.FindStringSubmatch(text)
	if total == nil {
		return out, fmt.Errorf("read wrk's output: no total in %q", text)
	}
	elapsed, err := time.ParseDuration(total[2] + total[3])
	if err != nil {
		return out, err
	}
	out.requests, out.seconds = number(total[1]), elapsed.Seconds()
	for pattern, d := range map[*regexp.Regexp]*time.Duration{wrkP50: &out.p50, wrkP99: &out.p99} {
		if found := pattern.FindStringSubmatch(text); found != nil {
			if *d, err = time.ParseDuration(found[1]); err != nil {
				return out, err
			}
		}
	}
	for _, pattern := range []*regexp.Regexp{wrkErrors, wrkStatus} {
		if found := pattern.FindStringSubmatch(text); found != nil {
			for _, n := range found[1:] {
				out.errors += number(n)
			}
		}
	}
	return out, nil
}

func number(digits string) float64 {
	n, _ := strconv.ParseFloat(digits, 64) // the pattern let only digits through
	return n
}

// openLoop sends at a constant rate, whatever comes back.
func openLoop(ctx context.Context, address, path string, rate, seconds float64) (outcome, error) {
	rec := load.NewRecorder(time.Second)
	if err := sendUntil(ctx, address, path, rate, rec, func(ctx context.Context) error {
		rec.Phase("all")
		return pause(ctx, time.Duration(seconds*float64(time.Second)))
	}); err != nil {
		return outcome{}, err
	}
	s := rec.Summaries()[0]
	return outcome{
		requests: float64(s.Requests), errors: float64(s.Failures()), seconds: s.To.Sub(s.From).Seconds(),
		p50: s.Latency.Quantile(0.5), p99: s.Latency.Quantile(0.99),
	}, nil
}

// inFlightMax lets a proxy that hangs for five seconds at 2 000 requests per second be seen to do so.
const inFlightMax = 12000

// sendUntil runs an open loop for as long as story takes, and returns once all is answered.
func sendUntil(ctx context.Context, address, path string, rate float64, rec *load.Recorder, story func(context.Context) error) error {
	request := fmt.Appendf(nil, "GET %s HTTP/1.1\r\nHost: bench\r\n\r\n", path)
	g, err := load.New(load.Config{Address: address, Rate: rate, Next: func(uint64) []byte { return request }, Observe: rec.Observe, ConnectionsMax: inFlightMax})
	if err != nil {
		return err
	}
	sending, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- g.Run(sending) }()
	err = story(ctx)
	rec.End()
	stop()
	return errors.Join(err, <-ended)
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
