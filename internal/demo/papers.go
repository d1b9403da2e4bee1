package demo

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/trivet-ha/trivet/api"
	"github.com/trivet-ha/trivet/backup/repository"
	"github.com/trivet-ha/trivet/backup/store/local"
	"github.com/trivet-ha/trivet/events"
	"github.com/trivet-ha/trivet/systems/files"
)

// papers is what the chapter about backups works on: the shop's invoices, and the repository that they are saved into.
type papers struct {
	s      *Stage
	c      *api.Client
	dir    string // of the invoices
	vault  string // the repository
	secret string // file with its password
	want   map[string][]byte
}

const papersPassword = "correct horse battery staple"

// saved has Trivet back up the shop's invoices; somebody encrypts them, which the next backup notices; and they are restored
// from the one before.
func saved(ctx context.Context, s *Stage) error {
	p := &papers{
		s: s, c: api.Dial(s.Socket), dir: filepath.Join(s.Dir, "invoices"), vault: filepath.Join(s.Dir, "vault"), secret: filepath.Join(s.Dir, "vault.pw"),
		want: map[string][]byte{},
	}
	defer p.c.Close()
	return brief(ctx, s, func() error {
		if err := p.prepare(ctx); err != nil {
			return err
		}
		good, err := p.backup(ctx)
		if err != nil {
			return err
		}
		if err := p.encrypt(); err != nil {
			return err
		}
		if _, err := p.backup(ctx); err != nil {
			return err
		}
		if err := p.alarm(ctx); err != nil {
			return err
		}
		return p.restore(ctx, good)
	})
}

// prepare writes an invoice for each order so far, makes the repository, and has Trivet know of both.
func (p *papers) prepare(ctx context.Context) error {
	if err := os.Mkdir(p.dir, 0o700); err != nil {
		return fmt.Errorf("write invoices: %v", err)
	}
	const most = 200
	for i, id := range p.s.customers.acknowledged() {
		if i == most {
			break
		}
		name, text := id+".txt", []byte(strings.Repeat(fmt.Sprintf("Invoice for order %s of the Tea Shop. ", id), 400))
		p.want[name] = text
		if err := os.WriteFile(filepath.Join(p.dir, name), text, 0o600); err != nil {
			return fmt.Errorf("write invoices: %v", err)
		}
	}
	st, err := local.Create(p.vault)
	if err != nil {
		return err
	}
	if err := os.WriteFile(p.secret, []byte(papersPassword+"\n"), 0o600); err != nil {
		return err
	}
	repo, err := repository.Init(ctx, st, papersPassword, repository.InitOptions{})
	if err != nil {
		return err
	}
	defer repo.Close()
	p.s.Say("trivet repo init --repo vault --password-file vault.pw; then trivet reload: a backup of %d invoices", len(p.want))
	err = p.s.Configure(func(yaml string) string {
		return yaml + fmt.Sprintf(`
repositories: {vault: {store: %s, password_file: %s, cache: %s}}
backups:
  invoices: {files: [%s], repository: vault, canary: {min_files: 10, min_bytes: 4KiB}}
`, p.vault, p.secret, filepath.Join(p.s.Dir, "cache"), p.dir)
	})
	if err != nil {
		return err
	}
	return p.s.Trivet.Reload(ctx)
}

// backup says "trivet backup invoices", and returns the snapshot.
func (p *papers) backup(ctx context.Context) (snapshot string, err error) {
	const patience = 20 * time.Second
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("back up the invoices: nothing after %v", patience))
	defer cancel()
	p.s.Say("trivet backup invoices")
	started, err := p.c.StartBackup(ctx, "invoices", "")
	if err != nil {
		return "", err
	}
	for {
		list, err := p.c.Backups(ctx, "invoices")
		if err != nil {
			return "", err
		}
		b := &list[0]
		switch {
		case b.Done < started[0].Run:
		case b.Error != "":
			return "", fmt.Errorf("back up the invoices: %s", b.Error)
		default:
			p.s.Saw("after %.2f s: %s", p.s.since().Seconds(), b.Outcome.Text)
			return b.Outcome.Snapshot, nil
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
			return "", context.Cause(ctx)
		}
	}
}

// encrypt does to the invoices what blackmailers do.
func (p *papers) encrypt() error {
	p.s.Say("somebody encrypts all %d invoices in place", len(p.want))
	for name, text := range p.want {
		noise := make([]byte, len(text))
		rand.Read(noise)
		if err := os.WriteFile(filepath.Join(p.dir, name), noise, 0o600); err != nil {
			return fmt.Errorf("encrypt invoices: %v", err)
		}
	}
	return nil
}

// alarm tells what Trivet thinks of it.
func (p *papers) alarm(ctx context.Context) error {
	list, err := p.c.Events(ctx, events.Filter{Backup: "invoices", Level: events.Warn})
	if err != nil {
		return err
	}
	for _, e := range list {
		p.s.Saw("%s: %s; %s", e.Kind.Word(), e.Evidence, e.Action)
	}
	if len(list) == 0 {
		return fmt.Errorf("nobody notices that the invoices are encrypted")
	}
	return nil
}

// restore puts the invoices of a snapshot back in place, compares them, and verifies the repository.
func (p *papers) restore(ctx context.Context, snapshot string) error {
	st, err := local.Open(p.vault)
	if err != nil {
		return err
	}
	repo, err := repository.Open(ctx, st, papersPassword, repository.Options{})
	if err != nil {
		return err
	}
	defer repo.Close()
	p.s.Say("trivet restore --target / --verify %.8s", snapshot)
	chosen, err := repo.FindSnapshot(ctx, snapshot, repository.SnapshotFilter{})
	if err != nil {
		return err
	}
	root, err := repo.Lookup(ctx, *chosen.Tree, p.dir)
	if err != nil {
		return err
	}
	r, err := files.Restore(ctx, repo, *root.Subtree, files.RestoreOptions{Target: p.dir, Verify: true})
	if err != nil {
		return err
	}
	if err := p.compare(); err != nil {
		return err
	}
	p.s.Saw("after %.2f s: %d invoices are back, each compared with what it was", p.s.since().Seconds(), r.Files)
	return p.verify(ctx, repo)
}

func (p *papers) compare() error {
	for name, text := range p.want {
		got, err := os.ReadFile(filepath.Join(p.dir, name))
		if err != nil || !bytes.Equal(got, text) {
			return fmt.Errorf("invoice %s is not what it was: %v", name, err)
		}
	}
	return nil
}

// verify reads the whole repository, and has stock restic do the same if it is there.
func (p *papers) verify(ctx context.Context, repo *repository.Repository) error {
	p.s.Say("trivet verify --repo vault --data all")
	stats, err := repo.Check(ctx, repository.CheckOptions{Data: repository.AllData()}, func(problem repository.Problem) {
		p.s.Saw("%v", problem)
	})
	if err != nil {
		return err
	}
	if stats.Problems > 0 {
		return fmt.Errorf("verify the repository: %d problems", stats.Problems)
	}
	p.s.Saw("%d snapshots, %d packs read, no errors found", stats.Snapshots, stats.PacksRead)
	restic, err := exec.LookPath("restic")
	if err != nil {
		return nil // the proof is for those who have it
	}
	p.s.Say("restic check --read-data, for those who trust restic more")
	out, err := exec.CommandContext(ctx, restic, "-r", p.vault, "-p", p.secret, "--no-cache", "check", "--read-data").CombinedOutput()
	if err != nil {
		return fmt.Errorf("restic check: %v: %s", err, out)
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	p.s.Saw("restic: %s", lines[len(lines)-1])
	return nil
}
