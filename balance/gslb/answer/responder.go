package answer

import (
	"time"

	"github.com/trivet-ha/trivet/balance/gslb/guard"
	"github.com/trivet-ha/trivet/balance/gslb/steer"
	"github.com/trivet-ha/trivet/balance/gslb/wire"
	"github.com/trivet-ha/trivet/balance/gslb/zone"
)

// Responder answers for one thread. Make one with New.
type Responder struct {
	thread int
	seed   uint64
	stats  stats

	// What is below is about the query in hand.
	q       wire.Query
	m       wire.Message
	options wire.Options
	world   *World
	from    Source
	proof   guard.Proof
	told    bool // the client's subnet is believed
	last    Summary
	name    [wire.NameMax]byte // of the end of a chain
	records [steer.LimitMax * recordMax]byte
}

// recordMax is the length of an AAAA record that is owned by the question.
const recordMax = 12 + 16

// Summary is how the last query fared.
type Summary struct {
	Rcode     wire.Rcode
	Zone      *zone.Zone // nil if it is none of ours
	Selection steer.Selection
	Steered   bool // Selection says how
	Limited   bool // the answer is not what it would have been
	Truncated bool
	identity  uint64 // of the answer, for limits
}

// New makes a responder. thread tells it from others when it counts for a zone; a negative one does not. seed is any
// number.
func New(thread int, seed uint64) *Responder {
	return &Responder{thread: thread, seed: seed*2 + 1}
}

// random returns a pseudo-random number (xorshift64*, Vigna 2016).
func (r *Responder) random() uint64 {
	s := r.seed
	s ^= s >> 12
	s ^= s << 25
	s ^= s >> 27
	r.seed = s
	return s * 0x2545f4914f6cdd1d
}

// Answer returns the answer to msg in buf, which must have room for 65535 bytes for TCP and for World.UDPSize otherwise; or
// nothing if there is to be none. The answer and Question stay valid as long as neither buffer is changed.
func (r *Responder) Answer(w *World, buf, msg []byte, from Source) []byte {
	r.world, r.from, r.last = w, from, Summary{}
	verdict := r.q.Parse(msg)
	if verdict == wire.Silence {
		r.stats.ignored.Add(1)
		return nil
	}
	r.stats.types[typeSlot(r.q.Type)].Add(1)
	if from.TCP {
		r.stats.transport[1].Add(1)
	} else {
		r.stats.transport[0].Add(1)
	}
	r.begin(buf, verdict)
	limits := &w.Limits
	if !from.TCP && limits.Questions != nil && !r.exempt() {
		if !limits.Questions.Allow(r.network(32, 64), from.Now) {
			return r.refrain()
		}
	}
	rcode, authoritative := r.judge(verdict)
	if !from.TCP && limits.Answers != nil && r.proof != guard.Proven && !r.exempt() {
		if !limits.Answers.Allow(mix(r.network(limits.Prefix4, limits.Prefix6)^r.last.identity), from.Now) {
			return r.refrain()
		}
	}
	return r.finish(authoritative, rcode)
}

// Question is the last query, for logs.
func (r *Responder) Question() *wire.Query { return &r.q }

// Last tells how the last query fared.
func (r *Responder) Last() *Summary { return &r.last }

// begin starts the message, with the options that its client is owed.
func (r *Responder) begin(buf []byte, verdict wire.Verdict) {
	q, w := &r.q, r.world
	limit := wire.TCPMax
	if !r.from.TCP {
		limit = wire.PlainUDPMax
		if q.EDNS.Present {
			limit = max(limit, min(int(q.EDNS.Size), w.UDPSize))
		}
	}
	r.proof, r.told = guard.NoCookie, false
	r.options.None()
	if q.EDNS.Present {
		r.options.Reply(w.UDPSize, q.EDNS.DO)
		if verdict != wire.Malformed && verdict != wire.BadVersion {
			r.oblige()
		}
	}
	r.m.Begin(buf, q, limit, r.options.Len())
}

