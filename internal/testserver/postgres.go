package testserver

import (
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// Postgres is a PostgreSQL server.
type Postgres struct {
	Address  string // host:port
	User     string // a superuser
	Password string

	account *account
	bin     string
	data    string
	process *process
}

// postgresFast are settings that no data worth keeping should have.
var postgresFast = []string{
	"fsync=off", "full_page_writes=off", "shared_buffers=16MB", "max_connections=40", "wal_level=replica",
	"wal_retrieve_retry_interval=100ms", "wal_keep_size=64MB", "log_min_messages=warning",
}

// StartPostgres starts a primary. Accounts log in with passwords, by SCRAM-SHA-256 unless method says otherwise
// (md5, password).
func StartPostgres(t testing.TB, method string) *Postgres {
	t.Helper()
	p := &Postgres{User: "postgres", Password: "s3cret pässword", account: newAccount(t, "postgres"), bin: postgresBin(t)}
	p.data = p.account.path("primary")
	if err := os.WriteFile(p.account.path("password"), []byte(p.Password), 0o644); err != nil {
		t.Fatal(err)
	}
	p.account.run(t, nil, p.bin+"/initdb", "--no-sync", "--pgdata", p.data, "--username", p.User, "--pwfile", p.account.path("password"),
		"--auth-local=trust", "--auth-host="+method, "--encoding=UTF8", "--no-locale")
	p.Address = freeAddress(t)
	p.Start(t)
	return p
}

// postgresBin is the folder of PostgreSQL's programs, which Debian keeps out of PATH.
func postgresBin(t testing.TB) string {
	t.Helper()
	if found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb"); len(found) > 0 {
		return filepath.Dir(found[len(found)-1])
	}
	path, err := exec.LookPath("initdb")
	if err != nil {
		t.Fatal("this test needs PostgreSQL (make setup installs it)")
	}
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	return filepath.Dir(path)
}

// Start starts the server, again after Kill or Freeze's end.
func (p *Postgres) Start(t testing.TB) {
	t.Helper()
	host, port, _ := net.SplitHostPort(p.Address)
	argv := []string{p.bin + "/postgres", "-D", p.data, "-h", host, "-p", port, "-k", p.account.dir}
	for _, s := range postgresFast {
		argv = append(argv, "-c", s)
	}
	p.process = startAs(t, p.account.who, p.Address, nil, argv...)
	eventually(t, "PostgreSQL takes connections", func() (string, bool) {
		out, err := p.try("select 1")
		return out, err == nil
	})
}

// Kill ends the server without a word.
func (p *Postgres) Kill() { p.process.kill() }

// Freeze stops the server from running until Thaw.
func (p *Postgres) Freeze() { p.process.signal(syscall.SIGSTOP) }

// Thaw ends Freeze.
func (p *Postgres) Thaw() { p.process.signal(syscall.SIGCONT) }

// Standby starts a server that follows this one.
func (p *Postgres) Standby(t testing.TB) *Postgres {
	t.Helper()
	s := &Postgres{User: p.User, Password: p.Password, account: newAccount(t, "postgres"), bin: p.bin}
	s.data = s.account.path("standby")
	_, port, _ := net.SplitHostPort(p.Address)
	s.account.run(t, nil, p.bin+"/pg_basebackup", "--pgdata", s.data, "--write-recovery-conf", "--checkpoint=fast", "--no-sync",
		"--host", p.account.dir, "--port", port, "--username", p.User)
	s.Address = freeAddress(t)
	s.Start(t)
	s.Await(t, "select count(*) from pg_stat_wal_receiver where status = 'streaming'", "1")
	return s
}

// Promote makes a standby the primary.
func (p *Postgres) Promote(t testing.TB) {
	t.Helper()
	p.account.run(t, nil, p.bin+"/pg_ctl", "promote", "--pgdata", p.data, "--wait")
}

// SQL runs a command and returns what it prints, without headings.
func (p *Postgres) SQL(t testing.TB, sql string) string {
	t.Helper()
	out, err := p.try(sql)
	if err != nil {
		t.Fatalf("%s: %v: %s", sql, err, out)
	}
	return out
}

// Await repeats a query until it gives want.
func (p *Postgres) Await(t testing.TB, sql, want string) {
	t.Helper()
	eventually(t, sql+" gives "+want, func() (string, bool) {
		out, err := p.try(sql)
		return out, err == nil && out == want
	})
}

func (p *Postgres) try(sql string) (string, error) {
	_, port, _ := net.SplitHostPort(p.Address)
	out, err := p.account.try([]string{"PGCONNECT_TIMEOUT=5"}, p.bin+"/psql", "-h", p.account.dir, "-p", port, "-U", p.User, "-XAtq", "-c", sql)
	return strings.TrimSpace(out), err
}

// Secure has the server speak TLS.
func (p *Postgres) Secure(t testing.TB, certFile, keyFile string) {
	t.Helper()
	p.account.take(t, certFile, p.data+"/server.crt")
	p.account.take(t, keyFile, p.data+"/server.key")
	p.SQL(t, "alter system set ssl = on")
	p.SQL(t, "select pg_reload_conf()")
	p.Await(t, "show ssl", "on")
}

// Through returns a command that runs SQL by way of another address, which leads here.
func (p *Postgres) Through(ctx context.Context, address, sql string) *exec.Cmd {
	host, port, _ := net.SplitHostPort(address)
	cmd := exec.CommandContext(ctx, p.bin+"/psql", "-h", host, "-p", port, "-U", p.User, "-d", "postgres", "-XAtqw", "-c", sql)
	cmd.Env = append(os.Environ(), "PGPASSWORD="+p.Password, "PGCONNECT_TIMEOUT=20")
	return cmd
}
