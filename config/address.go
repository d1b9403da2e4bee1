package config

import (
	"net"
	"net/netip"
	"path/filepath"
	"strconv"
	"strings"
)

// Address is where something listens or answers: a TCP host and port, or a Unix socket. The zero Address is none.
type Address struct {
	Host string // an IP address, a name, or "" for every address of this machine
	Port int    // 0 to 65535
	Unix string // path of a Unix socket; Host and Port are then empty
}

// IsZero tells whether there is no address.
func (a Address) IsZero() bool { return a == Address{} }

// Network is the network's name for package net: "tcp" or "unix".
func (a Address) Network() string {
	if a.Unix != "" {
		return "unix"
	}
	return "tcp"
}

// String is the address as ParseAddress reads it.
func (a Address) String() string {
	switch {
	case a.Unix != "":
		return "unix:" + a.Unix
	case a.IsZero():
		return ""
	default:
		return net.JoinHostPort(a.Host, strconv.Itoa(a.Port))
	}
}

// Dial is the address as package net takes it beside Network.
func (a Address) Dial() string {
	if a.Unix != "" {
		return a.Unix
	}
	return net.JoinHostPort(a.Host, strconv.Itoa(a.Port))
}

const addressHint = `write host:port, as in 10.0.0.11:8000, "[::1]:80", ":8080" or unix:/run/app.sock`

// ParseAddress reads host:port, :port, [IPv6]:port or unix:/path.
func ParseAddress(text string) (Address, error) {
	if path, unix := strings.CutPrefix(text, "unix:"); unix {
		return unixAddress(path)
	}
	if host, has := strings.CutPrefix(text, "http://"); has {
		return Address{}, wrong("is a URL, not an address", "write "+strings.TrimSuffix(host, "/")+" alone")
	}
	host, port, err := net.SplitHostPort(text)
	if err != nil {
		return Address{}, wrong(addressProblem(text))
	}
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return Address{}, wrong("has no port number from 0 to 65535", addressHint)
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		host = ip.String()
	} else if host != "" && !isHostName(host) {
		return Address{}, wrong("has neither an IP address nor a host name before its port", addressHint)
	}
	if host == "" && number == 0 {
		host = "::" // every address, any port: said so that it is not the zero Address
	}
	return Address{Host: strings.ToLower(host), Port: int(number)}, nil
}

func unixAddress(path string) (Address, error) {
	// sun_path holds 108 bytes with its end (unix(7)); @ is Linux's abstract namespace.
	const longest = 107
	switch {
	case len(path) > longest:
		return Address{}, wrong("is too long for a Unix socket: 107 bytes at most", "choose a shorter path")
	case strings.HasPrefix(path, "@") && len(path) > 1:
		return Address{Unix: path}, nil
	case !filepath.IsAbs(path) || path == "/":
		return Address{}, wrong("does not name an absolute path after unix:", "write unix:/run/app.sock")
	default:
		return Address{Unix: path}, nil
	}
}

// addressProblem says why text is no host:port, and what to write.
func addressProblem(text string) (message, hint string) {
	if n, err := strconv.ParseUint(text, 10, 16); err == nil {
		return "is a port without a colon", `write ":` + strconv.FormatUint(n, 10) + `" for every address of this machine`
	}
	if ip, err := netip.ParseAddr(text); err == nil {
		return "has no port", `write "` + net.JoinHostPort(ip.String(), "8000") + `"`
	}
	if isHostName(text) {
		return "has no port", "write " + text + ":8000"
	}
	return "is not an address", addressHint
}

// isHostName tells whether s is letters, digits, hyphens and underscores in labels parted by dots (RFC 1123 §2.1, and the
// underscore that container networks use).
func isHostName(s string) bool {
	if s == "" || len(s) > 253 {
		return false
	}
	for label := range strings.SplitSeq(strings.TrimSuffix(s, "."), ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for i := range len(label) {
			if c := label[i]; !isAlphanumeric(c) && c != '-' && c != '_' {
				return false
			}
		}
	}
	return true
}

func isAlphanumeric(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}