// oblige answers the options of a query.
func (r *Responder) oblige() {
	e, w := &r.q.EDNS, r.world
	if e.NSID && w.NSID != nil {
		r.options.NSID(w.NSID)
	}
	if w.Cookies != nil && e.Cookie != nil {
		r.proof = w.Cookies.Check(e.Cookie, r.from.Addr, r.from.Unix)
		if r.proof == guard.Proven {
			r.stats.proven.Add(1)
		}
		server := w.Cookies.Server(e.Cookie, r.proof, r.from.Addr, r.from.Unix)
		r.options.Cookie(e.Cookie[:guard.ClientCookieLen], server[:])
	}
	if e.Subnet.Present && contains(w.Believed, r.from.Addr) {
		r.told = true
		r.options.Subnet(&e.Subnet)
	}
	if e.Keepalive && r.from.TCP {
		r.options.Keepalive(uint16(min(w.Keepalive/(100*time.Millisecond), 65535)))
	}
}

// client is who the answer is for.
func (r *Responder) client() steer.Client {
	if s := &r.q.EDNS.Subnet; r.told && s.Bits > 0 {
		return steer.Client{Addr: s.Addr, Bits: s.Bits}
	}
	return steer.ClientOf(r.from.Addr)
}

// judge decides what a query that can be answered is answered with.
func (r *Responder) judge(verdict wire.Verdict) (rcode wire.Rcode, authoritative bool) {
	r.last.identity = uint64(verdict)
	switch verdict {
	case wire.Malformed:
		return wire.FormErr, false
	case wire.Unknown:
		return wire.NotImp, false
	case wire.BadVersion:
		return wire.BadVers, false
	case wire.CookiesOnly:
		return wire.NoError, false
	}
	switch {
	case r.q.Class != wire.ClassIN:
		return r.refuse(wire.ErrorNotAuthoritative)
	case r.q.Type == wire.TypeAXFR || r.q.Type == wire.TypeIXFR:
		return r.refuse(wire.ErrorNotSupported)
	}
	return r.resolve()
}

func (r *Responder) refuse(why uint16) (wire.Rcode, bool) {
	r.explain(why)
	return wire.Refused, false
}

// explain adds an extended error, if the client understands one and there is room.
func (r *Responder) explain(why uint16) {
	if r.m.Room() >= wire.ErrorLen {
		r.options.Error(why)
	}
}

// finish completes the message and counts it.
func (r *Responder) finish(authoritative bool, rcode wire.Rcode) []byte {
	r.last.Rcode, r.last.Truncated = rcode, r.m.Full()
	if r.m.Full() {
		r.stats.truncated.Add(1)
	}
	r.stats.rcodes[rcode].Add(1)
	return r.m.Finish(&r.q, authoritative, rcode, &r.options)
}

// exempt reports whether the source has no limits.
func (r *Responder) exempt() bool { return contains(r.world.Limits.Exempt, r.from.Addr) }

// network hashes as much of the source's address as makes its network.
func (r *Responder) network(four, six int) uint64 {
	return steer.ClientOf(r.from.Addr).Key(four, six)
}

// refrain is what a client beyond a limit gets: mostly nothing; now and then, lest a real one is locked out, a cookie to
// ask again with if it knows about cookies, or the hint to ask over TCP.
func (r *Responder) refrain() []byte {
	r.last.Limited = true
	slip := r.world.Limits.Slip
	if slip == 0 || slip > 1 && r.random()%uint64(slip) != 0 {
		r.stats.limited[limitedDrop].Add(1)
		return nil
	}
	if r.proof != guard.NoCookie {
		r.stats.limited[limitedCookie].Add(1)
		r.m.Clear()
		return r.finish(false, wire.BadCookie)
	}
	r.stats.limited[limitedSlip].Add(1)
	r.m.Truncate()
	return r.finish(false, wire.NoError)
}

// identify tells one answer from another, for limits: by name, or by the name that stands in for many.
func identify[T ~string | ~[]byte](kind uint64, name T) uint64 {
	h := uint64(14695981039346656037) ^ kind // FNV-1a
	for i := range len(name) {
		h = (h ^ uint64(name[i])) * 1099511628211
	}
	return h
}

// mix is the finalizer of splitmix64.
func mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
