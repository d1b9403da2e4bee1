package trivet

import (
	"context"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"strconv"
	"time"

	"github.com/trivet-ha/trivet/config"
)

const (
	// resolveWithin bounds the look-up of one name while a configuration is loaded.
	resolveWithin = 5 * time.Second

	// resolveEvery is how often names are looked up again, so that a server that moves is found.
	resolveEvery = 30 * time.Second
)

// resolvePool looks up the endpoints of a pool that are names. The result is keyed by the address as it is
// written.
func resolvePool(p *config.Pool) (map[string]string, error) {
	var found map[string]string
	for _, e := range p.Endpoints {
		if e.Address.Unix != "" || e.Run != nil {
			continue
		}
		if _, err := netip.ParseAddr(e.Address.Host); err == nil {
			continue
		}
		ctx, cancel := context.WithTimeout(context.Background(), resolveWithin)
		addrs, err := net.DefaultResolver.LookupNetIP(ctx, "ip", e.Address.Host)
		cancel()
		if err != nil {
			return nil, fmt.Errorf("endpoint %s: %w", e.Address, err)
		}
		if found == nil {
			found = map[string]string{}
		}
		found[e.Address.String()] = net.JoinHostPort(prefer4(addrs).String(), strconv.Itoa(e.Address.Port))
	}
	return found, nil
}

// prefer4 takes the first IPv4 address, or the first at all: of a name with both, that is what servers are
// most often reachable by.
func prefer4(addrs []netip.Addr) netip.Addr {
	for _, a := range addrs {
		if a.Unmap().Is4() {
			return a.Unmap()
		}
	}
	return addrs[0]
}

// resolveAll looks names up again from time to time. A name that cannot be resolved keeps its address.
func (n *Node) resolveAll(ctx context.Context) error {
	t := time.NewTicker(resolveEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
		n.mu.Lock()
		file := n.file
		n.mu.Unlock()
		for i := range file.Pools {
			n.resolveAgain(&file.Pools[i])
		}
	}
}

func (n *Node) resolveAgain(spec *config.Pool) {
	addresses, err := resolvePool(spec)
	if err != nil {
		n.log.Warn("name not resolved; its last address stays", "pool", spec.Name, "error", err)
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	p := n.pools[spec.Name]
	if p == nil || p.spec != spec || maps.Equal(p.upstream.Settings().Addresses, addresses) {
		return
	}
	n.log.Info("endpoints moved", "pool", spec.Name, "addresses", addresses)
	settings := upstreamSettings(spec, addresses, p.upstream.Settings().TLS)
	settings.Guards = n.policies.guards[spec.Name]
	p.upstream.Configure(settings)
	p.sessions.Configure(sessionSettings(spec, addresses, n.file.DrainTimeout))
	n.names.server.PoolChanged(p.name)
	p.prober.refresh()
}
