package config

import (
	"fmt"
	"io"
	"strings"
	"text/template"
	"time"
)

// Run is a command that Trivet keeps running: it starts it in as many processes as there are replicas, gives each a free port
// on loopback, sends requests when it is ready, starts it again when it ends or hangs, and replaces the processes one by one
// when the command changes. The command must stay in the foreground, and listen on 127.0.0.1 at the port that it is told: in its
// arguments by `{{.Port}}` or `{{.Address}}`, or by $PORT.
type Run struct {
	// The program and its arguments. `{{.Port}}`, `{{.Address}}`, `{{.Replica}}` (from 0) and `{{.Pool}}` are replaced. No shell
	// is involved. A program without a slash is looked for in $PATH, a relative one from dir.
	Command []string `yaml:"command,required" scalar:"*" aka:"cmd args exec program"`
	// How many processes. Two or more keep answering while one is started again.
	Replicas int `yaml:"replicas" default:"2" min:"1" max:"1000" aka:"instances workers numprocs scale count"`
	// The folder that it runs in. The default is that of the configuration file.
	Dir FilePath `yaml:"dir" aka:"directory cwd working_directory workdir"`
	// Variables of its environment, besides Trivet's own; the same words are replaced in the values as in the command. PORT,
	// TRIVET_ADDRESS, TRIVET_REPLICA and TRIVET_POOL are there already.
	Env []RunVariable `yaml:"env" aka:"environment"`
	// The user that it runs as, and his groups. Only root may start processes as somebody else.
	User string `yaml:"user"`
	// How long a process may take until it is ready: until it passes the pool's probe. One that takes longer is ended and started
	// again.
	StartTimeout time.Duration `yaml:"start_timeout" default:"60s" min:"100ms" max:"1d" aka:"startup_timeout startsecs TimeoutStartSec"`
	// How long a process may take to end after it was asked to, before it is killed.
	StopTimeout time.Duration `yaml:"stop_timeout" default:"10s" min:"0s" max:"1h" aka:"stopwaitsecs kill_timeout grace TimeoutStopSec"`
	// The signal that asks it to end. Requests in flight have been answered by then.
	StopSignal StopSignal `yaml:"stop_signal" default:"TERM" aka:"stopsignal KillSignal"`
	// What is done when a process ends by itself.
	Restart Restart `yaml:"restart"`
	// How a process that is ready is watched for hanging.
	Liveness Liveness `yaml:"liveness" aka:"livenessProbe alive watchdog"`
	// What becomes of what it writes.
	Output RunOutput `yaml:"output" aka:"log logs stdout"`
}

// RunVariable is a variable of the environment.
type RunVariable struct {
	// The variable's name.
	Name VariableName `yaml:",name"`
	// Its value.
	Value string `yaml:"value,required" scalar:"*"`
}

// StopSignal is a signal that asks a process to end.
type StopSignal string

// The signals.
const (
	StopTERM StopSignal = "TERM" // what nearly every program means by it
	StopINT  StopSignal = "INT"  // as from the keyboard
	StopQUIT StopSignal = "QUIT" // gently, for nginx and PHP-FPM
	StopHUP  StopSignal = "HUP"  // for the few that end on it
	StopUSR1 StopSignal = "USR1" // gently, for some application servers
	StopUSR2 StopSignal = "USR2" // gently, for some application servers
)

// Values is every signal.
func (StopSignal) Values() []string {
	return []string{string(StopTERM), string(StopINT), string(StopQUIT), string(StopHUP), string(StopUSR1), string(StopUSR2)}
}

// Restart is what is done when a process ends by itself, whatever its exit status: it is started again after a pause. The pause
// doubles each time, and is the first one again after the process was ready for as long as the longest.
type Restart struct {
	// Do not start it again.
	Off bool `yaml:"off" default:"false" scalar:"off"`
	// The first pause. A tenth is added at random, so that processes that died together do not come back in step.
	Backoff time.Duration `yaml:"backoff" default:"100ms" min:"1ms" max:"1h" aka:"delay RestartSec sleep"`
	// The longest pause.
	BackoffMax time.Duration `yaml:"backoff_max" default:"30s" min:"1ms" max:"1d" aka:"max_backoff max_delay RestartMaxDelaySec"`
	// After this many restarts of a process within the time below it is given up, the pool is marked as failed and an event says
	// so, until `trivet process restart` or another command in the file. With the other defaults that is after about six minutes
	// of failing without a break: a database that is restarted does not take the application down for good.
	Limit int `yaml:"limit" default:"20" min:"1" max:"1000" aka:"intensity max_restarts StartLimitBurst startretries"`
	// The time that limit is for.
	Within time.Duration `yaml:"within" default:"10m" min:"1s" max:"1d" aka:"period window StartLimitIntervalSec"`
}

