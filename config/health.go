package config

import (
	"fmt"
	"strings"
	"time"
)

// Health says how endpoints are probed.
type Health struct {
	// Do not probe: every endpoint counts as healthy until requests to it fail.
	Off bool `yaml:"off" default:"false" scalar:"off"`
	// What a probe is. The default is a TCP connection, or for a pool that only listeners of udp use, a datagram.
	Probe Probe `yaml:"probe" aka:"check type"`
	// Time between probes of an endpoint whose state is settled. Each is moved by a tenth at random, so that probes of
	// many endpoints do not fall together.
	Interval time.Duration `yaml:"interval" default:"2s" min:"10ms" max:"1d" aka:"inter period every"`
	// Time between probes while the state is changing: after the first failure, and after the first success of one that is
	// down. It makes the change quick without probing quickly all day.
	FastInterval time.Duration `yaml:"fast_interval" default:"500ms" min:"10ms" max:"1d" aka:"fastinter downinter"`
	// What a probe may take.
	Timeout time.Duration `yaml:"timeout" default:"1s" min:"1ms" max:"1h"`
	// Failed probes in a row that take an endpoint out. One lost packet is not an outage.
	Fall int `yaml:"fall" default:"3" min:"1" max:"100" aka:"fails unhealthy_threshold max_fails failures"`
	// Successful probes in a row that take it in again.
	Rise int `yaml:"rise" default:"2" min:"1" max:"100" aka:"passes healthy_threshold successes"`
	// Probe this port rather than the endpoint's own. 0 is the endpoint's own.
	Port int `yaml:"port" default:"0" min:"0" max:"65535"`
}

// Probe is one way to ask an endpoint how it is: exactly one of http, tcp, udp, grpc, postgres, mysql, redis and exec.
type Probe struct {
	// An HTTP request.
	HTTP *HTTPProbe `yaml:"http" aka:"httpchk httpGet https"`
	// A TCP connection.
	TCP *TCPProbe `yaml:"tcp" aka:"tcpSocket connect"`
	// A datagram.
	UDP *UDPProbe `yaml:"udp"`
	// A PostgreSQL server.
	Postgres *PostgresProbe `yaml:"postgres" aka:"postgresql pgsql pg"`
	// A MySQL or MariaDB server.
	MySQL *MySQLProbe `yaml:"mysql" aka:"mariadb galera"`
	// A Redis server.
	Redis *RedisProbe `yaml:"redis" aka:"valkey keydb"`
	// A gRPC health check (grpc.health.v1).
	GRPC *GRPCProbe `yaml:"grpc"`
	// A command of this machine; exit status 0 is healthy.
	Exec *ExecProbe `yaml:"exec" aka:"command script external"`
}

// HTTPProbe is an HTTP request.
type HTTPProbe struct {
	// The path, with a query if need be.
	Path string `yaml:"path" default:"/" scalar:"*" aka:"uri url"`
	// The method.
	Method Method `yaml:"method" default:"GET"`
	// The Host header. The default is the endpoint's address.
	Host string `yaml:"host"`
	// More headers.
	Headers []ProbeHeader `yaml:"headers" aka:"header"`
	// The statuses that are healthy. A redirect is not by default: it often leads to a page that says sorry.
	Expect []StatusRange `yaml:"expect" default:"200-299" aka:"status expected_status expect_status"`
	// An expression that the first 64 KiB of the body must match.
	Body Regexp `yaml:"body" aka:"expect_body match"`
	// Speak TLS.
	TLS *ProbeTLS `yaml:"tls" aka:"ssl https"`
}

// ProbeHeader is a header of a probe.
type ProbeHeader struct {
	// The header's name.
	Name HeaderName `yaml:",name"`
	// Its value.
	Value HeaderValue `yaml:"value,required" scalar:"*"`
}

