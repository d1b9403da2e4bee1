package config

import (
	"net/url"
	"time"

	"github.com/trivet-ha/trivet/events"
)

// Hook tells another program what happens: by a webhook or by a command. It gets JSON: `{"node": ..., "event": {...},
// "incident": {...}}`, as [the control API](api.md#events) writes them. An event may come twice, and in the order of its hook.
type Hook struct {
	// The hook's name, in logs, metrics and events.
	Name Name `yaml:",name"`
	// Post it to a URL.
	Webhook *Webhook `yaml:"webhook" aka:"http url post"`
	// Start this program, without a shell: the JSON is on its standard input, and the main facts are in its environment as
	// TRIVET_EVENT, TRIVET_EVENT_ID, TRIVET_LEVEL, TRIVET_POOL, TRIVET_ENDPOINT, TRIVET_PROCESS, TRIVET_LISTENER, TRIVET_EVIDENCE,
	// TRIVET_INCIDENT and TRIVET_INCIDENT_STATE.
	Command []string `yaml:"command" aka:"cmd exec script run"`
	// Tell of these only: `endpoint.down`, or all that begin alike: `process.*`. The kinds are listed with [the control
	// API](api.md#events).
	Events []EventPattern `yaml:"events" default:"*" aka:"event kinds on when"`
	// Tell of what matters as much as this or more.
	Level EventLevel `yaml:"level" default:"warn" aka:"severity min_level"`
	// Tell of this pool only.
	Pool Name `yaml:"pool"`
	// How long one attempt may take.
	Timeout time.Duration `yaml:"timeout" default:"10s" min:"10ms" max:"1h"`
	// How often it is tried before it is given up: by default 8 times for a webhook, over about two minutes, and once for a command.
	Attempts int `yaml:"attempts" default:"0" min:"0" max:"100" aka:"retries tries"`
	// How many may be under way at a time. 1 keeps their order.
	Concurrency int `yaml:"concurrency" default:"1" min:"1" max:"100" aka:"parallel workers"`
}

// Webhook posts JSON. A status from 200 to 299 is success. 408, 425, 429, all from 500 on, and no answer are tried again after a
// pause that doubles; any other status is not.
type Webhook struct {
	// Where to. A URL that is a secret can come from the environment: `${NAME}`.
	URL string `yaml:"url,required" scalar:"*" aka:"uri to"`
	// More headers.
	Headers []ProbeHeader `yaml:"headers" aka:"header"`
	// A secret to show, as Authorization: Bearer ....
	Token Secret `yaml:"token" aka:"bearer authorization"`
	// The header that shows it instead, without the word Bearer.
	TokenHeader HeaderName `yaml:"token_header"`
	// A secret to sign the body with: the header X-Trivet-Signature-256 is `sha256=` and the HMAC-SHA256 in hexadecimal digits.
	SigningKey Secret `yaml:"signing_key" aka:"secret hmac"`
}

// EventLevel is how much an event matters.
type EventLevel string

// The levels.
const (
	EventInfo  EventLevel = "info"  // everything
	EventWarn  EventLevel = "warn"  // faults that are being handled
	EventError EventLevel = "error" // faults that need somebody
)

// Values is every level.
func (EventLevel) Values() []string {
	return []string{string(EventInfo), string(EventWarn), string(EventError)}
}

// Tries is how often a notice is tried.
func (h *Hook) Tries() int {
	switch {
	case h.Attempts > 0:
		return h.Attempts
	case h.Webhook != nil:
		return 8
	default:
		return 1
	}
}

func (h *Hook) validate(c *checker, path string) {
	c.oneOf(path, false, "webhook", "command")
	if c.has(join(path, "command")) && (len(h.Command) == 0 || h.Command[0] == "") {
		c.fail(join(path, "command"), "names no program", "write command: [/usr/local/bin/notify]")
	}
	c.poolExists(join(path, "pool"), h.Pool)
}

func (w *Webhook) validate(c *checker, path string) {
	u, err := url.Parse(w.URL)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		c.fail(join(path, "url"), "is no URL", "write https://example.com/hook")
	}
	for _, h := range w.Headers {
		if problem, hint := reservedHeader(h.Name); problem != "" {
			c.failKey(path+".headers."+string(h.Name), problem, hint)
		}
	}
	if w.TokenHeader != "" && w.Token.IsZero() {
		c.failKey(join(path, "token_header"), "has no effect without token", "write token_file: /etc/trivet/hook.token")
	}
}

// EventPattern is a kind of event, or the beginning of several and a star.
type EventPattern string

func parseEventPattern(text string) (EventPattern, error) {
	var known []string
	for _, k := range events.Kinds() {
		if k.Matches(text) {
			return EventPattern(text), nil
		}
		known = append(known, string(k))
	}
	return "", wrong("is no kind of event", didYouMean(text, known))
}
