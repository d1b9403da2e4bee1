package edge

import "net/netip"

// Access allows or denies by source address. Deny is looked at first; an empty Allow allows all.
type Access struct {
	Allow, Deny []netip.Prefix
}

// Permits reports whether a may come in. An invalid address (a Unix socket's peer) always may.
func (x *Access) Permits(a netip.Addr) bool {
	if len(x.Allow)+len(x.Deny) == 0 || !a.IsValid() {
		return true
	}
	if Contains(x.Deny, a) {
		return false
	}
	return len(x.Allow) == 0 || Contains(x.Allow, a)
}

// Contains reports whether one of the networks contains a.
func Contains(list []netip.Prefix, a netip.Addr) bool {
	for _, p := range list {
		if p.Contains(a) {
			return true
		}
	}
	return false
}
