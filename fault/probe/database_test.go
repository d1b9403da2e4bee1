package probe

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/trivet-ha/trivet/internal/testserver"
)

// rank asks within ten seconds: a database that has just begun may be slow.
func rank(t *testing.T, c Ranker, address string) (Answer, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	return c.Rank(ctx, Target{Address: address})
}

func ranks(t *testing.T, c Ranker, address, detail string, role Role, term uint64) {
	t.Helper()
	a, err := rank(t, c, address)
	wants(t, a.Detail, err, detail)
	if a.Role != role || a.Term != term {
		t.Errorf("role %v, term %d; want %v, %d", a.Role, a.Term, role, term)
	}
	if said, err := ask2(t, c, address); err != nil || said == "" {
		t.Errorf("Do says %q, %v", said, err)
	}
}

func ask2(t *testing.T, c Check, address string) (string, error) {
	t.Helper()
	return askWithin(t, c, Target{Address: address}, 10*time.Second)
}

// becomes waits until the probe says so.
func becomes(t *testing.T, c Ranker, address string, want Role, term uint64) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.After(20 * time.Second); ; {
		a, err := rank(t, c, address)
		if err == nil && a.Role == want && a.Term == term {
			return
		}
		select {
		case <-deadline:
			t.Fatalf("it is %v, term %d, %v; want %v, %d", a.Role, a.Term, err, want, term)
		case <-tick.C:
		}
	}
}

// certificate makes a key and a certificate for localhost, readable by everybody,
// and returns their files and what trusts them.
func certificate(t *testing.T) (certFile, keyFile string, roots *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "localhost"}, DNSNames: []string{"localhost"},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "trivet-cert-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	_ = os.Chmod(dir, 0o755)
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for path, block := range map[string]*pem.Block{
		certFile: {Type: "CERTIFICATE", Bytes: der}, keyFile: {Type: "PRIVATE KEY", Bytes: sealed},
	} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	roots = x509.NewCertPool()
	parsed, _ := x509.ParseCertificate(der)
	roots.AddCert(parsed)
	return certFile, keyFile, roots
}

func TestPostgresTellsThePrimaryFromItsStandbyAndFollowsAPromotion(t *testing.T) {
	primary := testserver.StartPostgres(t, "scram-sha-256")
	standby := primary.Standby(t)
	c := &Postgres{User: primary.User, Password: primary.Password, MaxLag: time.Minute}
	ranks(t, c, primary.Address, "primary, timeline 1", RolePrimary, 1)
	ranks(t, c, standby.Address, `replica, \S+ behind`, RoleReplica, 0)

	primary.Kill()
	if _, err := rank(t, c, primary.Address); err == nil {
		t.Error("a dead primary is well")
	}
	standby.Promote(t)
	becomes(t, c, standby.Address, RolePrimary, 2)
	primary.Start(t) // comes back and knows nothing of it: two primaries, told apart by their terms
	ranks(t, c, primary.Address, "primary, timeline 1", RolePrimary, 1)
}

func TestPostgresThatLagsIsNotWell(t *testing.T) {
	primary := testserver.StartPostgres(t, "md5")
	standby := primary.Standby(t)
	c := &Postgres{User: primary.User, Password: primary.Password, MaxLag: 50 * time.Millisecond}
	primary.SQL(t, "create table t (x int)")
	standby.Await(t, "select count(*) from pg_class where relname = 't'", "1")
	ranks(t, c, standby.Address, "replica, 0s behind", RoleReplica, 0)
	standby.SQL(t, "select pg_wal_replay_pause()")
	primary.SQL(t, "insert into t select generate_series(1, 1000)")
	standby.Await(t, "select pg_last_wal_receive_lsn() > pg_last_wal_replay_lsn() and now() - pg_last_xact_replay_timestamp() > '60ms'", "t")
	a, err := rank(t, c, standby.Address)
	wants(t, a.Detail, err, `error: replica, \S+ behind; it may be 50ms`)
	standby.SQL(t, "select pg_wal_replay_resume()")
	becomes(t, c, standby.Address, RoleReplica, 0)
}

