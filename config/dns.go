package config

import (
	"fmt"
	"net/netip"
	"strconv"
	"time"

	"github.com/trivet-ha/trivet/balance/gslb/guard"
	"github.com/trivet-ha/trivet/balance/gslb/wire"
)

// DNS is an authoritative name server whose answers follow the health of pools. It answers for its zones and for nothing
// else: it is no resolver.
type DNS struct {
	// Where to answer, over UDP and TCP; a list for several. A host must be an IP address. The default is the port of DNS on
	// every address of this machine.
	Address []Address `yaml:"address" default:":53" aka:"listen bind addresses port"`
	// What is answered for: names, with all that is below them.
	Zones []Zone `yaml:"zones,required" aka:"zone domains"`

	// How long names wait, at the start and when a reload brings new pools, until every endpoint was probed once. Until then
	// queries are not answered (at the start) or answered as before (after a reload). The default is more than a probe takes.
	FirstProbe time.Duration `yaml:"first_probe" default:"3s" max:"5m"`
	// A file in MaxMind's format that says where addresses are: GeoLite2, GeoIP2, DB-IP. Names that answer by geo need it. It is
	// read again with every reload.
	Places FilePath `yaml:"places" aka:"geoip mmdb maxmind geo_database"`
	// Resolvers that are believed when they tell where their client is (EDNS Client Subnet, RFC 7871). The default believes all;
	// anybody can tell anything, so it steers answers, but keeps nobody out. An empty list believes none.
	ClientSubnet []netip.Prefix `yaml:"client_subnet" default:"0.0.0.0/0 ::/0" aka:"ecs edns_client_subnet"`
	// The largest answer over UDP, in bytes. The default fits into every network without being cut in pieces (dnsflagday.net/2020).
	UDPSize int `yaml:"udp_size" default:"1232" min:"512" max:"4096" aka:"edns_buffer_size max_udp_size"`
	// What this server tells about itself to who asks (NSID, RFC 5001), such as ns1.fra. It tells nothing by default.
	NSID string `yaml:"nsid" aka:"server_id identity"`

	// Cookies (RFC 7873, RFC 9018), by which a client proves that its address is not forged.
	Cookies DNSCookies `yaml:"cookies" aka:"cookie"`
	// How much one client or network is answered.
	Limits DNSLimits `yaml:"limits" aka:"rate_limit rrl ratelimit"`
	// A line for some of the queries. There is none unless this is written.
	QueryLog *QueryLog `yaml:"query_log" aka:"log querylog"`
}

// DNSCookies are how clients prove where they are.
type DNSCookies struct {
	// Give no cookies and believe none.
	Off bool `yaml:"off" default:"false" scalar:"off"`
	// The secret that they are made with: 32 hexadecimal digits, the same on every server of an anycast address, also those of
	// BIND and Knot. The default is drawn at every start.
	Secret Secret `yaml:"secret"`
	// The secret of before: cookies made with it are accepted still, so that secrets can be replaced one server after the other.
	OldSecret Secret `yaml:"old_secret"`
}

// DNSLimits keep the server from being used to flood others, who are asked for in forged queries, and from being flooded itself.
// They hold over UDP only, since nobody can forge the address of a TCP connection.
type DNSLimits struct {
	// Do not limit anything over UDP.
	Off bool `yaml:"off" default:"false" scalar:"off"`
	// The same answer to the same network. A resolver asks once per TTL, so the default is far above what real ones do. Clients
	// that have proven their address by a cookie are not limited.
	Answers Rate `yaml:"answers" default:"100/s" min:"1/s" aka:"responses responses_per_second"`
	// Queries of one address.
	Queries Rate `yaml:"queries" default:"5000/s" min:"1/s" aka:"per_source qps"`
	// Of so many answers beyond a limit, one goes out all the same, but empty and marked as truncated: a real client then asks
	// over TCP. 1 lets all out so, 0 none.
	Slip int `yaml:"slip" default:"2" min:"0" max:"100"`
	// How many bits of an IPv4 address are a network.
	Prefix4 int `yaml:"prefix4" default:"24" min:"8" max:"32"`
	// How many bits of an IPv6 address are a network.
	Prefix6 int `yaml:"prefix6" default:"56" min:"16" max:"128"`
	// Networks without limits.
	Exempt []netip.Prefix `yaml:"exempt" default:"127.0.0.0/8 ::1/128" aka:"allow whitelist"`
	// TCP connections open at a time, of all clients; more are closed at once.
	Connections int `yaml:"connections" default:"1024" min:"1" max:"65536" aka:"tcp_clients max_connections"`
	// TCP connections open at a time from one IPv4 address, or from one /64 of IPv6.
	ConnectionsPerSource int `yaml:"connections_per_source" default:"32" min:"1" max:"65536"`
}

