package lint

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"

	"github.com/trivet-ha/trivet/config"
)

func routeRules() []rule {
	return []rule{
		{"no-timeout", Error, "a server that never answers holds the request, its connection and its place for ever", noTimeout},
		{"no-retry", Warning, "a request that meets a dead endpoint fails, though another could answer it", noRetry},
		{"too-many-attempts", Note, "each try goes to another endpoint, and then there is none left", tooManyAttempts},
		{"try-timeout-without-retry", Warning, "a try that times out is then the end of the request", tryTimeoutWithoutRetry},
		{"injected-fault", Warning, "clients see faults that nothing but this file makes", injectedFault},
		{"unreachable-route", Warning, "the first route that matches wins", unreachableRoute},
	}
}

func eachRoute(c *config.Config, visit func(l *config.Listener, r *config.Route, path string)) {
	for i := range c.Listeners {
		l := &c.Listeners[i]
		for j := range l.Routes {
			visit(l, &l.Routes[j], "listeners."+string(l.Name)+".routes["+strconv.Itoa(j)+"]")
		}
	}
}

func noTimeout(c *config.Config, report report) {
	eachRoute(c, func(_ *config.Listener, r *config.Route, path string) {
		if r.Timeout > 0 || r.PerTryTimeout > 0 || r.FirstByteTimeout > 0 {
			return
		}
		for _, name := range r.Pools() {
			if p := c.Pool(name); p != nil && p.Timeouts.FirstByte == 0 {
				report(path, fmt.Sprintf("route %s has no timeout, and neither has pool %s", r.Name, name), "timeouts: {first_byte: 30s} in the pool")
				return
			}
		}
	})
}

func injectedFault(c *config.Config, report report) {
	eachRoute(c, func(_ *config.Listener, r *config.Route, path string) {
		if in := r.Inject; in != nil && (in.Abort > 0 || in.Reset > 0 || in.Delay > 0 || in.Bandwidth > 0) {
			report(path+".inject", fmt.Sprintf("route %s misbehaves on purpose", r.Name), "nothing here, once the drill is over")
		}
	})
}

// endpoints is the number of endpoints of the smallest pool that the route leads to; 0 if it leads to none.
func endpoints(c *config.Config, r *config.Route) int {
	least := 0
	for _, name := range r.Pools() {
		if p := c.Pool(name); p != nil && (least == 0 || p.Servers() < least) {
			least = p.Servers()
		}
	}
	return least
}

func noRetry(c *config.Config, report report) {
	eachRoute(c, func(_ *config.Listener, r *config.Route, path string) {
		if (r.Retry.Off || r.Retry.Attempts == 1) && endpoints(c, r) > 1 {
			report(path+".retry", fmt.Sprintf("route %s never tries another endpoint", r.Name), "retry: {when: [connect]}, which only repeats what was never sent")
		}
	})
}

func tooManyAttempts(c *config.Config, report report) {
	eachRoute(c, func(_ *config.Listener, r *config.Route, path string) {
		n := endpoints(c, r)
		if at := path + ".retry.attempts"; c.Has(at) && !r.Retry.Off && n > 0 && r.Retry.Attempts > n {
			report(at, fmt.Sprintf("route %s may try %d times, but its pool has %d endpoints", r.Name, r.Retry.Attempts, n), fmt.Sprintf("attempts: %d", n))
		}
	})
}

func tryTimeoutWithoutRetry(c *config.Config, report report) {
	eachRoute(c, func(_ *config.Listener, r *config.Route, path string) {
		onTimeout := slices.Contains(r.Retry.When, config.RetryCondition{Failure: "timeout"})
		if r.PerTryTimeout > 0 && !r.Retry.Off && !onTimeout {
			report(path+".per_try_timeout", fmt.Sprintf("route %s limits each try, but does not try again after a timeout", r.Name), "retry: {when: [connect, reset, stall, timeout]}, or timeout instead")
		}
	})
}

func unreachableRoute(c *config.Config, report report) {
	for i := range c.Listeners {
		l := &c.Listeners[i]
		for j := range l.Routes {
			for k := range j {
				if !l.Routes[k].Match.IsCatchAll() && !reflect.DeepEqual(l.Routes[k].Match, l.Routes[j].Match) {
					continue
				}
				report(fmt.Sprintf("listeners.%s.routes[%d]", l.Name, j), fmt.Sprintf("route %s gets no request: route %s takes all that it would match", l.Routes[j].Name, l.Routes[k].Name), "the narrower route first")
				break
			}
		}
	}
}
