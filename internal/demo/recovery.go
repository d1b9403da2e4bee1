package demo

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/trivet-ha/trivet/api"
	"github.com/trivet-ha/trivet/events"
)

// brief is [fault] for chapters that begin and end with a change of the configuration: the trouble waits for its own end.
func brief(ctx context.Context, s *Stage, trouble func() error) error {
	const calm = time.Second
	s.Phase("before")
	if err := s.Pause(ctx, calm); err != nil {
		return err
	}
	s.Phase("during")
	if err := trouble(); err != nil {
		return err
	}
	s.Phase("after")
	if err := s.Configure(nil); err != nil {
		return err
	}
	if err := s.Trivet.Reload(ctx); err != nil {
		return err
	}
	return s.Pause(ctx, calm)
}

// started lets Trivet start a shop by itself, and kills it: Trivet starts it again.
func started(ctx context.Context, s *Stage) error {
	c := api.Dial(s.Socket)
	defer c.Close()
	s.Say("trivet reload: a fourth shop, which Trivet starts and keeps running")
	if err := s.Configure(s.withTill); err != nil {
		return err
	}
	if err := s.Trivet.Reload(ctx); err != nil {
		return err
	}
	till, err := s.till(ctx, c, 0)
	if err != nil {
		return err
	}
	s.Saw("after %.2f s: %s serves at %s (pid %d)", s.since().Seconds(), till.Name, till.Address, till.PID)
	return brief(ctx, s, func() error {
		s.Say("kill -9 %d: nobody starts %s again but Trivet", till.PID, till.Name)
		if err := syscall.Kill(till.PID, syscall.SIGKILL); err != nil {
			return fmt.Errorf("kill %s: %v", till.Name, err)
		}
		again, err := s.till(ctx, c, till.PID)
		if err != nil {
			return err
		}
		s.Saw("after %.2f s: %s serves again at %s (pid %d)", s.since().Seconds(), again.Name, again.Address, again.PID)
		return s.tellIncident(ctx, c, events.IncidentFilter{Pool: poolName, Process: till.Name})
	})
}

// withTill adds a shop to the pool that Trivet runs itself.
func (s *Stage) withTill(yaml string) string {
	command := []string{s.opt.Executable}
	command = append(command, s.opt.ShopCommand...)
	command = append(command, shopOptions{Name: "till-{{.Replica}}", Listen: "{{.Address}}", Data: s.ledgers()}.args()...)
	for i := range command {
		command[i] = fmt.Sprintf("%q", command[i])
	}
	till := fmt.Sprintf(", {run: {command: [%s], restart: {backoff: 100ms}}}]\n    health:", strings.Join(command, ", "))
	return strings.Replace(yaml, "]\n    health:", till, 1)
}

// till waits until the process that Trivet runs takes requests, and is another than that with the number.
func (s *Stage) till(ctx context.Context, c *api.Client, not int) (p api.Process, err error) {
	err = s.until(ctx, "the process that Trivet runs serves", func(ctx context.Context) bool {
		list, err := c.Processes(ctx, poolName)
		if err != nil || len(list) == 0 {
			return false
		}
		p = list[0]
		return p.State == "ready" && p.PID != not
	})
	return p, err
}

// held takes all shops away for two seconds; requests wait.
func held(ctx context.Context, s *Stage) error {
	const gone = 2 * time.Second
	c := api.Dial(s.Socket)
	defer c.Close()
	s.Say("trivet reload: with hold: 10s, requests wait while there is no shop")
	if err := s.Configure(func(yaml string) string { return yaml + "    hold: 10s\n" }); err != nil {
		return err
	}
	if err := s.Trivet.Reload(ctx); err != nil {
		return err
	}
	return brief(ctx, s, func() error {
		for _, p := range s.shops {
			if err := s.Kill(p.name); err != nil {
				return err
			}
		}
		if err := s.Pause(ctx, gone); err != nil {
			return err
		}
		for _, p := range s.shops {
			if err := s.Open(ctx, p.name); err != nil {
				return err
			}
		}
		for _, p := range s.shops {
			if err := s.Await(ctx, p.name, In); err != nil {
				return err
			}
		}
		return s.tellIncident(ctx, c, events.IncidentFilter{Pool: poolName, Endpoint: s.shops[0].address})
	})
}

// tellIncident tells what Trivet has written down of the latest fault of a thing, once that is over.
func (s *Stage) tellIncident(ctx context.Context, c *api.Client, f events.IncidentFilter) error {
	var last events.Incident
	err := s.until(ctx, "the incident is over", func(ctx context.Context) bool {
		list, err := c.Incidents(ctx, f)
		if err != nil || len(list) == 0 {
			return false
		}
		last = list[len(list)-1]
		return last.State == events.Recovered
	})
	if err != nil {
		return err
	}
	var kinds []string
	for _, k := range last.Kinds {
		kinds = append(kinds, string(k))
	}
	what := last.Process
	if what == "" {
		what = s.nameOf(last.Endpoint)
	}
	s.Saw("trivet events, incident of %s: %s; detected after %s, recovered after %s", what, strings.Join(slices.Compact(kinds), ", "),
		ms(last.ToDetect.Duration()), ms(last.ToRecover.Duration()))
	return nil
}

// until waits for something that Trivet will say.
func (s *Stage) until(ctx context.Context, what string, holds func(context.Context) bool) error {
	const patience = 20 * time.Second
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("wait until %s: not after %v", what, patience))
	defer cancel()
	for !holds(ctx) {
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}
