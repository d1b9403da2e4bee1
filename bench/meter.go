package main

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// tick is the unit of CPU times in /proc: USER_HZ is 100 on every Linux that Go supports (proc(5)).
const tick = time.Second / 100

// groupCPU returns the user and system time that the processes of a group have used.
func groupCPU(group int) (time.Duration, error) {
	var total time.Duration
	err := eachOf(group, func(_ string, fields []string) error {
		// Fields 14 and 15 of stat(5); fields[0] is the third, the state.
		for _, i := range []int{11, 12} {
			ticks, err := strconv.ParseInt(fields[i], 10, 64)
			if err != nil {
				return err
			}
			total += time.Duration(ticks) * tick
		}
		return nil
	})
	return total, err
}

// memoryOf returns the proportional set size, in bytes, of the processes of a group.
func memoryOf(group int) (bytesTotal float64, err error) {
	err = eachOf(group, func(dir string, _ []string) error {
		f, err := os.Open(filepath.Join(dir, "smaps_rollup"))
		if err != nil {
			return err
		}
		defer f.Close()
		for scan := bufio.NewScanner(f); scan.Scan(); {
			if fields := strings.Fields(scan.Text()); len(fields) == 3 && fields[0] == "Pss:" {
				bytesTotal += number(fields[1]) * 1024
				return nil
			}
		}
		return fmt.Errorf("read memory of %s: no Pss", dir)
	})
	return bytesTotal, err
}

// eachOf calls visit for every process of a group with its folder in /proc and its stat fields from the third on.
func eachOf(group int, visit func(dir string, fields []string) error) error {
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return err
	}
	found := false
	for _, dir := range dirs {
		text, err := os.ReadFile(filepath.Join(dir, "stat"))
		if err != nil {
			continue // it has ended
		}
		// The name in parentheses may hold anything, even spaces and parentheses.
		end := bytes.LastIndexByte(text, ')')
		fields := strings.Fields(string(text[end+1:]))
		if len(fields) < 13 || fields[2] != strconv.Itoa(group) {
			continue
		}
		if err := visit(dir, fields); err != nil {
			return err
		}
		found = true
	}
	if !found {
		return fmt.Errorf("process group %d has ended", group)
	}
	return nil
}

// A machineMeter is what the whole machine and our own processes have used so far.
type machineMeter struct {
	busy, all float64       // of the machine, in ticks of all cores
	ours      time.Duration // proxy, backends and this process
}

// foreignSince returns which percent of the machine others used between two readings; loadCPU is what a load generator of
// its own used, which has ended and is in nobody's account.
func (m machineMeter) foreignSince(before machineMeter, loadCPU time.Duration) float64 {
	all := m.all - before.all
	if all <= 0 {
		return 0
	}
	ours := float64(m.ours-before.ours+loadCPU) / float64(tick)
	return max(m.busy-before.busy-ours, 0) / all * 100
}

// meter reads the clock of the proxy's work and of everything else.
func (l *lab) meter(proxy *server, ours []*server) (time.Duration, machineMeter, error) {
	var m machineMeter
	for _, s := range ours {
		used, err := groupCPU(s.child.PID())
		if err != nil {
			return 0, m, err
		}
		m.ours += used
	}
	var self syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &self); err != nil {
		return 0, m, err
	}
	m.ours += time.Duration(self.Utime.Nano() + self.Stime.Nano())
	var err error
	if m.busy, m.all, err = machineTime(); err != nil {
		return 0, m, err
	}
	proxyCPU, err := groupCPU(proxy.child.PID())
	return proxyCPU, m, err
}

// machineTime reads the first line of /proc/stat: user, nice, system, idle, iowait, irq, softirq, steal.
func machineTime() (busy, all float64, err error) {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, 0, err
	}
	line, _, _ := strings.Cut(string(text), "\n")
	fields := strings.Fields(line)
	if len(fields) < 9 {
		return 0, 0, fmt.Errorf("read /proc/stat: %q", line)
	}
	for i, f := range fields[1:9] {
		n := number(f)
		all += n
		if i != 3 && i != 4 {
			busy += n
		}
	}
	return busy, all, nil
}
