package config

import (
	"errors"
	"net/netip"
	"strconv"
	"strings"

	"github.com/trivet-ha/trivet/balance/gslb/steer"
	"github.com/trivet-ha/trivet/balance/gslb/wire"
)

// Names and places of DNS. Their types say what they may hold.
type (
	// ZoneName is the name of a zone as written; a dot at its end changes nothing.
	ZoneName string
	// DNSOwner is the name of a record as written: relative to its zone, "@" for the zone itself, or with a dot at its end.
	DNSOwner string
	// DNSName is a name that a record points to: relative to the zone, or with a dot at its end.
	DNSName string
	// PlaceCode is a country (ISO 3166-1) or a continent, in two capital letters.
	PlaceCode string
)

// Coordinates are a place on the globe, in degrees.
type Coordinates struct{ Latitude, Longitude float64 }

// Wire is the name as in a message.
func (z ZoneName) Wire() wire.Name {
	n, _ := wire.ParseName(string(z), wire.Root) // it was read already
	return n
}

// dnsScalars are the types of this section that are written as one word.
func dnsScalars() []scalarType {
	return []scalarType{
		scalar("zone name", "a domain name such as `example.com`, or `2.0.192.in-addr.arpa` for names of addresses.", "string", "", parseZoneName, "example.com"),
		scalar("record name", "relative to the zone: `www`, `@` for the zone itself, `*` for every name that is not there, `*.apps`, `_sip._tcp`.", "string", "", parseDNSOwner, "www", "@", "*.apps"),
		scalar("domain name", "relative to the zone, as in `mail`; or whole, with a dot at its end, as in `mail.example.net.`", "string", "", parseDNSName, "mail", "mail.example.net."),
		scalar("IP address", "`192.0.2.1` or `2001:db8::1`.", "string", "", parseIP, "192.0.2.1", "2001:db8::1"),
		scalar("place code", "two capital letters: a country by ISO 3166-1 (`DE`), or a continent (`AF`, `AN`, `AS`, `EU`, `NA`, `OC`, `SA`).", "string", "^[A-Z][A-Z]$", parsePlaceCode, "DE", "EU"),
		scalar("coordinates", "latitude and longitude in degrees, north and east positive: `50.11, 8.68`.", "string", "", parseCoordinates, "50.11, 8.68"),
	}
}

const zoneHint = "write a domain name, such as example.com"

func parseZoneName(text string) (ZoneName, error) {
	if _, err := wire.ParseName(text, wire.Root); err != nil || text == "@" {
		return "", wrong("is no domain name", zoneHint)
	}
	return ZoneName(text), nil
}

func parseDNSOwner(text string) (DNSOwner, error) {
	if _, err := wire.ParseName(text, wire.Root); err != nil {
		return "", wrong(err.Error(), "write a name such as www, or @ for the zone itself")
	}
	return DNSOwner(text), nil
}

func parseDNSName(text string) (DNSName, error) {
	if _, err := wire.ParseName(text, wire.Root); err != nil {
		return "", wrong(err.Error(), "write a name such as mail, or mail.example.net. with a dot at its end")
	}
	return DNSName(text), nil
}

func parseIP(text string) (netip.Addr, error) {
	a, err := netip.ParseAddr(text)
	if err != nil || a.Zone() != "" {
		return netip.Addr{}, wrong("is no IP address", "write 192.0.2.1 or 2001:db8::1")
	}
	return a.Unmap(), nil
}

func parsePlaceCode(text string) (PlaceCode, error) {
	if _, ok := steer.CodeOf(text); !ok {
		return "", wrong("is no code of two capital letters", "write DE, or EU")
	}
	return PlaceCode(text), nil
}

func parseCoordinates(text string) (Coordinates, error) {
	hint := "write latitude and longitude in degrees, as in 50.11, 8.68"
	lat, lon, found := strings.Cut(text, ",")
	a, err1 := strconv.ParseFloat(strings.TrimSpace(lat), 64)
	b, err2 := strconv.ParseFloat(strings.TrimSpace(lon), 64)
	if !found || err1 != nil || err2 != nil {
		return Coordinates{}, wrong("are no coordinates", hint)
	}
	if !(a >= -90 && a <= 90 && b >= -180 && b <= 180) {
		return Coordinates{}, wrong("is nowhere on the globe", "a latitude is from -90 to 90, a longitude from -180 to 180")
	}
	return Coordinates{a, b}, nil
}

var errMailbox = errors.New("is no address of mail")

// mailbox turns someone@example.com into the name someone.example.com., and nothing into hostmaster of the zone.
func mailbox(contact string, zone ZoneName) (wire.Name, error) {
	if contact == "" {
		return wire.ParseName("hostmaster", zone.Wire())
	}
	local, domain, found := strings.Cut(contact, "@")
	if !found || local == "" || domain == "" {
		return "", errMailbox
	}
	escaped := strings.NewReplacer(`\`, `\\`, `.`, `\.`).Replace(local)
	n, err := wire.ParseName(escaped+"."+strings.TrimSuffix(domain, ".")+".", wire.Root)
	if err != nil {
		return "", errMailbox
	}
	return n, nil
}