func TestPostgresLogsInByEveryMethodOrSaysWhyNot(t *testing.T) {
	for _, method := range []string{"scram-sha-256", "md5", "password"} {
		t.Run(method, func(t *testing.T) {
			t.Parallel()
			p := testserver.StartPostgres(t, method)
			ranks(t, &Postgres{User: p.User, Password: p.Password}, p.Address, "primary, timeline 1", RolePrimary, 1)
			a, err := rank(t, &Postgres{User: p.User, Password: "wrong"}, p.Address)
			wants(t, a.Detail, err, `error: log in: password authentication failed for user "postgres" \(28P01\)`)
			a, err = rank(t, &Postgres{User: p.User, Password: p.Password, Database: "nowhere"}, p.Address)
			wants(t, a.Detail, err, `error: log in: database "nowhere" does not exist \(3D000\)`)
			a, err = rank(t, &Postgres{}, p.Address)
			wants(t, a.Detail, err, "takes connections")
			if a.Role != RoleUnknown {
				t.Errorf("a stranger learned that it is %v", a.Role)
			}
			a, err = rank(t, &Postgres{TLS: &TLS{}}, p.Address)
			wants(t, a.Detail, err, "error: the server does not speak TLS")
		})
	}
}

func TestPostgresOverTLS(t *testing.T) {
	cert, key, roots := certificate(t)
	p := testserver.StartPostgres(t, "scram-sha-256")
	p.Secure(t, cert, key)
	ranks(t, &Postgres{User: p.User, Password: p.Password, TLS: &TLS{Roots: roots}}, p.Address, "primary, timeline 1", RolePrimary, 1)
	ranks(t, &Postgres{User: p.User, Password: p.Password, TLS: &TLS{Insecure: true}}, p.Address, "primary, timeline 1", RolePrimary, 1)
	a, err := rank(t, &Postgres{User: p.User, Password: p.Password, TLS: &TLS{}}, p.Address)
	wants(t, a.Detail, err, "error: TLS handshake: tls: failed to verify certificate: .*")
}

func TestMySQLTellsWhoTakesWrites(t *testing.T) {
	primary := testserver.StartMariaDB(t)
	replica := primary.Replica(t)
	primary.SQL(t, "create user probe@'%' identified by 's3cret'; grant replica monitor on *.* to probe@'%'; create user none@'%' identified by 's3cret'")
	c := &MySQL{User: "probe", Password: "s3cret", MaxLag: time.Minute}
	becomes(t, c, replica.Address, RoleReplica, 0) // once the account has arrived
	ranks(t, c, primary.Address, "primary, version 1.*MariaDB.*", RolePrimary, 0)
	ranks(t, c, replica.Address, `replica, \S+ behind`, RoleReplica, 0)
	ranks(t, &MySQL{User: "none", Password: "s3cret"}, replica.Address, "read only, version 1.*", RoleReplica, 0)

	a, err := rank(t, &MySQL{User: "none", Password: "s3cret", MaxLag: time.Second}, replica.Address)
	wants(t, a.Detail, err, "error: ask for its lag: Access denied.*")
	a, err = rank(t, &MySQL{User: "probe", Password: "wrong"}, primary.Address)
	wants(t, a.Detail, err, `error: log in: Access denied for user 'probe'.* \(28000\)`)
	a, err = rank(t, &MySQL{}, primary.Address)
	wants(t, a.Detail, err, "takes connections, version .*")

	replica.SQL(t, "stop slave")
	a, err = rank(t, c, replica.Address)
	wants(t, a.Detail, err, "error: replica, and not known how far behind; it may be 1m0s")
	replica.SQL(t, "reset slave all; set global read_only = 0")
	ranks(t, c, replica.Address, "primary, version 1.*", RolePrimary, 0)
	primary.Kill()
	if _, err := rank(t, c, primary.Address); err == nil {
		t.Error("a dead primary is well")
	}
}

func TestAStrangerDoesNotGetThisHostBlocked(t *testing.T) {
	m := testserver.StartMariaDB(t, "--max-connect-errors=3")
	for range 10 {
		a, err := rank(t, &MySQL{}, m.Address)
		wants(t, a.Detail, err, "takes connections, version .*")
	}
}