// QueryLog is a line of JSON for some of the queries.
type QueryLog struct {
	// Where the lines go.
	Output LogOutput `yaml:"output" default:"stdout" scalar:"*" aka:"path file"`
	// How many of the queries are logged, chosen at random.
	Sample Percent `yaml:"sample" default:"1%" min:"0%" max:"100%"`
}

// Zone is a name with all that is below it.
type Zone struct {
	// The zone's name, such as example.com.
	Name ZoneName `yaml:",name"`
	// A zone file (RFC 1035) with SOA, NS and other records. Records here come on top of those in the file. It is read again with
	// every reload, and with watch: true also when it changes.
	File FilePath `yaml:"file" aka:"zonefile path"`
	// How long resolvers keep records that do not say otherwise.
	TTL time.Duration `yaml:"ttl" default:"1h" max:"1w" aka:"default_ttl"`
	// The zone's name servers, as the zone above names them. They should be two at least.
	NS []DNSName `yaml:"ns" aka:"nameservers name_servers"`
	// The zone's start of authority. Its defaults do; with a file it is the file's.
	SOA SOA `yaml:"soa"`
	// What is below the zone's name, and under it.
	Records []DNSRecord `yaml:"records" aka:"names hosts entries"`
}

// SOA is the start of authority of a zone (RFC 1035 §3.3.13).
type SOA struct {
	// The primary name server. The default is the first of ns.
	Primary DNSName `yaml:"primary" aka:"mname"`
	// Whom to write to about the zone. The default is hostmaster at the zone's name.
	Contact string `yaml:"contact" aka:"email mail rname hostmaster"`
	// The zone's version. The default 0 is when the newest of its files was changed, in seconds since 1970.
	Serial int `yaml:"serial" default:"0" min:"0" max:"4294967295"`
	// For servers that copy the zone: how often they look for a new version.
	Refresh time.Duration `yaml:"refresh" default:"2h" min:"1s"`
	// For servers that copy the zone: how soon they look again after they could not.
	Retry time.Duration `yaml:"retry" default:"15m" min:"1s"`
	// For servers that copy the zone: how long a copy is good for.
	Expire time.Duration `yaml:"expire" default:"2w" min:"1s"`
	// How long resolvers remember that something is not there (RFC 2308). It is short, so that what is added is found.
	Negative time.Duration `yaml:"negative" default:"1m" max:"1d" aka:"minimum nxdomain_ttl"`
}

func (d *DNS) validate(c *checker, path string) {
	d.validateAddresses(c, path)
	if len(d.Zones) == 0 {
		c.failKey(join(path, "zones"), "has no zone", "write at least one, as in zones: {example.com: {records: {www: {pool: site}}}}")
	}
	if len(d.NSID) > wire.NSIDMax {
		c.fail(join(path, "nsid"), fmt.Sprintf("has %d bytes", len(d.NSID)), fmt.Sprintf("write %d at most", wire.NSIDMax))
	}
	d.validateNames(c, path)
	d.hurryProbes(c)
}

// validateNames reports zones that stand there twice, written differently.
func (d *DNS) validateNames(c *checker, path string) {
	seen := map[wire.Name]ZoneName{}
	for i := range d.Zones {
		z := d.Zones[i].Name
		if first := seen[z.Wire()]; z != "" && first != "" {
			c.failKey(join(path, "zones."+string(z)), fmt.Sprintf("%s is the zone %s", z, first), "put all of its records into one of them")
		}
		seen[z.Wire()] = z
	}
}

func (d *DNS) validateAddresses(c *checker, path string) {
	for i, a := range d.Address {
		at := fmt.Sprintf("%s.address[%d]", path, i)
		switch _, err := netip.ParseAddr(a.Host); {
		case a.Unix != "":
			c.fail(at, "is a Unix socket, and DNS is asked over UDP and TCP", `write host:port, as in ":53"`)
		case a.Host != "" && err != nil:
			c.fail(at, strconv.Quote(a.String())+" has a host name, and a server needs an IP address", "write the IP address of an interface, or leave the host out for all of them")
		}
		for j, other := range d.Address[:i] {
			if other == a && a.Port != 0 {
				c.fail(at, fmt.Sprintf("%s stands here twice: address[%d]", a, j), "remove one")
			}
		}
	}
}

