package gslb

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"math/rand/v2"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/trivet-ha/trivet/balance/gslb/answer"
	"github.com/trivet-ha/trivet/balance/gslb/wire"
)

// QueryLog writes a line for some of the queries. Writing never makes an answer wait: lines that come too fast are
// counted and dropped.
type QueryLog struct {
	w         io.Writer
	threshold uint64 // a random number below this is written
	lines     chan line
	dropped   atomic.Uint64
}

// querylogMax bounds the lines that wait to be written.
const querylogMax = 1024

// line is a query as it is noted. It points to nothing that the next query overwrites.
type line struct {
	at      time.Duration
	from    netip.Addr
	tcp     bool
	name    [wire.NameMax]byte
	length  int
	kind    wire.Type
	summary answer.Summary
	size    int
}

// NewQueryLog makes a log of that part of the queries, from 0 to 1.
func NewQueryLog(w io.Writer, part float64) *QueryLog {
	threshold := uint64(part * (1 << 63))
	return &QueryLog{w: w, threshold: threshold, lines: make(chan line, querylogMax)}
}

// Dropped returns how many lines were not written because there were too many.
func (l *QueryLog) Dropped() uint64 { return l.dropped.Load() }

// note takes the query that a responder has just answered with size bytes.
func (l *QueryLog) note(r *answer.Responder, from answer.Source, size int) {
	if rand.Uint64()>>1 >= l.threshold {
		return
	}
	q := r.Question()
	n := line{at: from.Now, from: from.Addr, tcp: from.TCP, kind: q.Type, summary: *r.Last(), size: size}
	n.length = copy(n.name[:], q.Name())
	select {
	case l.lines <- n:
	default:
		l.dropped.Add(1)
	}
}

// entry is a line as it is written.
type entry struct {
	Time     time.Time `json:"time"`
	Client   string    `json:"client"`
	Protocol string    `json:"protocol"`
	Name     string    `json:"name"`
	Type     string    `json:"type"`
	Rcode    string    `json:"rcode"`
	Zone     string    `json:"zone,omitempty"`
	Pool     string    `json:"pool,omitempty"`
	Policy   string    `json:"policy,omitempty"`
	Way      string    `json:"way,omitempty"`
	Size     int       `json:"size"` // 0 is no answer
	Limited  bool      `json:"limited,omitempty"`
	Cut      bool      `json:"truncated,omitempty"`
}

// Run writes lines until ctx ends, and then those that wait. origin is what their times count from.
func (l *QueryLog) Run(ctx context.Context, origin time.Time) error {
	w := bufio.NewWriter(l.w)
	encoder := json.NewEncoder(w)
	for {
		select {
		case n := <-l.lines:
			_ = encoder.Encode(n.entry(origin))
			if len(l.lines) == 0 {
				if err := w.Flush(); err != nil {
					return err
				}
			}
		case <-ctx.Done():
			for len(l.lines) > 0 {
				n := <-l.lines
				_ = encoder.Encode(n.entry(origin))
			}
			return w.Flush()
		}
	}
}

func (n *line) entry(origin time.Time) entry {
	e := entry{
		Time: origin.Add(n.at), Client: n.from.String(), Protocol: "udp", Type: n.kind.String(),
		Rcode: n.summary.Rcode.String(), Size: n.size, Limited: n.summary.Limited, Cut: n.summary.Truncated,
	}
	if n.tcp {
		e.Protocol = "tcp"
	}
	if n.length > 0 {
		e.Name = wire.Name(n.name[:n.length]).String()
	}
	if z := n.summary.Zone; z != nil {
		e.Zone = z.Apex.String()
	}
	if s := n.summary.Selection; n.summary.Steered && s.Slot != nil {
		e.Pool, e.Way = s.Slot.Pool, s.Way.String()
		if s.Plan != nil {
			e.Policy = s.Plan.Policy().String()
		}
	}
	return e
}
