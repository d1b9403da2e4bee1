package lint

import (
	"fmt"
	"time"

	"github.com/trivet-ha/trivet/config"
)

func dnsRules() []rule {
	return []rule{
		{"zone-without-ns", Warning, "the zone above names the servers, but resolvers that ask the zone itself find none, and some then refuse it", zoneWithoutNS},
		{"single-name-server", Warning, "when that one server stops, no name of the zone is found", singleNameServer},
		{"slow-name", Warning, "clients stay at a dead server until the answer that names it is forgotten", slowName},
		{"forgotten-priority", Note, "failover answers by priority, and all endpoints have the same: the order in the file decides", forgottenPriority},
		{"name-without-limits", Warning, "whoever forges an address has the server flood it", nameWithoutLimits},
	}
}

func eachZone(c *config.Config, visit func(z *config.Zone, path string)) {
	if c.DNS == nil {
		return
	}
	for i := range c.DNS.Zones {
		visit(&c.DNS.Zones[i], "dns.zones."+string(c.DNS.Zones[i].Name))
	}
}

func eachName(c *config.Config, visit func(r *config.DNSRecord, path string)) {
	eachZone(c, func(z *config.Zone, path string) {
		for i := range z.Records {
			visit(&z.Records[i], path+".records."+string(z.Records[i].Name))
		}
	})
}

func zoneWithoutNS(c *config.Config, report report) {
	eachZone(c, func(z *config.Zone, path string) {
		if len(z.NS) == 0 && z.File == "" {
			report(path, fmt.Sprintf("zone %s has no name servers", z.Name), "ns: [ns1, ns2], as the zone above has them")
		}
	})
}

func singleNameServer(c *config.Config, report report) {
	eachZone(c, func(z *config.Zone, path string) {
		if len(z.NS) == 1 {
			report(path+".ns", fmt.Sprintf("zone %s has one name server", z.Name), "ns: ["+string(z.NS[0])+", another]")
		}
	})
}

// slowAnswer is the TTL from which on a name moves its clients late: operating systems and browsers keep answers for a
// minute anyway.
const slowAnswer = 5 * time.Minute

func slowName(c *config.Config, report report) {
	eachName(c, func(r *config.DNSRecord, path string) {
		if r.Pool != "" && r.TTL > slowAnswer {
			report(path+".ttl", fmt.Sprintf("%s follows a pool, but is kept for %v", r.Name, r.TTL), "ttl: 30s")
		}
	})
}

func forgottenPriority(c *config.Config, report report) {
	eachName(c, func(r *config.DNSRecord, path string) {
		p := c.Pool(r.Pool)
		if r.Answer != config.AnswerFailover || p == nil || len(p.Endpoints) < 2 {
			return
		}
		for _, e := range p.Endpoints {
			if e.Priority != p.Endpoints[0].Priority {
				return
			}
		}
		report(path+".answer", fmt.Sprintf("%s fails over in pool %s, where nobody has a priority", r.Name, p.Name), "priority: 1 at the endpoints that stand by")
	})
}

func nameWithoutLimits(c *config.Config, report report) {
	if c.DNS != nil && c.DNS.Limits.Off {
		report("dns.limits", "DNS is answered without limits", "the default: remove limits: off")
	}
}
