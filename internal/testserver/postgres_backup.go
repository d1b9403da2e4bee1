package testserver

import (
	"fmt"
	"net"
	"os"
	"strings"
	"testing"
)

// Conninfo is how a superuser reaches the server by its Unix socket, also for replication.
func (p *Postgres) Conninfo() string {
	_, port, _ := net.SplitHostPort(p.Address)
	return fmt.Sprintf("host=%s port=%s user=%s dbname=postgres", p.account.dir, port, p.User)
}

// Data is the data directory.
func (p *Postgres) Data() string { return p.data }

// Programs is the folder of PostgreSQL's programs.
func (p *Postgres) Programs() string { return p.bin }

// Owner is who the server runs as.
func (p *Postgres) Owner() (uid, gid int) {
	if p.account.who == nil {
		return os.Getuid(), os.Getgid()
	}
	return int(p.account.who.Uid), int(p.account.who.Gid)
}

// Folder makes a directory that belongs to the server's user.
func (p *Postgres) Folder(t testing.TB, name string) string {
	t.Helper()
	dir := p.account.path(name)
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	uid, gid := p.Owner()
	if err := os.Chown(dir, uid, gid); err != nil {
		t.Fatal(err)
	}
	return dir
}

// Run runs one of PostgreSQL's programs as the server's user, and returns what it prints.
func (p *Postgres) Run(t testing.TB, program string, args ...string) string {
	t.Helper()
	return p.account.run(t, p.environment(), append([]string{p.bin + "/" + program}, args...)...)
}

// Try is Run for what may fail.
func (p *Postgres) Try(program string, args ...string) (string, error) {
	out, err := p.account.try(p.environment(), append([]string{p.bin + "/" + program}, args...)...)
	return strings.TrimSpace(out), err
}

func (p *Postgres) environment() []string {
	_, port, _ := net.SplitHostPort(p.Address)
	return []string{"PGHOST=" + p.account.dir, "PGPORT=" + port, "PGUSER=" + p.User, "PGDATABASE=postgres"}
}

// Checksum turns page checksums on. The server is stopped for it.
func (p *Postgres) Checksum(t testing.TB) {
	t.Helper()
	p.Stop(t)
	p.account.run(t, nil, p.bin+"/pg_checksums", "--enable", "--no-sync", "--pgdata", p.data)
	p.Start(t)
}

// Stop shuts the server down in good order.
func (p *Postgres) Stop(t testing.TB) {
	t.Helper()
	p.account.run(t, nil, p.bin+"/pg_ctl", "stop", "--mode=fast", "--wait", "--pgdata", p.data)
}