// TCPProbe is a TCP connection, and a first exchange if wanted.
type TCPProbe struct {
	// Send this, such as "PING\r\n".
	Send string `yaml:"send"`
	// An expression that the first bytes sent back must match, such as "^\\+PONG".
	Expect Regexp `yaml:"expect" aka:"receive match"`
	// Speak TLS.
	TLS *ProbeTLS `yaml:"tls" aka:"ssl"`
}

// GRPCProbe asks grpc.health.v1.Health/Check.
type GRPCProbe struct {
	// The service to ask about. The default, an empty name, is the server as a whole.
	Service string `yaml:"service" scalar:"*"`
	// Speak TLS.
	TLS *ProbeTLS `yaml:"tls" aka:"ssl"`
}

// ExecProbe runs a command. It gets TRIVET_ENDPOINT, TRIVET_HOST, TRIVET_PORT and TRIVET_POOL in its environment, and no shell.
type ExecProbe struct {
	// The program and its arguments.
	Command []string `yaml:"command,required" scalar:"*" aka:"cmd args"`
}

// ProbeTLS says how the certificate of an endpoint is judged.
type ProbeTLS struct {
	// The name that the certificate must be for. The default is the probe's host, or the endpoint's address.
	ServerName string `yaml:"server_name" aka:"sni"`
	// The authorities that may have signed it, in PEM. The default is the system's.
	CA FilePath `yaml:"ca" aka:"ca_file cafile"`
	// Accept any certificate. A probe carries no secrets, so this may do for self-signed ones.
	Insecure bool `yaml:"insecure" default:"false" aka:"skip_verify insecure_skip_verify"`
}

// Kind is the name of the probe that is written: http, postgres, ...
func (p *Probe) Kind() string {
	switch {
	case p.HTTP != nil:
		return "http"
	case p.GRPC != nil:
		return "grpc"
	case p.Exec != nil:
		return "exec"
	case p.UDP != nil:
		return "udp"
	case p.Postgres != nil:
		return "postgres"
	case p.MySQL != nil:
		return "mysql"
	case p.Redis != nil:
		return "redis"
	default:
		return "tcp"
	}
}

// fill gives the default probe.
func (h *Health) fill() {
	if h.Probe == (Probe{}) {
		h.Probe.TCP = &TCPProbe{}
	}
}

func (h *Health) validate(c *checker, path string) {
	c.offAlone(path, h.Off)
	if c.has(join(path, "probe")) {
		c.oneOf(join(path, "probe"), false, "http", "tcp", "udp", "grpc", "postgres", "mysql", "redis", "exec")
	}
	if h.FastInterval > h.Interval {
		if c.has(join(path, "fast_interval")) {
			c.fail(join(path, "fast_interval"), fmt.Sprintf("%s is slower than interval, %s", h.FastInterval, h.Interval), "lower it")
		} else {
			h.FastInterval = h.Interval
		}
	}
}

func (p *HTTPProbe) validate(c *checker, path string) {
	for _, h := range p.Headers {
		if problem, hint := reservedHeader(h.Name); problem != "" {
			if strings.EqualFold(string(h.Name), "Host") {
				problem, hint = "Host is written as a key of its own", "write host: app.example.com beside path"
			}
			c.failKey(path+".headers."+string(h.Name), problem, hint)
		}
	}
	route, _, _ := strings.Cut(p.Path, "?")
	if _, err := parseURLPath(route); err != nil {
		c.fail(join(path, "path"), quote(p.Path)+" "+err.Error(), "write /healthz")
	}
	if p.Host != "" && !isHostAndPort(p.Host) {
		c.fail(join(path, "host"), quote(p.Host)+" is no value of a Host header", "write a host name, with a port if it needs one")
	}
	if p.Method == "HEAD" && !p.Body.IsZero() {
		c.failKey(join(path, "body"), "can't be matched: a response to HEAD has none", "write method: GET")
	}
}

func (p *ExecProbe) validate(c *checker, path string) {
	if len(p.Command) == 0 || p.Command[0] == "" {
		c.fail(join(path, "command"), "names no program", "write command: [/usr/local/bin/check, --fast]")
	}
}
