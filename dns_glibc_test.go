package trivet

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/trivet-ha/trivet/config"
)

// glibcSite is served on the port of DNS, which is all that glibc asks. Its one server is a listener of the test's.
const glibcSite = `
pools:
  site: {endpoints: ["127.0.0.1:8080"], health: {interval: 100ms}}
dns:
  address: 127.0.0.1:53
  zones:
    example.com:
      records:
        www: {pool: site, publish: {"127.0.0.1:8080": [192.0.2.1, "2001:db8::1"]}}
        shop: {cname: www}
        "@": {alias: www}
        many: {a: [MANY]}
    2.0.192.in-addr.arpa: {records: {"1": {ptr: www.example.com.}}}
admin: {socket: off}
`

// glibc has no way to be told a port or, but for one file, an address. So the test runs itself once more where this file is
// another and the port is free: in a network and a file system of its own, which any user may have where the system lets them.
func TestGlibcAgreesWithWhatIsConfigured(t *testing.T) {
	if _, err := exec.LookPath("getent"); err != nil {
		t.Skip("getent is not installed: this is no system with glibc")
	}
	dir := t.TempDir()
	for name, text := range map[string]string{
		"resolv.conf": "nameserver 127.0.0.1\n", "nsswitch.conf": "hosts: dns\n",
		"trivet.yaml": strings.Replace(glibcSite, "MANY", manyAddresses(), 1),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	cmd := exec.CommandContext(ctx, self)
	cmd.Env = append(os.Environ(), "GLIBC_ASKS="+dir, "GOCOVERDIR="+dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWNET | unix.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}},
		Pdeathsig:   syscall.SIGKILL,
	}
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENOSPC) {
		t.Skipf("this system lets nobody have a network of their own: %v", err)
	} else if err != nil {
		t.Fatalf("%v: %s%s", err, &out, &errs)
	}
	want := strings.TrimSpace(strings.ReplaceAll(`
ahostsv4 www.example.com: 192.0.2.1
ahostsv6 www.example.com: 2001:db8::1
ahostsv4 shop.example.com: 192.0.2.1
ahostsv4 example.com: 192.0.2.1
ahostsv4 many.example.com: MANY
ahostsv4 nothing.example.com: exit status 2
hosts 192.0.2.1: www.example.com
`, "MANY", strings.ReplaceAll(manyAddresses(), ",", "")))
	var wanted []string
	for _, network := range []string{"udp", "tcp"} {
		for line := range strings.Lines(want) {
			wanted = append(wanted, network+" "+strings.TrimSpace(line))
		}
	}
	if got := strings.Fields(out.String()); !slices.Equal(got, strings.Fields(strings.Join(wanted, " "))) {
		t.Errorf("glibc says\n%s\nwant\n%s", &out, strings.Join(wanted, "\n"))
	}
}

// manyAddresses are more than 512 bytes have room for.
func manyAddresses() string {
	var all []string
	for i := range 60 {
		all = append(all, fmt.Sprintf("198.51.100.%d", 100+i))
	}
	return strings.Join(all, ", ")
}

// glibcAsks is the test's other self: it serves DNS in the network that it finds itself in, and prints what getent says.
func glibcAsks(dir string) error {
	for _, name := range []string{"resolv.conf", "nsswitch.conf"} {
		to := "/etc/" + name
		if _, err := os.Stat(to); errors.Is(err, os.ErrNotExist) {
			continue // and the defaults are these
		}
		if err := unix.Mount(filepath.Join(dir, name), to, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("mount %s: %w", to, err)
		}
	}
	if err := raiseLoopback(); err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:8080")
	if err != nil {
		return err
	}
	defer l.Close()
	file, err := config.Load(filepath.Join(dir, "trivet.yaml"))
	if err != nil {
		return err
	}
	n, err := New(Config{File: file, Version: "test"})
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	done := make(chan error, 1)
	go func() { done <- n.Run(ctx) }()
	for d, err := n.DNS(); err != nil || !d.Ready; d, err = n.DNS() {
		select {
		case err := <-done:
			return err
		case <-time.After(5 * time.Millisecond):
		}
	}
	askGetent("udp", "RES_OPTIONS=timeout:10")
	before := n.names.server.Counts()
	askGetent("tcp", "RES_OPTIONS=timeout:10 use-vc") // resolv.conf(5)
	if after := n.names.server.Counts(); before.UDP == 0 || after.UDP != before.UDP || after.TCP == before.TCP {
		fmt.Printf("%d queries over UDP, and over TCP %d became %d\n", before.UDP, before.TCP, after.TCP)
	}
	stop()
	return <-done
}

func askGetent(network, option string) {
	for _, question := range []string{
		"ahostsv4 www.example.com", "ahostsv6 www.example.com", "ahostsv4 shop.example.com", "ahostsv4 example.com",
		"ahostsv4 many.example.com", "ahostsv4 nothing.example.com", "hosts 192.0.2.1",
	} {
		// Without the flag it thinks that a machine with no address but loopback's has no use for others.
		cmd := exec.Command("getent", append([]string{"--no-addrconfig"}, strings.Fields(question)...)...)
		cmd.Env = append(os.Environ(), option)
		out, err := cmd.Output()
		fmt.Printf("%s %s:", network, question)
		if err != nil {
			fmt.Printf(" %v", err)
		}
		var found []string
		for line := range strings.Lines(string(out)) { // an address and "STREAM", or an address and a name
			fields := strings.Fields(line)
			switch {
			case strings.HasPrefix(question, "hosts"):
				found = append(found, fields[1])
			case fields[1] == "STREAM":
				found = append(found, fields[0])
			}
		}
		slices.Sort(found)
		fmt.Printf(" %s\n", strings.Join(found, " "))
	}
}

// raiseLoopback has the loopback of a new network carry something.
func raiseLoopback() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	r, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	r.SetUint16(unix.IFF_UP)
	return os.NewSyscallError("ioctl", unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, r))
}
