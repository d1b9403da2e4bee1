package l4

import (
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"github.com/trivet-ha/trivet/balance/proxyproto"
	"github.com/trivet-ha/trivet/internal/edge"
	"github.com/trivet-ha/trivet/internal/loop"
)

// turnBatches are received before other sockets have their turn.
const turnBatches = 8

// lateReply is how long answers are passed on after another process has taken the clients over.
const lateReply = 5 * time.Second

// evictAge is how old a session must be that was never answered before it makes room for another.
const evictAge = time.Second

// A port is the sockets of one worker at which clients' datagrams come in, and the sessions of those clients.
type port struct {
	*edge.Port
	w     *worker
	ears  []*ear
	flows map[key]*flow

	pieces  []piece
	touched []*flow // sessions that have pieces

	unheard flow // head of the list of sessions that were never answered, the oldest first
	stopped bool // no new sessions
	done    func()
}

// An ear is one socket.
type ear struct {
	p   *port
	fd  int
	tok loop.Token
}

// A piece is what a client has sent: one datagram, or several of the same length.
type piece struct {
	data    []byte
	segment int   // length of each but the last; 0 is one datagram
	next    int32 // of the same session, by index from 1
}

// ServePackets implements edge.PacketServer.
func (s *Service) ServePackets(from *edge.Port) edge.PacketReader {
	w := s.Server.workers[from.Worker.ID]
	if w.inbox == nil {
		w.inbox, w.outbox, w.replies = newInbox(), &outbox{}, newReplies(w)
	}
	p := &port{Port: from, w: w, flows: map[key]*flow{}}
	p.unheard.younger, p.unheard.older = &p.unheard, &p.unheard
	for _, fd := range p.FDs {
		_ = unix.SetsockoptInt(fd, unix.SOL_UDP, udpGRO, 1) // since Linux 5.0
		e := &ear{p: p, fd: fd}
		var err error
		if e.tok, err = w.Loop.Add(fd, e, loop.Readable); err != nil {
			s.Server.log().Error("listener is deaf", "listener", p.Binding.Name, "error", err)
			continue
		}
		p.ears = append(p.ears, e)
	}
	return p
}

// Stop implements edge.PacketReader. What clients send that have a session still goes through while the process
// drains. A port that was taken out of the configuration ends at once: if it comes back, its sockets must not share
// the datagrams with new ones.
func (p *port) Stop(passed bool, done func()) {
	p.stopped, p.done = true, done
	if passed || !p.w.Draining() {
		for _, e := range p.ears {
			p.w.Loop.Unwatch(e.fd, e.tok)
		}
		p.ears = nil
	}
	for _, x := range p.flows {
		if !passed && !p.w.Draining() {
			x.end()
			continue
		}
		x.rearm()
	}
	p.endIfDone()
}

// endIfDone gives the sockets back once nobody needs them.
func (p *port) endIfDone() {
	if p.done == nil || len(p.flows) > 0 {
		return
	}
	p.w.replies.flush() // they may go out by these sockets
	for _, e := range p.ears {
		p.w.Loop.Unwatch(e.fd, e.tok)
	}
	p.ears = nil
	done := p.done
	p.done = nil
	done()
}

// Ready implements loop.Handler.
func (e *ear) Ready(loop.Events) {
	for range turnBatches {
		n, errno := e.p.w.inbox.receive(e.fd, 0)
		if errno != 0 {
			return
		}
		e.p.take(n)
		if n < slots || len(e.p.ears) == 0 {
			return
		}
	}
	e.p.w.Loop.Again(e.tok, loop.Readable)
}

