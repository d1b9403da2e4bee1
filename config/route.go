package config

import (
	"fmt"
	"reflect"
	"strconv"
	"time"
)

// Route says where the requests that match go, and under which conditions. It has exactly one of pool, split, redirect and
// respond.
type Route struct {
	// The route's name in logs and metrics. The default is its place in the list, as in route-1: give names to routes
	// whose metrics should survive a reordering.
	Name Name `yaml:"name"`
	// Which requests: all that is written must fit. Without it, every request.
	Match Match `yaml:"match" aka:"when if rule"`

	// Send the request to this pool.
	Pool Name `yaml:"pool" aka:"backend proxy_pass upstream use_backend to"`
	// Send the request to one of several pools, by weight: {app: 95, app-canary: 5}.
	Split []Share `yaml:"split" aka:"weights canary"`
	// Answer with a redirect.
	Redirect *Redirect `yaml:"redirect" aka:"return"`
	// Answer at once, without an endpoint.
	Respond *Respond `yaml:"respond" aka:"return response static"`

	// Change the path that the endpoint sees.
	Rewrite Rewrite `yaml:"rewrite"`
	// Change the headers that the endpoint sees.
	RequestHeaders HeaderEdit `yaml:"request_headers" aka:"proxy_set_header headers"`
	// Change the headers that the client sees.
	ResponseHeaders HeaderEdit `yaml:"response_headers" aka:"add_header"`

	// The whole request, from its header to the last byte of the response, with all tries. There is none (0) by default:
	// downloads and event streams may rightly take hours, and first_byte_timeout and the idle timeouts end what hangs.
	Timeout time.Duration `yaml:"timeout" default:"0" aka:"request_timeout"`
	// One try, to the head of its response. There is none (0) by default: first_byte_timeout bounds it already.
	PerTryTimeout time.Duration `yaml:"per_try_timeout" default:"0" aka:"try_timeout"`
	// From the request sent to the head of the response. The default, 0, is the pool's timeouts.first_byte.
	FirstByteTimeout time.Duration `yaml:"first_byte_timeout" default:"0" aka:"response_timeout proxy_read_timeout"`
	// When a failed request is tried again, elsewhere.
	Retry Retry `yaml:"retry" aka:"retries"`
	// How many requests each client may send. There is no limit unless this is written; of several, all must be met.
	RateLimit []RateLimit `yaml:"rate_limit" aka:"rate_limits limit_req ratelimit throttle"`
	// How important the requests are, when a pool sheds some.
	Priority Importance `yaml:"priority" default:"critical" aka:"importance criticality"`
	// Make a second attempt when the first takes unusually long. There is none unless this is written.
	Hedge *Hedge `yaml:"hedge" aka:"hedging"`
	// What the client gets in place of a failure. Nothing else unless this is written.
	Fallback *Fallback `yaml:"fallback" aka:"error_page errorfile"`
	// Misbehave on purpose, for drills.
	Inject *Inject `yaml:"inject" aka:"fault fault_injection chaos"`
	// What the request's body may be at most. The default, 0, is the listener's limits.body_size.
	BodySize Size `yaml:"body_size" default:"0" aka:"client_max_body_size"`
	// Protocols that a client may upgrade to. Everything else, h2c above all, would pass by the rules of this file, so
	// only what is named is let through; WebSocket is by default.
	Upgrade []Upgrade `yaml:"upgrade" default:"websocket" aka:"websocket"`
	// Who may use this route, besides the listener's access.
	Access Access `yaml:"access" aka:"acl allow deny"`
}

// Upgrade is a protocol that a request may turn into (RFC 9110 §7.8).
type Upgrade string

// The protocols that a client may upgrade to.
const (
	UpgradeWebSocket Upgrade = "websocket" // RFC 6455
)

// Values is every protocol.
func (Upgrade) Values() []string { return []string{string(UpgradeWebSocket)} }

// Share is one pool's share of a split.
type Share struct {
	// The pool.
	Pool Name `yaml:",name"`
	// Its part of the requests, relative to the sum of all parts. 0 is none.
	Weight int `yaml:"weight,required" scalar:"*" min:"0" max:"1000000"`
}

// Retry says when a failed request is tried again, on another endpoint. A request is only tried again when that is safe:
// nothing of it was sent, or its method is idempotent (RFC 9110 §9.2.2), and nothing of the response reached the client.
type Retry struct {
	// Never try again.
	Off bool `yaml:"off" default:"false" scalar:"off"`
	// Tries in all, with the first.
	Attempts int `yaml:"attempts" default:"3" min:"1" max:"20" aka:"tries retries max"`
	// What allows another try. The defaults are failures of an endpoint rather than answers of the application.
	When []RetryCondition `yaml:"when" default:"connect reset stall" aka:"on retry_on conditions"`
	// How much of the traffic may be retries. It keeps a pool in trouble from being drowned by them.
	Budget Budget `yaml:"budget"`
	// Pauses between tries.
	Backoff Backoff `yaml:"backoff"`
}

