package config

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/trivet-ha/trivet/balance/gslb/steer"
	"github.com/trivet-ha/trivet/balance/gslb/wire"
	"github.com/trivet-ha/trivet/balance/gslb/zone"
	"github.com/trivet-ha/trivet/balance/gslb/zonefile"
)

// DNSRecord is all that stands under one name. Its addresses come from pool, from a and aaaa, from alias, or from cname, which
// suffers nothing beside it.
type DNSRecord struct {
	// The name, relative to the zone.
	Name DNSOwner `yaml:",name"`
	// How long resolvers keep it. The default 0 is the zone's ttl, and 30s for a name that follows a pool: resolvers learn of a
	// change when it is over.
	TTL time.Duration `yaml:"ttl" default:"0" max:"1w"`

	// The pool whose healthy endpoints are the name's addresses.
	Pool Name `yaml:"pool" aka:"backend upstream"`
	// Which of them an answer names. The default gives clients another one to try when the first fails before its TTL is over.
	Answer DNSAnswer `yaml:"answer" default:"all" aka:"policy balance routing"`
	// Addresses in an answer, at most. The default 0 is 8 for all, and 1 for the others.
	Limit int `yaml:"limit" default:"0" min:"0" max:"64" aka:"max_answers count"`
	// The ttl while an endpoint of the pool is down, if that is less: what changes now may change again soon.
	TTLDown time.Duration `yaml:"ttl_down" default:"5s" max:"1w"`
	// What is answered when no endpoint is healthy. An empty answer is no choice: resolvers would keep it, and clients fail even
	// when the probes are wrong.
	Serve DNSServe `yaml:"serve" default:"all" aka:"when_down on_down"`
	// The addresses for serve: fallback.
	Fallback []netip.Addr `yaml:"fallback" aka:"backup"`
	// Which part of a client's address hash looks at.
	Hash DNSHash `yaml:"hash"`
	// What weights follow, besides what they are set to, for weighted and hash. It is damped, so that answers do not oscillate.
	Weigh DNSWeigh `yaml:"weigh" default:"fixed" aka:"dynamic_weight"`
	// The addresses that clients reach endpoints at, where they differ from those that Trivet probes, as behind NAT: by endpoint.
	Publish []PublishedAddress `yaml:"publish" aka:"public nat addresses"`
	// Which pools clients are led to by where they are, for answer: geo. pool takes the rest.
	Geo *DNSGeo `yaml:"geo"`
	// Other pools or addresses for the clients of some networks. The first that fits wins; pool takes the rest.
	Views []DNSView `yaml:"views" aka:"view"`

	// IPv4 addresses.
	A []netip.Addr `yaml:"a" aka:"ipv4 address addresses ip"`
	// IPv6 addresses.
	AAAA []netip.Addr `yaml:"aaaa" aka:"ipv6"`
	// The name that this one is another name for.
	CNAME DNSName `yaml:"cname"`
	// The name whose addresses this one has too: what cname can't be at the top of a zone, or beside other records. A name outside
	// the zones here is looked up every 30 seconds by this machine's resolver.
	Alias DNSName `yaml:"alias" aka:"aname flattened"`
	// Mail servers, each with its preference: 10 mail.
	MX []string `yaml:"mx" aka:"mail"`
	// Texts, each as it is: v=spf1 -all.
	TXT []string `yaml:"txt" aka:"text spf"`
	// Services: priority, weight, port and host, as in 10 5 5060 sip.
	SRV []string `yaml:"srv"`
	// What browsers should know before they connect (RFC 9460), as in 1 . alpn="h2,h3".
	HTTPS []string `yaml:"https"`
	// The same for other services.
	SVCB []string `yaml:"svcb"`
	// Name servers that the name is delegated to. Their addresses stand under their own names, if those are in the zone.
	NS []DNSName `yaml:"ns" aka:"delegate nameservers"`
	// Which authorities may issue certificates, as in 0 issue "letsencrypt.org".
	CAA []string `yaml:"caa"`
	// The name of an address, in a zone such as 2.0.192.in-addr.arpa.
	PTR []DNSName `yaml:"ptr"`
}

// DNSAnswer is which healthy endpoints an answer names. Whatever it is, endpoints of a higher priority number wait as long as
// one of a lower number is healthy.
type DNSAnswer string

