// Package config answers what trivet.yaml says: it reads the file into plain values with every default filled in, or says
// all that is wrong with it at once, each error with its line, its place and what to write instead.
//
// The tags and comments of the types here are the whole grammar: the decoder, `trivet schema` and the reference page in
// docs/reference are derived from them. A new section is a new file with its types, and one field in Config.
//
// It never opens a socket, starts nothing, and reads no file but the one it is given and the secrets that one names.
package config

//go:generate go run ./describe
//go:generate go run ./reference ../docs/reference

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"time"
)

// Config is one trivet.yaml, valid and with its defaults. It is made by Load or Parse, and is not changed afterwards.
type Config struct {
	// The front doors: where clients connect, and which pool serves what they ask for.
	Listeners []Listener `yaml:"listeners" aka:"frontends frontend listener servers entrypoints"`
	// The servers behind: sets of endpoints that serve the same thing, and how they are kept healthy.
	Pools []Pool `yaml:"pools" aka:"backends backend upstreams upstream clusters services pool"`
	// What is remembered over restarts.
	State State `yaml:"state" aka:"storage persistence data"`
	// Whom to tell what happens.
	Hooks []Hook `yaml:"hooks" aka:"hook webhooks notifications alerts notify"`
	// A name server whose answers follow the health of pools. There is none unless this is written.
	DNS *DNS `yaml:"dns" aka:"gslb nameserver"`
	// Where backups are kept.
	Repositories []Repository `yaml:"repositories" aka:"repository repos stores vaults"`
	// What is backed up, when and where to.
	Backups []Backup `yaml:"backups" aka:"backup plans jobs"`
	// Databases that can be brought back as they were at any second.
	Databases []Database `yaml:"databases" aka:"database dbs streams"`
	// Recoveries that are rehearsed.
	Drills []Drill `yaml:"drills" aka:"drill rehearsals exercises"`
	// What the service promises, and what is assumed about its parts.
	Objectives Objectives `yaml:"objectives" aka:"slo slos goals targets objective"`
	// How this process is watched and steered while it runs.
	Admin Admin `yaml:"admin" aka:"api control stats"`
	// What Trivet says about itself. Requests are logged by access_log of a listener.
	Log Log `yaml:"log" aka:"logging"`
	// Load the file again when it changes. A file that is not valid changes nothing and is reported in the log.
	Watch bool `yaml:"watch" default:"false"`
	// How many event loops carry the traffic. The default 0 is one for each processor that the process may use: more
	// would only share them.
	Loops int `yaml:"loops" default:"0" min:"0" max:"1024" aka:"threads workers nbthread worker_processes"`
	// How long a process that stops (or hands over to a new one) lets requests in flight end before it cuts them. The
	// default is what most services stop within, and below systemd's 90 seconds.
	DrainTimeout time.Duration `yaml:"drain_timeout" default:"30s" aka:"shutdown_grace grace shutdown_timeout"`

	file   string
	keys   map[string]place
	places map[string]place
	lines  []string
}

// Load reads and parses the file at path. An error is Errors when the content is wrong.
func Load(path string) (*Config, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read configuration %s: %w", path, unwrapPath(err))
	}
	defer f.Close()
	src, err := io.ReadAll(io.LimitReader(f, maxFileSize+1))
	if err != nil {
		return nil, fmt.Errorf("read configuration %s: %w", path, unwrapPath(err))
	}
	return Parse(path, src)
}

// Parse parses src. The name stands in errors, and relative paths in src begin from its directory. An error is Errors.
func Parse(name string, src []byte) (*Config, error) {
	text := strings.TrimPrefix(string(src), "\uFEFF")
	c := &Config{file: name, lines: splitLines(text)}
	root, errs := parseYAML(text)
	if root == nil && len(errs) > 0 {
		return nil, c.located(errs)
	}
	d := newDecoder(filepath.Dir(name))
	v := reflect.ValueOf(c).Elem()
	d.setDefaults(v)
	if root != nil && root.kind != kindNull { // a file of comments alone says nothing, which is valid
		d.value(root, v, "")
	}
	c.keys, c.places = d.keys, d.places
	errs = append(errs, d.errs...)
	errs = append(errs, c.check(d.errs)...)
	if len(errs) > 0 {
		return nil, c.located(errs)
	}
	return c, nil
}

