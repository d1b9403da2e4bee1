package sftp

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
	"golang.org/x/crypto/ssh/knownhosts"

	"github.com/trivet-ha/trivet/backup/store/limit"
	"github.com/trivet-ha/trivet/backup/store/retry"
)

// Config says which machine, which directory, and who we are.
type Config struct {
	// Host is a name or an address. Port is 22 when empty, User the current user.
	User, Host, Port string
	// Path is the repository's directory; a relative one begins at the user's home.
	Path string
	// KeyFiles are private keys; ~/.ssh/id_ed25519, id_ecdsa and id_rsa, those that are there, when nil.
	KeyFiles []string
	// Passphrase opens sealed keys. It is asked for each file; nil if there is none.
	Passphrase func(keyFile string) ([]byte, error)
	// NoAgent keeps the SSH agent (SSH_AUTH_SOCK) out.
	NoAgent bool
	// KnownHosts are the files with the keys of hosts; ~/.ssh/known_hosts and /etc/ssh/ssh_known_hosts, those
	// that are there, when nil.
	KnownHosts []string
	// Command is a program and its arguments that speaks SFTP on its standard input and output ("ssh", "-s",
	// "host", "sftp"), instead of our own SSH: for jump hosts and hardware keys. It checks the host's key.
	Command []string
	// Window is how many requests of a file may be in flight; 64 when zero.
	Window int
	// Timeout bounds connecting; 30 s when zero.
	Timeout time.Duration
	// Limits holds the bandwidth; not with Command.
	Limits limit.Limits
}

func (c Config) withDefaults() (Config, error) {
	if c.Host == "" && len(c.Command) == 0 {
		return c, errors.New("sftp: no host is named (sftp:user@host:/path)")
	}
	if c.Path == "" {
		return c, errors.New("sftp: no path is named (sftp:user@host:/path)")
	}
	if c.User == "" {
		me, err := user.Current()
		if err != nil {
			return c, fmt.Errorf("sftp: no user is named, and the current one is unknown: %w", err)
		}
		c.User = me.Username
	}
	if c.Port == "" {
		c.Port = "22"
	}
	if c.Window <= 0 {
		c.Window = 64
	}
	if c.Timeout <= 0 {
		c.Timeout = 30 * time.Second
	}
	return c, nil
}

func (c Config) address() string { return net.JoinHostPort(c.Host, c.Port) }

func newLine(c Config) (*line, error) {
	l := &line{config: c}
	l.connect = l.dial
	if len(c.Command) > 0 {
		l.connect = l.spawn
		return l, nil
	}
	if l.config.KnownHosts == nil {
		l.config.KnownHosts = present(home(".ssh/known_hosts"), "/etc/ssh/ssh_known_hosts")
	}
	if l.config.KeyFiles == nil {
		l.config.KeyFiles = present(home(".ssh/id_ed25519"), home(".ssh/id_ecdsa"), home(".ssh/id_rsa"))
	}
	_, closeAgent, err := l.config.clientConfig()
	if err != nil {
		return nil, err
	}
	closeAgent()
	return l, nil
}

func home(rel string) string {
	dir, err := os.UserHomeDir()
	if err != nil {
		return ""
	}
	return filepath.Join(dir, rel)
}

// present keeps those files that are there.
func present(files ...string) (there []string) {
	for _, f := range files {
		if f == "" {
			continue
		}
		if _, err := os.Stat(f); err == nil {
			there = append(there, f)
		}
	}
	return there
}

