package answer

import (
	"slices"

	"github.com/trivet-ha/trivet/balance/gslb/steer"
	"github.com/trivet-ha/trivet/balance/gslb/wire"
	"github.com/trivet-ha/trivet/balance/gslb/zone"
)

// chainMax is how many aliases are followed within our zones; what lies beyond is for the resolver.
const chainMax = 8

// resolve answers a question of the Internet's class (RFC 1034 §4.3.2).
func (r *Responder) resolve() (rcode wire.Rcode, authoritative bool) {
	name, labels := r.q.Name(), r.q.Labels()
	z := r.world.Catalog.Find(name, labels)
	if z == nil {
		return r.refuse(wire.ErrorNotAuthoritative)
	}
	if r.q.Type == wire.TypeDS && wire.Name(name) == z.Apex { // the parent's to answer (RFC 4035 §3.1.4.1)
		if above := r.world.Catalog.FindAbove(name, labels); above != nil {
			z = above
		}
	}
	r.last.Zone = z
	if r.thread >= 0 {
		z.Count.Add(r.thread)
	}
	owner := wire.Question
	var chain [chainMax + 1]*zone.Node
	for depth := 0; ; depth++ {
		node, kind := z.Lookup(name)
		switch {
		case kind == zone.Delegated && r.q.Type == wire.TypeDS && node.Name == wire.Name(name):
			return r.stored(z, node, kind, owner), true
		case kind == zone.Delegated && depth == 0:
			r.refer(z, node)
			return wire.NoError, false
		case kind == zone.Delegated:
			return wire.NoError, true
		case kind == zone.Missing:
			r.negative(z, z.Negative)
			return wire.NXDomain, true
		case node.CNAME == nil || r.q.Type == wire.TypeCNAME:
			return r.own(z, node, kind, owner), true
		}
		if slices.Contains(chain[:depth], node) {
			return wire.NoError, true // a circle: it has been told whole
		}
		chain[depth] = node
		alias := node.CNAME
		r.known(uint64(r.q.Type), node, kind)
		r.m.Add(wire.Answer, owner, wire.TypeCNAME, alias.TTL, &alias.Data[0])
		if r.q.Type == wire.TypeANY || depth == chainMax {
			return wire.NoError, true
		}
		owner = alias.Data[0].Names[0]
		name = r.name[:copy(r.name[:], owner)]
		if z = r.world.Catalog.Find(name, owner.Labels()); z == nil {
			return wire.NoError, true // of the rest nothing is known (RFC 6604 §3)
		}
	}
}

// known gives the answer its identity for limits: names that a wildcard stands in for share one.
func (r *Responder) known(kind uint64, node *zone.Node, how zone.Kind) {
	if r.world.Limits.Answers == nil {
		return
	}
	if how == zone.Synthesized {
		r.last.identity = identify(kind, node.Name)
		return
	}
	r.last.identity = identify(kind, r.q.Name())
}

// own answers from a name that exists, or is stood in for.
func (r *Responder) own(z *zone.Zone, node *zone.Node, kind zone.Kind, owner wire.Name) wire.Rcode {
	address := r.q.Type == wire.TypeA || r.q.Type == wire.TypeAAAA
	switch {
	case address && node.Steered != nil:
		r.known(uint64(r.q.Type), node, kind)
		return r.steered(z, node.Steered, owner)
	case address && node.Alias != nil:
		r.known(uint64(r.q.Type), node, kind)
		return r.alias(z, node.Alias, owner)
	case r.q.Type == wire.TypeANY:
		r.known(uint64(r.q.Type), node, kind)
		r.m.Add(wire.Answer, owner, wire.TypeHINFO, anyTTL, &anyAnswer)
		return wire.NoError
	}
	return r.stored(z, node, kind, owner)
}

// anyAnswer is what the question for everything is answered with (RFC 8482 §4.2): it is asked by those who want large
// answers, or to look around. Its TTL is the RFC's example.
var anyAnswer = wire.Data{Head: []byte("\x07RFC8482\x00")}

const anyTTL = 3789

// stored answers from the records that are always the same.
func (r *Responder) stored(z *zone.Zone, node *zone.Node, kind zone.Kind, owner wire.Name) wire.Rcode {
	s := node.Set(r.q.Type)
	if s == nil {
		r.negative(z, z.Negative)
		return wire.NoError
	}
	r.known(uint64(r.q.Type), node, kind)
	if s.Packed != nil && owner == wire.Question && kind == zone.Exact {
		r.m.AddPacked(s.Packed, len(s.Data))
	} else {
		for i := range s.Data {
			r.m.Add(wire.Answer, owner, s.Type, s.TTL, &s.Data[i])
		}
	}
	if s.Type == wire.TypeNS {
		r.glue(z, s, nil)
	}
	return wire.NoError
}

// steered answers with addresses that follow pools.
func (r *Responder) steered(z *zone.Zone, record *steer.Record, owner wire.Name) wire.Rcode {
	client := r.client()
	s := record.Select(client, r.world.Where)
	r.last.Selection, r.last.Steered = s, true
	if r.told && r.q.EDNS.Subnet.Bits > 0 {
		r.options.Scope(min(s.Scope, client.Addr.BitLen()))
	}
	if s.Plan == nil {
		r.explain(wire.ErrorNotReady)
		return wire.ServFail
	}
	r.countPolicy(record, &s)
	return r.planned(z, s.Plan, s.Key, owner)
}

