package l4

import (
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/trivet-ha/trivet/internal/loop"
)

// replies are answers that are about to be sent to clients. They are gathered from all sessions that are ready, and
// go out together.
type replies struct {
	w     *worker
	in    *inbox
	out   outbox
	used  int // slots of in that out refers to
	fd    int // by which they go out
	flows [slots]*flow
	due   bool
	post  func() // sends them, once every session has had its turn
}

func newReplies(w *worker) *replies {
	r := &replies{w: w, in: newInbox()}
	r.post = func() { r.due = false; r.flush() }
	return r
}

// receive takes what the endpoint of a session has sent, as far as there is room: datagrams in n, and whether there
// may be more.
func (r *replies) receive(x *flow) (n int, more bool, e unix.Errno) {
	if fd := x.p.FDs[0]; r.fd != fd || r.used == slots {
		r.flush()
		r.fd = fd
	}
	from := r.used
	k, e := r.in.receive(x.fd, from)
	if e != 0 {
		return 0, false, e
	}
	more = from+k == slots
	r.used += k
	bytes := 0
	for i := from; i < from+k; {
		var datagrams, size int
		i, datagrams, size = r.add(x, i, from+k)
		n += datagrams
		bytes += size
	}
	x.stats.out.Add(uint64(bytes))
	if !r.due {
		r.due = true
		r.w.Loop.Post(r.post)
	}
	return n, more, 0
}

// add makes a message of slot i and of what follows, up to end, as far as it can be cut into the same datagrams.
func (r *replies) add(x *flow, i, end int) (next, datagrams, bytes int) {
	h := r.out.begin()
	r.flows[r.out.n-1] = x
	h.Name, h.Namelen = (*byte)(unsafe.Pointer(&x.to)), x.toSize
	h.Control = unsafe.SliceData(x.control)
	h.SetControllen(len(x.control))
	data := r.in.data(i)
	r.out.append(data)
	size, total := len(data), len(data)
	if segment := r.in.facts(i).segment; segment > 0 {
		r.out.cut(segment, x.control)
		return i + 1, (size + segment - 1) / segment, size
	}
	n := 1
	for i++; i < end && n < segmentsMax && !x.whole; i++ {
		data = r.in.data(i)
		if len(data) == 0 || len(data) > size || total+len(data) > segmentBytes || r.in.facts(i).segment > 0 {
			break
		}
		r.out.append(data)
		n++
		total += len(data)
		if len(data) < size {
			i++
			break
		}
	}
	if n > 1 {
		r.out.cut(size, x.control)
	}
	return i, n, total
}

// flush sends what has been gathered.
func (r *replies) flush() {
	o := &r.out
	for at := 0; at < o.n; {
		n, e := loop.SendMany(r.fd, o.msgs[at:o.n])
		switch {
		case e == 0:
			at += n
			continue
		case busy(e):
			r.flows[at].lose(o.datagrams(at, o.n))
			at = o.n
			continue
		case o.segments[at] > 0 && uncuttable(e):
			x := r.flows[at]
			x.whole = true
			x.lose(o.whole(r.fd, at, x.control))
		default: // too long for the path, or no way to the client
			r.flows[at].lose(1)
		}
		at++
	}
	clear(r.flows[:o.n])
	o.clear()
	r.used = 0
}
