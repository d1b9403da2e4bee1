package backupcli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/trivet-ha/trivet/backup/repository"
	"github.com/trivet-ha/trivet/backup/store"
	"github.com/trivet-ha/trivet/backup/store/limit"
	"github.com/trivet-ha/trivet/backup/store/location"
	"github.com/trivet-ha/trivet/backup/store/open"
	"github.com/trivet-ha/trivet/backup/store/s3"
)

// place is the flags that say which repository, and how it is opened.
type place struct {
	location, locationFile        string
	passwordFile, passwordCommand string
	cacheDir                      string
	noCache                       bool
	compression                   string
	packMiB                       int
	upKiB, downKiB                int64
	caFile, clientCert            string
	insecure                      bool
	extended                      []string
	lockWait                      time.Duration
	objectLock                    string
	quiet                         bool
}

// flags adds the flags to a verb and to those below it.
func (p *place) flags(cmd *cobra.Command) {
	f := cmd.PersistentFlags()
	f.StringVarP(&p.location, "repo", "r", "", "where the repository is: a directory, s3:…, sftp:…, rest:…, rclone:… ($TRIVET_REPOSITORY, $RESTIC_REPOSITORY)")
	f.StringVar(&p.locationFile, "repository-file", "", "read it from a file ($RESTIC_REPOSITORY_FILE)")
	f.StringVarP(&p.passwordFile, "password-file", "p", "", "file with the repository's password ($TRIVET_PASSWORD_FILE, $RESTIC_PASSWORD_FILE)")
	f.StringVar(&p.passwordCommand, "password-command", "", "program that prints the password; it is not run by a shell ($RESTIC_PASSWORD_COMMAND)")
	f.StringVar(&p.cacheDir, "cache-dir", "", "directory for what can be fetched again ($TRIVET_CACHE_DIR; default ~/.cache/trivet)")
	f.BoolVar(&p.noCache, "no-cache", false, "keep nothing on the local disk; every backup then reads the last snapshot's directories")
	f.StringVar(&p.compression, "compression", "", "off, fastest, default, better or best (default fastest; $RESTIC_COMPRESSION)")
	f.IntVar(&p.packMiB, "pack-size", 0, "size of pack files in MiB (default 16)")
	f.Int64Var(&p.upKiB, "limit-upload", 0, "send at most so many KiB per second")
	f.Int64Var(&p.downKiB, "limit-download", 0, "fetch at most so many KiB per second")
	f.StringVar(&p.caFile, "cacert", "", "trust the certificates in this PEM file, and no others ($RESTIC_CACERT)")
	f.StringVar(&p.clientCert, "tls-client-cert", "", "show this certificate with its key (PEM) to the server ($RESTIC_TLS_CLIENT_CERT)")
	f.BoolVar(&p.insecure, "insecure-tls", false, "accept any certificate; for tests only")
	f.StringArrayVarP(&p.extended, "option", "o", nil, "setting of a store, key=value: "+strings.Join(location.Settings(), ", "))
	f.DurationVar(&p.lockWait, "retry-lock", time.Minute, "wait so long for others who hold the repository")
	f.StringVar(&p.objectLock, "object-lock", "", "hold new files back from deletion (S3): compliance:30d or governance:30d")
	f.BoolVarP(&p.quiet, "quiet", "q", false, "say only what went wrong")
}

// first is the first of the values that is not empty, or of the environment variables.
func first(value string, variables ...string) string {
	for _, name := range variables {
		if value == "" {
			value = os.Getenv(name)
		}
	}
	return value
}

// where is the repository's location.
func (p *place) where() (string, error) {
	if p.location != "" {
		return p.location, nil
	}
	if p.locationFile == "" {
		if location := first("", "TRIVET_REPOSITORY", "RESTIC_REPOSITORY"); location != "" {
			return location, nil
		}
	}
	file := first(p.locationFile, "TRIVET_REPOSITORY_FILE", "RESTIC_REPOSITORY_FILE")
	if file == "" {
		return "", usage("add --repo, or set TRIVET_REPOSITORY", "no repository is named")
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("read the repository's location: %w", err)
	}
	return strings.TrimSpace(string(text)), nil
}

