package testserver

import (
	"fmt"
	"net"
	"syscall"
	"testing"
)

// MariaDB is a MariaDB server.
type MariaDB struct {
	Address string // host:port
	Socket  string // a path

	account *account
	id      int
	process *process
	options []string
}

// StartMariaDB starts a server with further options. Root may log in without a password by the socket.
func StartMariaDB(t testing.TB, options ...string) *MariaDB {
	t.Helper()
	m := &MariaDB{account: newAccount(t, "mysql"), id: 1, options: options}
	m.install(t)
	return m
}

func (m *MariaDB) install(t testing.TB) {
	t.Helper()
	m.account.run(t, nil, Program(t, "mariadb-install-db"), "--no-defaults", "--datadir="+m.account.path("data"),
		"--auth-root-authentication-method=normal", "--skip-test-db", "--innodb-buffer-pool-size=16M")
	m.Address, m.Socket = freeAddress(t), m.account.path("socket")
	m.Start(t)
}

// Start starts the server, again after Kill.
func (m *MariaDB) Start(t testing.TB) {
	t.Helper()
	host, port, _ := net.SplitHostPort(m.Address)
	argv := append([]string{
		Program(t, "mariadbd"), "--no-defaults", "--datadir=" + m.account.path("data"), "--socket=" + m.Socket, "--bind-address=" + host,
		"--port=" + port, fmt.Sprintf("--server-id=%d", m.id), "--log-bin", "--innodb-flush-log-at-trx-commit=0", "--innodb-buffer-pool-size=16M",
		"--skip-name-resolve",
	}, m.options...)
	m.process = startAs(t, m.account.who, m.Address, nil, argv...)
}

// Kill ends the server without a word.
func (m *MariaDB) Kill() { m.process.kill() }

// Freeze stops the server from running until Thaw.
func (m *MariaDB) Freeze() { m.process.signal(syscall.SIGSTOP) }

// Thaw ends Freeze.
func (m *MariaDB) Thaw() { m.process.signal(syscall.SIGCONT) }

// Replica starts a server that follows this one, and takes no writes from others.
func (m *MariaDB) Replica(t testing.TB) *MariaDB {
	t.Helper()
	m.SQL(t, "create user repl@'%' identified by 'repl'; grant replication slave on *.* to repl@'%'")
	r := &MariaDB{account: newAccount(t, "mysql"), id: m.id + 1, options: append(m.options, "--read-only")}
	r.install(t)
	host, port, _ := net.SplitHostPort(m.Address)
	r.SQL(t, fmt.Sprintf("change master to master_host='%s', master_port=%s, master_user='repl', master_password='repl', "+
		"master_use_gtid=slave_pos, master_connect_retry=1; start slave", host, port))
	return r
}

// SQL runs commands as root and returns what they print, without headings.
func (m *MariaDB) SQL(t testing.TB, sql string) string {
	t.Helper()
	return m.account.run(t, nil, Program(t, "mariadb"), "--no-defaults", "--socket="+m.Socket, "--user=root", "--skip-column-names", "--batch", "-e", sql)
}