// fastProbes is the time between probes of endpoints that DNS names, while their state is changing, unless the file says
// otherwise. With the other defaults a server that dies is found out after 2.2 s + 2 × 0.33 s at the latest, jitter included,
// and so has left the answers within three seconds.
const fastProbes = 300 * time.Millisecond

// hurryProbes has the pools that names follow probed faster while their state is changing.
func (d *DNS) hurryProbes(c *checker) {
	d.eachPool(func(name Name) {
		p := c.config.Pool(name)
		if p == nil || c.has("pools."+string(name)+".health.fast_interval") {
			return
		}
		p.Health.FastInterval = min(p.Health.FastInterval, fastProbes)
	})
}

// eachPool calls f for every pool that a name follows.
func (d *DNS) eachPool(f func(Name)) {
	for i := range d.Zones {
		for j := range d.Zones[i].Records {
			d.Zones[i].Records[j].eachPool(f)
		}
	}
}

// Uses tells whether a name follows the pool.
func (d *DNS) Uses(pool Name) bool {
	found := false
	if d != nil {
		d.eachPool(func(name Name) { found = found || name == pool })
	}
	return found
}

func (k *DNSCookies) validate(c *checker, path string) {
	c.offAlone(path, k.Off)
	for key, s := range map[string]Secret{"secret": k.Secret, "old_secret": k.OldSecret} {
		if s.IsZero() {
			continue
		}
		if _, err := guard.ParseSecret(s.Reveal()); err != nil {
			c.fail(join(path, key), err.Error(), "make one with: openssl rand -hex 16")
		}
	}
	if !k.OldSecret.IsZero() && k.Secret.IsZero() {
		c.failKey(join(path, "old_secret"), "has no secret beside it", "write secret too, or remove it")
	}
}

func (l *DNSLimits) validate(c *checker, path string) { c.offAlone(path, l.Off) }

func (z *Zone) validate(c *checker, path string) {
	checkTTL(c, join(path, "ttl"), z.TTL)
	if z.File != "" && (c.has(join(path, "soa")) || c.has(join(path, "ns"))) {
		key := "soa"
		if !c.has(join(path, "soa")) {
			key = "ns"
		}
		c.failKey(join(path, key), "stands in the zone file too", "keep it there and remove it here")
	}
	if z.SOA.Contact != "" {
		if _, err := z.SOA.Mailbox(z.Name); err != nil {
			c.fail(join(path, "soa.contact"), quote(z.SOA.Contact)+" "+err.Error(), "write an address of mail, such as dns@example.com")
		}
	}
	z.validateOwners(c, path)
	for i := range z.Records {
		z.Records[i].check(c, join(path, "records."+string(z.Records[i].Name)), z)
	}
}

// validateOwners reports names that are not in the zone, or are one and the same.
func (z *Zone) validateOwners(c *checker, path string) {
	seen := map[wire.Name]DNSOwner{}
	for i := range z.Records {
		owner := z.Records[i].Name
		if owner == "" {
			continue // what is wrong with it was said
		}
		at := join(path, "records."+string(owner))
		name, err := wire.ParseName(string(owner), z.Name.Wire())
		switch {
		case err != nil:
			c.failKey(at, strconv.Quote(string(owner))+" "+err.Error(), "")
		case !name.IsWithin(z.Name.Wire()):
			c.failKey(at, fmt.Sprintf("%s is not in the zone %s", owner, z.Name), "write it without the dot at its end, relative to the zone; or put it in a zone of its own")
		case seen[name] != "":
			c.failKey(at, fmt.Sprintf("%s and %s are the same name", seen[name], owner), "put all of its records under one of them")
		default:
			seen[name] = owner
		}
	}
}

// checkTTL reports a time to live that is no whole number of seconds.
func checkTTL(c *checker, path string, ttl time.Duration) {
	if ttl%time.Second != 0 {
		c.fail(path, fmt.Sprintf("%s is not whole seconds, in which DNS counts", ttl), "write whole seconds")
	}
}

// Mailbox is the contact as a name, the way that SOA records hold it (RFC 1035 §8): the part before the @ is one label.
func (s *SOA) Mailbox(zone ZoneName) (wire.Name, error) { return mailbox(s.Contact, zone) }
