package steer

import "math"

// Code is a country by ISO 3166-1 (two letters), or a continent (AF, AN, AS, EU, NA, OC, SA). The zero Code is none.
type Code [2]byte

// CodeOf reads two capital letters.
func CodeOf(text string) (c Code, ok bool) {
	if len(text) != 2 || text[0] < 'A' || text[0] > 'Z' || text[1] < 'A' || text[1] > 'Z' {
		return Code{}, false
	}
	return Code{text[0], text[1]}, true
}

func (c Code) String() string {
	if c == (Code{}) {
		return "unknown"
	}
	return string(c[:])
}

// Place is where an address is, as far as that is known.
type Place struct {
	Country   Code
	Continent Code
	Point     Point
	Known     bool // the database has the address
	Located   bool // Point is known
}

// Point is a place on the globe, as a vector of length one from its middle: the nearer two points are, the greater their
// product.
type Point [3]float64

// PointAt is the point at a latitude and a longitude, in degrees.
func PointAt(latitude, longitude float64) Point {
	lat, lon := latitude*math.Pi/180, longitude*math.Pi/180
	return Point{math.Cos(lat) * math.Cos(lon), math.Cos(lat) * math.Sin(lon), math.Sin(lat)}
}

func (p Point) times(q Point) float64 { return p[0]*q[0] + p[1]*q[1] + p[2]*q[2] }

// earthRadius is the mean radius in kilometres (IUGG 1980).
const earthRadius = 6371.0088

// Kilometres returns the distance between two points, as the crow flies.
func (p Point) Kilometres(q Point) float64 {
	return earthRadius * math.Acos(max(-1, min(1, p.times(q))))
}

// Locator tells where an address is. bits is how many of its leading bits that depends on. It must not block.
type Locator interface {
	Locate(c Client) (place Place, bits int)
}

// Geo leads clients to slots by where they are. What names the place most exactly goes first: the country, then the
// continent, then the nearest site. A slot that has no endpoint in is passed over as long as there is another; when none
// has, the first one answers.
type Geo struct {
	Slots      []*Slot
	Countries  map[Code]int // indexes of Slots
	Continents map[Code]int
	Sites      []Site
}

// Site is a slot and where its servers are.
type Site struct {
	Slot  int
	Point Point
}

// sel completes a selection. rest is the slot for those whose place leads nowhere.
func (g *Geo) sel(c Client, where Locator, rest *Slot, s *Selection) {
	if where != nil {
		var bits int
		s.Place, bits = where.Locate(c)
		s.Scope = max(s.Scope, bits)
	}
	first, passed := Selection{}, 0
	try := func(slot *Slot, way Way) bool {
		if slot == nil || slot == first.Slot {
			return false
		}
		if first.Slot == nil {
			first.Slot, first.Way = slot, way
		}
		if !slot.serves() {
			passed++
			return false
		}
		s.Slot, s.Way, s.Passed = slot, way, passed
		return true
	}
	if i, ok := g.Countries[s.Place.Country]; ok && try(g.Slots[i], ByCountry) {
		return
	}
	if i, ok := g.Continents[s.Place.Continent]; ok && try(g.Slots[i], ByContinent) {
		return
	}
	if s.Place.Located && try(g.nearest(s.Place.Point), ByDistance) {
		return
	}
	if try(rest, ByDefault) {
		return
	}
	if g.any(try) {
		return
	}
	s.Slot, s.Way, s.Passed = first.Slot, first.Way, 0
}

// nearest returns the nearest slot that serves, or else the nearest.
func (g *Geo) nearest(p Point) *Slot {
	var best, fallback *Slot
	near, nearFallback := math.Inf(-1), math.Inf(-1)
	for _, site := range g.Sites {
		slot, product := g.Slots[site.Slot], p.times(site.Point)
		if product > near && slot.serves() {
			best, near = slot, product
		}
		if product > nearFallback {
			fallback, nearFallback = slot, product
		}
	}
	if best != nil {
		return best
	}
	return fallback
}

// any tries all slots: far away is better than down.
func (g *Geo) any(try func(*Slot, Way) bool) bool {
	for _, s := range g.Slots {
		if try(s, ByDefault) {
			return true
		}
	}
	return false
}

// serves reports whether the slot has endpoints that are in.
func (s *Slot) serves() bool {
	p := s.Plan()
	return p != nil && (p.Mode == Healthy || p.Mode == Unproven || p.Mode == Panicked)
}
