package trivet

import (
	"context"
	"database/sql"
	"fmt"
	"io"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/trivet-ha/trivet/api"
	"github.com/trivet-ha/trivet/backup/repository"
	"github.com/trivet-ha/trivet/backup/repository/repotest"
	"github.com/trivet-ha/trivet/config"
	"github.com/trivet-ha/trivet/events"
	"github.com/trivet-ha/trivet/internal/testserver"
)

// makeRepository makes a repository in a folder, and a file with its password beside it.
func makeRepository(t *testing.T, dir string) {
	t.Helper()
	repotest.Create(t, dir)
	writeFile(t, filepath.Join(filepath.Dir(dir), "pw"), repotest.Password+"\n")
}

func writeFile(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o700); err != nil {
		t.Fatal(err)
	}
}

// snapshots are those of a repository, the oldest first.
func snapshots(t *testing.T, dir string) []*repository.Snapshot {
	t.Helper()
	list, err := repotest.Open(t, dir, repository.Options{}).Snapshots(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// backupFiles makes data, a repository and the text of a file that names them; DIR stands for the folder of all.
func backupFiles(t *testing.T, text string) (dir, yaml string) {
	t.Helper()
	dir = t.TempDir()
	t.Setenv("CACHE_DIRECTORY", filepath.Join(dir, "cache"))
	makeRepository(t, filepath.Join(dir, "vault"))
	for i := range 60 {
		writeFile(t, filepath.Join(dir, "data", fmt.Sprintf("d%d/f%d", i%3, i)), strings.Repeat(fmt.Sprint(i, " "), 100))
	}
	return dir, strings.ReplaceAll(text+"\nadmin: {socket: SOCKET}\nstate: DIR/state.db\n", "DIR", dir)
}

// of is how a job stands.
func (r *running) of(job string) api.Backup {
	r.t.Helper()
	list, err := r.Backups("")
	if err != nil {
		r.t.Fatal(err)
	}
	i := slices.IndexFunc(list, func(b api.Backup) bool { return b.Job == job })
	if i < 0 {
		r.t.Fatalf("no job %s in %+v", job, list)
	}
	return list[i]
}

// done waits until a job has run so often, and returns it.
func (r *running) done(job string, runs uint64) (b api.Backup) {
	r.t.Helper()
	eventually(r.t, fmt.Sprintf("%s has run %d times", job, runs), func() bool { b = r.of(job); return b.Done >= runs && b.State == "idle" })
	return b
}

// told lists the kinds of the events of a job so far.
func (r *running) told(f events.Filter) []string {
	r.t.Helper()
	list, err := r.Events(r.t.Context(), f)
	if err != nil {
		r.t.Fatal(err)
	}
	var kinds []string
	for _, e := range list {
		kinds = append(kinds, string(e.Kind))
	}
	return kinds
}

func (r *running) metrics() string {
	r.t.Helper()
	w := httptest.NewRecorder()
	promhttp.HandlerFor(r.metricsRegistry(), promhttp.HandlerOpts{}).ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	text, err := io.ReadAll(w.Result().Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return string(text)
}

const oneBackup = `
repositories: {vault: {store: DIR/vault, password_file: DIR/pw, verify: {every: 7d, parts: 1}, prune: 7d}}
backups: {shop: {files: [DIR/data], repository: vault, every: 1h, exclude: ["f7"], tags: [web], keep: {last: 2}}}
`

func TestABackupRunsBySchedule(t *testing.T) {
	dir, yaml := backupFiles(t, oneBackup)
	r := start(t, yaml)
	b := r.done("shop@vault", 1)
	if b.Outcome.Files != 59 || b.Outcome.Missing != 0 || b.Error != "" || b.Succeeded.IsZero() || time.Until(b.Next) < 50*time.Minute || b.Schedule != "every 1h" {
		t.Errorf("%+v", b)
	}
	list := snapshots(t, filepath.Join(dir, "vault"))
	if len(list) != 1 || list[0].ID().String() != b.Outcome.Snapshot || !list[0].HasTag("plan:shop") || !list[0].HasTag("web") || list[0].ProgramVersion != "trivet test" {
		t.Fatalf("%+v", list)
	}
	v := r.done("verify:vault", 1)
	if v.Outcome.Damage != "" || v.Error != "" {
		t.Errorf("%+v", v)
	}
	r.done("prune:vault", 1)
	for range 2 {
		if _, err := r.StartBackup("shop", ""); err != nil {
			t.Fatal(err)
		}
		r.done("shop@vault", r.of("shop@vault").Run)
	}
	if list := snapshots(t, filepath.Join(dir, "vault")); len(list) != 2 {
		t.Errorf("%d snapshots are kept", len(list))
	}
	if got := r.told(events.Filter{Backup: "shop", Repository: "vault"}); len(got) != 6 || got[0] != "backup.started" || got[1] != "backup.finished" {
		t.Errorf("events %v", got)
	}
	for _, want := range []string{
		`trivet_backup_runs_total{backup="shop",repository="vault",result="ok"} 3`, `trivet_backup_last_files{backup="shop",repository="vault"} 59`,
		`trivet_backup_last_success_age_seconds{backup="shop",repository="vault"}`, `trivet_repository_damaged{repository="vault"} 0`,
		`trivet_repository_runs_total{job="prune",repository="vault",result="ok"} 1`, `trivet_backup_next_timestamp_seconds`,
	} {
		if !strings.Contains(r.metrics(), want) {
			t.Errorf("no metric %s", want)
		}
	}
	if s := r.Status(); len(s.Backups) != 3 {
		t.Errorf("%+v", s.Backups)
	}
}

func TestStockResticRestoresWhatTheNodeSaved(t *testing.T) {
	restic := testserver.Program(t, "restic")
	// Without upkeep: restic's check wants the repository to itself.
	dir, yaml := backupFiles(t, strings.Replace(oneBackup, ", verify: {every: 7d, parts: 1}, prune: 7d", "", 1))
	r := start(t, yaml)
	r.done("shop@vault", 1)
	run := func(args ...string) {
		t.Helper()
		cmd := exec.Command(restic, append([]string{"-r", filepath.Join(dir, "vault"), "-p", filepath.Join(dir, "pw"), "--no-cache"}, args...)...)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("restic %v: %v\n%s", args, err, out)
		}
	}
	run("check", "--read-data")
	run("restore", "latest", "--target", filepath.Join(dir, "out"))
	out, err := exec.Command("diff", "-r", "--exclude", "f7", filepath.Join(dir, "data"), filepath.Join(dir, "out", dir, "data")).CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestARunThatWasMissedIsMadeUpAfterARestart(t *testing.T) {
	dir, yaml := backupFiles(t, strings.ReplaceAll(oneBackup, "every: 1h", `schedule: "0 2 * * *"`))
	path := filepath.Join(dir, "trivet.yaml")
	writeFile(t, path, strings.ReplaceAll(yaml, "SOCKET", filepath.Join(dir, "s")))
	within := func(do func(r *running)) {
		stopped(t, path, func(n *Node) { do(&running{Node: n, t: t, dir: dir, path: path}) })
	}
	within(func(r *running) {
		<-r.backups.Ready()
		if b := r.of("shop@vault"); b.Run != 0 || time.Until(b.Next) <= 0 || time.Until(b.Next) > 25*time.Hour {
			t.Errorf("a new backup waits for its time: %+v", b)
		}
		if _, err := r.StartBackup("shop", "vault"); err != nil {
			t.Fatal(err)
		}
		r.done("shop@vault", 1)
	})
	within(func(r *running) {
		<-r.backups.Ready()
		if b := r.of("shop@vault"); b.Succeeded.IsZero() || b.Outcome.Files != 59 || time.Until(b.Next) <= 0 {
			t.Errorf("nothing is known after a restart: %+v", b)
		}
	})
	db, err := sql.Open("sqlite", filepath.Join(dir, "state.db"))
	if err != nil {
		t.Fatal(err)
	}
	long := time.Now().Add(-72 * time.Hour).Format(time.RFC3339)
	if _, err := db.Exec(`update backup_job set body = json_set(body, '$.settled', ?, '$.succeeded', ?) where name = 'shop@vault'`, long, long); err != nil {
		t.Fatal(err)
	}
	db.Close()
	within(func(r *running) {
		if b := r.done("shop@vault", 1); time.Since(b.Succeeded) > time.Minute {
			t.Errorf("%+v", b)
		}
	})
	if list := snapshots(t, filepath.Join(dir, "vault")); len(list) != 2 {
		t.Errorf("%d snapshots", len(list))
	}
}

// held is a backup that waits, in its first hook, until somebody makes the file DIR/go.
const held = `
repositories: {vault: {store: DIR/vault, password_file: DIR/pw}}
backups:
  shop: {files: [DIR/data], repository: vault, before: [DIR/hold]}
  mail: {files: [DIR/data/d1], repository: vault}
`

func holding(t *testing.T) (dir, yaml string) {
	t.Helper()
	dir, yaml = backupFiles(t, held)
	writeFile(t, filepath.Join(dir, "hold"), "#!/bin/sh\nwhile [ ! -e "+dir+"/go ]; do sleep 0.01; done\n")
	return dir, yaml
}

func TestAReloadDuringABackupLetsItGoOn(t *testing.T) {
	dir, yaml := holding(t)
	r := start(t, yaml)
	<-r.backups.Ready()
	begin := func(name string) {
		t.Helper()
		if _, err := r.StartBackup(name, ""); err != nil {
			t.Fatal(err)
		}
	}
	begin("shop")
	eventually(t, "it runs", func() bool { return r.of("shop@vault").State == "running" })
	begin("mail")
	for i := range 3 {
		r.write(yaml + fmt.Sprintf("drain_timeout: %ds\n", i+1))
		if err := r.ReloadFile(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if a, b := r.of("shop@vault"), r.of("mail@vault"); a.State != "running" || b.State != "waiting" {
		t.Errorf("after a reload they are %s and %s", a.State, b.State)
	}
	list, err := r.StartBackup("shop", "")
	if err != nil || len(list) != 1 || !list[0].Joined || list[0].Run != 1 {
		t.Errorf("a second start: %+v, %v", list, err)
	}
	writeFile(t, filepath.Join(dir, "go"), "")
	if b := r.done("shop@vault", 1); b.Error != "" || b.Outcome.Files != 60 {
		t.Errorf("%+v", b)
	}
	r.done("mail@vault", 1)
	if n := len(snapshots(t, filepath.Join(dir, "vault"))); n != 2 {
		t.Errorf("%d snapshots", n)
	}
}

func TestABackupThatIsTakenOutOfTheFileStops(t *testing.T) {
	dir, yaml := holding(t)
	r := start(t, yaml)
	<-r.backups.Ready()
	if _, err := r.StartBackup("shop", ""); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it runs", func() bool { return r.of("shop@vault").State == "running" })
	r.write(strings.Replace(yaml, "shop: {", "other: {", 1))
	if err := r.ReloadFile(t.Context()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it has stopped", func() bool { return slices.Contains(r.told(events.Filter{Backup: "shop"}), "backup.interrupted") })
	if n := len(snapshots(t, filepath.Join(dir, "vault"))); n != 0 {
		t.Errorf("%d snapshots", n)
	}
	if _, err := r.StartBackup("shop", ""); err == nil || !strings.Contains(err.Error(), `"shop"`) {
		t.Errorf("got %v", err)
	}
}

func TestABackupThatFailsIsAnIncidentUntilItIsMade(t *testing.T) {
	dir, yaml := backupFiles(t, `
repositories: {gone: {store: DIR/later, password_file: DIR/pw}}
backups: {shop: {files: [DIR/data], repository: gone, every: 1h}}
`)
	r := start(t, yaml)
	b := r.done("shop@gone", 1)
	if b.Failures != 1 || !strings.Contains(b.Error, "trivet repo init") || time.Until(b.Next) > 6*time.Minute {
		t.Errorf("%+v", b)
	}
	open := func() int {
		list, err := r.Incidents(t.Context(), events.IncidentFilter{Backup: "shop", Open: true})
		if err != nil {
			t.Fatal(err)
		}
		return len(list)
	}
	eventually(t, "there is an incident", func() bool { return open() == 1 })
	makeRepository(t, filepath.Join(dir, "later"))
	if _, err := r.StartBackup("shop", "gone"); err != nil {
		t.Fatal(err)
	}
	if b := r.done("shop@gone", 2); b.Failures != 0 || b.Error != "" {
		t.Errorf("%+v", b)
	}
	eventually(t, "the incident is over", func() bool { return open() == 0 })
	if !strings.Contains(r.metrics(), `trivet_backup_runs_total{backup="shop",repository="gone",result="failed"} 1`) {
		t.Error("no metric of the failure")
	}
}

func TestAnUnusualBackupIsToldAndNothingIsForgotten(t *testing.T) {
	dir, yaml := backupFiles(t, strings.ReplaceAll(oneBackup, "keep: {last: 2}", "keep: {last: 1}"))
	r := start(t, yaml)
	r.done("shop@vault", 1)
	for _, d := range []string{"d0", "d1"} {
		if err := os.RemoveAll(filepath.Join(dir, "data", d)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := r.StartBackup("shop", ""); err != nil {
		t.Fatal(err)
	}
	b := r.done("shop@vault", 2)
	if len(b.Outcome.Notices) != 1 || b.Outcome.Notices[0].Kind != "shrunk" {
		t.Errorf("%+v", b.Outcome)
	}
	eventually(t, "it is told", func() bool {
		return slices.Contains(r.told(events.Filter{Kinds: []string{"backup.shrunk"}}), "backup.shrunk")
	})
	if n := len(snapshots(t, filepath.Join(dir, "vault"))); n != 2 {
		t.Errorf("%d snapshots: the good one is forgotten", n)
	}
}

func TestDamageIsFoundAndToldUntilItIsGone(t *testing.T) {
	dir, yaml := backupFiles(t, oneBackup)
	r := start(t, yaml)
	r.done("shop@vault", 1)
	r.done("verify:vault", 1)
	r.done("prune:vault", 1) // it would fail for want of the pack, and not be tried again soon
	packs, err := filepath.Glob(filepath.Join(dir, "vault/data/*/*"))
	if err != nil || len(packs) == 0 {
		t.Fatal(packs, err)
	}
	aside := filepath.Join(dir, "aside")
	if err := os.Rename(packs[0], aside); err != nil {
		t.Fatal(err)
	}
	verify := func(want string) api.Backup {
		t.Helper()
		run, _, err := r.backups.keeper.Start("verify:vault")
		if err != nil {
			t.Fatal(err)
		}
		b := r.done("verify:vault", run)
		eventually(t, want, func() bool { return slices.Contains(r.told(events.Filter{Repository: "vault"}), want) })
		return b
	}
	if b := verify("repository.damaged"); b.Outcome.Damage == "" || b.Error != "" {
		t.Errorf("%+v", b)
	}
	if !strings.Contains(r.metrics(), `trivet_repository_damaged{repository="vault"} 1`) {
		t.Error("no metric of the damage")
	}
	if err := os.Rename(aside, packs[0]); err != nil {
		t.Fatal(err)
	}
	if b := verify("repository.verified"); b.Outcome.Damage != "" {
		t.Errorf("%+v", b)
	}
	list, err := r.Incidents(t.Context(), events.IncidentFilter{Repository: "vault", Open: true})
	if err != nil || len(list) != 0 {
		t.Errorf("%+v, %v", list, err)
	}
}

func TestBackupsAreMadeWithoutANode(t *testing.T) {
	dir, yaml := backupFiles(t, oneBackup)
	path := filepath.Join(dir, "trivet.yaml")
	writeFile(t, path, strings.ReplaceAll(yaml, "SOCKET", filepath.Join(dir, "s")))
	file, err := config.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	alone, err := OpenBackups(Config{File: file, Version: "test"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := alone.StartBackup("shop", ""); err == nil {
		t.Error("it starts before it runs")
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { _ = alone.Run(ctx); close(ended) }()
	<-alone.Ready()
	if _, err := alone.StartBackup("shop", "vlt"); err == nil || !strings.Contains(err.Error(), "not kept there") {
		t.Errorf("got %v", err)
	}
	if _, err := alone.StartBackup("shop", ""); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is made", func() bool {
		list, err := alone.Backups("shop")
		return err == nil && list[0].Done == 1 && list[0].State == "idle"
	})
	for _, b := range alone.list() {
		if b.Kind != "backup" && b.Run != 0 {
			t.Errorf("what nobody asked for has run: %+v", b)
		}
	}
	stop()
	<-ended
	if err := alone.Close(); err != nil {
		t.Error(err)
	}
	stopped(t, path, func(n *Node) {
		<-n.backups.Ready()
		list, err := n.Backups("shop")
		if err != nil || list[0].Succeeded.IsZero() || list[0].Run != 0 {
			t.Errorf("the node does not know of it: %+v, %v", list, err)
		}
	})
}

func TestAFileWhosePatternsCannotBeReadIsRefused(t *testing.T) {
	_, yaml := backupFiles(t, oneBackup)
	r := start(t, yaml)
	r.write(strings.Replace(yaml, `exclude: ["f7"]`, "exclude_file: [nowhere]", 1))
	if err := r.ReloadFile(t.Context()); err == nil || !strings.Contains(err.Error(), "backup shop") {
		t.Errorf("got %v", err)
	}
	r.done("shop@vault", 1)
}
