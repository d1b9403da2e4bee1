package bindaddr

import (
	"net/netip"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestParse(t *testing.T) {
	for text, want := range map[string]string{
		"127.0.0.1:80":   "127.0.0.1:80",
		"localhost:80":   "127.0.0.1:80",
		"[::1]:53":       "[::1]:53",
		"[fe80::1%lo]:1": "[fe80::1%lo]:1",
	} {
		if got, err := Parse(text); err != nil || got.String() != want {
			t.Errorf("%s: got %v, %v", text, got, err)
		}
	}
	if got, err := Parse(":80"); err != nil || !got.Addr().IsUnspecified() {
		t.Errorf("no host: got %v, %v", got, err)
	}
	for _, wrong := range []string{"", "80", "host:80", "1.2.3.4:http", "1.2.3.4:65536"} {
		if got, err := Parse(wrong); err == nil || !strings.Contains(err.Error(), "listen on") {
			t.Errorf("%q: got %v, %v", wrong, got, err)
		}
	}
}

func TestWhatIsBoundIsWhatWasAsked(t *testing.T) {
	ap := netip.MustParseAddrPort("127.0.0.1:0")
	fd, err := unix.Socket(Family(ap), unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := unix.Bind(fd, Sockaddr(ap)); err != nil {
		t.Fatal(err)
	}
	if Port(fd) == 0 {
		t.Error("no port")
	}
	if Port(-1) != 0 {
		t.Error("a port of no socket")
	}
}