func TestMySQLOverTLS(t *testing.T) {
	cert, key, roots := certificate(t)
	m := testserver.StartMariaDB(t, "--ssl-cert="+cert, "--ssl-key="+key)
	m.SQL(t, "create user probe@'%' identified by 's3cret' require ssl")
	ranks(t, &MySQL{User: "probe", Password: "s3cret", TLS: &TLS{Roots: roots}}, m.Address, "primary, .*", RolePrimary, 0)
	a, err := rank(t, &MySQL{User: "probe", Password: "s3cret"}, m.Address)
	wants(t, a.Detail, err, "error: log in: Access denied.*")
	a, err = rank(t, &MySQL{User: "probe", Password: "s3cret", TLS: &TLS{}}, m.Address)
	wants(t, a.Detail, err, "error: TLS handshake: tls: failed to verify certificate: .*")
	plain := testserver.StartMariaDB(t, "--skip-ssl")
	a, err = rank(t, &MySQL{TLS: &TLS{}}, plain.Address)
	wants(t, a.Detail, err, "error: TLS handshake: the server does not speak TLS")
}

func TestRedisTellsItsRole(t *testing.T) {
	primary := testserver.StartRedis(t)
	replica := primary.Replica(t)
	c := &Redis{MaxLag: time.Minute}
	ranks(t, c, primary.Address, "primary", RolePrimary, 0)
	becomes(t, c, replica.Address, RoleReplica, 0)
	ranks(t, c, replica.Address, `replica, \S+ behind`, RoleReplica, 0)
	ranks(t, &Redis{}, replica.Address, `replica, link connected`, RoleReplica, 0)
	primary.Kill()
	eventually(t, "the replica sees that it is alone", func() bool {
		_, err := rank(t, c, replica.Address)
		return err != nil && err.Error() == "replica without a primary: its link is in state connect"
	})
	replica.Command(t, "replicaof", "no", "one")
	ranks(t, c, replica.Address, "primary", RolePrimary, 0)
}

func TestRedisWithPasswords(t *testing.T) {
	r := testserver.StartRedis(t, "requirepass", "s3cret")
	ranks(t, &Redis{Password: "s3cret"}, r.Address, "primary", RolePrimary, 0)
	ranks(t, &Redis{User: "default", Password: "s3cret"}, r.Address, "primary", RolePrimary, 0)
	a, err := rank(t, &Redis{}, r.Address)
	wants(t, a.Detail, err, "error: PING: NOAUTH Authentication required.")
	a, err = rank(t, &Redis{Password: "wrong"}, r.Address)
	wants(t, a.Detail, err, "error: log in: WRONGPASS .*")
	r.Command(t, "-a", "s3cret", "acl", "setuser", "probe", "on", ">s3cret", "+ping")
	ranks(t, &Redis{User: "probe", Password: "s3cret"}, r.Address, "PONG; but ROLE: NOPERM .*", RoleUnknown, 0)
	a, err = rank(t, &Redis{User: "probe", Password: "s3cret", MaxLag: time.Second}, r.Address)
	wants(t, a.Detail, err, "error: ROLE: NOPERM .*")
}

func TestRedisOverTLS(t *testing.T) {
	cert, key, roots := certificate(t)
	r := testserver.StartRedis(t, "tls-cert-file", cert, "tls-key-file", key, "tls-auth-clients", "no", "tls-ca-cert-file", cert,
		"tls-port", "PORT", "port", "0")
	ranks(t, &Redis{TLS: &TLS{Roots: roots}}, r.Address, "primary", RolePrimary, 0)
	if _, err := rank(t, &Redis{TLS: &TLS{}}, r.Address); err == nil {
		t.Error("a certificate of nobody known is taken")
	}
}

func TestADatabaseThatHangsIsNotWellInTime(t *testing.T) {
	address := server(t, mute)
	for _, c := range []Ranker{&Postgres{}, &Postgres{User: "x"}, &Postgres{TLS: &TLS{}}, &MySQL{}, &MySQL{User: "x"}, &Redis{}, &Redis{Password: "x"}} {
		detail, err := askWithin(t, c, Target{Address: address}, 50*time.Millisecond)
		wants(t, detail, err, `error: .*: timed out`)
	}
}

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.After(20 * time.Second); !holds(); {
		select {
		case <-deadline:
			t.Fatalf("not within 20 s: %s", what)
		case <-tick.C:
		}
	}
}
