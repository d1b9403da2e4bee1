package events

import (
	"encoding/json"
	"strings"
	"time"
)

// Event is something that happened, or was done. The zero of a field that does
// not apply is left out of the JSON.
type Event struct {
	// ID orders events: a later one has a larger ID, over restarts too. It is
	// given by the stream, from the clock: microseconds since 1970, or one more
	// than the last.
	ID int64 `json:"id"`
	// At is when it happened.
	At   time.Time `json:"at"`
	Kind Kind      `json:"kind"`
	// Level is the kind's; it is there for those that read the JSON.
	Level Level `json:"level"`
	Where
	// Since is the first sign of a fault, if that was before it was taken for
	// one: the first failed probe of several, say.
	Since time.Time `json:"since,omitzero"`
	// Evidence is what was seen, for people.
	Evidence string `json:"evidence,omitempty"`
	// Action is what was done about it, for people.
	Action string `json:"action,omitempty"`
	// Took is how long the action took, or how long what is over now had lasted.
	Took Span `json:"took_ms,omitzero"`
	// Incident is the ID of the incident that the event belongs to; 0 is none.
	Incident int64 `json:"incident,omitempty"`
}

// Where is the thing that an event is about. What is empty does not apply; all
// empty is the node as a whole.
type Where struct {
	Pool     string `json:"pool,omitempty"`
	Endpoint string `json:"endpoint,omitempty"` // its address
	Process  string `json:"process,omitempty"`  // a supervised one: pool/number
	Listener string `json:"listener,omitempty"`
	Hook     string `json:"hook,omitempty"`
	// Backup is one of the file, Repository where it is kept; or the repository alone.
	Backup     string `json:"backup,omitempty"`
	Repository string `json:"repository,omitempty"`
	// Drill is one of the file.
	Drill string `json:"drill,omitempty"`
}

// Text names the thing for people. (Were it String, events would print as that.)
func (w Where) Text() string {
	var parts []string
	add := func(what, name string) {
		if name != "" {
			parts = append(parts, what+" "+name)
		}
	}
	add("process", w.Process)
	add("endpoint", w.Endpoint)
	if w.Process == "" {
		add("pool", w.Pool)
	}
	add("listener", w.Listener)
	add("hook", w.Hook)
	add("backup", w.Backup)
	add("repository", w.Repository)
	add("drill", w.Drill)
	if parts == nil {
		return "node"
	}
	return strings.Join(parts, ", ")
}

// subject is what the faults and recoveries of one thing have in common. A
// supervised process may change its address, so that is left out.
func (w Where) subject() Where {
	if w.Process != "" {
		w.Endpoint = ""
	}
	return w
}

// Level is how much an event matters.
type Level string

// The levels.
const (
	Info  Level = "info"  // a change that needs nobody
	Warn  Level = "warn"  // a fault that is being handled
	Error Level = "error" // a fault that needs somebody
)

// Levels is every level, the least first.
func Levels() []Level { return []Level{Info, Warn, Error} }

// AtLeast reports whether l matters as much as least. The empty level is Info.
func (l Level) AtLeast(least Level) bool { return l.rank() >= least.rank() }

func (l Level) rank() int {
	switch l {
	case Error:
		return 2
	case Warn:
		return 1
	}
	return 0
}

// Span is a duration that is milliseconds in JSON.
type Span time.Duration

// Duration returns s as the standard library's type.
func (s Span) Duration() time.Duration { return time.Duration(s) }

func (s Span) String() string { return time.Duration(s).String() }

// MarshalJSON writes milliseconds, with a fraction.
func (s Span) MarshalJSON() ([]byte, error) {
	return json.Marshal(float64(s) / float64(time.Millisecond))
}

// UnmarshalJSON reads milliseconds. The error is that of a text that is no
// number.
func (s *Span) UnmarshalJSON(text []byte) error {
	var ms float64
	if err := json.Unmarshal(text, &ms); err != nil {
		return err
	}
	*s = Span(ms * float64(time.Millisecond))
	return nil
}
