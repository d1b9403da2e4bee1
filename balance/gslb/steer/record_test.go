package steer

import (
	"math"
	"net/netip"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func prefixes(texts ...string) (all []netip.Prefix) {
	for _, t := range texts {
		all = append(all, netip.MustParsePrefix(t))
	}
	return all
}

// slotOf is one with an endpoint that is in, or out.
func slotOf(name string, in bool) *Slot {
	s := NewSlot(name, Rules{})
	e := Endpoint{Address: name, Hosts: []netip.Addr{netip.MustParseAddr("192.0.2.1")}}
	if !in {
		e.Standing = Out
	}
	s.Refresh(0, &State{Endpoints: []Endpoint{e}})
	return s
}

func client(text string) Client {
	p := netip.MustParsePrefix(text)
	return Client{Addr: p.Masked().Addr(), Bits: p.Bits()}
}

func TestViewsLeadByTheFirstNetworkThatFits(t *testing.T) {
	r := &Record{
		Views: []View{
			{prefixes("10.1.0.0/16"), NewSlot("lab", Rules{})},
			{prefixes("10.0.0.0/8", "2001:db8::/32"), NewSlot("inside", Rules{})},
		},
		Default: NewSlot("outside", Rules{}),
	}
	for _, tt := range []struct {
		client, pool string
		scope        int
	}{
		{"10.1.2.3/32", "lab", 16},
		{"10.2.0.0/16", "inside", 15}, // 10.1.0.0/16 differs in the 15th bit already
		{"10.0.0.0/24", "inside", 16}, // to be outside 10.1.0.0/16 takes the 16th
		{"10.0.0.0/8", "inside", 16},  // parts of it are in the lab, which a longer prefix would show
		{"192.0.2.1/32", "outside", 1},
		{"11.0.0.1/32", "outside", 8},
		{"2001:db8:1::/48", "inside", 32},
		{"2001:db9::/48", "outside", 32},
		{"3001::1/128", "outside", 4},
	} {
		s := r.Select(client(tt.client), nil)
		if s.Slot.Pool != tt.pool || s.Scope != tt.scope {
			t.Errorf("%s is led to %s with scope %d, want %s and %d", tt.client, s.Slot.Pool, s.Scope, tt.pool, tt.scope)
		}
	}
}

// The scope says that every address which shares so many bits is led the same way.
func TestWithinItsScopeEveryClientIsLedTheSameWay(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		network := rapid.Custom(func(t *rapid.T) netip.Prefix {
			a := netip.AddrFrom4([4]byte{rapid.SampledFrom([]byte{10, 11, 128}).Draw(t, "a"), rapid.SampledFrom([]byte{0, 1, 128}).Draw(t, "b"), rapid.Byte().Draw(t, "c"), 0})
			return netip.PrefixFrom(a, rapid.IntRange(0, 24).Draw(t, "bits")).Masked()
		})
		r := &Record{Default: NewSlot("rest", Rules{})}
		for range rapid.IntRange(1, 4).Draw(t, "views") {
			r.Views = append(r.Views, View{rapid.SliceOfN(network, 1, 3).Draw(t, "networks"), NewSlot("view", Rules{})})
		}
		a := rapid.Custom(func(t *rapid.T) netip.Addr {
			return netip.AddrFrom4([4]byte(rapid.SliceOfN(rapid.Byte(), 4, 4).Draw(t, "address")))
		})
		one := network.Draw(t, "near").Addr()
		if rapid.Bool().Draw(t, "anywhere") {
			one = a.Draw(t, "one")
		}
		s := r.Select(ClientOf(one), nil)
		other, _ := one.Prefix(s.Scope)
		low, high := other.Addr().As4(), a.Draw(t, "other").As4()
		for bit := s.Scope; bit < 32; bit++ {
			low[bit/8] |= high[bit/8] & (0x80 >> (bit % 8))
		}
		if got := r.Select(ClientOf(netip.AddrFrom4(low)), nil); got.Slot != s.Slot {
			t.Fatalf("%s is led to %p with scope %d, but %s to %p", one, s.Slot, s.Scope, netip.AddrFrom4(low), got.Slot)
		}
	})
}

