package l7

import (
	"math"
	"strconv"

	"github.com/trivet-ha/trivet/balance/l7/http1"
)

const textPlain = "text/plain; charset=utf-8"

// NoRoute is the name under which requests are counted that no route took.
const NoRoute = "(none)"

var noRoute = &Route{Name: NoRoute}

// fail answers with an error of our own.
func (x *exchange) fail(status int, text string) {
	if status >= 500 && x.fallBack(status) {
		return
	}
	x.w.text = append(append(x.w.text[:0], text...), '\n')
	x.reply(status, textPlain, x.w.text, nil)
}

// refuse answers a request whose body breaks the protocol.
func (x *exchange) refuse(err error) {
	x.keepAlive = false
	if bad, ok := err.(*http1.Error); ok {
		x.fail(bad.Status, bad.Text)
		return
	}
	x.fail(400, "bad request")
}

// reply sends a whole answer of our own and ends the exchange.
func (x *exchange) reply(status int, contentType string, body []byte, ops *HeaderOps) {
	x.status = status
	x.phase = phaseNone
	x.total, x.phaseBy, x.stallBy, x.asked = 0, 0, 0, 0
	if x.first == 0 {
		x.first = x.w.Loop.Now()
	}
	if !x.reqBody.Done() || x.unparsed || x.c.draining() {
		x.keepAlive = false
	}
	head := http1.AppendStatus(x.w.head[:0], 1, status, nil)
	head = x.w.srv.appendDate(head, x.w.Loop.Now())
	if bodyAllowed(status) {
		if contentType == "" {
			contentType = textPlain
		}
		head = append(append(append(head, "Content-Type: "...), contentType...), "\r\nContent-Length: "...)
		head = append(strconv.AppendInt(head, int64(len(body)), 10), "\r\n"...)
	}
	if status == 503 || status == 429 {
		head = append(head, "Retry-After: "...)
		head = append(strconv.AppendInt(head, int64(max(1, math.Ceil(min(x.retryAfter, retryAfterMax).Seconds()))), 10), "\r\n"...)
	}
	head = x.appendHSTS(head)
	if ops != nil {
		head = x.appendOps(head, ops)
	}
	if x.route != nil && !x.unparsed {
		head = x.appendOps(head, &x.route.ResponseHeaders)
	}
	head = append(x.appendConnection(head), "\r\n"...)
	if !bodyAllowed(status) || x.method == http1.HEAD {
		body = nil
	}
	x.bytesOut = int64(len(body))
	x.w.head = head
	x.answered, x.done = true, true
	if !x.c.say(head, body) {
		x.c.lost()
		return
	}
	if !x.c.blocked() {
		x.end()
	} else {
		x.rearm()
	}
}

func bodyAllowed(status int) bool { return status >= 200 && status != 204 && status != 304 }

func (x *exchange) redirect(r *Redirect) {
	x.reply(r.Status, textPlain, nil, &HeaderOps{Add: []HeaderOp{{Name: "Location", Value: r.Location}}})
}
