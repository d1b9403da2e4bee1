package l7

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/trivet-ha/trivet/balance/l7/http1"
)

// An AccessLog writes a line for each request. Writing is done beside the event loops: a slow disk delays no
// request, it loses lines, and Dropped counts them.
type AccessLog struct {
	w      io.Writer
	format *Template // nil for JSON
	sample uint64    // of 2^32; a request with an answer of 500 or above is always logged

	wake    chan struct{}
	dropped atomic.Uint64

	mu      sync.Mutex
	pending []byte
}

// Names of formats that NewAccessLog knows beside templates.
const (
	FormatJSON     = "json"
	FormatCombined = "combined"
)

// combinedFormat is the combined log format of Apache httpd and nginx.
const combinedFormat = `{client_ip} - - [{time_clf}] "{method} {uri} {protocol}" {status} {bytes_out} "{referer}" "{user_agent}"`

// logPendingMax bounds the lines that wait to be written, in bytes.
const logPendingMax = 8 << 20

// logFlushEvery is how long a line waits for more to be written together.
const logFlushEvery = 100 * time.Millisecond

// NewAccessLog makes a log that writes to w in the given format: FormatJSON, FormatCombined, or a template
// (see Variables). sample is the share of requests that are logged, 0 to 1; 0 means all.
func NewAccessLog(w io.Writer, format string, sample float64) (*AccessLog, error) {
	if sample < 0 || sample > 1 {
		return nil, fmt.Errorf("access log: sample %v is not between 0 and 1", sample)
	}
	if sample == 0 {
		sample = 1
	}
	l := &AccessLog{w: w, sample: uint64(sample * (1 << 32)), wake: make(chan struct{}, 1)}
	switch format {
	case FormatJSON, "":
		return l, nil
	case FormatCombined:
		format = combinedFormat
	}
	t, err := ParseTemplate(format)
	if err != nil {
		return nil, fmt.Errorf("access log: %w", err)
	}
	l.format = t
	return l, nil
}

// Dropped returns the number of lines that were lost because writing was too slow.
func (l *AccessLog) Dropped() uint64 { return l.dropped.Load() }

// Run writes what the event loops leave, until ctx ends. It returns the first error of the writer.
func (l *AccessLog) Run(ctx context.Context) error {
	var spare []byte
	for {
		select {
		case <-ctx.Done():
			_, err := l.write(spare)
			return err
		case <-l.wake:
		}
		select { // let lines gather
		case <-ctx.Done():
		case <-time.After(logFlushEvery):
		}
		var err error
		if spare, err = l.write(spare); err != nil {
			return fmt.Errorf("write access log: %w", err)
		}
	}
}

func (l *AccessLog) write(spare []byte) ([]byte, error) {
	l.mu.Lock()
	p := l.pending
	l.pending = spare[:0]
	l.mu.Unlock()
	_, err := l.w.Write(p)
	return p, err
}