// check runs the validators, sparing what failed to decode.
func (c *Config) check(decoding Errors) Errors {
	ch := &checker{config: c, keys: c.keys, places: c.places}
	for _, e := range decoding {
		ch.broken = append(ch.broken, e.Path)
	}
	c.fill()
	ch.walk(reflect.ValueOf(c).Elem(), "")
	return ch.errs
}

// located completes errors with the file's name and the offending line.
func (c *Config) located(errs Errors) Errors {
	for i := range errs {
		errs[i].File = c.file
		errs[i].Line = min(errs[i].Line, len(c.lines)) // the library puts an empty end of file on a line of its own
		errs[i].Source = c.line(errs[i].Line)
	}
	return errs.inOrder()
}

func (c *Config) line(number int) string {
	if number < 1 || number > len(c.lines) {
		return ""
	}
	return strings.TrimRight(c.lines[number-1], "\r\n\u0085\u2028\u2029")
}

// place is where path stands: its value, or the nearest part above it that was written.
func (c *Config) place(path string) place {
	for {
		if at, ok := c.keys[path]; ok {
			if value, ok := c.places[path]; ok && value.line == at.line {
				return value
			}
			return at
		}
		if at, ok := c.places[path]; ok && at.line > 0 {
			return at
		}
		cut := strings.LastIndexAny(path, ".[")
		if cut < 0 {
			return place{}
		}
		path = path[:cut]
	}
}

// A Position is where something stands in the file.
type Position struct {
	File   string
	Line   int // from 1; 0 when it is not in the file
	Column int // in characters, from 1
	Width  int // in characters, at least 1
	Source string
}

// Position is where path stands, as pools.site.queue.timeout or listeners.web.routes[0]; or the nearest part above it that is
// written.
func (c *Config) Position(path string) Position {
	at := c.place(path)
	return Position{File: c.file, Line: at.line, Column: at.column, Width: max(1, at.width), Source: c.line(at.line)}
}

// Has tells whether the key at path is written in the file, as opposed to having its default.
func (c *Config) Has(path string) bool {
	_, ok := c.keys[path]
	return ok
}

// File is the name that the configuration was parsed under.
func (c *Config) File() string { return c.file }

// Pool is the pool of that name, or nil.
func (c *Config) Pool(name Name) *Pool {
	i := slices.IndexFunc(c.Pools, func(p Pool) bool { return p.Name == name })
	if i < 0 {
		return nil
	}
	return &c.Pools[i]
}

// Listener is the listener of that name, or nil.
func (c *Config) Listener(name Name) *Listener {
	i := slices.IndexFunc(c.Listeners, func(l Listener) bool { return l.Name == name })
	if i < 0 {
		return nil
	}
	return &c.Listeners[i]
}

// Equal tells whether two configurations mean the same; comments, order of keys and layout do not count.
func (c *Config) Equal(other *Config) bool {
	a, b := *c, *other
	a.forget()
	b.forget()
	return reflect.DeepEqual(a, b)
}

// forget drops where things stood.
func (c *Config) forget() { c.file, c.keys, c.places, c.lines = "", nil, nil, nil }

// fill gives what inherits its value.
func (c *Config) fill() {
	for i := range c.Listeners {
		c.Listeners[i].fill()
	}
	for i := range c.Pools {
		p := &c.Pools[i]
		if p.Health.Probe == (Probe{}) && c.onlyDatagrams(p.Name) {
			p.Health.Probe.UDP = &UDPProbe{}
		}
		p.fill()
	}
}

// IsInvalid gives the errors of a file when err says that its content is wrong.
func IsInvalid(err error) (Errors, bool) {
	var errs Errors
	ok := errors.As(err, &errs)
	return errs, ok
}
