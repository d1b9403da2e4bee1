package api

import (
	"context"
	"net/http"
)

// DNSViewer is a Node that serves DNS, and tells about it. A Node need not be one.
type DNSViewer interface {
	// DNS tells what is served.
	DNS() (DNS, error)
	// QueryDNS tells what a client would be answered. Nothing is sent and nothing counted.
	QueryDNS(DNSQuestion) (DNSAnswer, error)
}

// DNS is what is served.
type DNS struct {
	Addresses []string  `json:"addresses"`         // where queries are answered, over UDP and TCP
	Ready     bool      `json:"ready"`             // queries are answered
	Waiting   []string  `json:"waiting,omitempty"` // pools whose first probes a newer configuration waits for
	Queries   uint64    `json:"queries"`           // since the start
	Changes   uint64    `json:"changes"`           // of what names are answered with, since the start
	Zones     []DNSZone `json:"zones"`
	Names     []DNSName `json:"names"` // that follow pools
}

// DNSZone is a zone that is served.
type DNSZone struct {
	Name    string `json:"name"`
	Serial  uint32 `json:"serial"`
	Names   int    `json:"names"`   // that have records
	Queries uint64 `json:"queries"` // since the zone was first served
}

// DNSName is what a name is answered with from one of its pools.
type DNSName struct {
	Name      string   `json:"name"`
	Pool      string   `json:"pool"`
	Answer    string   `json:"answer"` // how addresses are chosen: all, weighted, ...
	Mode      string   `json:"mode"`   // what answers rest on: healthy, down, ...
	TTL       int      `json:"ttl"`    // in seconds
	Addresses []string `json:"addresses"`
}

// DNSQuestion is a query that is not sent.
type DNSQuestion struct {
	Name string `json:"name"`
	Type string `json:"type"`
	From string `json:"from,omitempty"` // the client's address; "" is the machine itself
}

// DNSAnswer is what a query would be answered with, and why.
type DNSAnswer struct {
	From          string       `json:"from"`
	Rcode         string       `json:"rcode"`
	Authoritative bool         `json:"authoritative"`
	Answer        []string     `json:"answer"` // records, as zone files write them
	Authority     []string     `json:"authority,omitempty"`
	Additional    []string     `json:"additional,omitempty"`
	Steps         []string     `json:"steps"` // how the name was found, for people
	Steering      *DNSSteering `json:"steering,omitempty"`
}

// DNSSteering is how a name that follows pools came to its addresses.
type DNSSteering struct {
	Name      string        `json:"name"`
	Pool      string        `json:"pool"`
	Answer    string        `json:"answer"` // how addresses were chosen
	Mode      string        `json:"mode"`   // what the answer rests on: healthy, down, ...
	Led       string        `json:"led"`    // how the client came to the pool, for people
	TTL       int           `json:"ttl"`    // in seconds
	Endpoints []DNSEndpoint `json:"endpoints"`
}

// DNSEndpoint is what became of one endpoint in an answer.
type DNSEndpoint struct {
	Endpoint  string   `json:"endpoint"`  // as its pool names it
	Addresses []string `json:"addresses"` // as clients know it
	Priority  int      `json:"priority"`
	Weight    float64  `json:"weight"`   // with which it is drawn
	In        bool     `json:"in"`       // it could be answered
	Answered  bool     `json:"answered"` // it was, this time
	Reason    string   `json:"reason,omitempty"`
}

// dnsOf finds out whether a node serves DNS.
func (h handler) dnsOf() (DNSViewer, error) {
	if v, ok := h.node.(DNSViewer); ok {
		return v, nil
	}
	return nil, NotFound("this node serves no DNS", "write a section dns: in its file")
}

func (h handler) dns(*http.Request) (any, error) {
	v, err := h.dnsOf()
	if err != nil {
		return nil, err
	}
	return v.DNS()
}

func (h handler) queryDNS(r *http.Request) (any, error) {
	v, err := h.dnsOf()
	if err != nil {
		return nil, err
	}
	var q DNSQuestion
	if err := read(r, &q); err != nil {
		return nil, err
	}
	if q.Name == "" {
		return nil, Invalid("which name?", `send {"name": "www.example.com", "type": "A"}`)
	}
	if q.Type == "" {
		q.Type = "A"
	}
	return v.QueryDNS(q)
}

// DNS asks what is served over DNS.
func (c *Client) DNS(ctx context.Context) (DNS, error) {
	return ask[DNS](ctx, c, http.MethodGet, "/v1/dns", nil)
}

// QueryDNS asks what a client would be answered.
func (c *Client) QueryDNS(ctx context.Context, q DNSQuestion) (DNSAnswer, error) {
	return ask[DNSAnswer](ctx, c, http.MethodPost, "/v1/dns/query", q)
}
