package config

import (
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
)

var update = flag.Bool("update", false, "write what is found into the golden files")

// Each file under testdata/errors is a configuration and everything that is said about it.
func TestErrorsAreShownAllAtOnceWithTheirPlace(t *testing.T) {
	files, err := filepath.Glob("testdata/errors/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no golden files: %v", err)
	}
	t.Setenv("SET_NONSENSE", "hunter2")
	for _, name := range files {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(name)
			if err != nil {
				t.Fatal(err)
			}
			_, err = Parse("trivet.yaml", archive.Files[0].Data)
			if err == nil {
				t.Fatal("the file is found to be right")
			}
			got := err.Error() + "\n"
			if strings.Contains(strings.ReplaceAll(got, `token: hunter2`, ""), "hunter2") {
				t.Error("a value of the environment is shown")
			}
			if *update {
				archive.Files = []txtar.File{archive.Files[0], {Name: "errors", Data: []byte(got)}}
				if err := os.WriteFile(name, txtar.Format(archive), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(string(archive.Files[1].Data), got); diff != "" {
				t.Errorf("errors changed (-want +got):\n%s", diff)
			}
		})
	}
}

func TestExamplesLoad(t *testing.T) {
	files, err := filepath.Glob("../examples/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no examples: %v", err)
	}
	for _, name := range files {
		if _, err := Load(name); err != nil {
			t.Errorf("%s:\n%v", name, err)
		}
	}
}

func parse(t *testing.T, src string) *Config {
	t.Helper()
	c, err := Parse("trivet.yaml", []byte(src))
	if err != nil {
		t.Fatalf("parse:\n%v", err)
	}
	return c
}

const smallest = `
listeners: {web: {address: ":8080", pool: site}}
pools: {site: {endpoints: [10.0.0.11:8000, 10.0.0.12:8000]}}
`

func TestSixLinesAreEnough(t *testing.T) {
	c := parse(t, smallest)
	l, p := c.Listener("web"), c.Pool("site")
	if l == nil || p == nil {
		t.Fatal("listener or pool is missing")
	}
	if got := l.Routes; len(got) != 1 || got[0].Pool != "site" || got[0].Name != "route-1" || !got[0].Match.IsCatchAll() {
		t.Errorf("shorthand became %+v", got)
	}
	if l.Address[0] != (Address{Port: 8080}) || p.Endpoints[1].Address != (Address{Host: "10.0.0.12", Port: 8000}) {
		t.Errorf("addresses are %v and %v", l.Address, p.Endpoints)
	}
	if p.Balance != LeastRequest || p.Endpoints[0].Weight != 1 || p.Health.Probe.Kind() != "tcp" {
		t.Errorf("defaults of the pool: %+v", p)
	}
	if l.Timeouts.Header != 10*time.Second || l.Limits.HeaderSize != 64<<10 {
		t.Errorf("defaults of the listener: %+v", l)
	}
	retry := l.Routes[0].Retry
	if retry.Attempts != 3 || retry.Budget.Percent.Fraction() != 0.2 || len(retry.When) != 3 {
		t.Errorf("a route from the shorthand has retry %+v", retry)
	}
}

