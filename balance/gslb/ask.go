package gslb

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/miekg/dns"

	"github.com/trivet-ha/trivet/balance/gslb/answer"
	"github.com/trivet-ha/trivet/balance/gslb/steer"
	"github.com/trivet-ha/trivet/balance/gslb/wire"
	"github.com/trivet-ha/trivet/balance/gslb/zone"
)

// ErrNotReady says that nothing is served yet.
var ErrNotReady = errors.New("dns is not served yet: pools wait for their first probes")

// Reply is what would be answered, and why.
type Reply struct {
	Rcode         string
	Authoritative bool
	Answer        []string // records, as zone files write them
	Authority     []string
	Additional    []string
	Steps         []string // how the name was found, for people
	Steering      *Steering
}

// Steering is how a name whose addresses follow pools was answered.
type Steering struct {
	Record    string // the name whose record it is
	Pool      string
	Policy    string
	Mode      string
	Led       string // how the client was led to the pool
	TTL       uint32 // in seconds
	Endpoints []Considered
}

// Considered is what became of one endpoint.
type Considered struct {
	Address   string
	Addresses []netip.Addr // that clients know
	Priority  int
	Weight    float64 // relative to the others'; as it is drawn by
	In        bool    // it could be answered
	Answered  bool    // it was, this time
	Why       string
}

// Ask returns what a client at an address would be answered. Nothing is counted, and no limit holds.
func (s *Server) Ask(name string, kind uint16, from netip.Addr) (*Reply, error) {
	world := s.world.Load()
	if world == nil {
		return nil, ErrNotReady
	}
	w := *world
	w.Limits = answer.Limits{}
	query := new(dns.Msg).SetQuestion(dns.Fqdn(name), kind)
	query.RecursionDesired = false
	packed, err := query.Pack()
	if err != nil {
		return nil, fmt.Errorf("ask for %s: %w", name, err)
	}
	r := answer.New(-1, uint64(s.now()))
	source := s.source(s.now())
	source.Addr, source.TCP = from.Unmap(), true
	out := r.Answer(&w, make([]byte, 0, wire.TCPMax), packed, source)
	if len(out) == 0 {
		return nil, fmt.Errorf("ask for %s: there is no answer", name)
	}
	var msg dns.Msg
	if err := msg.Unpack(out); err != nil {
		return nil, fmt.Errorf("read the answer about %s: %w", name, err)
	}
	reply := &Reply{
		Rcode: r.Last().Rcode.String(), Authoritative: msg.Authoritative,
		Answer: lines(msg.Answer), Authority: lines(msg.Ns), Additional: lines(msg.Extra),
		Steps: trace(w.Catalog, r.Question()),
	}
	if r.Last().Steered {
		reply.Steering = steering(r.Last(), msg.Answer)
	}
	return reply, nil
}

func lines(all []dns.RR) []string {
	var texts []string
	for _, rr := range all {
		texts = append(texts, strings.ReplaceAll(rr.String(), "\t", " "))
	}
	return texts
}

// steering tells what became of each endpoint.
func steering(last *answer.Summary, records []dns.RR) *Steering {
	s := last.Selection
	out := &Steering{Pool: s.Slot.Pool, Policy: s.Slot.Rules.Policy.String(), Led: led(&s)}
	if s.Record != nil {
		out.Record = s.Record.Name
	}
	if s.Plan == nil {
		out.Mode = "not known yet"
		return out
	}
	out.Mode, out.TTL = s.Plan.Mode.String(), s.Plan.TTL
	answered := addressesOf(records)
	for _, v := range s.Plan.Verdicts {
		out.Endpoints = append(out.Endpoints, Considered{
			Address: v.Address, Addresses: v.Hosts, Priority: v.Priority, Weight: float64(v.Weight) / 100, In: v.In, Why: v.Why,
			Answered: v.In && slices.ContainsFunc(v.Hosts, func(h netip.Addr) bool { return slices.Contains(answered, h.Unmap()) }),
		})
	}
	return out
}

func addressesOf(records []dns.RR) (all []netip.Addr) {
	for _, rr := range records {
		switch rr := rr.(type) {
		case *dns.A:
			if a, ok := netip.AddrFromSlice(rr.A); ok {
				all = append(all, a.Unmap())
			}
		case *dns.AAAA:
			if a, ok := netip.AddrFromSlice(rr.AAAA); ok {
				all = append(all, a.Unmap())
			}
		}
	}
	return all
}

// led says how the client came to its pool.
func led(s *steer.Selection) string {
	var text string
	switch s.Way {
	case steer.ByCountry:
		text = "by its country, " + s.Place.Country.String()
	case steer.ByContinent:
		text = "by its continent, " + s.Place.Continent.String()
	default:
		text = s.Way.String()
	}
	if s.Place.Known && s.Way == steer.ByDefault {
		text += fmt.Sprintf(": nothing is said about country %s or continent %s", s.Place.Country, s.Place.Continent)
	}
	switch {
	case s.Passed == 1:
		text += "; one pool that would have come before has no endpoint in"
	case s.Passed > 1:
		text += fmt.Sprintf("; %d pools that would have come before have no endpoint in", s.Passed)
	}
	return text
}

// trace tells how a name is found, as package answer does it.
func trace(c *zone.Catalog, q *wire.Query) (steps []string) {
	say := func(format string, args ...any) { steps = append(steps, fmt.Sprintf(format, args...)) }
	name := wire.Name(q.Name())
	for range 9 { // one question, and eight aliases
		z := c.Find([]byte(name), name.Labels())
		if z == nil {
			say("%s is in no zone of ours", name)
			return steps
		}
		say("%s is in the zone %s, serial %d", name, z.Apex, z.Serial)
		node, kind := z.Lookup([]byte(name))
		switch {
		case kind == zone.Missing:
			say("there is no %s, and no wildcard that stands in for it", name)
			return steps
		case kind == zone.Delegated:
			say("%s is delegated: others know about it", node.Name)
			return steps
		case kind == zone.Synthesized:
			say("there is no %s; the wildcard %s stands in for it", name, node.Name)
		}
		switch {
		case node.CNAME != nil && q.Type != wire.TypeCNAME:
			name = node.CNAME.Data[0].Names[0]
			say("%s is another name for %s", node.Name, name)
			continue
		case node.Alias != nil && node.Alias.Outside == nil && (q.Type == wire.TypeA || q.Type == wire.TypeAAAA):
			name = node.Alias.Target
			say("%s has the addresses of %s", node.Name, name)
			continue
		case node.Alias != nil:
			say("%s has the addresses of %s, which is not ours: they are looked up beforehand", node.Name, node.Alias.Target)
		case node.Steered != nil:
			say("the addresses of %s follow pools", node.Name)
		}
		return steps
	}
	return steps
}
