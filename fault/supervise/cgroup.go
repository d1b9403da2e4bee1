package supervise

import (
	"bufio"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// cgroup is a control group (version 2) for one start of a command: whatever the
// command does, its processes stay in it, and one write kills them all. A nil
// cgroup is none: where there are no control groups, or this process may not make
// any.
type cgroup struct{ dir string }

// newCgroup makes a group below the one of this process.
func newCgroup(token string) *cgroup {
	own := ownCgroup("/proc/self/mountinfo", "/proc/self/cgroup")
	if own == "" {
		return nil
	}
	dir := filepath.Join(own, "trivet-"+token)
	if os.Mkdir(dir, 0o755) != nil {
		return nil
	}
	g := &cgroup{dir}
	if _, err := os.Stat(filepath.Join(dir, "cgroup.kill")); err != nil { // before Linux 5.14
		g.remove()
		return nil
	}
	return g
}

// ownCgroup returns the folder of this process's group, or "": from the mounts,
// as proc(5) describes them, and the groups that it is in.
func ownCgroup(mounts, groups string) string {
	path, found := "", false
	eachLine(groups, func(line string) {
		if p, unified := strings.CutPrefix(line, "0::"); unified {
			path, found = p, true
		}
	})
	if !found {
		return ""
	}
	dir := ""
	eachLine(mounts, func(line string) {
		before, after, _ := strings.Cut(line, " - ")
		fields, kind := strings.Fields(before), strings.Fields(after)
		if len(fields) < 5 || len(kind) == 0 || kind[0] != "cgroup2" {
			return
		}
		// A container sees a part of the tree only: fields[3] is the part's root.
		if below, ok := strings.CutPrefix(path, strings.TrimSuffix(fields[3], "/")); ok {
			dir = filepath.Join(fields[4], below)
		}
	})
	return dir
}

func eachLine(name string, f func(string)) {
	file, err := os.Open(name)
	if err != nil {
		return
	}
	defer file.Close()
	for s := bufio.NewScanner(file); s.Scan(); {
		f(s.Text())
	}
}

func (g *cgroup) path() string {
	if g == nil {
		return ""
	}
	return g.dir
}

// descriptor opens the group's folder, for a process to be started in it.
func (g *cgroup) descriptor() (fd int, ok bool) {
	if g == nil {
		return -1, false
	}
	fd, err := unix.Open(g.dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	return fd, err == nil
}

// kill ends every process in the group.
func (g *cgroup) kill() {
	if g != nil {
		_ = os.WriteFile(filepath.Join(g.dir, "cgroup.kill"), []byte("1"), 0)
	}
}

// remove takes the group away. The kernel may need a moment to see that it is
// empty.
func (g *cgroup) remove() {
	if g == nil {
		return
	}
	for range 50 {
		if err := os.Remove(g.dir); err == nil || os.IsNotExist(err) {
			return
		}
		time.Sleep(2 * time.Millisecond)
	}
}
