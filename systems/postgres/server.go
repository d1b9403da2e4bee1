package postgres

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// ServerConfig says how the engine is started on a restored data directory. Only Directory is needed.
type ServerConfig struct {
	Directory string
	// Programs is the folder with postgres in it; found by the directory's version if empty.
	Programs string
	// User is a superuser of the cluster; postgres if empty.
	User string
	// Settings are added to the command line: name to value.
	Settings map[string]string
}

// Server is an engine that runs on a copy: it listens on no address but a Unix socket of its own, lets everybody in who
// may open that, archives nothing, follows nobody and waits for no standby. It runs as the owner of the data directory.
type Server struct {
	config ServerConfig
	place  string // of the socket
	cmd    *exec.Cmd
	said   *tail
	ended  chan struct{}
}

// ErrVersion means that there is no engine of the version that the data directory needs.
var ErrVersion = errors.New("no PostgreSQL of this version is installed")

// FindPrograms finds the folder with PostgreSQL's programs of a major version. The error is ErrVersion.
func FindPrograms(major int) (string, error) {
	places := []string{fmt.Sprintf("/usr/lib/postgresql/%d/bin", major), fmt.Sprintf("/usr/pgsql-%d/bin", major), "/usr/local/pgsql/bin"}
	if found, err := exec.LookPath("postgres"); err == nil {
		if real, err := filepath.EvalSymlinks(found); err == nil {
			places = append(places, filepath.Dir(real))
		}
	}
	for _, p := range places {
		if programsMajor(p) == major {
			return p, nil
		}
	}
	return "", fmt.Errorf("%w: %d", ErrVersion, major)
}

// programsMajor asks postgres in a folder for its version; 0 if there is none.
func programsMajor(dir string) int {
	out, err := exec.Command(filepath.Join(dir, "postgres"), "--version").Output()
	if err != nil {
		return 0
	}
	for word := range strings.FieldsSeq(string(out)) { // postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)
		digits := word[:len(word)-len(strings.TrimLeft(word, "0123456789"))]
		if n, err := strconv.Atoi(digits); err == nil {
			return n
		}
	}
	return 0
}

// StartServer starts the engine and returns when it takes connections: recovery, if there is one to do, has ended. If ctx
// ends before, the engine is stopped.
func StartServer(ctx context.Context, c ServerConfig) (*Server, error) {
	s, err := startServer(c)
	if err != nil {
		return nil, fmt.Errorf("start PostgreSQL on %s: %w", c.Directory, err)
	}
	if err := s.awaitReady(ctx); err != nil {
		_ = s.Stop(context.WithoutCancel(ctx))
		return nil, fmt.Errorf("start PostgreSQL on %s: %w", c.Directory, err)
	}
	return s, nil
}

func startServer(c ServerConfig) (*Server, error) {
	if c.User == "" {
		c.User = "postgres"
	}
	text, err := os.ReadFile(filepath.Join(c.Directory, "PG_VERSION"))
	if err != nil {
		return nil, err
	}
	major, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return nil, fmt.Errorf("PG_VERSION is %q", text)
	}
	if c.Programs == "" {
		if c.Programs, err = FindPrograms(major); err != nil {
			return nil, err
		}
	}
	var info syscall.Stat_t
	if err := syscall.Stat(c.Directory, &info); err != nil {
		return nil, err
	}
	s := &Server{config: c, said: &tail{}, ended: make(chan struct{})}
	if s.place, err = os.MkdirTemp("", "trivet-postgres-"); err != nil {
		return nil, err
	}
	if err := s.run(info); err != nil {
		return nil, errors.Join(err, os.RemoveAll(s.place))
	}
	return s, nil
}

