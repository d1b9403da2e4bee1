package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/trivet-ha/trivet/backup"
	"github.com/trivet-ha/trivet/backup/repository"
	"github.com/trivet-ha/trivet/backup/store/local"
	"github.com/trivet-ha/trivet/internal/backupcli"
	"github.com/trivet-ha/trivet/systems/files"
)

const password = "a benchmark"

// tool is a backup program: the command line of each step. An empty one means that it has no such step.
type tool struct {
	name string
	env  []string
	init []string
	// backup saves the current directory.
	backup  []string
	restore []string // into the current directory
	verify  []string
}

func toolNames() []string { return []string{"restic", "restic-tuned", "borg", "kopia", "trivet"} }

// tool builds the command lines for a repository in dir.
func (l *lab) tool(name, dir string) tool {
	repo, cache := filepath.Join(dir, "repo"), filepath.Join(dir, "cache")
	restic := func(args ...string) []string {
		return append([]string{l.restic, "-r", repo, "--cache-dir", cache}, args...)
	}
	switch name {
	case "restic":
		return tool{name, []string{"RESTIC_PASSWORD=" + password}, restic("init"), restic("backup", "."), restic("restore", "latest", "--target", "."), restic("check", "--read-data")}
	case "restic-tuned":
		t := l.tool("restic", dir)
		t.name = name
		t.backup = append(t.backup, l.tuned...)
		return t
	case "borg":
		env := []string{"BORG_PASSPHRASE=" + password, "BORG_BASE_DIR=" + cache, "BORG_RELOCATED_REPO_ACCESS_IS_OK=yes", "BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK=yes"}
		return tool{
			name, env, []string{"borg", "init", "-e", "repokey-blake2", repo}, []string{"borg", "create", repo + "::{now:%Y-%m-%dT%H:%M:%S.%f}", "."},
			[]string{"/bin/sh", "-c", `exec borg extract "$0::$(borg list --last 1 --format '{archive}' "$0")"`, repo}, []string{"borg", "check", "--verify-data", repo},
		}
	case "kopia":
		env := []string{"KOPIA_PASSWORD=" + password, "KOPIA_CONFIG_PATH=" + filepath.Join(dir, "kopia.config"), "KOPIA_CACHE_DIRECTORY=" + cache, "KOPIA_CHECK_FOR_UPDATES=false"}
		return tool{
			name, env, []string{l.kopia, "repository", "create", "filesystem", "--path", repo}, []string{l.kopia, "snapshot", "create", "."},
			[]string{"/bin/sh", "-c", `exec "$0" snapshot restore "$("$0" snapshot list --all --json -n 1 | tr ',' '\n' | sed -n 's/.*"id":"\([0-9a-f]*\)".*/\1/p' | tail -1)" .`, l.kopia},
			[]string{l.kopia, "snapshot", "verify", "--verify-files-percent=100"},
		}
	}
	self := func(args ...string) []string {
		return append([]string{l.self, asTrivet}, args...)
	}
	env := []string{"TRIVET_PASSWORD=" + password, "TRIVET_REPOSITORY=" + repo, "TRIVET_CACHE_DIR=" + cache}
	return tool{"trivet", env, self("repo", "init"), self("backup", "."), self("restore", "latest", "--target", "."), self("verify", "--data", "all")}
}

// asTrivet as the first argument makes this program the verbs of trivet, so that what is measured is what was built with it.
const (
	asTrivet = "as-trivet"
	asDaemon = "daemon"
)

func trivet(args []string) int {
	if len(args) == 1 && args[0] == asDaemon {
		if err := daemon(context.Background()); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return 0
	}
	root := &cobra.Command{Use: "trivet", SilenceErrors: true, SilenceUsage: true}
	root.AddCommand(backupcli.Commands("bench")...)
	root.SetArgs(args)
	err := root.ExecuteContext(context.Background())
	if err == nil {
		return 0
	}
	fmt.Fprintln(os.Stderr, err)
	var p *backupcli.Problem
	if errors.As(err, &p) {
		return p.ExitCode()
	}
	return 1
}

// daemon does as Trivet's daemon: it opens the repository once, and backs up whenever a line comes.
func daemon(ctx context.Context) error {
	st, err := local.Open(os.Getenv("TRIVET_REPOSITORY"))
	if err != nil {
		return err
	}
	repo, err := repository.Open(ctx, st, password, repository.Options{CacheDir: os.Getenv("TRIVET_CACHE_DIR")})
	if err != nil {
		return err
	}
	defer repo.Close()
	source, err := files.New(files.Config{Paths: []string{"."}})
	if err != nil {
		return err
	}
	lines := bufio.NewScanner(os.Stdin)
	fmt.Println("ready")
	for lines.Scan() {
		if _, err := backup.Save(ctx, repo, source, backup.Options{}); err != nil {
			return err
		}
		fmt.Println("done")
	}
	return lines.Err()
}

// version is what a tool says of itself.
func (l *lab) version(name string) string {
	var out []byte
	switch name {
	case "restic":
		out, _ = exec.Command(l.restic, "version").Output()
	case "borg":
		out, _ = exec.Command("borg", "--version").Output()
	case "kopia":
		out, _ = exec.Command(l.kopia, "--version").Output()
	}
	return strings.TrimSpace(string(out))
}