// password finds the password: a flag, the environment, or the person at the terminal. twice asks for it again.
func (p *place) password(cmd *cobra.Command, prompt string, twice bool) (string, error) {
	switch {
	case p.passwordFile != "":
		return readPassword(p.passwordFile)
	case p.passwordCommand != "":
		return passwordFrom(cmd.Context(), p.passwordCommand)
	}
	if text := first("", "TRIVET_PASSWORD", "RESTIC_PASSWORD"); text != "" {
		return text, nil
	}
	if file := first("", "TRIVET_PASSWORD_FILE", "RESTIC_PASSWORD_FILE"); file != "" {
		return readPassword(file)
	}
	if command := first("", "TRIVET_PASSWORD_COMMAND", "RESTIC_PASSWORD_COMMAND"); command != "" {
		return passwordFrom(cmd.Context(), command)
	}
	return askPassword(cmd, prompt, twice)
}

func readPassword(file string) (string, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("read password: %w", err)
	}
	password := strings.TrimSpace(string(text))
	if password == "" {
		return "", fmt.Errorf("read password: %s is empty", file)
	}
	return password, nil
}

func passwordFrom(ctx context.Context, command string) (string, error) {
	argv, err := splitWords(command)
	if err != nil || len(argv) == 0 {
		return "", usage(`quote it like a shell would: --password-command 'pass show "my backup"'`, "the password command %q cannot be read", command)
	}
	c := exec.CommandContext(ctx, argv[0], argv[1:]...)
	c.Stderr = os.Stderr
	out, err := c.Output()
	if err != nil {
		return "", fmt.Errorf("run %s for the password: %w", argv[0], err)
	}
	line, _, _ := bytes.Cut(out, []byte{'\n'})
	password := strings.TrimSpace(string(line))
	if password == "" {
		return "", fmt.Errorf("run %s for the password: it printed none", argv[0])
	}
	return password, nil
}

func askPassword(cmd *cobra.Command, prompt string, twice bool) (string, error) {
	in, ok := cmd.InOrStdin().(*os.File)
	if !ok || !term.IsTerminal(int(in.Fd())) {
		return "", usage("add --password-file, or set TRIVET_PASSWORD_FILE", "no password is given, and nobody is there to ask")
	}
	ask := func(prompt string) (string, error) {
		fmt.Fprintf(cmd.ErrOrStderr(), "%s: ", prompt)
		text, err := term.ReadPassword(int(in.Fd()))
		fmt.Fprintln(cmd.ErrOrStderr())
		return string(text), err
	}
	password, err := ask(prompt)
	if err != nil || password == "" {
		return "", errors.Join(errors.New("no password was typed"), err)
	}
	if twice {
		again, err := ask("once more")
		if err != nil {
			return "", err
		}
		if again != password {
			return "", errors.New("the passwords differ")
		}
	}
	return password, nil
}

// opened is an open repository and its store.
type opened struct {
	*repository.Repository
	store store.Store
	where string
}

func (o *opened) close() {
	_ = o.Repository.Close()
	closeStore(o.store)
}

func closeStore(s store.Store) {
	if c, ok := s.(io.Closer); ok {
		_ = c.Close() // nothing that was acknowledged is lost by it
	}
}

// openStore opens the store.
func (p *place) openStore(cmd *cobra.Command, location string, create bool) (store.Store, error) {
	extended := map[string]string{}
	for _, e := range p.extended {
		key, value, ok := strings.Cut(e, "=")
		if !ok {
			return nil, usage("write -o key=value", "the option %q has no value", e)
		}
		extended[key] = value
	}
	lock, err := parseObjectLock(p.objectLock)
	if err != nil {
		return nil, err
	}
	return open.Store(cmd.Context(), location, open.Options{
		Create: create, Limits: limit.New(p.upKiB<<10, p.downKiB<<10), CAFile: p.caFile, ClientCertFile: p.clientCert, Insecure: p.insecure,
		Lock: lock, Extended: extended, Log: p.log(cmd),
	})
}

