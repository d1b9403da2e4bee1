package demo

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// shopName is the name under which the shops are found by DNS. RFC 2606 §2 keeps it for such.
const shopName = "shop.example."

// A directory asks a name server over the wire, by Go's resolver, which customers written in Go have too.
type directory struct {
	address  string
	resolver *net.Resolver
	shops    map[netip.Addr]string // by the address that is published
}

// openDirectory has Trivet serve names for the shops. They all live on one loopback address, so each is published with one that
// is reserved for documentation (RFC 5737).
func openDirectory(ctx context.Context, s *Stage) (*directory, error) {
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	d := &directory{address: address, shops: map[netip.Addr]string{}}
	d.resolver = &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, d.address)
	}}
	var publish []string
	for i, p := range s.shops {
		published := netip.AddrFrom4([4]byte{192, 0, 2, byte(i + 1)})
		d.shops[published] = p.name
		publish = append(publish, fmt.Sprintf("%q: %s", p.address, published))
	}
	section := fmt.Sprintf("dns:\n  address: %s\n  zones:\n    example: {records: {shop: {pool: %s, publish: {%s}}}}\n", d.address, poolName, strings.Join(publish, ", "))
	if err := s.Configure(func(yaml string) string { return yaml + section }); err != nil {
		return nil, err
	}
	if err := s.Trivet.Reload(ctx); err != nil {
		return nil, fmt.Errorf("reload with a dns section: %v", err)
	}
	return d, nil
}

// close takes the names out of the configuration again.
func (d *directory) close(ctx context.Context, s *Stage) error {
	if err := s.Configure(nil); err != nil {
		return err
	}
	return s.Trivet.Reload(ctx)
}

// ask returns which shops are answered, in order of their names.
func (d *directory) ask(ctx context.Context) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	addresses, err := d.resolver.LookupNetIP(ctx, "ip4", shopName)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, a := range addresses {
		names = append(names, cmp.Or(d.shops[a.Unmap()], a.String()))
	}
	slices.Sort(names)
	return names, nil
}

// await asks until these shops are answered, and tells so. It fails after twenty seconds, as Await does.
func (d *directory) await(ctx context.Context, s *Stage, want ...string) error {
	const patience = 20 * time.Second
	deadline := time.Now().Add(patience)
	for {
		got, err := d.ask(ctx)
		switch {
		case err == nil && slices.Equal(got, want):
			s.Saw("after %.2f s: %s is %s", s.since().Seconds(), strings.TrimSuffix(shopName, "."), strings.Join(got, ", "))
			return nil
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case time.Now().After(deadline):
			return fmt.Errorf("ask %s for %s: %v, %v; want %v", d.address, shopName, got, err, want)
		}
		if err := s.Pause(ctx, 10*time.Millisecond); err != nil {
			return err
		}
	}
}

// named asks for the shops by DNS before, during and after a shop's death.
func named(ctx context.Context, s *Stage) error {
	const shop = "shop-a"
	all := []string{"shop-a", "shop-b", "shop-c"}
	s.Phase("before")
	s.Say("trivet reload, with names: DNS answers from the same pool")
	d, err := openDirectory(ctx, s)
	if err != nil {
		return err
	}
	s.Say("Go's resolver asks %s over and over: who is %s?", d.address, strings.TrimSuffix(shopName, "."))
	if err := d.await(ctx, s, all...); err != nil {
		return err
	}
	if err := s.Pause(ctx, time.Second); err != nil {
		return err
	}
	s.Phase("during")
	if err := s.Kill(shop); err != nil {
		return err
	}
	if err := d.await(ctx, s, "shop-b", "shop-c"); err != nil {
		return err
	}
	if err := s.Pause(ctx, time.Second); err != nil {
		return err
	}
	s.Phase("after")
	if err := s.Open(ctx, shop); err != nil {
		return err
	}
	if err := d.await(ctx, s, all...); err != nil {
		return err
	}
	if err := s.Await(ctx, shop, In); err != nil {
		return err
	}
	return d.close(ctx, s)
}
