// Package limit keeps the traffic of a store within a bandwidth: bytes per second, up and down, shared by all
// connections and goroutines that use the same Limits.
//
// Network stores put it below their protocol, around the connection, so that bytes flow evenly; Store is for
// the rest. It never drops or reorders anything, and a rate of zero means no limit.
package limit

import (
	"context"
	"io"
	"net"
	"sync"
	"time"

	"github.com/trivet-ha/trivet/backup/store"
)

// burst is how long a bucket that was idle may be overdrawn at once. A tenth of a second is short enough for
// the queues of a slow link, and long enough that a wait is rarely shorter than the timer's resolution.
const burst = 100 * time.Millisecond

// Bucket hands out the right to move bytes at a steady rate. A nil Bucket has no limit.
type Bucket struct {
	perSecond float64

	mu sync.Mutex
	// free is the instant at which all bytes handed out so far have passed.
	free time.Time
}

// NewBucket returns a Bucket for a rate in bytes per second, nil if the rate is not positive.
func NewBucket(bytesPerSecond int64) *Bucket {
	if bytesPerSecond <= 0 {
		return nil
	}
	return &Bucket{perSecond: float64(bytesPerSecond)}
}

// Wait takes n bytes and returns when they may pass, or when the context ends, with its error.
func (b *Bucket) Wait(ctx context.Context, n int) error {
	if b == nil || n <= 0 {
		return nil
	}
	pause := b.take(time.Now(), n)
	if pause <= 0 {
		return nil
	}
	t := time.NewTimer(pause)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// take reserves n bytes at now, and gives the time to wait before they may pass.
func (b *Bucket) take(now time.Time, n int) time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	if earliest := now.Add(-burst); b.free.Before(earliest) {
		b.free = earliest
	}
	b.free = b.free.Add(time.Duration(float64(n) / b.perSecond * float64(time.Second)))
	return b.free.Sub(now)
}

// piece is the most that is moved in one step: small beside a second's worth, so that the flow is even.
func (b *Bucket) piece(n int) int {
	if b == nil {
		return n
	}
	return min(n, max(1024, int(b.perSecond/20)))
}

// Limits are the two directions, as seen from this machine.
type Limits struct {
	Up, Down *Bucket
}

// New returns Limits for two rates in bytes per second; zero means unlimited.
func New(up, down int64) Limits { return Limits{Up: NewBucket(up), Down: NewBucket(down)} }

// Active reports whether any direction is limited.
func (l Limits) Active() bool { return l.Up != nil || l.Down != nil }

// Dialer is the shape of net.Dialer.DialContext.
type Dialer func(ctx context.Context, network, address string) (net.Conn, error)

// Dial limits every connection that dial opens.
func (l Limits) Dial(dial Dialer) Dialer {
	if !l.Active() {
		return dial
	}
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return l.Conn(c), nil
	}
}

// Conn limits a connection.
func (l Limits) Conn(c net.Conn) net.Conn {
	if !l.Active() {
		return c
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	return &conn{Conn: c, l: l, ctx: ctx, cancel: cancel}
}

type conn struct {
	net.Conn
	l      Limits
	ctx    context.Context // ends with the connection: a waiting Read or Write returns at once
	cancel context.CancelCauseFunc
}

func (c *conn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p[:c.l.Down.piece(len(p))])
	if werr := c.l.Down.Wait(c.ctx, n); err == nil {
		err = werr
	}
	return n, err
}

func (c *conn) Write(p []byte) (int, error) { return writePieces(c.ctx, c.l.Up, c.Conn, p) }

func (c *conn) Close() error {
	c.cancel(net.ErrClosed)
	return c.Conn.Close()
}

func writePieces(ctx context.Context, b *Bucket, w io.Writer, p []byte) (written int, err error) {
	for written < len(p) || len(p) == 0 {
		piece := p[written : written+b.piece(len(p)-written)]
		if err := b.Wait(ctx, len(piece)); err != nil {
			return written, err
		}
		n, err := w.Write(piece)
		written += n
		if err != nil || len(p) == 0 {
			return written, err
		}
	}
	return written, nil
}

// Reader limits what is read from r, in the direction b.
func Reader(ctx context.Context, b *Bucket, r io.Reader) io.Reader {
	if b == nil {
		return r
	}
	return &reader{ctx, b, r}
}

type reader struct {
	ctx context.Context
	b   *Bucket
	r   io.Reader
}

func (r *reader) Read(p []byte) (int, error) {
	n, err := r.r.Read(p[:r.b.piece(len(p))])
	if werr := r.b.Wait(r.ctx, n); err == nil {
		err = werr
	}
	return n, err
}

// Store limits a store that has no connection of its own to limit (a mounted network file system): a file's
// bytes are paid for before it is saved. The result is a store.Stager and an io.Closer if s is.
func Store(s store.Store, l Limits) store.Store {
	if !l.Active() {
		return s
	}
	w := &wrapper{Store: s, l: l}
	if stager, ok := s.(store.Stager); ok {
		return &stagingWrapper{wrapper: w, stager: stager}
	}
	return w
}

type wrapper struct {
	store.Store
	l Limits
}

// Close closes the store inside.
func (w *wrapper) Close() error {
	if c, ok := w.Store.(io.Closer); ok {
		return c.Close()
	}
	return nil
}

// Unwrap returns the store inside.
func (w *wrapper) Unwrap() store.Store { return w.Store }

func (w *wrapper) Save(ctx context.Context, h store.Handle, data []byte) error {
	if err := w.l.Up.Wait(ctx, len(data)); err != nil {
		return err
	}
	return w.Store.Save(ctx, h, data)
}

func (w *wrapper) Open(ctx context.Context, h store.Handle, offset, length int64) (io.ReadCloser, error) {
	r, err := w.Store.Open(ctx, h, offset, length)
	if err != nil {
		return nil, err
	}
	return struct {
		io.Reader
		io.Closer
	}{Reader(ctx, w.l.Down, r), r}, nil
}

type stagingWrapper struct {
	*wrapper
	stager store.Stager
}

func (w *stagingWrapper) Stage(ctx context.Context, kind store.Kind, sizeBytes int64) (store.Staged, error) {
	f, err := w.stager.Stage(ctx, kind, sizeBytes)
	if err != nil {
		return nil, err
	}
	return &staged{Staged: f, ctx: ctx, up: w.l.Up}, nil
}

func (w *stagingWrapper) Barrier(ctx context.Context) error { return w.stager.Barrier(ctx) }

// staged pays for each Write as a whole: the pieces are small beside a pack, and aligned for the disk.
type staged struct {
	store.Staged
	ctx context.Context
	up  *Bucket
}

func (s *staged) Write(p []byte) (int, error) {
	if err := s.up.Wait(s.ctx, len(p)); err != nil {
		return 0, err
	}
	return s.Staged.Write(p)
}