// log writes warnings for people.
func (p *place) log(cmd *cobra.Command) *slog.Logger {
	level := slog.LevelWarn
	if p.quiet {
		level = slog.LevelError
	}
	return slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), &slog.HandlerOptions{Level: level}))
}

func parseObjectLock(s string) (s3.Lock, error) {
	if s == "" {
		return s3.Lock{}, nil
	}
	mode, keep, ok := strings.Cut(s, ":")
	days, found := strings.CutSuffix(keep, "d")
	var n int
	if _, err := fmt.Sscanf(days, "%d", &n); !ok || !found || err != nil || n < 1 {
		return s3.Lock{}, usage("write --object-lock compliance:30d", "the object lock %q cannot be read", s)
	}
	return s3.Lock{Mode: mode, Keep: time.Duration(n) * 24 * time.Hour}, nil
}

func (p *place) options() (repository.Options, error) {
	level, err := repository.ParseCompression(first(p.compression, "TRIVET_COMPRESSION", "RESTIC_COMPRESSION"))
	if err != nil {
		return repository.Options{}, usage("", "%v", err)
	}
	o := repository.Options{Compression: level, PackBytes: p.packMiB << 20, LockWait: p.lockWait}
	if !p.noCache {
		o.CacheDir = p.cache()
	}
	return o, nil
}

func (p *place) cache() string {
	if dir := first(p.cacheDir, "TRIVET_CACHE_DIR"); dir != "" {
		return dir
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return ""
	}
	return filepath.Join(dir, "trivet")
}

// open opens the repository.
func (p *place) open(cmd *cobra.Command) (*opened, error) {
	location, err := p.where()
	if err != nil {
		return nil, err
	}
	return p.openAt(cmd, location)
}

func (p *place) openAt(cmd *cobra.Command, location string) (*opened, error) {
	options, err := p.options()
	if err != nil {
		return nil, err
	}
	st, err := p.openStore(cmd, location, false)
	if err != nil {
		return nil, err
	}
	password, err := p.password(cmd, "password of the repository", false)
	if err != nil {
		closeStore(st)
		return nil, err
	}
	repo, err := repository.Open(cmd.Context(), st, password, options)
	if err != nil {
		closeStore(st)
		return nil, explainOpen(err, location)
	}
	return &opened{repo, st, location}, nil
}

func explainOpen(err error, where string) error {
	switch {
	case errors.Is(err, repository.ErrNoRepository):
		return hinted(fmt.Errorf("open repository: %w", err), `"trivet repo init" makes one`)
	case errors.Is(err, repository.ErrWrongPassword):
		return hinted(fmt.Errorf("open repository: %w", err), "is this the right password file, and the right repository?")
	}
	if l, perr := location.Parse(where); perr == nil {
		where = l.String()
	}
	return fmt.Errorf("open repository %s: %w", where, err)
}

// withRepository makes a verb of a function that needs a repository.
func (p *place) withRepository(run func(cmd *cobra.Command, repo *opened, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		repo, err := p.open(cmd)
		if err != nil {
			return err
		}
		defer repo.close()
		return explain(run(cmd, repo, args))
	}
}

// explain adds what to do to errors of a repository.
func explain(err error) error {
	var locked *repository.LockedError
	switch {
	case errors.As(err, &locked):
		return hinted(err, "wait for it (--retry-lock), or, if that process is gone, remove what it left with \"trivet repo unlock\"")
	case errors.Is(err, repository.ErrNoSnapshot), errors.Is(err, repository.ErrAmbiguous):
		return hinted(err, `"trivet snapshots" lists what there is`)
	case errors.Is(err, repository.ErrDamaged), errors.Is(err, repository.ErrNoBlob):
		return hinted(err, `"trivet verify" shows what else is damaged`)
	}
	return err
}