// The answers.
const (
	AnswerAll      DNSAnswer = "all"      // all of them, in random order
	AnswerOne      DNSAnswer = "one"      // one at random, each as often as the others
	AnswerWeighted DNSAnswer = "weighted" // one at random, by weight
	AnswerFailover DNSAnswer = "failover" // the first, by priority and then by order in the pool
	AnswerHash     DNSAnswer = "hash"     // always the same for a client, by weight, as long as it is healthy
	AnswerGeo      DNSAnswer = "geo"      // of the pool for the client's place
)

// Values is every answer.
func (DNSAnswer) Values() []string {
	return []string{string(AnswerAll), string(AnswerOne), string(AnswerWeighted), string(AnswerFailover), string(AnswerHash), string(AnswerGeo)}
}

// DNSServe is what is answered when no endpoint is healthy.
type DNSServe string

// What may be answered.
const (
	DNSServeAll  DNSServe = "all"        // every endpoint that is not drained or in maintenance
	DNSServeLast DNSServe = "last_known" // those that were healthy last
	DNSServeElse DNSServe = "fallback"   // the addresses of fallback
)

// Values is every choice.
func (DNSServe) Values() []string {
	return []string{string(DNSServeAll), string(DNSServeLast), string(DNSServeElse)}
}

// DNSWeigh is what weights follow.
type DNSWeigh string

// What they may follow.
const (
	WeighFixed    DNSWeigh = "fixed"    // nothing: they are as they are set
	WeighLatency  DNSWeigh = "latency"  // less to whoever answers slowly: requests that pass through here, or else probes
	WeighRequests DNSWeigh = "requests" // less to whoever has many requests in flight that passed through here
)

// Values is every choice.
func (DNSWeigh) Values() []string {
	return []string{string(WeighFixed), string(WeighLatency), string(WeighRequests)}
}

// DNSHash is which part of a client's address counts: that of the resolver which asks, or the subnet that it tells.
type DNSHash struct {
	// Bits of an IPv4 address. The default is what resolvers tell of their clients.
	Prefix4 int `yaml:"prefix4" default:"24" min:"1" max:"32"`
	// Bits of an IPv6 address.
	Prefix6 int `yaml:"prefix6" default:"56" min:"1" max:"128"`
}

// PublishedAddress is where clients reach an endpoint.
type PublishedAddress struct {
	// The endpoint, as its pool names it.
	Endpoint Address `yaml:",name"`
	// What is answered for it.
	Addresses []netip.Addr `yaml:"addresses,required" scalar:"*"`
}

// DNSGeo leads clients to pools by where they are. What names the place most exactly goes first: the country, then the
// continent, then the nearest site. A pool without a healthy endpoint is passed over as long as there is another.
type DNSGeo struct {
	// Which of a pool's endpoints an answer names.
	Within DNSAnswer `yaml:"within" default:"all" aka:"answer policy"`
	// Pools by country.
	Countries []CountryPool `yaml:"countries" aka:"country"`
	// Pools by continent.
	Continents []ContinentPool `yaml:"continents" aka:"continent"`
	// Where pools are, for clients that neither leads anywhere: the nearest. The file of places must have coordinates.
	Nearest []SitePool `yaml:"nearest" aka:"sites locations coordinates"`
}

// CountryPool is a country and the pool for it.
type CountryPool struct {
	// The country.
	Country PlaceCode `yaml:",name"`
	// The pool.
	Pool Name `yaml:"pool,required" scalar:"*"`
}

// ContinentPool is a continent and the pool for it.
type ContinentPool struct {
	// The continent.
	Continent PlaceCode `yaml:",name"`
	// The pool.
	Pool Name `yaml:"pool,required" scalar:"*"`
}

// SitePool is a pool and where it is.
type SitePool struct {
	// The pool.
	Pool Name `yaml:",name"`
	// Where it is.
	At Coordinates `yaml:"at,required" scalar:"*"`
}

// DNSView is what the clients of some networks are answered: from a pool, or always the same.
type DNSView struct {
	// The networks: of the client, as far as its resolver tells; else of the resolver.
	Source []netip.Prefix `yaml:"source,required" aka:"src client networks from"`
	// The pool.
	Pool Name `yaml:"pool"`
	// IPv4 addresses.
	A []netip.Addr `yaml:"a" aka:"ipv4"`
	// IPv6 addresses.
	AAAA []netip.Addr `yaml:"aaaa" aka:"ipv6"`
}

