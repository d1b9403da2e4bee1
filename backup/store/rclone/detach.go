package rclone

import (
	"os/exec"
	"syscall"
)

// detach keeps a Ctrl-C at the terminal from ending rclone before our last call: it ends with us anyway,
// because its input does.
func detach(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
}
