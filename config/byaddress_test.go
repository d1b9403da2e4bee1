package config

import (
	"testing"
	"time"
)

func TestListenersByAddressNeedNoMoreThanAPool(t *testing.T) {
	t.Setenv("PG_PASSWORD", "s3cret")
	c, err := Parse("trivet.yaml", []byte(`
listeners:
  db: {address: ":5353", protocol: tcp, pool: orders, accept_proxy: true, trusted_proxies: [10.0.0.0/8]}
  dns: {address: ":5353", protocol: udp, pool: dns}
pools:
  orders:
    role: primary
    proxy_protocol: v2
    endpoints: [10.0.0.1:5432, 10.0.0.2:5432]
    health: {probe: {postgres: {user: trivet, password: "${PG_PASSWORD}", max_lag: 30s, tls: {insecure: true}}}}
  dns: {replies: 1, endpoints: [10.0.0.1:53]}
`))
	if err != nil {
		t.Fatal(err)
	}
	db, dns := c.Listener("db"), c.Listener("dns")
	if len(db.Routes)+len(dns.Routes) > 0 || !db.Protocol.ByAddress() || !dns.Protocol.ByAddress() || ProtocolHTTP.ByAddress() {
		t.Errorf("listeners are %+v and %+v", db, dns)
	}
	orders := c.Pool("orders")
	p := orders.Health.Probe.Postgres
	if p == nil || p.Password.Reveal() != "s3cret" || p.Database != "postgres" || p.MaxLag != 30*time.Second || orders.Health.Probe.Kind() != "postgres" {
		t.Errorf("probe is %+v", p)
	}
	if orders.Role != RolePrimary || orders.OnDown != OnDownAuto || orders.Hold != 10*time.Second || orders.ProxyProtocol != ProxyProtocolV2 {
		t.Errorf("pool is %+v", orders)
	}
	if got := c.Pool("dns"); got.Health.Probe.Kind() != "udp" || got.Hold != 0 || got.Role != RoleAny || got.Replies != 1 {
		t.Errorf("pool is %+v", got)
	}
}

func TestProbesOfDatagramsSendTextOrBytes(t *testing.T) {
	for text, want := range map[string]string{`{send: "a\0b"}`: "a\x00b", `{send_hex: "ff ff 54"}`: "\xff\xffT", `{}`: ""} {
		c, err := Parse("trivet.yaml", []byte("listeners: {g: {address: \":1\", protocol: udp, pool: g}}\npools: {g: {endpoints: [10.0.0.1:1], health: {probe: {udp: "+text+"}}}}"))
		if err != nil {
			t.Fatal(err)
		}
		if got := string(c.Pool("g").Health.Probe.UDP.Payload()); got != want {
			t.Errorf("%s sends %q, want %q", text, got, want)
		}
	}
}
