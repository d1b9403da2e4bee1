package zone

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/trivet-ha/trivet/balance/gslb/wire"
)

// Content is what a zone is built from.
type Content struct {
	Apex    wire.Name
	Records []Record
	Steered []Steered
	Aliases []Alias
}

// Zone is all that is known below a name, up to the delegations in it.
type Zone struct {
	Apex wire.Name
	// SOA is the start of authority, and Negative the TTL of the answer that something is not there, in seconds
	// (RFC 2308 §5).
	SOA      *Set
	Negative uint32
	Serial   uint32
	// Size is the number of names that have records.
	Size int
	// Count counts for this zone, over reloads; see Counter.
	Count *Counter

	nodes map[wire.Name]*Node
}

// Build makes a zone. The error names everything that is wrong with it, joined.
func Build(c Content) (*Zone, error) {
	b := builder{zone: &Zone{Apex: c.Apex, nodes: map[wire.Name]*Node{}, Count: &Counter{}}}
	for i := range c.Records {
		b.add(&c.Records[i])
	}
	for i := range c.Steered {
		s := &c.Steered[i]
		if n := b.node(s.Name); n != nil {
			b.once(n.Steered == nil && n.Alias == nil, s.Name, "has its addresses from two sources")
			n.Steered = s.Record
		}
	}
	for i := range c.Aliases {
		a := &c.Aliases[i]
		if n := b.node(a.Name); n != nil {
			b.once(n.Steered == nil && n.Alias == nil, a.Name, "has its addresses from two sources")
			n.Alias = a
		}
	}
	b.finish()
	if len(b.errs) > 0 {
		return nil, errors.Join(b.errs...)
	}
	return b.zone, nil
}

// maxErrors is how many errors are told of one zone: a file for another zone has one in every line.
const maxErrors = 20

type builder struct {
	zone *Zone
	errs []error
}

func (b *builder) fail(name wire.Name, format string, args ...any) {
	if len(b.errs) < maxErrors {
		b.errs = append(b.errs, fmt.Errorf("%s "+format, append([]any{name}, args...)...))
	}
}

func (b *builder) once(ok bool, name wire.Name, problem string) {
	if !ok {
		b.fail(name, "%s", problem)
	}
}

// node returns the node of a name, made if there is none yet, with all between it and the apex; or nil.
func (b *builder) node(name wire.Name) *Node {
	if n := b.zone.nodes[name]; n != nil {
		return n
	}
	if !name.IsWithin(b.zone.Apex) {
		b.fail(name, "is not in the zone %s", b.zone.Apex)
		return nil
	}
	n := &Node{Name: name, Zone: b.zone}
	b.zone.nodes[name] = n
	if name != b.zone.Apex {
		parent := b.node(name.Parent())
		if name.IsWildcard() {
			parent.wild = n
		}
	}
	return n
}

func (b *builder) add(r *Record) {
	n := b.node(r.Name)
	if n == nil {
		return
	}
	s := n.Set(r.Type)
	if s == nil {
		n.Sets = append(n.Sets, Set{Type: r.Type, TTL: r.TTL})
		s = &n.Sets[len(n.Sets)-1]
	}
	if slices.ContainsFunc(s.Data, func(d wire.Data) bool { return sameData(&d, &r.Data) }) {
		return // RFC 2181 §5.5: there is no second one
	}
	s.TTL = min(s.TTL, r.TTL) // RFC 2181 §5.2: a set has one
	s.Data = append(s.Data, r.Data)
}

func sameData(a, b *wire.Data) bool {
	return slices.Equal(a.Head, b.Head) && slices.Equal(a.Names, b.Names) && slices.Equal(a.Tail, b.Tail)
}

// finish checks what only the whole shows, and ties the nodes together.
func (b *builder) finish() {
	z := b.zone
	apex := z.nodes[z.Apex]
	if apex == nil || apex.Set(wire.TypeSOA) == nil {
		b.fail(z.Apex, "has no SOA record")
		return
	}
	z.SOA = apex.Set(wire.TypeSOA)
	if len(z.SOA.Data) > 1 {
		b.fail(z.Apex, "has %d SOA records", len(z.SOA.Data))
	}
	if tail := z.SOA.Data[0].Tail; len(tail) == 20 { // serial, refresh, retry, expire, minimum (RFC 1035 §3.3.13)
		z.Serial = binary.BigEndian.Uint32(tail)
		z.Negative = min(z.SOA.TTL, binary.BigEndian.Uint32(tail[16:]))
	} else {
		b.fail(z.Apex, "has a SOA record that is none")
	}
	for _, n := range b.inOrder() {
		b.check(n)
		n.CNAME = n.Set(wire.TypeCNAME)
		n.cut = b.cutOf(n)
		if len(n.Sets) > 0 || n.Steered != nil || n.Alias != nil {
			z.Size++
		}
		for i := range n.Sets {
			pack(n, &n.Sets[i])
		}
	}
}