// Budget is how much of the traffic may be retries.
type Budget struct {
	// Retries for each 100 requests of the last ten seconds; one that waits in a pause counts already. 20% bounds the extra
	// load on a failing pool to a fifth.
	Percent Percent `yaml:"percent" default:"20%" scalar:"*" min:"0%" max:"100%"`
	// Retries a second that are always allowed, so that a quiet service can retry at all.
	Min int `yaml:"min" default:"3" min:"0" max:"1000" aka:"min_concurrency"`
}

// Backoff is the pause before a try. The first retry goes at once, since it goes to another endpoint; each pause after is
// random, up to base doubled each time.
type Backoff struct {
	// The pause before the second retry, at most.
	Base time.Duration `yaml:"base" default:"10ms" scalar:"*" aka:"initial"`
	// The longest pause.
	Max time.Duration `yaml:"max" default:"250ms"`
}

// Rewrite changes the path that the endpoint sees; the query stays. At most one of path, strip_prefix and regex may be written.
type Rewrite struct {
	// The whole path.
	Path URLPath `yaml:"path"`
	// Take this off the path's beginning. /api takes /api/x to /x and /api to /.
	StripPrefix URLPath `yaml:"strip_prefix" aka:"strip_path_prefix stripprefix"`
	// Replace what this expression matches of the path by replace.
	Regex Regexp `yaml:"regex" aka:"regexp"`
	// What to put there; $1 or ${name} stand for the groups of the expression.
	Replace string `yaml:"replace" aka:"replacement"`
}

// fill names the route.
func (r *Route) fill(index int) {
	if r.Name == "" {
		r.Name = Name("route-" + strconv.Itoa(index+1))
	}
}

func valueOf[T any](p *T) reflect.Value { return reflect.ValueOf(p).Elem() }

// Pools is every pool that the route may send to.
func (r *Route) Pools() []Name {
	if r.Pool != "" {
		return []Name{r.Pool}
	}
	var names []Name
	for _, share := range r.Split {
		names = append(names, share.Pool)
	}
	return names
}

func (r *Route) validate(c *checker, path string) {
	if _, written := c.places[path]; !written {
		return // made from the listener's shorthand, which is checked there
	}
	c.oneOf(path, false, "pool", "split", "redirect", "respond")
	c.poolExists(join(path, "pool"), r.Pool)
	r.validateSplit(c, join(path, "split"))
	r.validateTimeouts(c, path)
	if r.Pool == "" && len(r.Split) == 0 {
		for _, key := range []string{"rewrite", "request_headers", "retry", "timeout", "per_try_timeout", "first_byte_timeout", "upgrade"} {
			if c.has(join(path, key)) {
				c.failKey(join(path, key), "has no effect: this route sends nothing to a pool", "remove it")
			}
		}
	}
}

func (r *Route) validateSplit(c *checker, path string) {
	if !c.has(path) {
		return
	}
	total := 0
	for _, share := range r.Split {
		total += share.Weight
		if c.config.Pool(share.Pool) == nil {
			c.poolExists(join(path, string(share.Pool)), share.Pool)
		}
	}
	if total == 0 {
		c.failKey(path, "gives no pool a share", "write a weight for at least one, as in {app: 95, app-canary: 5}")
	}
}

func (r *Route) validateTimeouts(c *checker, path string) {
	if r.Timeout > 0 && r.PerTryTimeout > r.Timeout {
		c.fail(join(path, "per_try_timeout"), fmt.Sprintf("%s is longer than timeout, %s", r.PerTryTimeout, r.Timeout), "lower it: the whole request includes every try")
	}
	if c.has(join(path, "first_byte_timeout")) && r.Timeout > 0 && r.FirstByteTimeout > r.Timeout {
		c.fail(join(path, "first_byte_timeout"), fmt.Sprintf("%s is longer than timeout, %s", r.FirstByteTimeout, r.Timeout), "lower it: the whole request includes the wait for the first byte")
	}
}

func (r *Retry) validate(c *checker, path string) {
	c.offAlone(path, r.Off)
	if r.Backoff.Base > r.Backoff.Max {
		c.fail(join(path, "backoff.base"), fmt.Sprintf("%s is longer than max, %s", r.Backoff.Base, r.Backoff.Max), "raise max")
	}
}

func (r *Rewrite) validate(c *checker, path string) {
	c.oneOf(path, true, "path", "strip_prefix", "regex")
	if c.has(join(path, "regex")) != c.has(join(path, "replace")) {
		c.failKey(path, "has one of regex and replace without the other", "write both: regex: ^/old/(.*)$ and replace: /new/$1")
	}
}
