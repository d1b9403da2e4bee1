package config

import (
	"fmt"
	"net/netip"
	"strconv"
	"time"
)

// Listener is one front door.
type Listener struct {
	// The listener's name, in logs, metrics and commands.
	Name Name `yaml:",name"`
	// Where to listen; a list for several. A host must be an IP address, so that nothing has to be resolved before the
	// door can open.
	Address []Address `yaml:"address,required" aka:"bind listen addresses port"`
	// What clients speak here.
	Protocol Protocol `yaml:"protocol" default:"http" aka:"mode type"`
	// Certificates, for protocol https.
	TLS *TLS `yaml:"tls" aka:"ssl certificates"`
	// Which requests go where; the first route that matches wins. A request that none matches is answered with 404.
	Routes []Route `yaml:"routes" aka:"rules locations route"`
	// The pool for every request: short for a single route without a match. With protocol tcp or udp, the pool for
	// everything.
	Pool Name `yaml:"pool" aka:"backend default_backend proxy_pass upstream"`

	// Speak HTTP/2 too: with clients under TLS that ask for it, and with those in plain text that begin with it (gRPC
	// programs, often). What goes to the endpoints is up to their pool.
	HTTP2 bool `yaml:"http2" default:"true" aka:"h2 h2c http_2"`

	// What a request may be at most.
	Limits Limits `yaml:"limits"`
	// How long clients may take.
	Timeouts ListenerTimeouts `yaml:"timeouts" aka:"timeout"`
	// Connections open at a time, of all clients; more wait in the kernel until one ends. The default keeps a flood from
	// using up the process's file descriptors; 0 is no limit. With protocol udp it is clients, and the oldest who was never
	// answered makes room for a new one.
	MaxConnections int `yaml:"max_connections" default:"65536" min:"0" aka:"maxconn"`
	// Connections open at a time from one source address; more are closed at once. There is no limit (0) by default,
	// because behind one address may stand a whole office, or a proxy.
	MaxConnectionsPerSource int `yaml:"max_connections_per_source" default:"0" min:"0"`
	// Who may connect.
	Access Access `yaml:"access" aka:"acl allow deny"`

	// Proxies in front of Trivet whose X-Forwarded-* and Forwarded headers are believed. The headers of all others are
	// thrown away, since anybody can write them. With accept_proxy, those whose PROXY header is believed.
	TrustedProxies []netip.Prefix `yaml:"trusted_proxies" aka:"set_real_ip_from"`
	// With protocol tcp or udp: every connection, or datagram, begins with a PROXY header (version 1 or 2) that says who the
	// client is. Only trusted_proxies may connect.
	AcceptProxy bool `yaml:"accept_proxy" default:"false" aka:"proxy_protocol accept_proxy_protocol"`
	// What the endpoints are told about the client.
	Forwarded Forwarded `yaml:"forwarded" aka:"forwardfor"`
	// An id for each request, for finding it again in logs. There is none unless this is written.
	RequestID *RequestID `yaml:"request_id"`
	// A line for each request. There is none unless this is written.
	AccessLog *AccessLog `yaml:"access_log" aka:"log"`
	// What becomes of header names with an underscore. Many applications can't tell X_User from X-User, so a client could
	// pass a header that a route removes; that is why the default drops them, as nginx does.
	Underscores Underscores `yaml:"underscores" default:"drop"`
}

// Protocol is what clients speak on a listener.
type Protocol string

// The protocols.
const (
	ProtocolHTTP  Protocol = "http"  // HTTP/1.1 and HTTP/2 in plain text
	ProtocolHTTPS Protocol = "https" // HTTP/1.1 and HTTP/2 under TLS
	ProtocolTCP   Protocol = "tcp"   // any protocol over TCP: connections are passed on by address
	ProtocolUDP   Protocol = "udp"   // any protocol over UDP: each client's datagrams go to one endpoint
)

// Values is every protocol.
func (Protocol) Values() []string {
	return []string{string(ProtocolHTTP), string(ProtocolHTTPS), string(ProtocolTCP), string(ProtocolUDP)}
}

