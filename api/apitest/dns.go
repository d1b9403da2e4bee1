package apitest

import "github.com/trivet-ha/trivet/api"

// DNS implements api.DNSViewer.
func (n *Node) DNS() (api.DNS, error) {
	return api.DNS{
		Addresses: []string{"127.0.0.1:53"}, Ready: true, Queries: 12345, Changes: 2,
		Zones: []api.DNSZone{{Name: "example.com.", Serial: 2026050401, Names: 3, Queries: 12300}},
		Names: []api.DNSName{
			{Name: "www.example.com.", Pool: "site", Answer: "weighted", Mode: "healthy", TTL: 5, Addresses: []string{"10.0.0.11"}},
			{Name: "api.example.com.", Pool: "api", Answer: "all", Mode: "down", TTL: 5, Addresses: []string{"10.0.0.21", "10.0.0.22"}},
		},
	}, nil
}

// QueryDNS implements api.DNSViewer. It knows www.example.com.
func (n *Node) QueryDNS(q api.DNSQuestion) (api.DNSAnswer, error) {
	from := q.From
	if from == "" {
		from = "127.0.0.1"
	}
	if q.Name != "www.example.com" {
		return api.DNSAnswer{
			From: from, Rcode: "NXDOMAIN", Authoritative: true,
			Authority: []string{"example.com. 60 IN SOA ns1.example.com. hostmaster.example.com. 1 7200 900 1209600 60"},
			Steps:     []string{q.Name + ". is in the zone example.com., serial 2026050401", "there is no " + q.Name + "., and no wildcard that stands in for it"},
		}, nil
	}
	return api.DNSAnswer{
		From: from, Rcode: "NOERROR", Authoritative: true, Answer: []string{"www.example.com. 5 IN " + q.Type + " 10.0.0.11"},
		Steps: []string{"www.example.com. is in the zone example.com., serial 2026050401", "the addresses of www.example.com. follow pools"},
		Steering: &api.DNSSteering{Name: "www.example.com.", Pool: "site", Answer: "weighted", Mode: "healthy", Led: "by default", TTL: 5, Endpoints: []api.DNSEndpoint{
			{Endpoint: "10.0.0.11:8000", Addresses: []string{"10.0.0.11"}, Weight: 3, In: true, Answered: true},
			{Endpoint: "10.0.0.12:8000", Addresses: []string{"10.0.0.12"}, Weight: 1, Reason: "down for 5m: connect: connection refused"},
		}},
	}, nil
}
