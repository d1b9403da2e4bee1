package config

import (
	"fmt"
	"strconv"
	"time"
)

// Pool is a set of endpoints that serve the same thing.
type Pool struct {
	// The pool's name, in routes, logs, metrics and commands.
	Name Name `yaml:",name"`
	// The servers.
	Endpoints []Endpoint `yaml:"endpoints,required" aka:"servers server hosts targets backends nodes members"`
	// Who gets the next request. The default needs no tuning: it gives less to whoever is slow, whatever the reason.
	Balance Algorithm `yaml:"balance" default:"least_request" aka:"algorithm lb_policy policy strategy method"`
	// What the hashing algorithms (ip_hash, maglev, ring_hash) hash, and how. By address, only the client's is there to hash.
	Hash Hash `yaml:"hash"`
	// Which endpoints get anything at all.
	Role Role `yaml:"role" default:"any" aka:"target_session_attrs"`
	// What becomes of sessions of tcp and udp whose endpoint is down, was removed, is in maintenance or has lost its role.
	OnDown OnDown `yaml:"on_down" default:"auto" aka:"on_marked_down on_role_change"`
	// The PROXY header that endpoints get before connections of tcp and datagrams of udp.
	ProxyProtocol ProxyProtocol `yaml:"proxy_protocol" default:"off" aka:"send_proxy"`
	// Of udp: the datagrams that answer one of a client's. After the last, the session ends, and an endpoint that sends none is
	// held to have failed: 1 for DNS, say. 0 is not known.
	Replies int `yaml:"replies" default:"0" min:"0" max:"1000000" aka:"proxy_responses responses"`
	// What the endpoints speak. With h2, many requests share few connections; gRPC needs it. Under TLS the endpoints must agree
	// to it (ALPN), in plain text it is spoken from the first byte on. Requests that switch to another protocol, as WebSocket
	// does, go by HTTP/1.1 all the same, and so do http probes: for servers that speak nothing but HTTP/2, probe by grpc or tcp.
	Protocol PoolProtocol `yaml:"protocol" default:"http1" aka:"http_version proxy_http_version"`
	// Speak TLS to the endpoints; an empty section, {}, will do. Probes do the same. Plain text is spoken unless this is written.
	TLS *PoolTLS `yaml:"tls" aka:"ssl https"`
	// Keep a client on the endpoint that served it first, by a cookie. There is none unless this is written.
	Affinity *Affinity `yaml:"affinity" aka:"sticky stickiness session_affinity cookie"`

	// How endpoints are probed. TCP connections are tried by default; ask your application instead by an http probe.
	Health Health `yaml:"health" aka:"healthcheck health_check check checks probe"`
	// Take out endpoints whose answers to real requests are bad, without waiting for a probe.
	Outlier Outlier `yaml:"outlier" aka:"outlier_detection passive_health passive ejection max_fails"`
	// Take requests away from an endpoint that has stopped answering.
	Stall Stall `yaml:"stall" aka:"hang"`
	// What the pool takes on at most, all endpoints together.
	Breaker Breaker `yaml:"breaker" aka:"circuit_breaker circuit_breakers limits"`
	// Where requests wait while every endpoint has as many as it may take.
	Queue Queue `yaml:"queue"`
	// How long requests wait when no endpoint is available at all, instead of failing: they go out in order when one comes
	// back. It makes a restart or a change-over of the servers invisible. They share the queue's limit. 0 is not at all.
	Hold time.Duration `yaml:"hold" default:"0" max:"1h"`
	// Stop asking a pool that fails. It is off unless this is written.
	Circuit *Circuit `yaml:"circuit"`
	// Find out how many requests the pool can bear at a time. It is off unless this is written.
	Concurrency *Concurrency `yaml:"concurrency" aka:"adaptive_concurrency adaptive"`
	// Refuse the least important requests when the pool is in trouble. It is off unless this is written.
	Shed *Shed `yaml:"shed" aka:"load_shedding admission_control"`
	// How long an endpoint that (re)appears takes to come up to its full share, from a tenth of it: caches, connection
	// pools and just-in-time compilers need traffic to warm up, and not all at once. 0 is no slow start.
	SlowStart time.Duration `yaml:"slow_start" default:"10s" aka:"slowstart"`
	// When less of the pool than this is healthy, all of it is used: in a large pool the few that are left would drown, and
	// probes that fail everywhere are more often wrong than right. The default, 0%, is when none is healthy: in a pool of
	// three, half would send two of three requests to servers that are known to be down.
	PanicThreshold Percent `yaml:"panic_threshold" default:"0%" min:"0%" max:"100%" aka:"healthy_panic_threshold"`

	// How long endpoints may take.
	Timeouts PoolTimeouts `yaml:"timeouts" aka:"timeout"`
	// Connections to one endpoint that each event loop keeps open without a request. A kept connection costs a few kilobytes, a new
	// one a round trip.
	MaxIdle int `yaml:"max_idle" default:"1024" min:"0" aka:"keepalive max_idle_conns pool_max_conn"`
	// Requests in flight to one endpoint, unless the endpoint says otherwise; more wait in the queue. There is no limit
	// (0) by default, because only you know how many your server can do at a time: its workers or threads, often.
	EndpointMaxRequests int `yaml:"endpoint_max_requests" default:"0" min:"0" aka:"maxconn max_conns max_requests max_connections"`
}