// Limits is what a request may be at most. A request beyond is refused before an endpoint hears of it.
type Limits struct {
	// All header lines together; more is answered with 431. Browsers with many cookies stay far below the default.
	HeaderSize Size `yaml:"header_size" default:"64KiB" min:"1KiB" max:"16MiB" aka:"large_client_header_buffers bufsize"`
	// Number of header lines; more is answered with 431.
	HeaderCount int `yaml:"header_count" default:"100" min:"8" max:"10000" aka:"max_headers maxhdr"`
	// The request line, and any one header line; more is answered with 414 or 431. 8 KiB is what every server in use
	// accepts (RFC 9110 §4.1 asks for 8000 at least).
	Line Size `yaml:"line" default:"8KiB" min:"256" max:"1MiB"`
	// The body; more is answered with 413. There is no limit (0) by default: bodies are passed on as they come and are
	// not kept, so it is for the application to say what is too much.
	BodySize Size `yaml:"body_size" default:"0" aka:"client_max_body_size max_body"`
}

// ListenerTimeouts is how long clients may take. A timeout of 0 is none.
type ListenerTimeouts struct {
	// From the first byte of a request to the end of its header: who takes longer is answered with 408. It ends attacks
	// that hold connections with half a request.
	Header time.Duration `yaml:"header" default:"10s" aka:"client_header_timeout http_request read_header"`
	// Without a request on a kept connection. Browsers open a new one without a word.
	Idle time.Duration `yaml:"idle" default:"60s" aka:"keepalive keep_alive keepalive_timeout"`
	// Without a byte of the request's body.
	BodyIdle time.Duration `yaml:"body_idle" default:"30s" aka:"client_body_timeout body client"`
	// Without the client taking a byte of the response.
	WriteIdle time.Duration `yaml:"write_idle" default:"30s" aka:"send_timeout write"`
	// The least rate of a request's body, in bytes, from its first byte on: it ends attacks that send a byte now and then.
	// Every modem is faster than the default; 0/s is no limit.
	MinRate Rate `yaml:"min_rate" default:"100/s"`
}

// Access says by source address who is let in. An address in deny is refused; if allow is written, so is everyone not in it.
type Access struct {
	// Only these.
	Allow []netip.Prefix `yaml:"allow"`
	// Not these, even if allowed.
	Deny []netip.Prefix `yaml:"deny" aka:"block"`
}

// Forwarded is what the endpoints are told about the client.
type Forwarded struct {
	// What becomes of X-Forwarded-For, X-Forwarded-Proto and X-Forwarded-Host.
	XForwarded XForwarded `yaml:"x_forwarded" default:"append" scalar:"*" aka:"x_forwarded_for"`
	// Send the standard Forwarded header too. Few applications read it, so it is off.
	RFC7239 bool `yaml:"rfc7239" default:"false" aka:"forwarded"`
}

// XForwarded is what becomes of the X-Forwarded-* headers.
type XForwarded string

// What may become of them.
const (
	XForwardedAppend  XForwarded = "append"  // added to what a trusted proxy sent, and replaced when anyone else did
	XForwardedReplace XForwarded = "replace" // replaced, whoever sent them
	XForwardedOff     XForwarded = "off"     // passed on untouched, whoever sent them: the application must not believe them
)

// Values is every way.
func (XForwarded) Values() []string {
	return []string{string(XForwardedAppend), string(XForwardedReplace), string(XForwardedOff)}
}

// RequestID is an id for each request.
type RequestID struct {
	// The header that carries it.
	Header HeaderName `yaml:"header" default:"X-Request-ID" scalar:"*"`
	// Keep the id that the client sent, if it is reasonable: up to 128 letters, digits and - _ . characters. Off by
	// default, because a client could then choose the id of another's request.
	Trust bool `yaml:"trust" default:"false"`
}

