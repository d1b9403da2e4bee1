package trivet

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/trivet-ha/trivet/balance/gslb"
	"github.com/trivet-ha/trivet/balance/gslb/steer"
	"github.com/trivet-ha/trivet/balance/gslb/wire"
	"github.com/trivet-ha/trivet/balance/gslb/zone"
	"github.com/trivet-ha/trivet/balance/gslb/zonefile"
	"github.com/trivet-ha/trivet/config"
)

// buildZones turns the zones of the file into what is served.
func (b *build) buildZones(nb *nameBuild, spec *config.DNS) error {
	z := zoneBuilder{spec: spec, file: b.file.File(), slots: map[string]*steer.Slot{}}
	var zones []*zone.Zone
	var errs []error
	for i := range spec.Zones {
		built, err := z.build(&spec.Zones[i])
		if err != nil {
			errs = append(errs, fmt.Errorf("zone %s: %w", spec.Zones[i].Name, err))
			continue
		}
		zones = append(zones, built)
	}
	if len(errs) > 0 {
		return errors.Join(errs...)
	}
	nb.cfg.Outside = z.outside
	var err error
	nb.cfg.World.Catalog, err = zone.NewCatalog(zones...)
	return err
}

// zoneBuilder makes the zones of one file.
type zoneBuilder struct {
	spec    *config.DNS
	file    string                 // its path
	slots   map[string]*steer.Slot // of aliases' targets outside, by name and TTL
	outside []gslb.Outside
}

func (b *zoneBuilder) build(z *config.Zone) (*zone.Zone, error) {
	c := zone.Content{Apex: z.Name.Wire()}
	if z.File != "" {
		records, err := zonefile.Load(string(z.File), c.Apex, seconds(z.TTL))
		if err != nil {
			return nil, err
		}
		c.Records = records
	} else if err := b.authority(z, &c); err != nil {
		return nil, err
	}
	for i := range z.Records {
		if err := b.record(z, &z.Records[i], &c); err != nil {
			return nil, err
		}
	}
	return zone.Build(c)
}

// authority adds the start of authority and the name servers of a zone that has no file.
func (b *zoneBuilder) authority(z *config.Zone, c *zone.Content) error {
	primary := c.Apex
	for i, ns := range z.NS {
		name, err := wire.ParseName(string(ns), c.Apex)
		if err != nil {
			return fmt.Errorf("name server %s %w", ns, err)
		}
		if i == 0 {
			primary = name
		}
		c.Records = append(c.Records, zone.Record{Name: c.Apex, Type: wire.TypeNS, TTL: seconds(z.TTL), Data: wire.Data{Names: []wire.Name{name}}})
	}
	if z.SOA.Primary != "" {
		name, err := wire.ParseName(string(z.SOA.Primary), c.Apex)
		if err != nil {
			return fmt.Errorf("primary %s %w", z.SOA.Primary, err)
		}
		primary = name
	}
	contact, err := z.SOA.Mailbox(z.Name)
	if err != nil {
		return fmt.Errorf("contact %s %w", z.SOA.Contact, err)
	}
	serial := uint32(z.SOA.Serial)
	if serial == 0 {
		serial = zoneSerial(b.file)
	}
	var tail []byte // RFC 1035 §3.3.13
	for _, v := range []uint32{serial, seconds(z.SOA.Refresh), seconds(z.SOA.Retry), seconds(z.SOA.Expire), seconds(z.SOA.Negative)} {
		tail = binary.BigEndian.AppendUint32(tail, v)
	}
	c.Records = append(c.Records, zone.Record{
		Name: c.Apex, Type: wire.TypeSOA, TTL: seconds(z.TTL), Data: wire.Data{Names: []wire.Name{primary, contact}, Tail: tail},
	})
	return nil
}