// eachPool calls f for every pool that the name follows.
func (r *DNSRecord) eachPool(f func(Name)) {
	names := []Name{r.Pool}
	for _, v := range r.Views {
		names = append(names, v.Pool)
	}
	if g := r.Geo; g != nil {
		for _, x := range g.Countries {
			names = append(names, x.Pool)
		}
		for _, x := range g.Continents {
			names = append(names, x.Pool)
		}
		for _, x := range g.Nearest {
			names = append(names, x.Pool)
		}
	}
	for _, name := range names {
		if name != "" {
			f(name)
		}
	}
}

// check validates a record, which needs to know its zone.
func (r *DNSRecord) check(c *checker, path string, z *Zone) {
	checkTTL(c, join(path, "ttl"), r.TTL)
	checkTTL(c, join(path, "ttl_down"), r.TTLDown)
	r.checkSources(c, path)
	r.checkSteering(c, path)
	for _, text := range r.texts() {
		if text.text == "" && text.t == wire.TypeTXT {
			continue // an empty text is one
		}
		owner, err := wire.ParseName(string(r.Name), z.Name.Wire())
		if err != nil {
			return
		}
		if _, err := zonefile.Parse(owner, text.t, 0, text.data(), z.Name.Wire()); err != nil {
			c.fail(fmt.Sprintf("%s.%s[%d]", path, text.key, text.index), quote(text.text)+" "+err.Error(), text.hint)
		}
	}
	for key, list := range map[string][]netip.Addr{"a": r.A, "aaaa": r.AAAA} {
		checkFamily(c, join(path, key), key, list)
	}
}

// checkSources reports addresses from more than one place, and a name with nothing under it.
func (r *DNSRecord) checkSources(c *checker, path string) {
	var sources []string
	for _, key := range []string{"pool", "alias", "cname"} {
		if c.has(join(path, key)) {
			sources = append(sources, key)
		}
	}
	if len(r.A)+len(r.AAAA) > 0 {
		sources = append(sources, "a or aaaa")
	}
	if len(sources) > 1 {
		c.failKey(path, fmt.Sprintf("%s and %s exclude each other", sources[0], sources[1]), "the name's addresses can come from one of them")
	}
	others := 0
	for _, key := range []string{"mx", "txt", "srv", "https", "svcb", "ns", "caa", "ptr"} {
		if c.has(join(path, key)) {
			others++
		}
	}
	switch {
	case r.CNAME != "" && others > 0:
		c.failKey(join(path, "cname"), "suffers no other record beside it (RFC 1034 §3.6.2)", "write alias instead: it has the addresses alone")
	case r.CNAME != "" && r.Name == "@":
		c.failKey(join(path, "cname"), "can't stand at the top of a zone (RFC 1034 §3.6.2)", "write alias instead")
	case len(sources)+others == 0:
		c.failKey(path, "has nothing under it", "write pool, a, cname or another kind of record")
	case len(r.NS) > 0 && r.Name == "@":
		c.failKey(join(path, "ns"), "delegates the zone itself", "write the zone's own name servers as ns: beside records:")
	}
}

// steeringKeys are those that only a name with a pool has.
var steeringKeys = []string{"answer", "limit", "ttl_down", "serve", "fallback", "hash", "weigh", "publish", "geo", "views"}

func (r *DNSRecord) checkSteering(c *checker, path string) {
	c.poolExists(join(path, "pool"), r.Pool)
	if r.Pool == "" {
		for _, key := range steeringKeys {
			if c.has(join(path, key)) {
				c.failKey(join(path, key), "has no effect without a pool", "write pool, or remove it")
			}
		}
		return
	}
	switch {
	case r.Serve == DNSServeElse && len(r.Fallback) == 0:
		c.fail(join(path, "serve"), "has no fallback to serve", "write fallback: [192.0.2.1]")
	case r.Serve != DNSServeElse && len(r.Fallback) > 0:
		c.failKey(join(path, "fallback"), fmt.Sprintf("has no effect with serve: %s", r.Serve), "write serve: fallback")
	}
	if c.has(join(path, "hash")) && r.Answer != AnswerHash && (r.Geo == nil || r.Geo.Within != AnswerHash) {
		c.failKey(join(path, "hash"), fmt.Sprintf("has no effect with answer: %s", r.Answer), "write answer: hash")
	}
	if (r.Geo != nil) != (r.Answer == AnswerGeo) {
		if r.Geo == nil {
			c.fail(join(path, "answer"), "is geo, but nothing says which places lead where", "write geo: {continents: {EU: eu}}")
		} else {
			c.failKey(join(path, "geo"), fmt.Sprintf("has no effect with answer: %s", r.Answer), "write answer: geo")
		}
	}
	if r.Geo != nil {
		r.Geo.check(c, join(path, "geo"))
	}
	r.checkPublish(c, join(path, "publish"))
	for i := range r.Views {
		r.Views[i].check(c, fmt.Sprintf("%s.views[%d]", path, i))
	}
}

