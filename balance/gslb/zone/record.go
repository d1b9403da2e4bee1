package zone

import (
	"github.com/trivet-ha/trivet/balance/gslb/steer"
	"github.com/trivet-ha/trivet/balance/gslb/wire"
)

// Record is one record that is always the same.
type Record struct {
	Name wire.Name
	Type wire.Type
	TTL  uint32 // in seconds
	Data wire.Data
}

// Steered is a name whose A and AAAA records follow the health of pools.
type Steered struct {
	Name   wire.Name
	Record *steer.Record
}

// Alias is a name that has the addresses of another, also where a CNAME may not stand (the top of a zone, or beside
// other records). The target is looked up in the catalogue while the question is answered; Outside has the addresses of
// one that no zone of ours has, kept by whoever looks it up.
type Alias struct {
	Name    wire.Name
	Target  wire.Name
	TTL     uint32
	Outside *steer.Slot // nil if the target is in a zone of ours
}

// Set is the records of one type that a name has.
type Set struct {
	Type wire.Type
	TTL  uint32
	Data []wire.Data

	// The records as bytes behind the question for exactly the name that has them; nil if the set needs no such hurry.
	Packed []byte
}

// Node is a name that exists. One that has nothing exists for the names below it (RFC 4592 §2.2.2).
type Node struct {
	Name    wire.Name
	Zone    *Zone
	Sets    []Set // of different types
	Steered *steer.Record
	Alias   *Alias
	CNAME   *Set

	cut  *Node // the delegation that the node is, or is below
	wild *Node // its child "*"
}

// Set returns the records of a type, or nil.
func (n *Node) Set(t wire.Type) *Set {
	for i := range n.Sets {
		if n.Sets[i].Type == t {
			return &n.Sets[i]
		}
	}
	return nil
}
