package testserver

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"testing"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

// SSHD is a running OpenSSH daemon that offers SFTP to the current user.
type SSHD struct {
	User       string
	Host       string
	Port       string
	KeyFile    string // a private key that the daemon accepts
	KnownHosts string // a known_hosts file with the daemon's key
}

// StartSSHD starts sshd on a loopback port, with keys made for this test.
func StartSSHD(t testing.TB) *SSHD {
	t.Helper()
	dir := t.TempDir()
	address := freeAddress(t)
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	s := &SSHD{User: me.Username, Host: host, Port: port, KeyFile: filepath.Join(dir, "user"), KnownHosts: filepath.Join(dir, "known_hosts")}
	hostKey := WriteSSHKey(t, filepath.Join(dir, "host"), nil)
	userKey := WriteSSHKey(t, s.KeyFile, nil)
	write(t, s.KnownHosts, knownhosts.Line([]string{knownhosts.Normalize(address)}, hostKey)+"\n")
	write(t, filepath.Join(dir, "authorized"), string(ssh.MarshalAuthorizedKey(userKey)))
	write(t, filepath.Join(dir, "config"), fmt.Sprintf(`Port %s
ListenAddress %s
HostKey %s/host
AuthorizedKeysFile %s/authorized
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
PermitRootLogin prohibit-password
MaxStartups 100
Subsystem sftp %s
`, port, host, dir, dir, Program(t, "sftp-server")))
	if os.Getuid() == 0 {
		if err := os.MkdirAll("/run/sshd", 0o755); err != nil { // where a daemon of root drops its privileges
			t.Fatal(err)
		}
	}
	start(t, address, nil, Program(t, "sshd"), "-D", "-e", "-f", filepath.Join(dir, "config"))
	return s
}

// WriteSSHKey makes a key pair, writes the private half (sealed, if there is a passphrase), and returns the public one.
func WriteSSHKey(t testing.TB, path string, passphrase []byte) ssh.PublicKey {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	var block *pem.Block
	if passphrase != nil {
		block, err = ssh.MarshalPrivateKeyWithPassphrase(private, "", passphrase)
	} else {
		block, err = ssh.MarshalPrivateKey(private, "")
	}
	if err != nil {
		t.Fatal(err)
	}
	write(t, path, string(pem.EncodeToMemory(block)))
	key, err := ssh.NewPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func write(t testing.TB, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