func (l *AccessLog) add(x *exchange) {
	if l.sample < 1<<32 && x.status < 500 && x.w.Random()>>32 >= l.sample {
		return
	}
	line := x.w.text[:0]
	if l.format != nil {
		x.logging = true
		line = append(l.format.append(line, x), '\n')
	} else {
		line = x.appendJSON(line)
	}
	x.w.text = line
	l.mu.Lock()
	full := len(l.pending)+len(line) > logPendingMax
	if !full {
		l.pending = append(l.pending, line...)
	}
	l.mu.Unlock()
	if full {
		l.dropped.Add(1)
		return
	}
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// logFields keep what a line tells of the request, for its head is gone when the answer ends.
type logFields struct {
	set                                      bool
	text                                     []byte
	method, host, path, query, uri, ref, agt span
}

type span struct{ from, to int32 }

func (f *logFields) of(s span) []byte { return f.text[s.from:s.to] }

func (f *logFields) reset() logFields { return logFields{text: f.text[:0]} }

func (f *logFields) keep(p []byte) span {
	from := int32(len(f.text))
	f.text = append(f.text, p...)
	return span{from, int32(len(f.text))}
}

// remember copies the facts of the request that the worker has just parsed.
func (f *logFields) remember(x *exchange) {
	q := &x.w.req
	f.text = f.text[:0]
	f.method, f.host = f.keep(q.MethodText), f.keep(q.Host)
	f.path, f.query, f.uri = f.keep(q.Path), f.keep(q.Query), f.keep(q.Target)
	f.ref, f.agt = f.keep(fieldValue(q, http1.Referer)), f.keep(fieldValue(q, http1.UserAgent))
	f.set = true
}

func (x *exchange) appendJSON(b []byte) []byte {
	f := &x.log
	b = append(b, `{"time":"`...)
	b = time.Now().UTC().AppendFormat(b, "2006-01-02T15:04:05.000Z07:00")
	b = append(b, `","listener":`...)
	b = appendQuoted(b, []byte(x.lis.Name))
	b = append(b, `,"client":"`...)
	b = appendAddr(b, x.source)
	b = append(b, '"')
	for _, s := range []struct {
		name string
		span span
	}{{"method", f.method}, {"host", f.host}, {"uri", f.uri}, {"referer", f.ref}, {"user_agent", f.agt}} {
		if f.set && s.span.to > s.span.from {
			b = append(append(append(b, ',', '"'), s.name...), `":`...)
			b = appendQuoted(b, f.of(s.span))
		}
	}
	b = appendNumber(b, "status", int64(x.status))
	b = appendNumber(b, "bytes_in", x.bytesIn)
	b = appendNumber(b, "bytes_out", x.bytesOut)
	b = appendMillis(append(b, `,"duration_ms":`...), x.took())
	if x.first > 0 {
		b = appendMillis(append(b, `,"first_byte_ms":`...), x.first-x.start)
	}
	for _, s := range []struct{ name, value string }{{"route", x.routeName()}, {"pool", x.poolName()}, {"endpoint", x.endpointName()}} {
		if s.value != "" {
			b = append(append(append(b, ',', '"'), s.name...), `":`...)
			b = appendQuoted(b, []byte(s.value))
		}
	}
	if x.attempts > 1 {
		b = appendNumber(b, "attempts", int64(x.attempts))
	}
	if len(x.requestID) > 0 {
		b = appendQuoted(append(b, `,"request_id":`...), x.requestID)
	}
	if x.lost {
		b = append(b, `,"cut_off":true`...)
	}
	return append(b, "}\n"...)
}

func appendNumber(b []byte, name string, n int64) []byte {
	b = append(append(append(b, ',', '"'), name...), `":`...)
	return strconv.AppendInt(b, n, 10)
}

func appendMillis(b []byte, d time.Duration) []byte {
	return strconv.AppendFloat(b, float64(d)/float64(time.Millisecond), 'f', 3, 64)
}

// appendQuoted appends a JSON string. Bytes that are no UTF-8 become U+FFFD.
func appendQuoted(b, s []byte) []byte {
	const hex = "0123456789abcdef"
	b = append(b, '"')
	for i := 0; i < len(s); {
		c := s[i]
		switch {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c < ' ' || c == 0x7f:
			b = append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		case c < utf8.RuneSelf:
			b = append(b, c)
		default:
			r, n := utf8.DecodeRune(s[i:])
			b = utf8.AppendRune(b, r)
			i += n
			continue
		}
		i++
	}
	return append(b, '"')
}

// appendSafe appends text from outside to a log line: quotes, backslashes and control characters are escaped,
// so that nobody can write lines of their own.
func appendSafe(b, s []byte) []byte {
	const hex = "0123456789ABCDEF"
	for _, c := range s {
		if c < ' ' || c == '"' || c == '\\' || c >= 0x7f {
			b = append(b, '\\', 'x', hex[c>>4], hex[c&15])
			continue
		}
		b = append(b, c)
	}
	return b
}

// fieldValue returns the value of the first field of that name, or nil.
func fieldValue(q *http1.Request, name http1.Name) []byte {
	if !q.Has(name) {
		return nil
	}
	return q.Fields[http1.Find(q.Fields, name)].Value
}
