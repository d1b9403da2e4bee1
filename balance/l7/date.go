package l7

import (
	"sync/atomic"
	"time"
)

// dateCache holds the Date field of answers of our own, which changes once a second (RFC 9110 §6.6.1).
type dateCache struct {
	line atomic.Pointer[dateLine]
}

type dateLine struct {
	second int64
	text   []byte
}

// appendDate appends the Date field.
func (s *Server) appendDate(dst []byte, now time.Duration) []byte {
	second := int64(now / time.Second)
	d := s.date.line.Load()
	if d == nil || d.second != second {
		d = &dateLine{second: second, text: time.Now().UTC().AppendFormat(nil, "Date: Mon, 02 Jan 2006 15:04:05 GMT\r\n")}
		s.date.line.Store(d)
	}
	return append(dst, d.text...)
}