func (r *Responder) countPolicy(record *steer.Record, s *steer.Selection) {
	policy := int(s.Plan.Policy())
	switch {
	case s.Way == steer.ByView:
		policy = policyView
	case record.Geo != nil:
		policy = policyGeo
	}
	r.stats.policies[policy].Add(1)
	if s.Plan.Mode == steer.Down {
		r.stats.downs.Add(1)
	}
}

// planned answers with what a plan draws.
func (r *Responder) planned(z *zone.Zone, p *steer.Plan, key uint64, owner wire.Name) wire.Rcode {
	six := r.q.Type == wire.TypeAAAA
	records, count, size := p.Append(r.records[:0], six, key, r.random())
	if count == 0 {
		ttl := z.Negative
		if p.Lacks(six) || p.Mode == steer.Empty {
			ttl = min(ttl, p.TTL) // it may be there again soon
		}
		r.negative(z, ttl)
		return wire.NoError
	}
	if owner != wire.Question {
		pointer, ok := r.m.Pointer(owner)
		if !ok {
			return r.spelled(records, count, size, owner)
		}
		for at := 0; at < len(records); at += size {
			copy(records[at:], pointer[:])
		}
	}
	r.m.AddPacked(records, count)
	return wire.NoError
}

// spelled adds packed records under a name that the message can't point to.
func (r *Responder) spelled(records []byte, count, size int, owner wire.Name) wire.Rcode {
	for i := range count {
		record := records[i*size : (i+1)*size]
		ttl := uint32(record[6])<<24 | uint32(record[7])<<16 | uint32(record[8])<<8 | uint32(record[9])
		r.m.Add(wire.Answer, owner, r.q.Type, ttl, &wire.Data{Head: record[12:]})
	}
	return wire.NoError
}

// alias answers with the addresses of another name, as if they were the owner's.
func (r *Responder) alias(own *zone.Zone, a *zone.Alias, owner wire.Name) wire.Rcode {
	ttl := a.TTL
	for range chainMax {
		if a.Outside != nil {
			return r.outside(own, a.Outside, owner)
		}
		var node *zone.Node
		if node, ttl = r.follow(a.Target, min(ttl, a.TTL)); node == nil {
			break
		}
		if node.Steered != nil {
			return r.steered(own, node.Steered, owner)
		}
		if node.Alias != nil {
			a = node.Alias
			continue
		}
		s := node.Set(r.q.Type)
		if s == nil {
			break
		}
		for i := range s.Data {
			r.m.Add(wire.Answer, owner, s.Type, min(ttl, s.TTL), &s.Data[i])
		}
		return wire.NoError
	}
	r.negative(own, own.Negative)
	return wire.NoError
}

// outside answers with addresses that were looked up elsewhere.
func (r *Responder) outside(own *zone.Zone, s *steer.Slot, owner wire.Name) wire.Rcode {
	p := s.Plan()
	if p == nil {
		r.explain(wire.ErrorNotReady)
		return wire.ServFail
	}
	return r.planned(own, p, 0, owner)
}

// follow finds the name in our zones that a chain of CNAMEs ends at, and the least TTL on the way; or nil.
func (r *Responder) follow(target wire.Name, ttl uint32) (*zone.Node, uint32) {
	for range chainMax {
		name := r.name[:copy(r.name[:], target)]
		z := r.world.Catalog.Find(name, target.Labels())
		if z == nil {
			return nil, ttl
		}
		node, kind := z.Lookup(name)
		switch {
		case kind == zone.Missing || kind == zone.Delegated:
			return nil, ttl
		case node.CNAME == nil:
			return node, ttl
		}
		ttl = min(ttl, node.CNAME.TTL)
		target = node.CNAME.Data[0].Names[0]
	}
	return nil, ttl
}

// negative says that there is nothing, and for how long that may be remembered (RFC 2308 §3).
func (r *Responder) negative(z *zone.Zone, ttl uint32) {
	if r.world.Limits.Answers != nil { // all of a zone's together: whoever floods asks for other names each time
		r.last.identity = identify(1<<32, z.Apex)
	}
	r.m.Add(wire.Authority, z.Apex, wire.TypeSOA, ttl, &z.SOA.Data[0])
}

// refer says who knows about a name below a delegation.
func (r *Responder) refer(z *zone.Zone, cut *zone.Node) {
	if r.world.Limits.Answers != nil {
		r.last.identity = identify(2<<32, cut.Name)
	}
	servers := cut.Set(wire.TypeNS)
	for i := range servers.Data {
		r.m.Add(wire.Authority, cut.Name, wire.TypeNS, servers.TTL, &servers.Data[i])
	}
	r.glue(z, servers, cut)
}

// glue adds the addresses of name servers as far as the zone has them. Those of servers below the delegation have to be
// there (RFC 9471 §3): without room the answer is truncated. Others come along if there is room.
func (r *Responder) glue(z *zone.Zone, servers *zone.Set, cut *zone.Node) {
	for _, needed := range [...]bool{true, false} {
		for i := range servers.Data {
			name := servers.Data[i].Names[0]
			if inside := cut != nil && name.IsWithin(cut.Name); inside != needed {
				continue
			}
			node := z.Node(name)
			if node == nil {
				continue
			}
			for _, t := range [...]wire.Type{wire.TypeA, wire.TypeAAAA} {
				r.addGlue(node.Set(t), name, needed)
			}
		}
	}
}

func (r *Responder) addGlue(s *zone.Set, name wire.Name, needed bool) {
	if s == nil {
		return
	}
	if most := len(s.Data) * (len(name) + recordMax); !needed && r.m.Room() < most {
		return
	}
	for i := range s.Data {
		r.m.Add(wire.Additional, name, s.Type, s.TTL, &s.Data[i])
	}
}