// AccessLog is a line for each request.
type AccessLog struct {
	// Where the lines go.
	Output LogOutput `yaml:"output" default:"stdout" scalar:"*" aka:"path file"`
	// What they look like.
	Format LogFormat `yaml:"format" default:"json"`
	// How many of the requests are logged, chosen at random. Failed requests (500 and above) are always logged.
	Sample Percent `yaml:"sample" default:"100%" min:"0%" max:"100%"`
}

// Underscores is what becomes of request headers with an underscore in their name.
type Underscores string

// What may become of them.
const (
	UnderscoresDrop   Underscores = "drop"   // the header is removed
	UnderscoresReject Underscores = "reject" // the request is answered with 400
	UnderscoresPass   Underscores = "pass"   // the header is passed on
)

// Values is every way.
func (Underscores) Values() []string {
	return []string{string(UnderscoresDrop), string(UnderscoresReject), string(UnderscoresPass)}
}

// fill turns the shorthand pool into a route, and names routes.
func (l *Listener) fill() {
	if l.Pool != "" && len(l.Routes) == 0 && !l.Protocol.ByAddress() {
		route := Route{}
		newDecoder("").setDefaults(valueOf(&route))
		route.Pool = l.Pool
		l.Routes = []Route{route}
	}
	for i := range l.Routes {
		l.Routes[i].fill(i)
	}
}

func (l *Listener) validate(c *checker, path string) {
	if l.Protocol.ByAddress() {
		l.validateByAddress(c, path)
	} else {
		c.oneOf(path, false, "routes", "pool")
		if l.AcceptProxy {
			c.failKey(join(path, "accept_proxy"), fmt.Sprintf("is for protocol tcp and udp, not %s", l.Protocol), "remove it: trusted_proxies say who the client is by X-Forwarded-For")
		}
	}
	c.poolExists(join(path, "pool"), l.Pool)
	l.validateAddresses(c, path)
	l.validateRouteNames(c, path)
	l.validateTLS(c, path)
	if l.Limits.Line > l.Limits.HeaderSize {
		c.fail(join(path, "limits.line"), fmt.Sprintf("%s is more than header_size, %s", l.Limits.Line, l.Limits.HeaderSize), "lower line, or raise header_size")
	}
}

func (l *Listener) validateAddresses(c *checker, path string) {
	for i, a := range l.Address {
		at := fmt.Sprintf("%s.address[%d]", path, i)
		if a.Unix == "" && a.Host != "" {
			if _, err := netip.ParseAddr(a.Host); err != nil {
				hint := "write the IP address of an interface, or leave the host out for all of them"
				if a.Host == "localhost" {
					hint = fmt.Sprintf("write 127.0.0.1:%d", a.Port)
				}
				c.fail(at, strconv.Quote(a.String())+" has a host name, and a listener needs an IP address", hint)
			}
		}
		if other := c.config.firstListenerAt(l.Protocol, a, at); other != "" {
			c.fail(at, fmt.Sprintf("%s is taken already by %s", a, other), "choose another port, or put the routes into one listener")
		}
	}
}

// firstListenerAt finds an address equal to a that stands before the one at path; ports chosen by the kernel never clash,
// nor do those of UDP with others.
func (c *Config) firstListenerAt(protocol Protocol, a Address, path string) string {
	if a.Unix == "" && a.Port == 0 {
		return ""
	}
	for _, l := range c.Listeners {
		for i, other := range l.Address {
			at := fmt.Sprintf("listeners.%s.address[%d]", l.Name, i)
			if at == path {
				return ""
			}
			if other == a && (l.Protocol == ProtocolUDP) == (protocol == ProtocolUDP) {
				return "listeners." + string(l.Name)
			}
		}
	}
	return ""
}

func (l *Listener) validateRouteNames(c *checker, path string) {
	seen := map[Name]int{}
	for i, r := range l.Routes {
		first, twice := seen[r.Name]
		if !twice {
			seen[r.Name] = i
			continue
		}
		c.fail(fmt.Sprintf("%s.routes[%d].name", path, i), fmt.Sprintf("%q is the name of routes[%d] too", r.Name, first), "give each route of a listener its own name")
	}
}