func TestEveryFormOfAUnionMeansTheSame(t *testing.T) {
	const pools = "\npools: {p: {endpoints: [10.0.0.1:80]}, q: {endpoints: [10.0.0.2:80]}}\n"
	for _, forms := range [][]string{
		{"listeners: {w: {address: ':1', pool: p}}", "listeners: {w: {address: [':1'], routes: [{pool: p}]}}"},
		{"listeners: {w: {address: ':1', routes: [{respond: 403}]}}", "listeners: {w: {address: ':1', routes: [{respond: {status: 403}}]}}"},
		{"listeners: {w: {address: ':1', routes: [{redirect: /x}]}}", "listeners: {w: {address: ':1', routes: [{redirect: {to: /x}}]}}"},
		{"listeners: {w: {address: ':1', routes: [{pool: p, retry: off}]}}", "listeners: {w: {address: ':1', routes: [{pool: p, retry: {off: true}}]}}"},
		{"listeners: {w: {address: ':1', routes: [{pool: p, retry: false}]}}", "listeners: {w: {address: ':1', routes: [{pool: p, retry: {off: true}}]}}"},
		{"listeners: {w: {address: ':1', routes: [{split: {p: 95, q: 5}}]}}", "listeners: {w: {address: ':1', routes: [{split: {p: {weight: 95}, q: {weight: 5}}}]}}"},
		{"listeners: {w: {address: ':1', pool: p, request_id: X-Id, access_log: stderr}}", "listeners: {w: {address: ':1', pool: p, request_id: {header: X-Id}, access_log: {output: stderr}}}"},
		{"listeners: {w: {address: ':1', routes: [{pool: p, match: {header: {A: b}}}]}}", "listeners: {w: {address: ':1', routes: [{pool: p, match: {header: {A: {value: b}}}}]}}"},
		{"log: debug", "log: {level: debug}"},
	} {
		one, other := parse(t, forms[0]+pools), parse(t, forms[1]+pools)
		if one.Listeners != nil && one.Listeners[0].Pool != "" {
			one.Listeners[0].Pool, other.Listeners[0].Pool = "", ""
		}
		if !one.Equal(other) {
			t.Errorf("%s\n%s\ndiffer:\n%+v\n%+v", forms[0], forms[1], one, other)
		}
	}
}

func TestTheExampleOnTheReferencePageIsRight(t *testing.T) {
	_, after, _ := strings.Cut(string(Reference()), "```yaml\n")
	example, _, found := strings.Cut(after, "```")
	if !found {
		t.Fatal("there is no example")
	}
	parse(t, example)
}

func TestAnchorsAndMergeKeysShareSettings(t *testing.T) {
	c := parse(t, `
x-common: &common
  balance: maglev
  health: {interval: 5s}
x-more: &more {slow_start: 1m, balance: p2c}
pools:
  a: {<<: *common, endpoints: [10.0.0.1:80]}
  b: {<<: [*common, *more], endpoints: [10.0.0.1:80], balance: round_robin}
listeners: {w: {address: ":1", routes: [{split: {a: 1, b: 1}}]}}
`)
	a, b := c.Pool("a"), c.Pool("b")
	if a.Balance != Maglev || a.Health.Interval != 5*time.Second {
		t.Errorf("a is %+v", a)
	}
	if b.Balance != RoundRobin || b.SlowStart != time.Minute || b.Health.Interval != 5*time.Second {
		t.Errorf("b is %+v", b)
	}
}

func TestTheEnvironmentIsExpanded(t *testing.T) {
	t.Setenv("PORT", "8081")
	t.Setenv("EMPTY", "")
	c := parse(t, `
listeners: {w: {address: ":${PORT}", routes: [{pool: p, rewrite: {regex: "^/(?P<name>x)", replace: "/${name}/$1"}}, {respond: {body: "$${PORT}"}}]}}
pools: {p: {endpoints: ["${HOST_A:-10.0.0.1}:80", "${EMPTY:-10.0.0.2}:80"]}}
`)
	if got := c.Listeners[0].Address[0].Port; got != 8081 {
		t.Errorf("port is %d", got)
	}
	if e := c.Pools[0].Endpoints; e[0].Address.Host != "10.0.0.1" || e[1].Address.Host != "10.0.0.2" {
		t.Errorf("endpoints are %v", e)
	}
	routes := c.Listeners[0].Routes
	if routes[0].Rewrite.Replace != "/${name}/$1" || routes[1].Respond.Body != "${PORT}" {
		t.Errorf("%q and %q were touched", routes[0].Rewrite.Replace, routes[1].Respond.Body)
	}
}