// take passes on what was received: first it is sorted by session, so that what belongs together goes out together.
func (p *port) take(n int) {
	service := p.Binding.Listener().Server.(*Service)
	in := p.w.inbox
	p.pieces, p.touched = p.pieces[:0], p.touched[:0]
	var last key
	var x *flow
	for i := range n {
		f := in.facts(i)
		if service.AcceptProxy {
			p.takeProxied(service, i, f)
			continue
		}
		var k key
		k.setFrom(&in.names[i])
		k.setLocal(f.local)
		if x == nil || k != last {
			x, last = p.session(service, k, i, f), k
		}
		if x != nil {
			p.put(x, in.data(i), f.segment)
		}
	}
	for _, x := range p.touched {
		x.deliver()
	}
}

// session finds or begins the session of a client, whose datagram is in slot i of the inbox.
func (p *port) session(service *Service, k key, i int, f facts) *flow {
	if x := p.flows[k]; x != nil {
		return x
	}
	return p.begin(service, k, i, f)
}

// takeProxied takes what comes from a proxy: each datagram begins with a PROXY header that says who the client is.
func (p *port) takeProxied(service *Service, i int, f facts) {
	in := p.w.inbox
	var peer key
	peer.setFrom(&in.names[i])
	if !edge.Contains(p.Binding.Listener().Trusted, peer.client().Addr()) {
		service.Upstream.dropped.Add(1)
		return
	}
	rest := in.data(i)
	for first := true; first || len(rest) > 0; first = false {
		size := len(rest)
		if f.segment > 0 {
			size = min(size, f.segment)
		}
		n, h, err := proxyproto.Parse(rest[:size])
		if err != nil || n == 0 {
			service.Upstream.dropped.Add(1)
			rest = rest[size:]
			continue
		}
		k := peer
		if h.Source.IsValid() {
			k = key{addr: h.Source.Addr().As16(), port: h.Source.Port()}
		}
		k.setLocal(f.local)
		if x := p.session(service, k, i, f); x != nil {
			if h.Destination.IsValid() {
				x.local = h.Destination
			}
			x.reply(&in.names[i], f) // another proxy may have taken over
			p.put(x, rest[n:size], 0)
		}
		rest = rest[size:]
	}
}

// put adds what a client has sent to what its session has to deliver.
func (p *port) put(x *flow, data []byte, segment int) {
	p.pieces = append(p.pieces, piece{data: data, segment: segment})
	at := int32(len(p.pieces))
	if x.first == 0 {
		x.first = at
		p.touched = append(p.touched, x)
	} else {
		p.pieces[x.last-1].next = at
	}
	x.last = at
}

// begin makes a session for a new client, or returns nil if it may not have one.
func (p *port) begin(service *Service, k key, i int, f facts) *flow {
	if p.stopped {
		service.Upstream.dropped.Add(1)
		return nil
	}
	client := k.client()
	if p.Binding.Full() {
		p.evict()
	}
	if len(p.Binding.Listener().Trusted) > 0 && !service.Access.Permits(client.Addr()) {
		service.Upstream.dropped.Add(1)
		return nil
	}
	c, ok := p.Admit(client)
	if !ok {
		service.Upstream.dropped.Add(1)
		return nil
	}
	x := &flow{Conn: c, w: p.w, p: p, key: k, up: service.Upstream, set: service.Upstream.settings.Load(), fd: -1}
	x.reply(&p.w.inbox.names[i], f)
	x.moved = p.w.Loop.Now()
	x.Enter(x)
	p.flows[k] = x
	x.younger, x.older = &p.unheard, p.unheard.older
	p.unheard.older.younger, p.unheard.older = x, x
	x.rearm()
	return x
}

// evict ends the oldest session that was never answered, if it is not too young: who floods a port with forged
// sources must not keep others out.
func (p *port) evict() {
	x := p.unheard.younger
	if x == &p.unheard || x.first != 0 || p.w.Loop.Now()-x.moved < evictAge {
		return
	}
	x.end()
}

// localOf is the address that a client's datagrams come to.
func (p *port) localOf(k *key) netip.AddrPort {
	local := boundTo(p.FDs[0])
	if p.Wildcard {
		return netip.AddrPortFrom(netip.AddrFrom16(k.local).Unmap(), local.Port())
	}
	return local
}
