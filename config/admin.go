package config

import (
	"os"
	"path/filepath"
	"strconv"
)

// Admin is how this process is watched and steered while it runs, by `trivet status`, `trivet pool` and the like.
type Admin struct {
	// The Unix socket for commands; only the process's own user and root may use it. The default is trivet.sock in the folder
	// that systemd gives ($RUNTIME_DIRECTORY), in /run/trivet for root, else in $XDG_RUNTIME_DIR. off is none.
	Socket string `yaml:"socket"`
	// A TCP address for commands. There is none unless this is written, and it needs a token.
	Address Address `yaml:"address" aka:"listen bind"`
	// The token that commands over TCP must show: Authorization: Bearer ....
	Token Secret `yaml:"token"`
	// A TCP address that serves Prometheus metrics at /metrics, and nothing else. There is none unless this is written;
	// /metrics is served on the socket and the address too.
	Metrics Address `yaml:"metrics" aka:"metrics_address prometheus"`
}

// Log is what Trivet says about itself, on stderr.
type Log struct {
	// The least important lines that are written.
	Level LogLevel `yaml:"level" default:"info" scalar:"*"`
	// What the lines look like.
	Format LogStyle `yaml:"format" default:"text"`
}

// LogLevel is how important a line is.
type LogLevel string

// The levels.
const (
	LogDebug LogLevel = "debug" // every decision
	LogInfo  LogLevel = "info"  // changes of state: reloads, endpoints up and down
	LogWarn  LogLevel = "warn"  // what may need somebody's attention
	LogError LogLevel = "error" // what does
)

// Values is every level.
func (LogLevel) Values() []string {
	return []string{string(LogDebug), string(LogInfo), string(LogWarn), string(LogError)}
}

// LogStyle is what log lines look like.
type LogStyle string

// The styles.
const (
	LogText LogStyle = "text" // key=value, for people
	LogJSON LogStyle = "json" // one JSON object a line
)

// Values is every style.
func (LogStyle) Values() []string { return []string{string(LogText), string(LogJSON)} }

// SocketPath is the path of the control socket, or "" when it is off.
func (a *Admin) SocketPath() string {
	switch a.Socket {
	case "":
		return DefaultSocket()
	case "off":
		return ""
	default:
		return a.Socket
	}
}

// DefaultSocket is where the control socket is unless admin.socket says otherwise: commands look here too.
func DefaultSocket() string {
	if dir := os.Getenv("RUNTIME_DIRECTORY"); dir != "" {
		return filepath.Join(dir, "trivet.sock")
	}
	if os.Geteuid() == 0 {
		return "/run/trivet/trivet.sock"
	}
	if dir := os.Getenv("XDG_RUNTIME_DIR"); dir != "" {
		return filepath.Join(dir, "trivet.sock")
	}
	return filepath.Join(os.TempDir(), "trivet-"+strconv.Itoa(os.Geteuid()), "trivet.sock")
}

func (a *Admin) validate(c *checker, path string) {
	if a.Socket != "" && a.Socket != "off" {
		if _, err := unixAddress(a.Socket); err != nil {
			c.fail(join(path, "socket"), quote(a.Socket)+" is no absolute path of a socket", "write /run/trivet/trivet.sock, or off")
		}
	}
	if !a.Address.IsZero() && a.Token.IsZero() {
		c.fail(join(path, "address"), "is open to whoever reaches it: there is no token", "write token_file: /etc/trivet/token, or token: ${TRIVET_TOKEN}")
	}
	if !a.Token.IsZero() && a.Address.IsZero() {
		c.failKey(join(path, "token"), "has no effect without address: the socket is guarded by its file mode", "remove it, or write address")
	}
	for _, listener := range []struct {
		key     string
		address Address
	}{{"address", a.Address}, {"metrics", a.Metrics}} {
		if other := c.config.firstListenerAt(ProtocolTCP, listener.address, ""); other != "" && !listener.address.IsZero() {
			c.fail(join(path, listener.key), listener.address.String()+" is taken already by "+other, "choose another port")
		}
	}
	if !a.Address.IsZero() && a.Address == a.Metrics {
		c.fail(join(path, "metrics"), a.Metrics.String()+" is taken already by admin.address, which serves /metrics too", "remove it")
	}
}
