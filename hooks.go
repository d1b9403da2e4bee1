package trivet

import (
	"log/slog"
	"net/http"
	"os"
	"reflect"

	"github.com/trivet-ha/trivet/config"
	"github.com/trivet-ha/trivet/events"
	"github.com/trivet-ha/trivet/events/hook"
	"github.com/trivet-ha/trivet/events/stream"
)

// newHook makes a hook of the file, which tells what happens from now on.
func newHook(spec *config.Hook, node string, s *stream.Stream, log *slog.Logger) *hook.Hook {
	f := events.Filter{Pool: string(spec.Pool), Level: events.Level(spec.Level)}
	for _, pattern := range spec.Events {
		f.Kinds = append(f.Kinds, string(pattern))
	}
	return hook.New(hook.Config{
		Name: string(spec.Name), Filter: f, To: delivererOf(spec), Node: node, Concurrency: spec.Concurrency, Attempts: spec.Tries(), Log: log,
	}, s)
}

func delivererOf(spec *config.Hook) hook.Deliverer {
	w := spec.Webhook
	if w == nil {
		return &hook.Command{Argv: spec.Command, Timeout: spec.Timeout}
	}
	to := &hook.Webhook{URL: w.URL, Header: http.Header{}, Key: []byte(w.SigningKey.Reveal()), Timeout: spec.Timeout}
	for _, h := range w.Headers {
		to.Header.Add(string(h.Name), string(h.Value))
	}
	switch {
	case w.Token.IsZero():
	case w.TokenHeader != "":
		to.Header.Set(string(w.TokenHeader), w.Token.Reveal())
	default:
		to.Header.Set("Authorization", "Bearer "+w.Token.Reveal())
	}
	return to
}

// sameHook reports whether a hook need not be made anew.
func sameHook(a, b *config.Hook) bool { return reflect.DeepEqual(a, b) }

// machineName is what hooks are told where they come from.
func machineName() string {
	name, err := os.Hostname()
	if err != nil {
		return "unknown"
	}
	return name
}
