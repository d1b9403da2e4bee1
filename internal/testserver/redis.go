package testserver

import (
	"net"
	"strings"
	"testing"
)

// Redis is a Redis server.
type Redis struct {
	Address string // host:port

	account *account
	process *process
	argv    []string
}

// StartRedis starts a server with further options, as the file would have them: "requirepass", "x". PORT stands for the
// port of the address.
func StartRedis(t testing.TB, options ...string) *Redis {
	t.Helper()
	r := &Redis{Address: freeAddress(t), account: newAccount(t, "redis")}
	host, port, _ := net.SplitHostPort(r.Address)
	r.argv = []string{Program(t, "redis-server"), "--bind", host, "--port", port, "--dir", r.account.dir, "--save", ""}
	for i := 0; i+1 < len(options); i += 2 {
		r.argv = append(r.argv, "--"+options[i], strings.ReplaceAll(options[i+1], "PORT", port))
	}
	r.Start(t)
	return r
}

// Start starts the server, again after Kill.
func (r *Redis) Start(t testing.TB) {
	t.Helper()
	r.process = startAs(t, r.account.who, r.Address, nil, r.argv...)
}

// Kill ends the server without a word.
func (r *Redis) Kill() { r.process.kill() }

// Replica starts a server that follows this one.
func (r *Redis) Replica(t testing.TB, options ...string) *Redis {
	t.Helper()
	host, port, _ := net.SplitHostPort(r.Address)
	return StartRedis(t, append([]string{"replicaof", host + " " + port}, options...)...)
}

// Command runs a command of redis-cli and returns what it prints.
func (r *Redis) Command(t testing.TB, words ...string) string {
	t.Helper()
	host, port, _ := net.SplitHostPort(r.Address)
	return r.account.run(t, nil, append([]string{Program(t, "redis-cli"), "-h", host, "-p", port, "--no-auth-warning"}, words...)...)
}
