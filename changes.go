package trivet

import (
	"fmt"
	"time"

	"github.com/trivet-ha/trivet/balance"
	"github.com/trivet-ha/trivet/events"
)

// note makes an event of what has happened to an endpoint, or to the pool. It is called by whoever notices it,
// which may be an event loop, and never blocks.
func (p *pool) note(e *balance.Endpoint, c balance.Change) {
	n := p.traffic.n
	n.sever(e, c)
	ev := events.Event{Where: events.Where{Pool: p.name}, At: n.origin.Add(c.At), Evidence: c.Reason}
	if e != nil {
		ev.Endpoint = e.Address()
		ev.Process = p.traffic.processAt(ev.Endpoint)
	}
	switch c.Kind {
	case balance.HealthChanged:
		p.noteHealth(&ev, c.Health)
	case balance.Ejected:
		n.ejected.Add(1)
		ev.Kind = events.EndpointEjected
		ev.Action = fmt.Sprintf("gets no requests for %v", (c.Until - c.At).Round(time.Millisecond))
	case balance.AdminChanged:
		ev.Kind = events.Kind("endpoint." + c.Admin.String())
	case balance.WeightChanged:
		ev.Kind, ev.Evidence = events.EndpointWeight, fmt.Sprintf("weight %d", c.Weight)
	case balance.RoleChanged:
		ev.Kind, ev.Evidence = events.EndpointRole, "says it is "+c.Role.String()
		if !c.Fit {
			ev.Kind, ev.Action = events.EndpointUnfit, "gets no requests"
		}
	case balance.PanicBegan:
		ev.Kind, ev.Action = events.PoolPanic, "sends requests to all"
	case balance.PanicEnded:
		ev.Kind = events.PoolPanicEnded
	default:
		ev.Kind = events.Kind("endpoint." + c.Kind.String())
	}
	n.history.publish(ev)
	n.names.server.PoolChanged(p.name)
}

func (p *pool) noteHealth(ev *events.Event, h balance.Health) {
	switch h {
	case balance.Up:
		ev.Kind = events.EndpointUp
	case balance.Down:
		ev.Kind, ev.Action = events.EndpointDown, "gets no requests"
		ev.Since = p.signs.first(ev.Endpoint)
	default:
		ev.Kind = events.EndpointUnprobed
	}
}
