package pattern

import (
	"slices"
	"strings"
)

// Place is a directory on the way through a tree, as a List sees it. The zero Place matches nothing.
type Place struct {
	list   *List
	active []state
	// taken is the verdict that the directory hands down to all below it; only in the Restic dialect.
	taken verdict
}

// state says that the components before part, of one pattern, have matched the names so far.
type state struct {
	pattern int32
	part    int32
}

// verdict is the outcome of the last pattern that matched: its number plus one, and which way it went.
type verdict struct {
	by     int32
	chosen bool
}

// Root is the place before the first name of an absolute path.
func (l *List) Root() Place {
	if l == nil {
		return Place{}
	}
	p := Place{list: l, active: l.start}
	if l.sticky {
		for i := range l.patterns {
			if len(l.patterns[i].parts) == 0 { // "/" chooses everything
				p.taken = verdict{by: int32(i) + 1, chosen: !l.patterns[i].negated}
			}
		}
	}
	return p
}

// Empty reports whether the list holds no pattern at all.
func (l *List) Empty() bool { return l == nil || len(l.patterns) == 0 }

// Chosen reports whether the entry name of this directory is chosen. The last pattern that matches decides.
func (p Place) Chosen(name string, isDir bool) bool {
	if p.list == nil {
		return false
	}
	return p.verdict(p.fold(name), isDir).chosen
}

// Decide is Chosen for lists that stand one above the other: decided is false if no pattern says anything.
func (p Place) Decide(name string, isDir bool) (chosen, decided bool) {
	if p.list == nil {
		return false, false
	}
	v := p.verdict(p.fold(name), isDir)
	return v.chosen, v.by != 0
}

func (p Place) fold(name string) string {
	if p.list.fold {
		return strings.ToLower(name)
	}
	return name
}

// verdict finds the last pattern that ends with this name, or was fulfilled by a parent.
func (p Place) verdict(name string, isDir bool) verdict {
	last := p.taken
	for _, s := range p.active {
		c := &p.list.patterns[s.pattern]
		if s.pattern+1 <= last.by || int(s.part) != len(c.parts)-1 || c.directory && !isDir {
			continue
		}
		if part := c.parts[s.part]; part.kind == anyDepth || part.matches(name) {
			last = verdict{by: s.pattern + 1, chosen: !c.negated}
		}
	}
	return last
}

// Enter steps into the directory name.
func (p Place) Enter(name string) Place {
	if p.list == nil {
		return p
	}
	name = p.fold(name)
	next := Place{list: p.list}
	if p.list.sticky {
		next.taken = p.verdict(name, true)
	}
	next.active = p.list.advance(p.active, name)
	return next
}

// advance gives the states that are active after one more name.
func (l *List) advance(active []state, name string) []state {
	same := true
	var next []state
	for i, s := range active {
		c := &l.patterns[s.pattern]
		part := c.parts[s.part]
		stays := part.kind == anyDepth || s.part == 0 && c.floating ||
			s.part > 0 && c.parts[s.part-1].kind == anyDepth
		moves := part.kind != anyDepth && int(s.part)+1 < len(c.parts) && part.matches(name)
		if stays && !moves && same {
			continue // so far the states are those of the parent: share its slice
		}
		if same {
			same = false
			next = slices.Clone(active[:i:i])
		}
		if stays {
			next = l.closure(next, s)
		}
		if moves {
			next = l.closure(next, state{s.pattern, s.part + 1})
		}
	}
	if same {
		return active
	}
	return next
}

// closure adds s, and what s reaches without a name: "**" may stand for no name at all.
func (l *List) closure(states []state, s state) []state {
	parts := l.patterns[s.pattern].parts
	for int(s.part) < len(parts) {
		if !slices.Contains(states, s) {
			states = append(states, s)
		}
		if parts[s.part].kind != anyDepth {
			break
		}
		s.part++
	}
	return states
}

// MayHold reports whether something in this directory, at any depth, could be chosen. A walk that looks
// for chosen entries need not enter a directory that holds none.
func (p Place) MayHold() bool {
	return p.list != nil && (p.taken.chosen || len(p.active) > 0)
}

// Follow steps through all names of a slash-separated path and reports whether its last name is chosen.
func (l *List) Follow(p string, isDir bool) bool {
	place := l.Root()
	names := strings.Split(strings.Trim(p, "/"), "/")
	for _, name := range names[:len(names)-1] {
		place = place.Enter(name)
	}
	return place.Chosen(names[len(names)-1], isDir)
}
