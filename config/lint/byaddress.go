package lint

import (
	"fmt"

	"github.com/trivet-ha/trivet/config"
)

func byAddressRules() []rule {
	return []rule{
		{"writes-to-replicas", Warning, "a connection that lands on a replica can't write, and half of them will", writesToReplicas},
		{"outlives-its-role", Error, "who was connected to the old primary goes on writing to it, and those writes are lost", outlivesItsRole},
		{"any-lag", Note, "a replica that has not followed for a day still answers, with yesterday's rows", anyLag},
		{"session-without-timeout", Warning, "a client that is gone without a word holds a connection of the server for ever", sessionWithoutTimeout},
		{"client-without-timeout", Error, "every client that ever sent a datagram is remembered until the process ends, or none fits in any more", clientWithoutTimeout},
		{"password-in-the-clear", Note, "who can listen on the way learns what it takes to log in, or can try passwords at leisure", passwordInTheClear},
	}
}

func writesToReplicas(c *config.Config, report report) {
	each(c, func(p *config.Pool, path string) {
		kind := p.Health.Probe.Kind()
		if p.Role == config.RoleAny && len(p.Endpoints) > 1 && (kind == "postgres" || kind == "mysql" || kind == "redis") && passedOn(c, p.Name, config.ProtocolTCP) {
			report(path, fmt.Sprintf("pool %s sends to every database, whether it is the primary or not", p.Name), "role: primary for writes, and a second pool with role: replica for reads")
		}
	})
}

func outlivesItsRole(c *config.Config, report report) {
	each(c, func(p *config.Pool, path string) {
		if p.Role == config.RolePrimary && (p.OnDown == config.OnDownKeep || p.OnDown == config.OnDownDrain) {
			report(path+".on_down", fmt.Sprintf("sessions of pool %s stay with a server that is no longer the primary", p.Name), "on_down: kill, or nothing")
		}
	})
}

func anyLag(c *config.Config, report report) {
	each(c, func(p *config.Pool, path string) {
		probe := &p.Health.Probe
		if p.Role != config.RoleReplica ||
			probe.Postgres != nil && probe.Postgres.MaxLag > 0 || probe.MySQL != nil && probe.MySQL.MaxLag > 0 || probe.Redis != nil && probe.Redis.MaxLag > 0 {
			return
		}
		report(path+".health", fmt.Sprintf("replicas of pool %s may be behind by any time", p.Name), "max_lag: 1m")
	})
}

func sessionWithoutTimeout(c *config.Config, report report) {
	each(c, func(p *config.Pool, path string) {
		if p.Timeouts.Tunnel == 0 && passedOn(c, p.Name, config.ProtocolTCP) {
			report(path+".timeouts.tunnel", fmt.Sprintf("connections of pool %s may be silent without an end", p.Name), "timeouts: {tunnel: 1h}")
		}
	})
}

func clientWithoutTimeout(c *config.Config, report report) {
	each(c, func(p *config.Pool, path string) {
		if p.Timeouts.Idle == 0 && passedOn(c, p.Name, config.ProtocolUDP) {
			report(path+".timeouts.idle", fmt.Sprintf("clients of pool %s are never forgotten", p.Name), "timeouts: {idle: 60s}")
		}
	})
}

func passwordInTheClear(c *config.Config, report report) {
	each(c, func(p *config.Pool, path string) {
		probe := &p.Health.Probe
		plain := probe.Postgres != nil && !probe.Postgres.Password.IsZero() && probe.Postgres.TLS == nil ||
			probe.MySQL != nil && !probe.MySQL.Password.IsZero() && probe.MySQL.TLS == nil ||
			probe.Redis != nil && !probe.Redis.Password.IsZero() && probe.Redis.TLS == nil
		if plain && leavesTheMachine(p) {
			report(path+".health", fmt.Sprintf("probes of pool %s log in without TLS", p.Name), "tls: {ca: ca.pem} in the probe")
		}
	})
}

// leavesTheMachine tells whether an endpoint is elsewhere.
func leavesTheMachine(p *config.Pool) bool {
	for _, e := range p.Endpoints {
		if host := e.Address.Host; e.Address.Unix == "" && host != "127.0.0.1" && host != "::1" && host != "localhost" {
			return true
		}
	}
	return false
}

// passedOn tells whether a listener of that protocol passes on to the pool.
func passedOn(c *config.Config, pool config.Name, protocol config.Protocol) bool {
	for _, l := range c.Listeners {
		if l.Protocol == protocol && l.Pool == pool {
			return true
		}
	}
	return false
}
