package supervise

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// childrenOf lists the children of a process, of all its threads.
func childrenOf(pid int) (children []int) {
	lists, _ := filepath.Glob("/proc/" + strconv.Itoa(pid) + "/task/*/children")
	if len(lists) == 0 { // a kernel without CONFIG_PROC_CHILDREN
		return childrenByParent(pid)
	}
	for _, list := range lists {
		text, _ := os.ReadFile(list)
		for word := range strings.FieldsSeq(string(text)) {
			if child, err := strconv.Atoi(word); err == nil {
				children = append(children, child)
			}
		}
	}
	return children
}

// childrenByParent looks at every process there is.
func childrenByParent(parent int) (children []int) {
	for _, pid := range processes() {
		text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
		if err != nil {
			continue
		}
		// The name stands in parentheses and may hold anything (proc(5)).
		after := text[bytes.LastIndexByte(text, ')')+1:]
		if fields := bytes.Fields(after); len(fields) > 1 && string(fields[1]) == strconv.Itoa(parent) {
			children = append(children, pid)
		}
	}
	return children
}

// processes lists every process that this one may see.
func processes() (pids []int) {
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}

// sweep kills what is left of a start whose keeper was killed: the kernel has
// ended the command, and this what the command had started. They are known by the
// token in their environment, and held by a descriptor between the look and the
// kill, so that the number can't come to mean another process.
func sweep(token string, group string) (killed int) {
	if group != "" {
		g := &cgroup{group}
		g.kill()
		defer g.remove()
	}
	mark := []byte(marker + "=" + token + "\x00")
	for _, pid := range processes() {
		if !marked(pid, mark) {
			continue
		}
		fd, err := unix.PidfdOpen(pid, 0)
		if err != nil {
			continue
		}
		if marked(pid, mark) && unix.PidfdSendSignal(fd, syscall.SIGKILL, nil, 0) == nil {
			killed++
			reap(pid)
		}
		unix.Close(fd)
	}
	return killed
}

// reap collects a process that was orphaned, if it has come to this one: the first process of a container is
// everybody's parent. Of others it learns nothing.
func reap(pid int) {
	var status syscall.WaitStatus
	for range 50 {
		if n, err := syscall.Wait4(pid, &status, syscall.WNOHANG, nil); n != 0 || err != nil {
			return
		}
		time.Sleep(time.Millisecond)
	}
}

func marked(pid int, mark []byte) bool {
	env, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/environ")
	if err != nil {
		return false
	}
	return bytes.HasPrefix(env, mark) || bytes.Contains(env, append([]byte{0}, mark...))
}