// inOrder returns the nodes, each behind its parent.
func (b *builder) inOrder() []*Node {
	all := slices.Collect(maps.Values(b.zone.nodes))
	slices.SortFunc(all, func(x, y *Node) int {
		return cmp.Or(cmp.Compare(len(x.Name), len(y.Name)), cmp.Compare(x.Name, y.Name))
	})
	return all
}

// check says what may not stand together under one name.
func (b *builder) check(n *Node) {
	addresses := n.Set(wire.TypeA) != nil || n.Set(wire.TypeAAAA) != nil
	if cname := n.Set(wire.TypeCNAME); cname != nil {
		b.once(len(cname.Data) == 1, n.Name, "has more than one CNAME (RFC 1034 §3.6.2)")
		b.once(len(n.Sets) == 1 && n.Steered == nil && n.Alias == nil, n.Name, "has a CNAME and other records beside it (RFC 1034 §3.6.2)")
	}
	b.once(!addresses || n.Steered == nil && n.Alias == nil, n.Name, "has its addresses from two sources")
	if n.Name != b.zone.Apex {
		b.once(n.Set(wire.TypeSOA) == nil, n.Name, "has a SOA record, but is not the top of the zone")
		if n.Set(wire.TypeNS) != nil {
			b.once(!n.Name.IsWildcard(), n.Name, "is a wildcard and can't be delegated (RFC 4592 §4.2)")
			b.once(n.Steered == nil && n.Alias == nil, n.Name, "is delegated, so its addresses are for others to say")
		}
	}
	for i := range n.Sets {
		switch t := n.Sets[i].Type; t {
		case wire.TypeDNAME:
			b.fail(n.Name, "has a DNAME record, which is not supported")
		case 46, 47, 48, 50, 51: // RRSIG, NSEC, DNSKEY, NSEC3, NSEC3PARAM
			b.fail(n.Name, "has %s records of DNSSEC, which is not supported: load the zone as it was before it was signed", t)
		case wire.TypeOPT, wire.TypeANY, wire.TypeAXFR, wire.TypeIXFR:
			b.fail(n.Name, "has a record of type %s, which only questions have", t)
		}
	}
}

// cutOf finds the topmost delegation at or above a node, whose parent has its own already.
func (b *builder) cutOf(n *Node) *Node {
	if n.Name == b.zone.Apex {
		return nil
	}
	if above := b.zone.nodes[n.Name.Parent()].cut; above != nil {
		return above
	}
	if n.Set(wire.TypeNS) != nil {
		return n
	}
	return nil
}

// pack renders a set once, as it stands behind a question for the name that has it. Nothing before it differs from answer
// to answer, so neither do the pointers in it.
func pack(n *Node, s *Set) {
	const largest = 4096 // of what is kept twice
	question := append([]byte(n.Name), 0, 0, 0, 0)
	q := wire.Query{Question: question}
	var m wire.Message
	m.Begin(make([]byte, 0, wire.HeaderLen+len(question)+largest), &q, wire.HeaderLen+len(question)+largest, 0)
	for i := range s.Data {
		if !m.Add(wire.Answer, wire.Question, s.Type, s.TTL, &s.Data[i]) {
			return
		}
	}
	s.Packed = slices.Clone(m.Records())
}

// Kind is how a name was found.
type Kind uint8

// The kinds.
const (
	Missing     Kind = iota // there is no such name
	Exact                   // there is
	Synthesized             // there is not, but a wildcard stands in for it
	Delegated               // the name is another server's to say
)

// Lookup finds a name, in lower case, which is the zone's or below it. For Delegated, the node is the delegation.
func (z *Zone) Lookup(name []byte) (*Node, Kind) {
	if n := z.nodes[wire.Name(name)]; n != nil {
		if n.cut != nil {
			return n.cut, Delegated
		}
		return n, Exact
	}
	for {
		name = name[1+int(name[0]):]
		encloser := z.nodes[wire.Name(name)] // the closest one; the apex at the latest
		switch {
		case encloser == nil:
			continue
		case encloser.cut != nil:
			return encloser.cut, Delegated
		case encloser.wild != nil:
			return encloser.wild, Synthesized // RFC 4592 §3.3.1: its own wildcard or none
		}
		return nil, Missing
	}
}

// Node returns the node of a name, or nil, regardless of delegations: that is where glue stands.
func (z *Zone) Node(name wire.Name) *Node { return z.nodes[name] }

// Nodes calls f for each name that has records, in order.
func (z *Zone) Nodes(f func(*Node)) {
	for _, name := range slices.Sorted(maps.Keys(z.nodes)) {
		if n := z.nodes[name]; len(n.Sets) > 0 || n.Steered != nil || n.Alias != nil {
			f(n)
		}
	}
}