func (r *DNSRecord) checkPublish(c *checker, path string) {
	known := map[Address]bool{}
	r.eachPool(func(name Name) {
		if p := c.config.Pool(name); p != nil {
			for _, e := range p.Endpoints {
				known[e.Address] = true
			}
		}
	})
	for _, p := range r.Publish {
		if !known[p.Endpoint] {
			c.failKey(join(path, p.Endpoint.String()), fmt.Sprintf("%s is no endpoint of the name's pools", p.Endpoint), "write the endpoint as its pool does")
		}
	}
}

func (g *DNSGeo) check(c *checker, path string) {
	if g.Within == AnswerGeo {
		c.fail(join(path, "within"), "can't be geo again", "write all, one, weighted, failover or hash")
	}
	if c.config.DNS.Places == "" {
		c.failKey(path, "needs to know where addresses are", "write places: GeoLite2-City.mmdb under dns")
	}
	if len(g.Countries)+len(g.Continents)+len(g.Nearest) == 0 {
		c.failKey(path, "leads nobody anywhere", "write countries, continents or nearest")
	}
	for _, x := range g.Countries {
		c.poolExists(join(path, "countries."+string(x.Country)), x.Pool)
	}
	for _, x := range g.Continents {
		at := join(path, "continents."+string(x.Continent))
		c.poolExists(at, x.Pool)
		if continents := []PlaceCode{"AF", "AN", "AS", "EU", "NA", "OC", "SA"}; !slices.Contains(continents, x.Continent) {
			c.failKey(at, fmt.Sprintf("%s is no continent", x.Continent), "one of AF, AN, AS, EU, NA, OC, SA")
		}
	}
	for _, x := range g.Nearest {
		c.poolExists(join(path, "nearest."+string(x.Pool)), x.Pool)
	}
}

func (v *DNSView) check(c *checker, path string) {
	c.poolExists(join(path, "pool"), v.Pool)
	addresses := len(v.A) + len(v.AAAA)
	switch {
	case v.Pool != "" && addresses > 0:
		c.failKey(path, "has a pool and addresses", "keep one of them")
	case v.Pool == "" && addresses == 0:
		c.failKey(path, "does not say what is answered", "write pool, or a and aaaa")
	}
	checkFamily(c, join(path, "a"), "a", v.A)
	checkFamily(c, join(path, "aaaa"), "aaaa", v.AAAA)
}

// checkFamily reports IPv6 addresses under a and IPv4 under aaaa.
func checkFamily(c *checker, path, key string, list []netip.Addr) {
	for i, a := range list {
		if a.Is4() != (key == "a") {
			other := map[string]string{"a": "aaaa", "aaaa": "a"}[key]
			c.fail(fmt.Sprintf("%s[%d]", path, i), fmt.Sprintf("%s belongs under %s", a, other), "move it there")
		}
	}
}

// text is a record that is written as in zone files.
type text struct {
	key   string
	index int
	t     wire.Type
	text  string
	hint  string
}

