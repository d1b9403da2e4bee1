package trivet

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/trivet-ha/trivet/config"
	"github.com/trivet-ha/trivet/events"
)

// errNoFile says that there is nothing to read again.
var errNoFile = errors.New("reload: the configuration came from no file")

// watchEvery is how often the file is looked at. Looking works on every file system, and sees a file that is
// replaced, reached by links, or mounted anew.
const watchEvery = time.Second

// ReloadFile reads the configuration's file again and puts it in force. On an error nothing has changed.
func (n *Node) ReloadFile(context.Context) error {
	name, began := n.File().File(), time.Now()
	if name == "" {
		return errNoFile
	}
	file, err := config.Load(name)
	if err == nil {
		err = n.Reload(file)
	}
	if err != nil {
		n.mu.Lock()
		n.loaded.Error, n.loaded.ErrorAt = err.Error(), time.Now()
		n.mu.Unlock()
		n.history.publish(events.Event{Kind: events.ConfigRejected, Evidence: shorten(err.Error()), Action: "keeps the old one"})
		return err
	}
	n.history.publish(events.Event{
		Kind: events.ConfigReloaded, Took: events.Span(time.Since(began)),
		Evidence: fmt.Sprintf("%s, %d listeners, %d pools", name, len(file.Listeners), len(file.Pools)),
	})
	return nil
}

// evidenceMax bounds what an event tells of a file's problems; the answer to the reload, and the status, have all.
const evidenceMax = 2000

func shorten(text string) string {
	if len(text) <= evidenceMax {
		return text
	}
	return strings.ToValidUTF8(text[:evidenceMax], "") + "..."
}

// watch reloads the file when its content changes and the configuration in force says so.
func (n *Node) watch(ctx context.Context) error {
	t := time.NewTicker(watchEvery)
	defer t.Stop()
	var seen []byte // the content that has been looked at
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
		inForce := n.File()
		now := fingerprint(inForce.File())
		if !inForce.Watch || now == nil || bytes.Equal(now, seen) {
			continue
		}
		seen = now
		if file, err := config.Load(inForce.File()); err == nil && file.Equal(inForce) {
			continue // a comment, say
		}
		_ = n.ReloadFile(ctx) // which has said what is wrong
	}
}

// fingerprint identifies a file's content; nil if it cannot be read, as while it is being replaced.
func fingerprint(name string) []byte {
	if name == "" {
		return nil
	}
	content, err := os.ReadFile(name)
	if err != nil {
		return nil
	}
	sum := sha256.Sum256(content)
	return sum[:]
}