// PoolProtocol is what endpoints speak.
type PoolProtocol string

// The protocols.
const (
	PoolHTTP1 PoolProtocol = "http1" // HTTP/1.1
	PoolHTTP2 PoolProtocol = "h2"    // HTTP/2
)

// Values is every protocol.
func (PoolProtocol) Values() []string { return []string{string(PoolHTTP1), string(PoolHTTP2)} }

// Endpoint is one server, or a command that runs as several: either address or run.
type Endpoint struct {
	// Where it answers. A name is resolved when the configuration is loaded.
	Address Address `yaml:"address" scalar:"*" aka:"host url server target"`
	// A command of this machine that answers: Trivet keeps it running. The other settings are for each of its processes. A pool has
	// one at most; to try another version beside it, split requests over two pools.
	Run *Run `yaml:"run" aka:"command process exec supervise"`
	// Its part of the requests, relative to the others. To send it none, drain it, or remove it.
	Weight int `yaml:"weight" default:"1" min:"1" max:"1000000"`
	// Endpoints with priority 1 take what those with priority 0 can't, as too many of them are out (more than 28 in 100), and
	// so on.
	Priority int `yaml:"priority" default:"0" min:"0" max:"15" aka:"backup tier"`
	// Requests in flight to it; more wait in the queue. The default, 0, is the pool's endpoint_max_requests.
	MaxRequests int `yaml:"max_requests" default:"0" min:"0" aka:"maxconn max_conns max_connections"`
}

// Algorithm decides who gets the next request.
type Algorithm string

// The algorithms.
const (
	RoundRobin     Algorithm = "round_robin"     // in turn, evenly spread by weight
	WeightedRandom Algorithm = "weighted_random" // at random, by weight
	Random         Algorithm = "random"          // at random; weights do not count
	LeastRequest   Algorithm = "least_request"   // who has the fewest requests in flight for its weight
	P2C            Algorithm = "p2c"             // the better of two drawn at random, by latency and requests in flight
	IPHash         Algorithm = "ip_hash"         // by hash.key; adding or removing an endpoint moves most clients
	Maglev         Algorithm = "maglev"          // by hash.key, evenly to a percent; adding or removing an endpoint moves few clients
	RingHash       Algorithm = "ring_hash"       // by hash.key, on a ring with bounded loads: who is too busy passes on to the next
)

// Values is every algorithm.
func (Algorithm) Values() []string {
	return []string{string(RoundRobin), string(WeightedRandom), string(Random), string(LeastRequest), string(P2C), string(IPHash), string(Maglev), string(RingHash)}
}

// Hashes tells whether the algorithm hashes a part of the request.
func (a Algorithm) Hashes() bool { return a == IPHash || a == Maglev || a == RingHash }

// Hash is what the hashing algorithms hash, and how.
type Hash struct {
	// What is hashed. A request without it (no such cookie, say) is hashed by the client's address.
	Key HashKey `yaml:"key" default:"source" scalar:"*" aka:"on by policy"`
	// How many bits of an IPv4 address count: 24 keeps a neighbourhood together.
	Prefix4 int `yaml:"prefix4" default:"32" min:"1" max:"32"`
	// How many bits of an IPv6 address count. A client has a /64 network and changes its address within, so that is the
	// default.
	Prefix6 int `yaml:"prefix6" default:"64" min:"1" max:"128"`
	// Slots of the table of maglev (raised to the next prime number), or points on the ring of ring_hash: more are more
	// even, and slower to build. The default 0 is by the number of endpoints: for maglev 65537 and at least 100 for each,
	// which keeps the spread within a percent (Maglev, NSDI 2016, §5.3).
	TableSize int `yaml:"table_size" default:"0" min:"0" max:"4194304" aka:"maglev_table_size virtual_nodes replicas"`
	// How far above its share of the requests in flight an endpoint of ring_hash may get before its keys go on to the next
	// one on the ring. 1.25 is what "Consistent Hashing with Bounded Loads" (2016) found a good trade.
	LoadFactor float64 `yaml:"load_factor" default:"1.25" min:"1.01" max:"100" aka:"hash_balance_factor"`
}