func TestSecretsAreReadAndNeverPrinted(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "token"), []byte("hunter2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("TOKEN", "hunter2")
	for _, admin := range []string{"{address: 127.0.0.1:9, token_file: token}", "{address: 127.0.0.1:9, token: '${TOKEN}'}"} {
		c, err := Parse(filepath.Join(dir, "trivet.yaml"), []byte(smallest+"admin: "+admin))
		if err != nil {
			t.Fatal(err)
		}
		if got := c.Admin.Token.Reveal(); got != "hunter2" {
			t.Errorf("%s: secret is %q", admin, got)
		}
		for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
			if shown := sprintf(verb, c.Admin); strings.Contains(shown, "hunter2") {
				t.Errorf("%s shows the secret: %s", verb, shown)
			}
		}
		if text, _ := c.Admin.Token.MarshalText(); strings.Contains(string(text), "hunter2") {
			t.Error("JSON shows the secret")
		}
	}
}

func TestRelativePathsBeginFromTheFile(t *testing.T) {
	c, err := Parse("/etc/trivet/trivet.yaml", []byte(`
listeners: {w: {address: ":1", pool: p, access_log: logs/access.log}}
pools: {p: {endpoints: [10.0.0.1:80], health: {probe: {http: {tls: {ca: ca.pem}}}}}}
`))
	if err != nil {
		t.Fatal(err)
	}
	if got := c.Listeners[0].AccessLog.Output; got != "/etc/trivet/logs/access.log" {
		t.Errorf("access log is %s", got)
	}
	if got := c.Pools[0].Health.Probe.HTTP.TLS.CA; got != "/etc/trivet/ca.pem" {
		t.Errorf("ca is %s", got)
	}
}

func TestEqualSeesMeaningAndNotLayout(t *testing.T) {
	a := parse(t, smallest+"log: {level: info}")
	b := parse(t, "# another layout\n\n"+strings.ReplaceAll(smallest, ", ", ",  ")+"log: {format: text}")
	if !a.Equal(b) {
		t.Error("the same in another layout differs")
	}
	regex := `
listeners: {w: {address: ":1", routes: [{match: {path_regex: "^/a+"}, pool: p}]}}
pools: {p: {endpoints: [10.0.0.1:80]}}
`
	if !parse(t, regex).Equal(parse(t, regex)) {
		t.Error("a file with a regular expression differs from itself")
	}
	if parse(t, regex).Equal(parse(t, strings.ReplaceAll(regex, "a+", "b+"))) {
		t.Error("another regular expression is the same")
	}
	if a.Equal(parse(t, strings.ReplaceAll(smallest, "10.0.0.12", "10.0.0.13"))) {
		t.Error("another endpoint is the same")
	}
}

func TestPositionsLeadToTheLineOrToTheNearestPartAboveIt(t *testing.T) {
	c := parse(t, "listeners: {web: {address: ':8080', pool: site}}\npools:\n  site:\n    endpoints:\n      - 10.0.0.11:8000\n    queue: {timeout: 0}\n")
	for path, want := range map[string]int{
		"pools.site.queue.timeout": 6, "pools.site.queue.limit": 6, "pools.site.endpoints[0]": 5, "pools.site.health.interval": 3,
		"pools.site": 3, "listeners.web.routes[0].retry": 1, "drain_timeout": 0,
	} {
		if got := c.Position(path); got.Line != want || got.File != "trivet.yaml" {
			t.Errorf("%s is at %+v, want line %d", path, got, want)
		}
	}
}

func TestEndpointsInheritTheirLimit(t *testing.T) {
	p := parse(t, `
listeners: {w: {address: ":1", pool: p}}
pools: {p: {endpoint_max_requests: 50, endpoints: [10.0.0.1:80, {address: 10.0.0.2:80, max_requests: 9}], queue: {limit: 7}}}
`).Pool("p")
	if p.Endpoints[0].MaxRequests != 50 || p.Endpoints[1].MaxRequests != 9 {
		t.Errorf("limits are %+v", p.Endpoints)
	}
	if p.MaxPending() != 7 {
		t.Errorf("%d may wait", p.MaxPending())
	}
}

