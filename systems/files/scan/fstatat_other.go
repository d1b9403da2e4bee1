//go:build !amd64

package scan

import "golang.org/x/sys/unix"

const sysFstatat = unix.SYS_FSTATAT // of all newer 64-bit architectures: arm64, riscv64, loong64