func TestHashLooksAtTheSubnetAndSaysSo(t *testing.T) {
	r := &Record{Default: NewSlot("site", Rules{Policy: Hash})}
	a, b, c := r.Select(client("192.0.2.1/32"), nil), r.Select(client("192.0.2.200/32"), nil), r.Select(client("192.0.3.1/32"), nil)
	if a.Key != b.Key || a.Key == c.Key || a.Scope != 24 {
		t.Errorf("keys are %x, %x and %x, the scope is %d", a.Key, b.Key, c.Key, a.Scope)
	}
	x, y, z := r.Select(client("2001:db8:0:1200::1/128"), nil), r.Select(client("2001:db8:0:12ff::2/128"), nil), r.Select(client("2001:db8:0:1300::1/128"), nil)
	if x.Key != y.Key || x.Key == z.Key || x.Scope != 56 {
		t.Errorf("keys are %x, %x and %x, the scope is %d", x.Key, y.Key, z.Key, x.Scope)
	}
	if s := (&Record{Default: NewSlot("site", Rules{})}).Select(client("192.0.2.1/32"), nil); s.Scope != 0 {
		t.Errorf("an answer that is for everybody has scope %d", s.Scope)
	}
}

// atlas is a locator of a few addresses.
type atlas map[string]Place

func (m atlas) Locate(c Client) (Place, int) {
	for text, place := range m {
		if p := netip.MustParsePrefix(text); p.Contains(c.Addr) {
			return place, p.Bits()
		}
	}
	return Place{}, 8
}

func code(text string) Code {
	c, ok := CodeOf(text)
	if !ok {
		panic(text)
	}
	return c
}

func at(country, continent string, lat, lon float64) Place {
	return Place{Country: code(country), Continent: code(continent), Point: PointAt(lat, lon), Known: true, Located: true}
}

func TestPlacesLeadToTheMostExactThatServes(t *testing.T) {
	world := atlas{
		"192.0.2.0/24":     at("DE", "EU", 52.5, 13.4),   // Berlin
		"198.51.100.0/24":  at("FR", "EU", 48.9, 2.4),    // Paris
		"203.0.113.0/25":   at("JP", "AS", 35.7, 139.7),  // Tokyo
		"203.0.113.128/25": at("BR", "SA", -23.5, -46.6), // São Paulo
	}
	for _, tt := range []struct {
		name   string
		down   string // pools without an endpoint in
		client string
		pool   string
		way    Way
		passed int
		scope  int
	}{
		{"by country", "", "192.0.2.1/32", "de", ByCountry, 0, 24},
		{"by continent", "", "198.51.100.1/32", "eu", ByContinent, 0, 24},
		{"by distance", "", "203.0.113.1/32", "tokyo", ByDistance, 0, 25},
		{"by distance, the nearer of two far ones", "", "203.0.113.129/32", "virginia", ByDistance, 0, 25},
		{"nowhere", "", "9.9.9.9/32", "rest", ByDefault, 0, 8},
		{"the country's is down", "de", "192.0.2.1/32", "eu", ByContinent, 1, 24},
		{"the country's and the continent's are down", "de eu", "192.0.2.1/32", "virginia", ByDistance, 2, 24},
		{"the nearest is down", "tokyo", "203.0.113.1/32", "virginia", ByDistance, 0, 25},
		{"all but the rest are down", "de eu tokyo virginia", "192.0.2.1/32", "rest", ByDefault, 3, 24},
		{"the rest is down too, one far away is not", "de eu virginia rest", "198.51.100.1/32", "tokyo", ByDistance, 1, 24},
		{"nowhere, and the rest is down", "rest", "9.9.9.9/32", "de", ByDefault, 1, 8},
		{"everything is down", "de eu tokyo virginia rest", "192.0.2.1/32", "de", ByCountry, 0, 24},
	} {
		up := func(name string) bool {
			for _, d := range splitWords(tt.down) {
				if d == name {
					return false
				}
			}
			return true
		}
		slots := []*Slot{slotOf("de", up("de")), slotOf("eu", up("eu")), slotOf("tokyo", up("tokyo")), slotOf("virginia", up("virginia"))}
		r := &Record{
			Default: slotOf("rest", up("rest")),
			Geo: &Geo{
				Slots: slots, Countries: map[Code]int{code("DE"): 0}, Continents: map[Code]int{code("EU"): 1},
				Sites: []Site{{2, PointAt(35.7, 139.7)}, {3, PointAt(38.9, -77.4)}},
			},
		}
		s := r.Select(client(tt.client), world)
		if s.Slot.Pool != tt.pool || s.Way != tt.way || s.Passed != tt.passed || s.Scope != tt.scope {
			t.Errorf("%s: led to %s %s, passed %d, scope %d; want %s %s, %d, %d", tt.name, s.Slot.Pool, s.Way, s.Passed, s.Scope, tt.pool, tt.way, tt.passed, tt.scope)
		}
	}
}

