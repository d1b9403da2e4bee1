package shed

import (
	"fmt"
	"math"
	"time"

	"github.com/trivet-ha/trivet/fault/internal/window"
)

// Algorithm names a way of telling how much is too much.
type Algorithm uint8

// The algorithms.
const (
	// ClientThrottling lets the service be asked K times as often as it accepts.
	// See [Throttle].
	ClientThrottling Algorithm = iota
	// AdmissionControl begins to shed as the share of good answers falls below
	// Threshold. See [Admission].
	AdmissionControl
)

func (a Algorithm) String() string { return [...]string{"client throttling", "admission control"}[a] }

// Config says when requests are shed. The zero Config means the defaults.
type Config struct {
	// Algorithm is ClientThrottling by default: it sheds nothing as long as every
	// second request is accepted.
	Algorithm Algorithm
	// Window is how far back requests count. Default 30 s, as in Envoy. (The SRE
	// book has two minutes, in which a service that was down for one is
	// throttled for the other.)
	Window time.Duration
	// MinRequests is the smallest number of requests in the window for which
	// anything is shed. Default 20.
	MinRequests int
	// K is how many times as many requests as are accepted ClientThrottling lets
	// through. Default 2, as in the SRE book.
	K float64
	// Threshold (0..1) is the share of good answers that AdmissionControl expects.
	// Default 0.95, as in Envoy.
	Threshold float64
	// Aggression is how steeply AdmissionControl's shedding grows; above 1 more is
	// shed at the same share. Default 1, as in Envoy.
	Aggression float64
	// MaxShed (0..1) is the largest share of all requests that is shed, so that
	// some always find out whether the service is well again. Default 0.8, as in
	// Envoy.
	MaxShed float64
}

// WithDefaults returns c with the default in place of each zero.
func (c Config) WithDefaults() Config {
	or(&c.Window, 30*time.Second)
	or(&c.MinRequests, 20)
	or(&c.K, 2)
	or(&c.Threshold, 0.95)
	or(&c.Aggression, 1)
	or(&c.MaxShed, 0.8)
	return c
}

func or[T comparable](p *T, v T) {
	var zero T
	if *p == zero {
		*p = v
	}
}

// Check reports the first value of c that makes no sense.
func (c Config) Check() error {
	c = c.WithDefaults()
	switch {
	case c.Algorithm > AdmissionControl:
		return fmt.Errorf("shed: algorithm %d is not known", c.Algorithm)
	case c.Window < window.Min:
		return fmt.Errorf("shed: window %v is below %v", c.Window, window.Min)
	case c.MinRequests < 1:
		return fmt.Errorf("shed: minimum of %d requests is below 1", c.MinRequests)
	case !(c.K >= 1) || math.IsInf(c.K, 1):
		return fmt.Errorf("shed: K %v is below 1", c.K)
	case !(c.Threshold > 0 && c.Threshold <= 1):
		return fmt.Errorf("shed: threshold %v is not above 0 and at most 1", c.Threshold)
	case !(c.Aggression >= 1) || math.IsInf(c.Aggression, 1):
		return fmt.Errorf("shed: aggression %v is below 1", c.Aggression)
	case !(c.MaxShed > 0 && c.MaxShed <= 1):
		return fmt.Errorf("shed: maximum share %v is not above 0 and at most 1", c.MaxShed)
	}
	return nil
}