// texts lists the records of a name that are written as texts or names.
func (r *DNSRecord) texts() (all []text) {
	add := func(key string, t wire.Type, hint string, list []string) {
		for i, s := range list {
			all = append(all, text{key, i, t, s, hint})
		}
	}
	add("mx", wire.TypeMX, "write preference and host: 10 mail", r.MX)
	add("txt", wire.TypeTXT, "", r.TXT)
	add("srv", wire.TypeSRV, "write priority, weight, port and host: 10 5 5060 sip", r.SRV)
	add("https", wire.TypeHTTPS, `write priority, host and parameters: 1 . alpn="h2,h3"`, r.HTTPS)
	add("svcb", wire.TypeSVCB, `write priority, host and parameters: 1 svc alpn="h2"`, r.SVCB)
	add("ns", wire.TypeNS, "write a name: ns1.example.net.", plainNames(r.NS))
	add("caa", wire.TypeCAA, `write flags, tag and value: 0 issue "letsencrypt.org"`, r.CAA)
	add("ptr", wire.TypePTR, "write a name: www.example.com.", plainNames(r.PTR))
	if r.CNAME != "" {
		add("cname", wire.TypeCNAME, "write a name: www", []string{string(r.CNAME)})
	}
	return all
}

func plainNames(names []DNSName) (all []string) {
	for _, n := range names {
		all = append(all, string(n))
	}
	return all
}

// data is the text as a zone file has it. A text of any length is cut into pieces of 255 bytes (RFC 1035 §3.3.14).
func (t *text) data() string {
	if t.t != wire.TypeTXT {
		return t.text
	}
	const longest = 255
	var pieces []string
	for rest := t.text; ; {
		n := min(longest, len(rest))
		pieces = append(pieces, `"`+escapeText(rest[:n])+`"`)
		if rest = rest[n:]; rest == "" {
			return strings.Join(pieces, " ")
		}
	}
}

// escapeText writes bytes so that a zone file means them.
func escapeText(s string) string {
	var b strings.Builder
	for i := range len(s) {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			b.WriteByte('\\')
			b.WriteByte(c)
		case c < ' ' || c >= 0x7f:
			fmt.Fprintf(&b, `\%03d`, c)
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}

// Static gives the records of the name that are always the same. ttl is for those that do not say otherwise.
func (r *DNSRecord) Static(z *Zone) ([]zone.Record, error) {
	owner, err := wire.ParseName(string(r.Name), z.Name.Wire())
	if err != nil {
		return nil, fmt.Errorf("%s %w", r.Name, err)
	}
	ttl := uint32(r.TTL / time.Second)
	if r.TTL == 0 {
		ttl = uint32(z.TTL / time.Second)
	}
	var all []zone.Record
	for _, t := range r.texts() {
		record, err := zonefile.Parse(owner, t.t, ttl, t.data(), z.Name.Wire())
		if err != nil {
			return nil, fmt.Errorf("%s: %s %w", r.Name, t.text, err)
		}
		all = append(all, record)
	}
	for _, a := range r.A {
		all = append(all, zone.Record{Name: owner, Type: wire.TypeA, TTL: ttl, Data: wire.Data{Head: a.AsSlice()}})
	}
	for _, a := range r.AAAA {
		all = append(all, zone.Record{Name: owner, Type: wire.TypeAAAA, TTL: ttl, Data: wire.Data{Head: a.AsSlice()}})
	}
	return all, nil
}

// defaultPoolTTL is how long resolvers keep a name that follows a pool. It is a compromise: what is shorter makes resolvers ask
// more, what is longer keeps clients at a dead server.
const defaultPoolTTL = 30 * time.Second

// Rules are how the name answers from a pool.
func (r *DNSRecord) Rules() steer.Rules {
	answer := r.Answer
	if r.Geo != nil {
		answer = r.Geo.Within
	}
	policy, _ := steer.ParsePolicy(string(answer))
	ttl := r.TTL
	if ttl == 0 {
		ttl = defaultPoolTTL
	}
	rules := steer.Rules{
		Policy: policy, Limit: r.Limit, TTL: uint32(ttl / time.Second), DownTTL: uint32(r.TTLDown / time.Second),
		Serve:    map[DNSServe]steer.Serve{DNSServeAll: steer.ServeAll, DNSServeLast: steer.ServeLast, DNSServeElse: steer.ServeFallback}[r.Serve],
		Fallback: r.Fallback, Prefix4: r.Hash.Prefix4, Prefix6: r.Hash.Prefix6,
		Weigh: map[DNSWeigh]steer.Weigh{WeighFixed: steer.Fixed, WeighLatency: steer.ByLatency, WeighRequests: steer.ByRequests}[r.Weigh],
	}
	for _, p := range r.Publish {
		if rules.Publish == nil {
			rules.Publish = map[string][]netip.Addr{}
		}
		rules.Publish[p.Endpoint.String()] = p.Addresses
	}
	return rules
}
