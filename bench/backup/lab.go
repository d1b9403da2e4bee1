package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// lab is where it happens.
type lab struct {
	settings
	self    string
	tuned   []string // restic's flags for speed, as far as it knows them
	results map[cell][]sample
}

// cell is one tool at one step with one set of data.
type cell struct{ set, step, tool string }

// sample is one measurement.
type sample struct {
	wall, cpu time.Duration
	rssMiB    float64
	addedMB   float64 // what the repository grew by
}

// steps, in their order.
var steps = []string{"initial", "unchanged", "daemon", "edited", "restore", "verify"}

func (l *lab) prepare() error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	l.self = self
	for _, set := range l.sets {
		dir := l.data(set)
		if _, err := os.Stat(dir + ".done"); err == nil {
			continue
		}
		fmt.Fprintf(os.Stderr, "making the data %s\n", set)
		if err := os.RemoveAll(dir); err != nil {
			return err
		}
		make := func() error { return l.maker(set, dir, l.scale) }
		if set == "tree" {
			make = func() error { return copyTree(l.from, dir) }
		}
		if err := make(); err != nil {
			return err
		}
		if err := os.WriteFile(dir+".done", nil, 0o644); err != nil {
			return err
		}
	}
	help, _ := exec.Command(l.restic, "backup", "--help").Output()
	for _, flag := range [][2]string{{"--no-extra-verify", "--no-extra-verify"}, {"--pack-size", "--pack-size=64"}, {"fastest", "--compression=fastest"}} {
		if strings.Contains(string(help), flag[0]) {
			l.tuned = append(l.tuned, flag[1])
		}
	}
	return nil
}

func (l *lab) data(set string) string { return filepath.Join(l.dir, "data-"+set) }

// round measures every tool once with a set of data. The order changes from round to round.
func (l *lab) round(ctx context.Context, round int, set string) error {
	original := l.data(set)
	work := filepath.Join(l.dir, "work", "data") // the same path for all tools
	if err := copyTree(original, work); err != nil {
		return err
	}
	defer os.RemoveAll(filepath.Join(l.dir, "work"))
	tools := slices.Clone(l.tools)
	for range round % len(tools) {
		tools = append(tools[1:], tools[0])
	}
	homes := map[string]string{}
	for _, name := range tools {
		homes[name] = filepath.Join(l.dir, "tool-"+name)
		if err := os.RemoveAll(homes[name]); err != nil {
			return err
		}
		if err := os.MkdirAll(homes[name], 0o700); err != nil {
			return err
		}
		defer os.RemoveAll(homes[name])
	}
	for _, step := range steps {
		if set == "tiny" && (step == "restore" || step == "verify") {
			continue
		}
		if step == "edited" {
			if set != "mixed" {
				continue
			}
			if err := l.maker("edit", work, float64(round)); err != nil {
				return err
			}
		}
		for _, name := range tools {
			if err := l.step(ctx, step, set, name, homes[name], work); err != nil {
				return fmt.Errorf("%s, %s, %s: %w", set, step, name, err)
			}
		}
	}
	return nil
}

func (l *lab) step(ctx context.Context, step, set, name, home, work string) error {
	t := l.tool(name, home)
	repo := filepath.Join(home, "repo")
	argv, dir := t.backup, work
	switch step {
	case "initial":
		if _, err := l.measure(ctx, t, t.init, home); err != nil {
			return err
		}
	case "daemon":
		if name != "trivet" {
			return nil
		}
		return l.measureDaemon(ctx, set, t, work)
	case "restore":
		target, remove, err := l.emptyDisk(filepath.Join(home, "target"))
		if err != nil {
			return err
		}
		defer remove()
		argv, dir = t.restore, target
	case "verify":
		argv, dir = t.verify, home
	}
	settle()
	before := treeBytes(repo)
	s, err := l.measure(ctx, t, argv, dir)
	if err != nil {
		return err
	}
	s.addedMB = float64(treeBytes(repo)-before) / 1e6
	l.add(set, step, name, s)
	if step == "restore" {
		return sameContent(work, dir)
	}
	return nil
}

// maker makes data in a process of its own: the memory of this one would count as that of the tools, which are forked from it.
func (l *lab) maker(what, dir string, number float64) error {
	out, err := exec.Command(l.self, asMaker, what, dir, fmt.Sprint(number)).CombinedOutput()
	if err != nil {
		return fmt.Errorf("make data: %w: %s", err, out)
	}
	return nil
}