// record adds all that stands under one name of the file.
func (b *zoneBuilder) record(z *config.Zone, r *config.DNSRecord, c *zone.Content) error {
	static, err := r.Static(z)
	if err != nil {
		return err
	}
	c.Records = append(c.Records, static...)
	owner, err := wire.ParseName(string(r.Name), c.Apex)
	if err != nil {
		return fmt.Errorf("%s %w", r.Name, err)
	}
	switch {
	case r.Pool != "":
		c.Steered = append(c.Steered, zone.Steered{Name: owner, Record: steeredRecord(owner, r)})
	case r.Alias != "":
		a, err := b.alias(z, r, owner)
		if err != nil {
			return err
		}
		c.Aliases = append(c.Aliases, a)
	}
	return nil
}

// steeredRecord makes a name whose addresses follow pools. Pools that lead nowhere else share one slot.
func steeredRecord(owner wire.Name, r *config.DNSRecord) *steer.Record {
	rules := r.Rules()
	slots := map[config.Name]*steer.Slot{}
	slot := func(pool config.Name) *steer.Slot {
		if slots[pool] == nil {
			slots[pool] = steer.NewSlot(string(pool), rules)
		}
		return slots[pool]
	}
	out := &steer.Record{Name: owner.String(), Default: slot(r.Pool)}
	for i := range r.Views {
		v := &r.Views[i]
		view := steer.View{Networks: v.Source}
		if v.Pool != "" {
			view.Slot = slot(v.Pool)
		} else {
			view.Slot = steer.Constant(rules, append(append([]netip.Addr{}, v.A...), v.AAAA...))
		}
		out.Views = append(out.Views, view)
	}
	if r.Geo != nil {
		out.Geo = geoOf(r.Geo, slot)
	}
	return out
}

// geoOf makes what leads clients to slots by their places.
func geoOf(g *config.DNSGeo, slot func(config.Name) *steer.Slot) *steer.Geo {
	out := &steer.Geo{Countries: map[steer.Code]int{}, Continents: map[steer.Code]int{}}
	index := map[config.Name]int{}
	of := func(pool config.Name) int {
		i, ok := index[pool]
		if !ok {
			i = len(out.Slots)
			index[pool] = i
			out.Slots = append(out.Slots, slot(pool))
		}
		return i
	}
	for _, x := range g.Countries {
		code, _ := steer.CodeOf(string(x.Country)) // the file is valid
		out.Countries[code] = of(x.Pool)
	}
	for _, x := range g.Continents {
		code, _ := steer.CodeOf(string(x.Continent))
		out.Continents[code] = of(x.Pool)
	}
	for _, x := range g.Nearest {
		out.Sites = append(out.Sites, steer.Site{Slot: of(x.Pool), Point: steer.PointAt(x.At.Latitude, x.At.Longitude)})
	}
	return out
}

// alias makes a name that has the addresses of another.
func (b *zoneBuilder) alias(z *config.Zone, r *config.DNSRecord, owner wire.Name) (zone.Alias, error) {
	target, err := wire.ParseName(string(r.Alias), z.Name.Wire())
	if err != nil {
		return zone.Alias{}, fmt.Errorf("alias %s %w", r.Alias, err)
	}
	ttl := seconds(r.TTL)
	if ttl == 0 {
		ttl = seconds(z.TTL)
	}
	a := zone.Alias{Name: owner, Target: target, TTL: ttl}
	if b.isOurs(target) {
		return a, nil
	}
	ttl = min(ttl, aliasTTLMax) // it is looked up every 30 seconds: no use in telling what it was an hour ago
	host := strings.TrimSuffix(target.String(), ".")
	key := fmt.Sprintf("%s %d", host, ttl)
	if b.slots[key] == nil {
		b.slots[key] = steer.NewSlot("", steer.Rules{TTL: ttl, DownTTL: ttl})
		b.outside = append(b.outside, gslb.Outside{Name: host, Slot: b.slots[key]})
	}
	a.Outside = b.slots[key]
	return a, nil
}

// aliasTTLMax bounds the TTL of addresses that are looked up elsewhere, in seconds.
const aliasTTLMax = 60

// isOurs reports whether a name is in a zone of the file.
func (b *zoneBuilder) isOurs(name wire.Name) bool {
	for i := range b.spec.Zones {
		if name.IsWithin(b.spec.Zones[i].Name.Wire()) {
			return true
		}
	}
	return false
}

func seconds(d time.Duration) uint32 { return uint32(d / time.Second) }
