package config

import (
	"os"
	"path/filepath"
	"strings"
	"time"
)

// State is what Trivet remembers over restarts: events and incidents, in an SQLite file.
type State struct {
	// Remember nothing.
	Off bool `yaml:"off" default:"false" scalar:"off"`
	// The file. The default is state.db in the folder that systemd gives ($STATE_DIRECTORY); without one, nothing is remembered
	// unless this is written. If the file can't be opened Trivet does not start; with the default it warns.
	Path FilePath `yaml:"path" scalar:"*" aka:"file database db"`
	// How long things are remembered.
	Retention Retention `yaml:"retention" aka:"keep"`
}

// Retention is how long things are remembered: until one of the limits is met.
type Retention struct {
	// No longer than this. The default is a quarter of a year, for reports.
	Age time.Duration `yaml:"age" default:"90d" min:"1m" max:"3650d" scalar:"*" aka:"within max_age"`
	// No more events than this: the default is some tens of megabytes.
	Events int `yaml:"events" default:"200000" min:"100" max:"100000000" aka:"max_events count"`
}

// File is the path of the state file, and whether it was asked for; "" is none.
func (s *State) File() (path string, asked bool) {
	switch {
	case s.Off:
		return "", false
	case s.Path != "":
		return string(s.Path), true
	}
	// systemd gives several, parted by colons, if it is told to.
	if dir, _, _ := strings.Cut(os.Getenv("STATE_DIRECTORY"), ":"); dir != "" {
		return filepath.Join(dir, "state.db"), false
	}
	return "", false
}

func (s *State) validate(c *checker, path string) { c.offAlone(path, s.Off) }