// emptyDisk gives an empty directory to restore into: where root may, a new file system. In one where much was deleted just before,
// ext4 looks long for inodes (it does not reuse those of the last minutes), and that would be the next tool's loss.
func (l *lab) emptyDisk(dir string) (target string, remove func(), err error) {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return "", nil, err
	}
	remove = func() { _ = os.RemoveAll(dir) }
	if os.Getuid() != 0 {
		return dir, remove, nil
	}
	image := dir + ".image"
	const sparse = 16 << 30
	f, err := os.Create(image)
	if err == nil {
		err = errors.Join(f.Truncate(sparse), f.Close())
	}
	if err == nil {
		err = exec.Command("mkfs.ext4", "-q", "-m", "0", "-E", "lazy_itable_init=0,lazy_journal_init=0", image).Run()
	}
	if err == nil {
		err = exec.Command("mount", "-o", "loop", image, dir).Run()
	}
	if err != nil { // no loop devices here: the plain directory will do
		_ = os.Remove(image)
		return dir, remove, nil
	}
	target = filepath.Join(dir, "target")
	return target, func() {
		_ = exec.Command("umount", dir).Run()
		_ = os.RemoveAll(dir)
		_ = os.Remove(image)
	}, os.Mkdir(target, 0o700)
}

func (l *lab) add(set, step, name string, s sample) {
	c := cell{set, step, name}
	l.results[c] = append(l.results[c], s)
	fmt.Fprintf(os.Stderr, "%-6s %-10s %-13s %7.2f s %7.2f cpu s %5.0f MiB %8.1f MB\n", set, step, name, s.wall.Seconds(), s.cpu.Seconds(), s.rssMiB, s.addedMB)
}

// measure runs a program to its end.
func (l *lab) measure(ctx context.Context, t tool, argv []string, dir string) (sample, error) {
	ctx, cancel := context.WithTimeout(ctx, l.timeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), t.env...)
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	began := time.Now()
	err := cmd.Run()
	wall := time.Since(began)
	if err != nil {
		return sample{}, fmt.Errorf("%s: %w\n%s", strings.Join(argv, " "), err, said.String())
	}
	return usage(cmd.ProcessState, wall), nil
}

func usage(p *os.ProcessState, wall time.Duration) sample {
	s := sample{wall: wall, cpu: p.UserTime() + p.SystemTime()}
	if u, ok := p.SysUsage().(*syscall.Rusage); ok {
		s.rssMiB = float64(u.Maxrss) / 1024
	}
	return s
}

// measureDaemon measures the second of two unchanged backups by a process that has the repository open.
func (l *lab) measureDaemon(ctx context.Context, set string, t tool, work string) error {
	cmd := exec.CommandContext(ctx, l.self, asTrivet, asDaemon)
	cmd.Dir = work
	cmd.Env = append(os.Environ(), t.env...)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	answers := bufio.NewScanner(out)
	answers.Scan() // ready
	var wall, cpu time.Duration
	for range 2 {
		before := processCPU(cmd.Process.Pid)
		began := time.Now()
		if _, err := fmt.Fprintln(in, "go"); err != nil {
			return err
		}
		if !answers.Scan() {
			return errors.Join(errors.New("the daemon ended"), cmd.Wait())
		}
		wall, cpu = time.Since(began), processCPU(cmd.Process.Pid)-before
	}
	if err := in.Close(); err != nil {
		return err
	}
	if err := cmd.Wait(); err != nil {
		return err
	}
	s := usage(cmd.ProcessState, wall)
	s.cpu = cpu
	l.add(set, "daemon", t.name, s)
	return nil
}

// processCPU is the time that a running process has used (proc(5): fields 14 and 15, in hundredths).
func processCPU(pid int) time.Duration {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	var user, system int64
	_, _ = fmt.Sscan(fields[11], &user) // a count, by the kernel's word
	_, _ = fmt.Sscan(fields[12], &system)
	return time.Duration(user+system) * 10 * time.Millisecond
}

// settle lets the disk finish what was written, so that a step does not pay for the one before.
func settle() { syscall.Sync() }

func treeBytes(dir string) (n int64) {
	_ = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			if info, err := d.Info(); err == nil {
				n += info.Size()
			}
		}
		return nil
	})
	return n
}

// copyTree copies with times and modes.
func copyTree(from, to string) error {
	if err := os.RemoveAll(to); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	out, err := exec.Command("cp", "-a", "--", from, to).CombinedOutput()
	if err != nil {
		return fmt.Errorf("cp: %w: %s", err, out)
	}
	return nil
}

// sameContent compares two trees: a tool that is fast and wrong has no figure.
func sameContent(want, got string) error {
	out, err := exec.Command("diff", "-rq", "--no-dereference", want, got).CombinedOutput()
	if err != nil {
		return fmt.Errorf("the restored files differ: %s", out[:min(len(out), 500)])
	}
	return nil
}
