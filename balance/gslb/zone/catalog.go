package zone

import (
	"cmp"
	"fmt"
	"slices"
	"sync/atomic"

	"github.com/trivet-ha/trivet/balance/gslb/wire"
)

// Catalog is all zones of a server.
type Catalog struct {
	zones  map[wire.Name]*Zone
	labels int // of the zone with the most
}

// NewCatalog takes zones with different names.
func NewCatalog(zones ...*Zone) (*Catalog, error) {
	c := &Catalog{zones: make(map[wire.Name]*Zone, len(zones))}
	for _, z := range zones {
		if c.zones[z.Apex] != nil {
			return nil, fmt.Errorf("there are two zones %s", z.Apex)
		}
		c.zones[z.Apex] = z
		c.labels = max(c.labels, z.Apex.Labels())
	}
	return c, nil
}

// Find returns the zone that a name in lower case belongs to: the one with the most labels. It is nil if it is no zone of
// ours.
func (c *Catalog) Find(name []byte, labels int) *Zone {
	for ; labels > c.labels; labels-- { // no zone has so many
		name = name[1+int(name[0]):]
	}
	for {
		if z := c.zones[wire.Name(name)]; z != nil {
			return z
		}
		if labels == 0 {
			return nil
		}
		name = name[1+int(name[0]):]
		labels--
	}
}

// FindAbove returns the zone that delegates the zone of that name, if it is ours too.
func (c *Catalog) FindAbove(name []byte, labels int) *Zone {
	if labels == 0 {
		return nil
	}
	return c.Find(name[1+int(name[0]):], labels-1)
}

// Zones returns all zones, in order of their names.
func (c *Catalog) Zones() []*Zone {
	var all []*Zone
	for _, z := range c.zones {
		all = append(all, z)
	}
	slices.SortFunc(all, func(a, b *Zone) int { return cmp.Compare(a.Apex.String(), b.Apex.String()) })
	return all
}

// Counter counts by many threads at a time, each on a cache line of its own as long as they are few. The zero Counter is
// ready.
type Counter struct {
	lanes [8]struct {
		n atomic.Uint64
		_ [56]byte
	}
}

// Add counts one more, by the thread of that number.
func (c *Counter) Add(thread int) { c.lanes[thread&7].n.Add(1) }

// Sum returns the count.
func (c *Counter) Sum() (sum uint64) {
	for i := range c.lanes {
		sum += c.lanes[i].n.Load()
	}
	return sum
}
