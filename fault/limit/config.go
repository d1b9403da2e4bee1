package limit

import (
	"fmt"
	"time"
)

// Algorithm names a way of limiting.
type Algorithm uint8

// The algorithms.
const (
	// TokenBucket gives Tokens every Per, evenly, and lets up to Burst of them be
	// saved up. It is the default: it spreads the load, and who keeps to the rate
	// never waits. It is kept as GCRA, the Generic Cell Rate Algorithm (ITU-T
	// I.371; ATM Forum, Traffic Management 4.1, 1999, §4.4.3): one time stamp says
	// it all. The time for a call's tokens is rounded to a nanosecond, so ten
	// million tokens a second, taken one by one, are exact to half a percent.
	TokenBucket Algorithm = iota
	// SlidingWindow gives Tokens in any stretch of length Per, at once or not:
	// the meaning of "a thousand a day" in a contract. The stretch is made up of
	// the present window and as much of the one before as still belongs to it,
	// taken as if it had been spent evenly (J. Desgats, "How we built rate
	// limiting capable of scaling to millions of domains", 2017).
	SlidingWindow
)

func (a Algorithm) String() string { return [...]string{"token bucket", "sliding window"}[a] }

// Config says how much is allowed. Only Tokens has no useful zero.
type Config struct {
	// Tokens is the number of them that is given in the time Per. A call takes
	// one, or as many as it says.
	Tokens int
	// Per is the time in which Tokens are given. Default 1 s.
	Per time.Duration
	// Burst is the largest number of tokens that may be taken at once from a
	// TokenBucket. Default Tokens. A SlidingWindow has none.
	Burst int
	// Algorithm is TokenBucket by default.
	Algorithm Algorithm
}

// The bounds of a Config.
const (
	maxTokens       = 1_000_000_000
	maxWindowTokens = 1<<countBits - 1
	maxPer          = 30 * 24 * time.Hour
	maxSaved        = 10 * 365 * 24 * time.Hour // time to fill an empty bucket
)

// WithDefaults returns c with the default in place of each zero.
func (c Config) WithDefaults() Config {
	if c.Per == 0 {
		c.Per = time.Second
	}
	if c.Burst == 0 {
		c.Burst = c.Tokens
	}
	return c
}

// Check reports the first value of c that makes no sense.
func (c Config) Check() error {
	c = c.WithDefaults()
	switch {
	case c.Algorithm > SlidingWindow:
		return fmt.Errorf("limit: algorithm %d is not known", c.Algorithm)
	case c.Tokens < 1 || c.Tokens > maxTokens:
		return fmt.Errorf("limit: %d tokens are not between 1 and %d", c.Tokens, maxTokens)
	case c.Per < time.Millisecond || c.Per > maxPer:
		return fmt.Errorf("limit: a time of %v is not between %v and %v", c.Per, time.Millisecond, maxPer)
	case c.Burst < 1 || c.Burst > maxTokens:
		return fmt.Errorf("limit: burst of %d is not between 1 and %d", c.Burst, maxTokens)
	case c.Algorithm == TokenBucket && float64(c.Tokens)/float64(c.Per) > 1:
		return fmt.Errorf("limit: %d tokens in %v are more than one a nanosecond", c.Tokens, c.Per)
	case c.Algorithm == TokenBucket && float64(c.Burst)/float64(c.Tokens)*float64(c.Per) > float64(maxSaved):
		return fmt.Errorf("limit: burst of %d takes more than ten years to save up", c.Burst)
	case c.Algorithm == SlidingWindow && c.Tokens > maxWindowTokens:
		return fmt.Errorf("limit: %d tokens are more than the %d of a sliding window", c.Tokens, maxWindowTokens)
	case c.Algorithm == SlidingWindow && c.Per < time.Second:
		return fmt.Errorf("limit: sliding window of %v is below 1s", c.Per)
	}
	return nil
}

// KeyedConfig says how much is allowed to each key. Only Config has no useful
// zero.
type KeyedConfig struct {
	Config
	// Keys is how many keys are told apart at a time, 16 bytes each. Those that
	// have not used anything up need no memory. Default 65536: 1 MiB.
	Keys int
	// Seed is any number that outsiders don't know, lest they choose keys that
	// crowd each other.
	Seed uint64
}

// maxKeys is 16 GiB.
const maxKeys = 1 << 30

// WithDefaults returns c with the default in place of each zero.
func (c KeyedConfig) WithDefaults() KeyedConfig {
	c.Config = c.Config.WithDefaults()
	if c.Keys == 0 {
		c.Keys = 1 << 16
	}
	return c
}

// Check reports the first value of c that makes no sense.
func (c KeyedConfig) Check() error {
	c = c.WithDefaults()
	if c.Keys < 1 || c.Keys > maxKeys {
		return fmt.Errorf("limit: %d keys are not between 1 and %d", c.Keys, maxKeys)
	}
	return c.Config.Check()
}