func (s *Server) run(owner syscall.Stat_t) error {
	hba := filepath.Join(s.place, "pg_hba.conf")
	if err := os.WriteFile(hba, []byte("local all all trust\nlocal replication all trust\n"), 0o644); err != nil {
		return err
	}
	settings := map[string]string{
		"listen_addresses": "", "unix_socket_directories": s.place, "port": "5432", "hba_file": hba, "ssl": "off",
		"archive_mode": "off", "synchronous_standby_names": "", "primary_conninfo": "", "primary_slot_name": "",
		"hot_standby":     "off", // or it would want the settings of the server that the copy came from
		"log_destination": "stderr", "logging_collector": "off", "cluster_name": "trivet-copy",
	}
	// Where Debian keeps the configuration elsewhere, the directory has none.
	if _, err := os.Stat(filepath.Join(s.config.Directory, "postgresql.conf")); errors.Is(err, os.ErrNotExist) {
		file := filepath.Join(s.place, "postgresql.conf")
		if err := os.WriteFile(file, nil, 0o644); err != nil {
			return err
		}
		settings["config_file"], settings["ident_file"] = file, hba
	}
	maps.Copy(settings, s.config.Settings)
	args := []string{"-D", s.config.Directory}
	for _, k := range slices.Sorted(maps.Keys(settings)) {
		args = append(args, "-c", k+"="+settings[k])
	}
	s.cmd = exec.Command(filepath.Join(s.config.Programs, "postgres"), args...)
	s.cmd.Dir, s.cmd.Stdout, s.cmd.Stderr = "/", s.said, s.said
	s.cmd.Env = append(os.Environ(), "LC_ALL=C")
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if os.Getuid() == 0 {
		s.cmd.SysProcAttr.Credential = &syscall.Credential{Uid: owner.Uid, Gid: owner.Gid}
		if err := os.Chown(s.place, int(owner.Uid), int(owner.Gid)); err != nil {
			return err
		}
	}
	if err := s.cmd.Start(); err != nil {
		return err
	}
	go func() { // ends with the process, which Stop waits for
		_ = s.cmd.Wait()
		close(s.ended)
	}()
	return nil
}

// Conninfo is how to reach the server, for psql and for this process.
func (s *Server) Conninfo() string {
	return fmt.Sprintf("host=%s port=5432 user=%s dbname=postgres", s.place, s.config.User)
}

// Log is the end of what the server has said, for people.
func (s *Server) Log() string { return s.said.String() }

// awaitReady waits for the first connection that is taken.
func (s *Server) awaitReady(ctx context.Context) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		_, err := s.Query(ctx, "postgres", "select 1")
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-s.ended:
			return fmt.Errorf("it ended:\n%s", s.Log())
		case <-ctx.Done():
			return fmt.Errorf("%w (%w); it said:\n%s", context.Cause(ctx), err, s.Log())
		}
	}
}

// Query runs SQL in a database and returns the rows of the last statement, as text; NULL is "".
func (s *Server) Query(ctx context.Context, database, sql string) ([][]string, error) {
	config, err := pgconn.ParseConfig(s.Conninfo())
	if err != nil {
		return nil, err
	}
	config.Database = database
	conn, err := pgconn.ConnectConfig(ctx, config)
	if err != nil {
		return nil, err
	}
	defer conn.Close(ctx)
	results, err := conn.Exec(ctx, sql).ReadAll()
	if err != nil || len(results) == 0 {
		return nil, err
	}
	var rows [][]string
	for _, row := range results[len(results)-1].Rows {
		texts := make([]string, len(row))
		for i, v := range row {
			texts[i] = string(v)
		}
		rows = append(rows, texts)
	}
	return rows, nil
}

// Stop shuts the server down, at the latest, and without good order, when ctx ends. What it was started on stays.
func (s *Server) Stop(ctx context.Context) error {
	select {
	case <-s.ended:
	default:
		_ = syscall.Kill(s.cmd.Process.Pid, syscall.SIGINT) // fast shutdown
		patience := time.NewTimer(time.Minute)
		defer patience.Stop()
		select {
		case <-s.ended:
		case <-ctx.Done():
		case <-patience.C:
		}
		_ = syscall.Kill(-s.cmd.Process.Pid, syscall.SIGKILL)
		<-s.ended
	}
	return os.RemoveAll(s.place)
}

// tail keeps the end of what is written to it.
type tail struct {
	mu  sync.Mutex
	buf []byte
}

// tailBytes is more than a server says that does not start.
const tailBytes = 32 << 10

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, p...)
	if len(t.buf) > 2*tailBytes {
		t.buf = append(t.buf[:0], t.buf[len(t.buf)-tailBytes:]...)
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(bytes.TrimSpace(t.buf))
}