// clientConfig reads the keys. The function it returns closes the connection to the agent.
func (c Config) clientConfig() (*ssh.ClientConfig, func(), error) {
	if len(c.KnownHosts) == 0 {
		return nil, nil, retry.Permanent(fmt.Errorf("sftp: no known_hosts file: the key of %s cannot be checked (%s)", c.Host, c.howToTrust()))
	}
	check, err := knownhosts.New(c.KnownHosts...)
	if err != nil {
		return nil, nil, retry.Permanent(fmt.Errorf("sftp: read known hosts: %w", err))
	}
	signers, err := c.signers()
	if err != nil {
		return nil, nil, err
	}
	auth := []ssh.AuthMethod{ssh.PublicKeys(signers...)}
	closeAgent := func() {}
	if socket := os.Getenv("SSH_AUTH_SOCK"); socket != "" && !c.NoAgent {
		if conn, err := net.Dial("unix", socket); err == nil {
			auth = append(auth, ssh.PublicKeysCallback(agent.NewClient(conn).Signers))
			closeAgent = func() { conn.Close() }
		}
	}
	return &ssh.ClientConfig{
		User:              c.User,
		Auth:              auth,
		HostKeyCallback:   c.explain(check),
		HostKeyAlgorithms: c.hostKeyAlgorithms(check),
		Timeout:           c.Timeout,
	}, closeAgent, nil
}

func (c Config) signers() ([]ssh.Signer, error) {
	var signers []ssh.Signer
	for _, file := range c.KeyFiles {
		pem, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("sftp: read key: %w", err)
		}
		signer, err := ssh.ParsePrivateKey(pem)
		var sealed *ssh.PassphraseMissingError
		if errors.As(err, &sealed) {
			if signer, err = c.unseal(file, pem); signer == nil && err == nil {
				continue
			}
		}
		if err != nil {
			return nil, retry.Permanent(fmt.Errorf("sftp: read key %s: %w", file, err))
		}
		signers = append(signers, signer)
	}
	return signers, nil
}

// unseal opens a key with its passphrase. Without one the key is passed over: the agent may hold it.
func (c Config) unseal(file string, pem []byte) (ssh.Signer, error) {
	if c.Passphrase == nil {
		return nil, nil
	}
	passphrase, err := c.Passphrase(file)
	if err != nil {
		return nil, err
	}
	return ssh.ParsePrivateKeyWithPassphrase(pem, passphrase)
}

// hostKeyAlgorithms lets the server show a kind of key that we know, if we know any: it has several.
func (c Config) hostKeyAlgorithms(check ssh.HostKeyCallback) []string {
	var unknown *knownhosts.KeyError
	if err := check(c.address(), &net.TCPAddr{IP: net.IPv4zero}, noKey{}); !errors.As(err, &unknown) {
		return nil
	}
	var algorithms []string
	for _, k := range unknown.Want {
		switch t := k.Key.Type(); t {
		case ssh.KeyAlgoRSA:
			algorithms = append(algorithms, ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256)
		default:
			algorithms = append(algorithms, t)
		}
	}
	return algorithms
}

// noKey is a key that no host has.
type noKey struct{}

func (noKey) Type() string                        { return "none" }
func (noKey) Marshal() []byte                     { return []byte("none") }
func (noKey) Verify([]byte, *ssh.Signature) error { return errors.New("no key") }

// explain says what to do about a key that is not known, or another one.
func (c Config) explain(check ssh.HostKeyCallback) ssh.HostKeyCallback {
	return func(host string, remote net.Addr, key ssh.PublicKey) error {
		err := check(host, remote, key)
		var bad *knownhosts.KeyError
		if !errors.As(err, &bad) {
			return err
		}
		print := ssh.FingerprintSHA256(key)
		if len(bad.Want) > 0 {
			return retry.Permanent(fmt.Errorf("the key of %s has changed: it shows %s, %s:%d has another: someone may be between you and it",
				c.Host, print, bad.Want[0].Filename, bad.Want[0].Line))
		}
		return retry.Permanent(fmt.Errorf("the key of %s (%s) is not known (%s)", c.Host, print, c.howToTrust()))
	}
}

func (c Config) howToTrust() string {
	return fmt.Sprintf("check it, and then: ssh-keyscan -p %s %s >> ~/.ssh/known_hosts", c.Port, c.Host)
}

// refused gives a failed handshake its meaning.
func refused(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	if strings.Contains(err.Error(), "unable to authenticate") {
		return fmt.Errorf("%w: %w (is the key in the server's authorized_keys?)", fs.ErrPermission, err)
	}
	return err
}
