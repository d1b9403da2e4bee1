package lint

import (
	"fmt"

	"github.com/trivet-ha/trivet/config"
)

func listenerRules() []rule {
	return []rule{
		{"nothing-to-do", Error, "without a listener nothing is served", nothingToDo},
		{"header-without-timeout", Error, "a client that sends half a request holds a connection for ever, and a few thousand of them hold all", headerWithoutTimeout},
		{"body-without-timeout", Warning, "a client that stops in the middle of its request holds an endpoint's connection for ever", bodyWithoutTimeout},
		{"write-without-timeout", Warning, "a client that stops reading holds an endpoint's connection for ever", writeWithoutTimeout},
		{"trusts-everybody", Error, "anybody can then claim any address: access rules, logs and limits by source mean nothing", trustsEverybody},
		{"no-drain", Warning, "requests in flight are cut at every stop and every upgrade", noDrain},
	}
}

func eachListener(c *config.Config, visit func(l *config.Listener, path string)) {
	for i := range c.Listeners {
		visit(&c.Listeners[i], "listeners."+string(c.Listeners[i].Name))
	}
}

func nothingToDo(c *config.Config, report report) {
	if len(c.Listeners) == 0 && c.DNS == nil && len(c.Backups) == 0 && len(c.Databases) == 0 {
		report("listeners", "there is no listener", `listeners: {web: {address: ":8080", pool: site}}`)
	}
}

func headerWithoutTimeout(c *config.Config, report report) {
	eachListener(c, func(l *config.Listener, path string) {
		if l.Timeouts.Header == 0 {
			report(path+".timeouts.header", fmt.Sprintf("listener %s waits for a request's header without an end", l.Name), "timeouts: {header: 10s}")
		}
	})
}

func bodyWithoutTimeout(c *config.Config, report report) {
	eachListener(c, func(l *config.Listener, path string) {
		if l.Timeouts.BodyIdle == 0 {
			report(path+".timeouts.body_idle", fmt.Sprintf("listener %s waits for a request's body without an end", l.Name), "timeouts: {body_idle: 30s}")
		}
	})
}

func writeWithoutTimeout(c *config.Config, report report) {
	eachListener(c, func(l *config.Listener, path string) {
		if l.Timeouts.WriteIdle == 0 {
			report(path+".timeouts.write_idle", fmt.Sprintf("listener %s waits for clients to take a response without an end", l.Name), "timeouts: {write_idle: 30s}")
		}
	})
}

func trustsEverybody(c *config.Config, report report) {
	eachListener(c, func(l *config.Listener, path string) {
		for i, network := range l.TrustedProxies {
			if network.Bits() == 0 {
				report(fmt.Sprintf("%s.trusted_proxies[%d]", path, i), fmt.Sprintf("listener %s believes X-Forwarded-For of everybody", l.Name), "the addresses of your proxies, as in trusted_proxies: [10.0.0.0/24]")
			}
		}
	})
}

func noDrain(c *config.Config, report report) {
	if c.DrainTimeout == 0 {
		report("drain_timeout", "requests in flight get no time to end", "drain_timeout: 30s")
	}
}