// Liveness is how a process that is ready is watched for hanging. It is not the pool's health: a process that is not well gets no
// requests, and is left alone; one that does not answer at all is ended and started again.
type Liveness struct {
	// Do not watch: only the end of the process is noticed.
	Off bool `yaml:"off" default:"false" scalar:"off"`
	// What is asked. The default is the pool's probe if that is http, and any answer counts; with another probe nobody is asked.
	Probe *Probe `yaml:"probe" aka:"check type"`
	// Time between questions.
	Interval time.Duration `yaml:"interval" default:"5s" min:"10ms" max:"1d" aka:"every periodSeconds"`
	// How long an answer may take. A process that is only busy must not be taken for one that hangs.
	Timeout time.Duration `yaml:"timeout" default:"5s" min:"1ms" max:"1h" aka:"timeoutSeconds"`
	// Questions in a row without an answer that make a hang: with the defaults that is after about 20s.
	Fall int `yaml:"fall" default:"3" min:"1" max:"100" aka:"failureThreshold failures"`
}

// RunOutput is what becomes of what processes write to stdout and stderr: each line goes to Trivet's log.
type RunOutput struct {
	// Drop it.
	Off bool `yaml:"off" default:"false" scalar:"off"`
	// How many lines a second of each process; more are dropped and counted.
	Rate Rate `yaml:"rate" default:"1000/s" min:"1/s" max:"1000000/s"`
	// The longest line; the rest of a longer one is dropped.
	MaxLine Size `yaml:"max_line" default:"8KiB" min:"64" max:"1MiB"`
}

// runTemplate is what the templates of a command may name; see supervise.Place.
type runTemplate struct {
	Port, Replica int
	Address, Pool string
}

// templateProblem says what is wrong with a template of a command, or "".
func templateProblem(text string) string {
	t, err := template.New("command").Parse(text)
	if err != nil {
		return "is no template: " + strings.TrimPrefix(err.Error(), "template: command:1: ")
	}
	if err := t.Execute(io.Discard, runTemplate{}); err != nil {
		return "names what there is not"
	}
	return ""
}

func (r *Run) validate(c *checker, path string) {
	const hint = "there are {{.Port}}, {{.Address}}, {{.Replica}} and {{.Pool}}"
	if len(r.Command) == 0 || r.Command[0] == "" {
		c.fail(join(path, "command"), "names no program", `write command: [./shop, --port, "{{.Port}}"]`)
	}
	for i, text := range r.Command {
		if problem := templateProblem(text); problem != "" {
			c.fail(fmt.Sprintf("%s[%d]", join(path, "command"), i), quote(text)+" "+problem, hint)
		}
	}
	for _, v := range r.Env {
		if problem := templateProblem(v.Value); problem != "" {
			c.fail(join(join(path, "env"), string(v.Name)), quote(v.Value)+" "+problem, hint)
		}
		if strings.HasPrefix(string(v.Name), "TRIVET_") || v.Name == "PORT" {
			c.failKey(join(join(path, "env"), string(v.Name)), "is set by Trivet", "choose another name; its value may be a template such as {{.Port}}")
		}
	}
}

func (r *Restart) validate(c *checker, path string) {
	c.offAlone(path, r.Off)
	if r.BackoffMax < r.Backoff {
		c.fail(join(path, "backoff_max"), fmt.Sprintf("%s is shorter than backoff, %s", r.BackoffMax, r.Backoff), "raise it")
	}
}

func (l *Liveness) validate(c *checker, path string) {
	c.offAlone(path, l.Off)
	if c.has(join(path, "probe")) {
		c.oneOf(join(path, "probe"), false, "http", "tcp", "udp", "grpc", "postgres", "mysql", "redis", "exec")
	}
}

func (o *RunOutput) validate(c *checker, path string) { c.offAlone(path, o.Off) }

// Run is the command that the pool's processes run, or nil.
func (p *Pool) Run() *Endpoint {
	for i := range p.Endpoints {
		if p.Endpoints[i].Run != nil {
			return &p.Endpoints[i]
		}
	}
	return nil
}

// Servers is how many servers there are, with the processes of commands.
func (p *Pool) Servers() int {
	n := len(p.Endpoints)
	if e := p.Run(); e != nil {
		n += e.Run.Replicas - 1
	}
	return n
}