func TestRedirectsSayTheirLocation(t *testing.T) {
	for _, test := range []struct{ write, want string }{
		{"/new", "/new"},
		{"{scheme: https}", "https://{host}{uri}"},
		{"{host: www.example.com, path: /a{b}", ""},
		{"{host: www.example.com, path: '/a{b'}", "{scheme}://www.example.com/a{{b"},
		{"'https://example.com{uri}'", "https://example.com{uri}"},
	} {
		c, err := Parse("x", []byte("listeners: {w: {address: ':1', routes: [{redirect: "+test.write+"}]}}"))
		if err != nil {
			if test.want != "" {
				t.Errorf("%s:\n%v", test.write, err)
			}
			continue
		}
		if got := c.Listeners[0].Routes[0].Redirect.Location(); string(got) != test.want {
			t.Errorf("%s leads to %s, want %s", test.write, got, test.want)
		}
	}
}

func TestSourcesAreMasked(t *testing.T) {
	c := parse(t, smallest+"x-unused: 1\n")
	if c.Has("x-unused") {
		t.Error("an ignored key counts as written")
	}
	p, err := parsePrefix("192.0.2.7")
	if err != nil || p != netip.MustParsePrefix("192.0.2.7/32") {
		t.Errorf("a single address is %v, %v", p, err)
	}
}

func TestLoadTellsAMissingFileFromAWrongOne(t *testing.T) {
	_, err := Load(filepath.Join(t.TempDir(), "nowhere.yaml"))
	if _, invalid := IsInvalid(err); invalid || err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("error is %v", err)
	}
	path := filepath.Join(t.TempDir(), "trivet.yaml")
	if err := os.WriteFile(path, []byte("\uFEFFwatch: maybe\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = Load(path)
	errs, invalid := IsInvalid(err)
	if !invalid || len(errs) != 1 || errs[0].Line != 1 || errs[0].Column != 8 || errs[0].Path != "watch" {
		t.Errorf("error is %#v", errs)
	}
}

func TestALongLineIsCutAroundTheCaret(t *testing.T) {
	line := "a: " + strings.Repeat("x", 500) + "HERE" + strings.Repeat("y", 500)
	shown := Excerpt(1, 504, 4, line)
	rows := strings.Split(shown, "\n")
	if i := strings.Index(rows[0], "HERE"); i < 0 || i != strings.Index(rows[1], "^^^^") || len(rows[0]) > 200 {
		t.Errorf("shown as\n%s", shown)
	}
}

func TestTheDefaultSocketIsTheUsers(t *testing.T) {
	t.Setenv("RUNTIME_DIRECTORY", "/run/trivet-two") // by systemd's RuntimeDirectory=
	if got := DefaultSocket(); got != "/run/trivet-two/trivet.sock" {
		t.Errorf("under systemd the socket is %s", got)
	}
	t.Setenv("RUNTIME_DIRECTORY", "")
	t.Setenv("XDG_RUNTIME_DIR", "/run/user/1")
	want := "/run/user/1/trivet.sock"
	if os.Geteuid() == 0 {
		want = "/run/trivet/trivet.sock"
	}
	a := Admin{}
	if got := a.SocketPath(); got != want {
		t.Errorf("socket is %s, want %s", got, want)
	}
	a.Socket = "off"
	if got := a.SocketPath(); got != "" {
		t.Errorf("a socket that is off is %s", got)
	}
}

func TestEveryKeyIsDescribedAndEveryDefaultParses(t *testing.T) {
	d := newDecoder("")
	walkShapes(reflect.TypeFor[Config](), "", func(s *shape, path string) {
		d.setDefaults(reflect.New(s.goType).Elem()) // panics when a tag is wrong
		for _, f := range s.fields {
			if f.key != "" && describe(s.goType.Name()+"."+f.goName) == "" {
				t.Errorf("%s.%s has no comment", s.goType.Name(), f.goName)
			}
			for _, bound := range []string{f.min, f.max} {
				if bound != "" {
					d.parsed(f.goType, bound)
				}
			}
			for _, value := range valuesOf(f.goType) {
				if describe(f.goType.Name()+"="+value) == "" {
					t.Errorf("%s=%s has no comment", f.goType.Name(), value)
				}
			}
		}
	})
}