// PoolTimeouts is how long endpoints may take. A timeout of 0 is none.
type PoolTimeouts struct {
	// Until a connection stands. Within a data centre that takes a millisecond; the default also covers one lost packet,
	// which the kernel sends again after a second.
	Connect time.Duration `yaml:"connect" default:"2s" aka:"proxy_connect_timeout dial"`
	// From the request's last byte to the first byte of the response.
	FirstByte time.Duration `yaml:"first_byte" default:"30s" aka:"proxy_read_timeout response_header server"`
	// Without a byte of the response from the endpoint, or of the request taken by it. Of udp: without a datagram either way;
	// then the client is forgotten.
	Idle time.Duration `yaml:"idle" default:"60s" aka:"io read send"`
	// Without a byte either way on an upgraded connection (WebSocket), or one of tcp. Applications ping more often than the
	// default, and connection pools of databases close before it.
	Tunnel time.Duration `yaml:"tunnel" default:"1h" aka:"tunnel_idle websocket"`
	// Without a request on a kept connection. It must be less than what the server itself keeps, or requests run into a
	// connection that it just closed. Node.js, Apache httpd and uvicorn close after 5s, so the default is less than that.
	// (With protocol h2 a kept connection says so before it ends, so it is kept for a minute.)
	Keepalive time.Duration `yaml:"keepalive" default:"4s" aka:"keepalive_timeout keep_alive idle_conn"`
	// With protocol h2: without a byte from an endpoint that owes an answer, until it is asked for a sign of life, which must come
	// within 20s. Servers of gRPC take more than one in five minutes for an attack, unless they are told otherwise. 0 is never.
	Ping time.Duration `yaml:"ping" default:"5m" aka:"keepalive_ping keepalive_time"`
}

// fill lets endpoints and the breaker inherit.
func (p *Pool) fill() {
	p.Health.fill()
	for i := range p.Endpoints {
		if p.Endpoints[i].MaxRequests == 0 {
			p.Endpoints[i].MaxRequests = p.EndpointMaxRequests
		}
	}
}

// MaxPending is how many requests may wait: the lesser of queue.limit and breaker.max_pending.
func (p *Pool) MaxPending() int { return min(p.Queue.Limit, p.Breaker.MaxPending) }

func (p *Pool) validate(c *checker, path string) {
	if len(p.Endpoints) == 0 {
		c.failKey(join(path, "endpoints"), "has no endpoint", "write at least one, as in endpoints: [10.0.0.11:8000]")
	}
	p.validateEndpoints(c, join(path, "endpoints"))
	p.validateByAddress(c, path)
	p.validateTLS(c, path)
	if t := p.Hash.TableSize; t > 0 && t < p.Servers() {
		c.fail(join(path, "hash.table_size"), fmt.Sprintf("%d places are fewer than the %d endpoints", t, p.Servers()), "write at least 100 for each endpoint, or 0 to have it chosen")
	}
	if c.has(join(path, "hash")) && !p.Balance.Hashes() {
		c.failKey(join(path, "hash"), fmt.Sprintf("has no effect with balance: %s", p.Balance), "write balance: maglev, or remove it")
	}
	if most := 65535; p.Servers() > most {
		c.failKey(join(path, "endpoints"), fmt.Sprintf("has %d endpoints, more than %d", p.Servers(), most), "spread them over several pools with split")
	}
}

func (p *Pool) validateEndpoints(c *checker, path string) {
	addresses := map[Address]int{}
	runs := 0
	for i := range p.Endpoints {
		e := &p.Endpoints[i]
		at := path + "[" + strconv.Itoa(i) + "]"
		if e.Run != nil {
			if runs++; runs > 1 {
				c.failKey(join(at, "run"), "is the second command of this pool", "give it a pool of its own, and split requests over the two")
			}
			if c.has(join(at, "address")) {
				c.failKey(join(at, "run"), "address and run exclude each other", "keep one of the two: the processes get addresses of their own")
			}
			continue
		}
		if e.Address.IsZero() {
			c.fail(at, "says neither where it answers nor what to run", `write an address as 10.0.0.11:8000, or run: {command: [./shop, --port, "{{.Port}}"]}`)
			continue
		}
		if first, twice := addresses[e.Address]; twice {
			c.fail(at, fmt.Sprintf("%s is an endpoint of this pool already: endpoints[%d]", e.Address, first), "remove one; give the other a weight")
			continue
		}
		addresses[e.Address] = i
		if a := e.Address; a.Unix == "" && (a.Port == 0 || a.Host == "") {
			c.fail(at, fmt.Sprintf("%s is no place to connect to", a), "write a host and a port, as in 10.0.0.11:8000")
		}
	}
}
