package demo

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// A Chapter is one part of the story. Run troubles the stage, waits, and puts everything back as it was: each chapter
// finds three open shops. It returns an error only when the story can not go on; failed requests are counted, not
// returned.
type Chapter struct {
	Name string
	Run  func(context.Context, *Stage) error
}

// Chapters returns the story in order.
func Chapters() []Chapter {
	return []Chapter{
		{"A shop is killed", killed},
		{"A shop hangs", frozen},
		{"A shop that Trivet runs is killed", started},
		{"All shops are gone for two seconds", held},
		{"A shop is drained for a new version", drained},
		{"The configuration changes under load", reloaded},
		{"Names follow the same health", named},
		{"Invoices are encrypted by somebody", saved},
		{"A table is dropped by mistake", undone},
		{"What Trivet says of all this", reckoned},
	}
}

// How long the phases of a chapter last: long enough for a 99th percentile to mean something (500 requests at the
// default rate), short enough for the whole story to stay below a minute.
const (
	beforeFault = 1250 * time.Millisecond
	duringFault = 2500 * time.Millisecond
	afterFault  = 1250 * time.Millisecond
)

// fault plays the usual course: calm, trouble, recovery, calm.
func fault(ctx context.Context, s *Stage, trouble, mend func() error) error {
	s.Phase("before")
	if err := s.Pause(ctx, beforeFault); err != nil {
		return err
	}
	s.Phase("during")
	if err := trouble(); err != nil {
		return err
	}
	if err := s.Pause(ctx, duringFault); err != nil {
		return err
	}
	s.Phase("after")
	if err := mend(); err != nil {
		return err
	}
	return s.Pause(ctx, afterFault)
}

func killed(ctx context.Context, s *Stage) error {
	const shop = "shop-b"
	return fault(ctx, s,
		func() error {
			if err := s.Kill(shop); err != nil {
				return err
			}
			return s.Await(ctx, shop, Out)
		},
		func() error {
			if err := s.Open(ctx, shop); err != nil {
				return err
			}
			return s.Await(ctx, shop, In)
		})
}

func frozen(ctx context.Context, s *Stage) error {
	const shop = "shop-c"
	return fault(ctx, s,
		func() error {
			if err := s.Freeze(shop); err != nil {
				return err
			}
			return s.Await(ctx, shop, Out)
		},
		func() error {
			if err := s.Thaw(shop); err != nil {
				return err
			}
			return s.Await(ctx, shop, In)
		})
}

func drained(ctx context.Context, s *Stage) error {
	const shop = "shop-a"
	return fault(ctx, s,
		func() error {
			s.Say("trivet pool drain shop %s: nothing new for %s", s.Address(shop), shop)
			if err := s.Trivet.Drain(ctx, s.Address(shop)); err != nil {
				return err
			}
			if err := s.Await(ctx, shop, Out); err != nil {
				return err
			}
			if err := s.Pause(ctx, time.Second); err != nil {
				return err
			}
			s.Shut(shop)
			return s.Open(ctx, shop)
		},
		func() error {
			s.Say("trivet pool ready shop %s: %s may work again", s.Address(shop), shop)
			if err := s.Trivet.Ready(ctx, s.Address(shop)); err != nil {
				return err
			}
			return s.Await(ctx, shop, In)
		})
}

// reloads is how often the configuration changes in its chapter.
const reloads = 20

func reloaded(ctx context.Context, s *Stage) error {
	return fault(ctx, s,
		func() error {
			s.Say("trivet reload, %d times, each with another edition of the file", reloads)
			for edition := 2; edition < 2+reloads; edition++ {
				if err := s.Configure(setEdition(edition)); err != nil {
					return err
				}
				if err := s.Trivet.Reload(ctx); err != nil {
					return fmt.Errorf("reload edition %d: %v", edition, err)
				}
				if err := s.Pause(ctx, 50*time.Millisecond); err != nil {
					return err
				}
			}
			edition, err := seenEdition(ctx, s.Front)
			if err != nil {
				return err
			}
			s.Saw("answers carry edition %s of the file", edition)
			return nil
		},
		func() error {
			s.Say("trivet reload, with a mistake in the file")
			err := s.Configure(func(yaml string) string { return strings.Replace(yaml, "interval:", "intervall:", 1) })
			if err != nil {
				return err
			}
			refusal := s.Trivet.Reload(ctx)
			if refusal == nil {
				return errors.New("reload a file with a mistake: it was accepted")
			}
			for line := range strings.Lines(strings.TrimSpace(refusal.Error())) {
				s.Saw("%s", strings.ReplaceAll(strings.TrimRight(line, "\n"), s.Dir+"/", ""))
			}
			edition, err := seenEdition(ctx, s.Front)
			if err != nil {
				return err
			}
			s.Saw("nothing has changed: answers still carry edition %s", edition)
			return s.Configure(nil)
		})
}

func setEdition(n int) func(string) string {
	return func(yaml string) string {
		return strings.Replace(yaml, `X-Edition: "1"`, fmt.Sprintf(`X-Edition: "%d"`, n), 1)
	}
}

// seenEdition asks the front door which edition of the configuration answers.
func seenEdition(ctx context.Context, front string) (string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+front+"/", http.NoBody)
	if err != nil {
		return "", err
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 5 * time.Second}
	response, err := client.Do(request)
	if err != nil {
		return "", fmt.Errorf("ask for the edition: %v", err)
	}
	defer response.Body.Close()
	return response.Header.Get("X-Edition"), nil
}
