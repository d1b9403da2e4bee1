package config

import (
	"encoding/hex"
	"strings"
	"time"
)

// PostgresProbe asks a PostgreSQL server. With a user it also learns whether the server is the primary, which needs no
// more than the right to log in.
type PostgresProbe struct {
	// Log in as this user. Without one, a server is healthy if it goes as far as to ask who is there.
	User string `yaml:"user" aka:"username"`
	// Its password.
	Password Secret `yaml:"password"`
	// The database to connect to.
	Database string `yaml:"database" default:"postgres" aka:"db dbname"`
	// How far a standby may be behind; one further behind is not healthy. It is the time since the last transaction that it
	// has replayed, while there are others that it has not. 0 is any time.
	MaxLag time.Duration `yaml:"max_lag" default:"0" aka:"maximum_lag lag"`
	// Speak TLS, and take no for an error.
	TLS *ProbeTLS `yaml:"tls" aka:"ssl sslmode"`
}

// MySQLProbe asks a MySQL or MariaDB server. With a user it also learns whether the server takes writes (read_only is off),
// which needs no more than the right to log in. A member of a Galera cluster is healthy while it is in step with the others.
type MySQLProbe struct {
	// Log in as this user. Without one, a server is healthy if it goes as far as to refuse a stranger.
	User string `yaml:"user" aka:"username"`
	// Its password.
	Password Secret `yaml:"password"`
	// How far a replica may be behind (Seconds_Behind_Source); one further behind, or that does not replicate, is not
	// healthy. It needs the privilege REPLICATION CLIENT (MariaDB: REPLICA MONITOR). 0 is any time.
	MaxLag time.Duration `yaml:"max_lag" default:"0" aka:"maximum_lag lag"`
	// Speak TLS, and take no for an error. Without, a password for caching_sha2_password goes out encrypted by a key that
	// anybody in between could have put there.
	TLS *ProbeTLS `yaml:"tls" aka:"ssl"`
}

// RedisProbe asks a Redis server, or what speaks its protocol, for a PONG and for its role.
type RedisProbe struct {
	// Log in as this user; servers before Redis 6 have none.
	User string `yaml:"user" aka:"username"`
	// The password, if the server wants one.
	Password Secret `yaml:"password" aka:"auth requirepass"`
	// How long ago a replica may have heard from its primary; one that has lost it is not healthy. 0 is any time.
	MaxLag time.Duration `yaml:"max_lag" default:"0" aka:"maximum_lag lag"`
	// Speak TLS.
	TLS *ProbeTLS `yaml:"tls" aka:"ssl"`
}

// UDPProbe is a datagram, and an answer if one is wanted. Without, an endpoint is healthy unless its host says that nobody
// listens there.
type UDPProbe struct {
	// Send this text.
	Send string `yaml:"send"`
	// Send these bytes, in hexadecimal digits; blanks between them do not count.
	SendHex string `yaml:"send_hex"`
	// An expression that a datagram sent back must match. Bytes that are no text are written as \xff.
	Expect Regexp `yaml:"expect" aka:"receive match"`
}

// Payload is what is sent.
func (p *UDPProbe) Payload() []byte {
	if p.SendHex == "" {
		return []byte(p.Send)
	}
	b, _ := hex.DecodeString(strings.ReplaceAll(p.SendHex, " ", "")) // validated
	return b
}

func (p *UDPProbe) validate(c *checker, path string) {
	if _, err := hex.DecodeString(strings.ReplaceAll(p.SendHex, " ", "")); err != nil {
		c.fail(join(path, "send_hex"), quote(p.SendHex)+" is not an even number of hexadecimal digits", `write send_hex: "ff ff ff ff 54"`)
	}
	if p.Send != "" && p.SendHex != "" {
		c.failKey(join(path, "send_hex"), "send and send_hex exclude each other", "keep one of the two")
	}
}

func (p *PostgresProbe) validate(c *checker, path string) {
	needsUser(c, path, p.User, p.Password, p.MaxLag)
}

func (p *MySQLProbe) validate(c *checker, path string) {
	needsUser(c, path, p.User, p.Password, p.MaxLag)
}

// needsUser reports what only has a meaning for who logs in.
func needsUser(c *checker, path, user string, password Secret, lag time.Duration) {
	if user != "" {
		return
	}
	if !password.IsZero() {
		c.failKey(join(path, "password"), "is nobody's: there is no user", "write user: beside it")
	}
	if lag > 0 {
		c.failKey(join(path, "max_lag"), "can only be asked for by a user that logs in", "write user: beside it")
	}
}
