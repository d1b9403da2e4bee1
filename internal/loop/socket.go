package loop

import (
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The calls below are raw: they do not tell the Go scheduler, which is right only because none of them can
// block. Every descriptor given to them must be non-blocking.

// Read reads once. n is 0 with errno 0 at the end of the stream, and for an empty buffer.
func Read(fd int, p []byte) (n int, errno unix.Errno) {
	if len(p) == 0 {
		return 0, 0
	}
	for {
		r, _, e := unix.RawSyscall(unix.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(&p[0])), uintptr(len(p)))
		if e == unix.EINTR {
			continue
		}
		if e != 0 {
			return 0, e
		}
		return int(r), 0
	}
}

// Peek returns what Read would, without taking anything: 0 also for bytes that are there.
func Peek(fd int) (n int, errno unix.Errno) {
	var p [1]byte
	r, _, e := unix.RawSyscall6(unix.SYS_RECVFROM, uintptr(fd), uintptr(unsafe.Pointer(&p[0])), 1, unix.MSG_PEEK|unix.MSG_DONTWAIT, 0, 0)
	if e != 0 {
		return 0, e
	}
	return int(r), 0
}

// Write sends once, without raising SIGPIPE.
func Write(fd int, p []byte) (n int, errno unix.Errno) { return send(fd, p, unix.MSG_NOSIGNAL) }

// WriteMore is Write with the promise that more follows at once: the kernel may hold back a partial packet.
func WriteMore(fd int, p []byte) (n int, errno unix.Errno) {
	return send(fd, p, unix.MSG_NOSIGNAL|unix.MSG_MORE)
}

func send(fd int, p []byte, flags uintptr) (n int, errno unix.Errno) {
	if len(p) == 0 {
		return 0, 0
	}
	for {
		r, _, e := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(&p[0])), uintptr(len(p)), flags, 0, 0)
		if e == unix.EINTR {
			continue
		}
		if e != 0 {
			return 0, e
		}
		return int(r), 0
	}
}

// Accept takes one connection from a listening socket; its raw peer address goes to sa.
func Accept(fd int, sa *unix.RawSockaddrAny) (int, unix.Errno) {
	for {
		size := uint32(unsafe.Sizeof(*sa))
		r, _, e := unix.RawSyscall6(unix.SYS_ACCEPT4, uintptr(fd), uintptr(unsafe.Pointer(sa)),
			uintptr(unsafe.Pointer(&size)), unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0, 0)
		if e == unix.EINTR {
			continue
		}
		if e != 0 {
			return -1, e
		}
		return int(r), 0
	}
}

// Close closes a descriptor. A non-blocking socket without SO_LINGER does not block in it.
func Close(fd int) { _, _, _ = unix.RawSyscall(unix.SYS_CLOSE, uintptr(fd), 0, 0) }

// ShutdownWrite ends the sending side; what the kernel has buffered still goes out.
func ShutdownWrite(fd int) {
	_, _, _ = unix.RawSyscall(unix.SYS_SHUTDOWN, uintptr(fd), unix.SHUT_WR, 0)
}

// A Message is one datagram for ReceiveMany and SendMany: the kernel's struct mmsghdr.
type Message struct {
	Hdr unix.Msghdr
	N   uint32 // bytes received or sent
}

// ReceiveMany receives up to len(m) datagrams. Fewer than that means that no more are there.
func ReceiveMany(fd int, m []Message) (n int, errno unix.Errno) {
	return many(unix.SYS_RECVMMSG, fd, m, unix.MSG_DONTWAIT)
}

// SendMany sends datagrams in order. If it sends only some of them, the next call tells why.
func SendMany(fd int, m []Message) (n int, errno unix.Errno) {
	return many(unix.SYS_SENDMMSG, fd, m, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
}

func many(call uintptr, fd int, m []Message, flags uintptr) (n int, errno unix.Errno) {
	if len(m) == 0 {
		return 0, 0
	}
	for {
		r, _, e := unix.RawSyscall6(call, uintptr(fd), uintptr(unsafe.Pointer(&m[0])), uintptr(len(m)), flags, 0, 0)
		if e == unix.EINTR {
			continue
		}
		if e != 0 {
			return 0, e
		}
		return int(r), 0
	}
}

// poll waits for events without giving up the processor.
func (l *Loop) poll(d time.Duration) int {
	ts := unix.NsecToTimespec(int64(d))
	r, _, e := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT2, uintptr(l.epfd), uintptr(unsafe.Pointer(&l.events[0])),
		batch, uintptr(unsafe.Pointer(&ts)), 0, 0)
	if e == unix.ENOSYS { // before Linux 5.11
		r, _, e = unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(l.epfd), uintptr(unsafe.Pointer(&l.events[0])),
			batch, uintptr(milliseconds(d)), 0, 0)
	}
	if e != 0 {
		return 0
	}
	return int(r)
}
