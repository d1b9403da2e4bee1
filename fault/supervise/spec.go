package supervise

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"text/template"
	"time"
)

// Spec is a command and what it runs in.
type Spec struct {
	// Command is the program and its arguments, templates of [Place]. A program
	// with a slash in its name is looked for from Dir, another one in PATH.
	Command []string `json:"command"`
	Dir     string   `json:"dir"` // absolute
	// Env is added to the environment of this process; values are templates.
	Env  []Variable `json:"env,omitempty"`
	User *User      `json:"user,omitempty"` // nil is the one of this process
	// StopSignal asks the process to end; 0 is SIGTERM. After StopTimeout it is
	// killed.
	StopSignal  syscall.Signal `json:"stop_signal,omitempty"`
	StopTimeout time.Duration  `json:"stop_timeout"`
}

// Variable is one of the environment.
type Variable struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// User is who a process runs as.
type User struct {
	Name   string   `json:"name"`
	Home   string   `json:"home"`
	UID    uint32   `json:"uid"`
	GID    uint32   `json:"gid"`
	Groups []uint32 `json:"groups,omitempty"`
}

// Place is what templates may name: {{.Port}} and so on.
type Place struct {
	Port    int    // free, on loopback
	Address string // 127.0.0.1 and the port
	Replica int    // from 0
	Pool    string
}

// Check reports the first part of s that makes no sense.
func (s *Spec) Check() error {
	if len(s.Command) == 0 || s.Command[0] == "" {
		return errors.New("the command names no program")
	}
	if !filepath.IsAbs(s.Dir) {
		return fmt.Errorf("directory %q is not absolute", s.Dir)
	}
	for _, text := range s.Command {
		if err := CheckTemplate(text); err != nil {
			return err
		}
	}
	for _, v := range s.Env {
		if err := CheckTemplate(v.Value); err != nil {
			return err
		}
	}
	return nil
}

// CheckTemplate reports why a text is no template of a [Place].
func CheckTemplate(text string) error {
	_, err := expand(text, Place{})
	return err
}

func expand(text string, p Place) (string, error) {
	if !strings.Contains(text, "{{") {
		return text, nil
	}
	t, err := template.New("").Parse(text)
	if err != nil {
		return "", fmt.Errorf("%q: %s", text, strings.TrimPrefix(err.Error(), "template: "))
	}
	var b strings.Builder
	if err := t.Execute(&limited{w: &b, left: 64 << 10}, p); err != nil {
		return "", fmt.Errorf("%q: there are {{.Port}}, {{.Address}}, {{.Replica}} and {{.Pool}}", text)
	}
	return b.String(), nil
}

// limited keeps a template from growing without end.
type limited struct {
	w    io.Writer
	left int
}

func (l *limited) Write(p []byte) (int, error) {
	if l.left -= len(p); l.left < 0 {
		return 0, errors.New("the template's text is too long")
	}
	return l.w.Write(p)
}

// same reports whether a process of s need not be replaced by one of t.
func (s *Spec) same(t *Spec) bool { return s.fingerprint() == t.fingerprint() }

func (s *Spec) fingerprint() [sha256.Size]byte {
	c := *s
	c.StopSignal, c.StopTimeout = 0, 0 // can be changed while it runs
	text, _ := json.Marshal(c)         // texts and numbers always marshal
	return sha256.Sum256(text)
}

// launch is what a keeper is to start.
type launch struct {
	Path   string        `json:"path"`
	Argv   []string      `json:"argv"`
	Env    []string      `json:"env"`
	Dir    string        `json:"dir"`
	Token  string        `json:"token"` // names this start
	User   *User         `json:"user,omitempty"`
	Signal int           `json:"signal"`
	Grace  time.Duration `json:"grace"`
}

// marker is the variable by which all processes of one start are known.
const marker = "TRIVET_INSTANCE"

// private are variables of this process that are none of its children's business.
func private() []string {
	return []string{"NOTIFY_SOCKET", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "TRIVET_TOKEN", "TRIVET_HANDOVER", marker, "WATCHDOG_USEC", "WATCHDOG_PID"}
}

// launch makes the command of one place. The error says what is wrong with a
// template, or that there is no such program.
func (s *Spec) launch(p Place, token string) (*launch, error) {
	l := &launch{Dir: s.Dir, Token: token, User: s.User, Signal: int(s.StopSignal), Grace: s.StopTimeout}
	for _, text := range s.Command {
		word, err := expand(text, p)
		if err != nil {
			return nil, err
		}
		l.Argv = append(l.Argv, word)
	}
	env := environ{}
	for _, v := range os.Environ() {
		env.set(v)
	}
	for _, name := range private() {
		env.unset(name)
	}
	if u := s.User; u != nil {
		env.set("USER=" + u.Name)
		env.set("LOGNAME=" + u.Name)
		env.set("HOME=" + u.Home)
	}
	env.set("PORT=" + strconv.Itoa(p.Port))
	env.set("TRIVET_ADDRESS=" + p.Address)
	env.set("TRIVET_POOL=" + p.Pool)
	env.set("TRIVET_REPLICA=" + strconv.Itoa(p.Replica))
	for _, v := range s.Env {
		value, err := expand(v.Value, p)
		if err != nil {
			return nil, err
		}
		env.set(v.Name + "=" + value)
	}
	env.set(marker + "=" + token)
	l.Env = env.list
	var err error
	l.Path, err = find(l.Argv[0], s.Dir, env.get("PATH"))
	return l, err
}

// environ is an environment in which every name stands once.
type environ struct{ list []string }

func (e *environ) index(name string) int {
	return slices.IndexFunc(e.list, func(v string) bool { return strings.HasPrefix(v, name+"=") })
}

func (e *environ) set(v string) {
	name, _, _ := strings.Cut(v, "=")
	if i := e.index(name); i >= 0 {
		e.list[i] = v
		return
	}
	e.list = append(e.list, v)
}

func (e *environ) unset(name string) {
	if i := e.index(name); i >= 0 {
		e.list = slices.Delete(e.list, i, i+1)
	}
}

func (e *environ) get(name string) string {
	if i := e.index(name); i >= 0 {
		return e.list[i][len(name)+1:]
	}
	return ""
}

// find returns the path of a program.
func find(name, dir, path string) (string, error) {
	if strings.Contains(name, "/") {
		if !filepath.IsAbs(name) {
			name = filepath.Join(dir, name)
		}
		return name, executable(name)
	}
	for _, folder := range filepath.SplitList(path) {
		if !filepath.IsAbs(folder) {
			folder = filepath.Join(dir, folder)
		}
		if candidate := filepath.Join(folder, name); executable(candidate) == nil {
			return candidate, nil
		}
	}
	return "", fmt.Errorf("there is no program %s in PATH", name)
}

func executable(path string) error {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("there is no program %s", path)
	case err != nil:
		return err
	case info.IsDir():
		return fmt.Errorf("%s is a folder", path)
	case info.Mode().Perm()&0o111 == 0:
		return fmt.Errorf("%s may not be executed: its mode is %v", path, info.Mode().Perm())
	}
	return nil
}