func splitWords(text string) (words []string) {
	word := ""
	for _, c := range text + " " {
		if c == ' ' {
			words, word = append(words, word), ""
			continue
		}
		word += string(c)
	}
	return words
}

func TestDistancesAreThoseOfTheGlobe(t *testing.T) {
	// Great circles between airports, by the haversine formula.
	for _, tt := range []struct {
		a, b Point
		km   float64
	}{
		{PointAt(51.4700, -0.4543), PointAt(40.6413, -73.7781), 5540},   // London, New York
		{PointAt(35.5494, 139.7798), PointAt(-33.9399, 151.1753), 7826}, // Tokyo, Sydney
		{PointAt(0, 0), PointAt(0, 180), 20015},
		{PointAt(10, 20), PointAt(10, 20), 0},
	} {
		if got := tt.a.Kilometres(tt.b); math.Abs(got-tt.km) > tt.km/200+1 {
			t.Errorf("%.0f km, want %.0f", got, tt.km)
		}
	}
}

func TestCodesAreTwoCapitals(t *testing.T) {
	for _, text := range []string{"", "D", "DEU", "de", "D1"} {
		if _, ok := CodeOf(text); ok {
			t.Errorf("%q is read as a code", text)
		}
	}
	if (Code{}).String() != "unknown" || code("DE").String() != "DE" {
		t.Error("codes are written wrongly")
	}
}

func TestSelectAllocatesNothing(t *testing.T) {
	slots := []*Slot{slotOf("de", false), slotOf("eu", false)}
	r := &Record{
		Views:   []View{{prefixes("10.0.0.0/8"), slotOf("v", true)}},
		Default: slotOf("rest", true),
		Geo:     &Geo{Slots: slots, Countries: map[Code]int{code("DE"): 0}, Continents: map[Code]int{code("EU"): 1}, Sites: []Site{{0, PointAt(1, 1)}}},
	}
	var place Locator = fixedPlace(at("DE", "EU", 52, 13))
	c := client("192.0.2.1/32")
	if n := testing.AllocsPerRun(100, func() { r.Select(c, place) }); n != 0 {
		t.Errorf("%g allocations", n)
	}
}

type fixedPlace Place

func (p fixedPlace) Locate(Client) (Place, int) { return Place(p), 24 }

func TestSlotsAreVisited(t *testing.T) {
	r := &Record{Views: []View{{nil, NewSlot("a", Rules{})}}, Geo: &Geo{Slots: []*Slot{NewSlot("b", Rules{})}}, Default: NewSlot("c", Rules{})}
	got := ""
	r.Slots(func(s *Slot) { got += s.Pool })
	if got != "abc" {
		t.Errorf("visited %s", got)
	}
	if s := (&Record{}).Select(client("192.0.2.1/32"), nil); s.Slot != nil || s.Plan != nil {
		t.Error("a record without slots leads somewhere")
	}
	if p := Constant(Rules{TTL: 9}, []netip.Addr{netip.MustParseAddr("192.0.2.5")}).Plan(); p.TTL != 9 || hosts(p) != "192.0.2.5" {
		t.Error("a constant slot has no plan")
	}
}

func TestRefreshTellsWhetherAnythingHasChanged(t *testing.T) {
	s := NewSlot("site", Rules{TTL: 30, DownTTL: 30})
	if fresh, before := s.Refresh(0, state("a 10.0.0.1", "b 10.0.0.2")); before != nil || fresh != s.Plan() {
		t.Error("the first plan has one before it")
	}
	if fresh, before := s.Refresh(time.Second, state("a 10.0.0.1", "b 10.0.0.2")); fresh != before {
		t.Error("the same state is another")
	}
	if fresh, before := s.Refresh(time.Second, state("a 10.0.0.1 w2", "b 10.0.0.2")); fresh == before || !fresh.SameAs(before) {
		t.Error("another weight is no change, or one of addresses")
	}
	if fresh, before := s.Refresh(time.Second, state("a 10.0.0.1 w2", "b 10.0.0.2 out")); fresh.SameAs(before) {
		t.Error("another answer is the same")
	}
}
