package trivet

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
	"reflect"
	"strings"
	"sync"

	"github.com/trivet-ha/trivet/backup/repository"
	"github.com/trivet-ha/trivet/backup/store"
	"github.com/trivet-ha/trivet/backup/store/limit"
	"github.com/trivet-ha/trivet/backup/store/location"
	"github.com/trivet-ha/trivet/backup/store/open"
	"github.com/trivet-ha/trivet/backup/store/s3"
	"github.com/trivet-ha/trivet/config"
)

// vault opens a repository of the file. Its key stays in memory from the first time on: to derive it from the password takes
// a tenth of a second, on purpose.
type vault struct {
	spec config.Repository
	log  *slog.Logger

	mu     sync.Mutex
	master *repository.MasterKey
}

// newVault makes a vault, or returns the old one if it is for the same.
func newVault(spec *config.Repository, old *vault, log *slog.Logger) *vault {
	if old != nil && reflect.DeepEqual(old.spec, *spec) {
		return old
	}
	return &vault{spec: *spec, log: log}
}

// open opens the repository; closeIt closes it. It is a backup.Opener.
func (v *vault) open(ctx context.Context) (_ *repository.Repository, closeIt func(), err error) {
	st, err := open.Store(ctx, string(v.spec.Store), v.storeOptions())
	if err != nil {
		return nil, nil, fmt.Errorf("open repository %s: %w", v.spec.Name, err)
	}
	repo, err := v.unlock(ctx, st)
	if err != nil {
		closeStore(st)
		return nil, nil, v.explain(err)
	}
	return repo, func() {
		_ = repo.Close()
		closeStore(st)
	}, nil
}

func closeStore(s store.Store) {
	if c, ok := s.(io.Closer); ok {
		_ = c.Close() // nothing that was acknowledged is lost by it
	}
}

func (v *vault) explain(err error) error {
	if errors.Is(err, repository.ErrNoRepository) {
		err = fmt.Errorf("%w: make one with trivet repo init --repo %s", err, shown(v.spec.Store))
	}
	return fmt.Errorf("repository %s: %w", v.spec.Name, err)
}

// shown is a location without its secrets.
func shown(s config.StoreLocation) string {
	l, err := location.Parse(string(s))
	if err != nil {
		return "?"
	}
	return l.String()
}

// unlock opens the repository in a store with the key from the last time, or with the password.
func (v *vault) unlock(ctx context.Context, st store.Store) (*repository.Repository, error) {
	options, err := v.options()
	if err != nil {
		return nil, err
	}
	v.mu.Lock()
	master := v.master
	v.mu.Unlock()
	if master != nil {
		repo, err := repository.OpenMaster(ctx, st, *master, options)
		if err == nil || errors.Is(err, repository.ErrNoRepository) {
			return repo, err
		} // it may be another one now
	}
	password, err := v.password(ctx)
	if err != nil {
		return nil, err
	}
	repo, err := repository.Open(ctx, st, password, options)
	if err != nil {
		return nil, err
	}
	key := repo.Master()
	v.mu.Lock()
	v.master = &key
	v.mu.Unlock()
	return repo, nil
}

func (v *vault) options() (repository.Options, error) {
	level, err := repository.ParseCompression(string(v.spec.Compression))
	return repository.Options{Compression: level, PackBytes: int(v.spec.PackSize), CacheDir: v.cache(), LockWait: v.spec.LockWait}, err
}

// cache is where what can be fetched again is kept; "" is nowhere.
func (v *vault) cache() string {
	if v.spec.Cache != "" {
		return string(v.spec.Cache)
	}
	// systemd gives several, parted by colons, if it is told to.
	if dir, _, _ := strings.Cut(os.Getenv("CACHE_DIRECTORY"), ":"); dir != "" {
		return dir
	}
	if dir, _, _ := strings.Cut(os.Getenv("STATE_DIRECTORY"), ":"); dir != "" {
		return filepath.Join(dir, "cache")
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return ""
	}
	return filepath.Join(dir, "trivet")
}

func (v *vault) storeOptions() open.Options {
	s := &v.spec
	o := open.Options{
		Limits: limit.New(int64(s.Bandwidth.Upload), int64(s.Bandwidth.Download)), CAFile: string(s.CA), ClientCertFile: string(s.ClientCert),
		Extended: map[string]string{}, Getenv: v.getenv, Log: v.log,
	}
	if l := s.ObjectLock; l != nil {
		o.Lock = s3.Lock{Mode: string(l.Mode), Keep: l.Keep}
	}
	for _, option := range s.Options {
		o.Extended[string(option.Name)] = option.Value
	}
	return o
}

// getenv is the environment, with the credentials of the file in their places.
func (v *vault) getenv(name string) string {
	c := &v.spec.Credentials
	if c.ID == "" {
		return os.Getenv(name)
	}
	switch name {
	case "AWS_ACCESS_KEY_ID", "RESTIC_REST_USERNAME":
		return c.ID
	case "AWS_SECRET_ACCESS_KEY", "RESTIC_REST_PASSWORD":
		return c.Secret.Reveal()
	case "AWS_SESSION_TOKEN":
		return ""
	}
	return os.Getenv(name)
}

// password is that of the file, or what its program prints.
func (v *vault) password(ctx context.Context) (string, error) {
	if !v.spec.Password.IsZero() {
		return v.spec.Password.Reveal(), nil
	}
	argv := v.spec.PasswordCommand
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("run %s for the password: %w: %s", argv[0], err, shorten(strings.TrimSpace(said.String())))
	}
	line, _, _ := bytes.Cut(out, []byte{'\n'})
	password := strings.TrimSpace(string(line))
	if password == "" {
		return "", fmt.Errorf("run %s for the password: it printed none", argv[0])
	}
	return password, nil
}
