package http2

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/trivet-ha/trivet/balance/l7/http1"
)

// A row is a script and what is to happen. Both sides have sent SETTINGS before.
type row struct {
	name  string
	lines string
	want  string
	set   Settings
}

// check plays a row in one piece and in small ones, which must make no difference.
func (r *row) check(t *testing.T, client bool) {
	t.Helper()
	for _, cut := range []int{0, 1, 7, 100} {
		s := newScript(t, client, r.set)
		s.cut = cut
		s.play("settings")
		got := s.play(r.lines)
		if diff := cmp.Diff(clean(r.want), got); diff != "" {
			t.Errorf("in pieces of %d bytes:\n%s", cut, diff)
			return
		}
	}
}

// clean takes the indentation away.
func clean(text string) string {
	var lines []string
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "\n")
}

var serverTable = []row{
	// The life of a stream.
	{name: "a request and its answer", lines: "headers 1 end GET \n respond 1 200 content-length=5 \n send 1 end 5",
		want: "request 1 end GET / host=h none \n < headers 1 :status=200 content-length=5 \n took 5 \n < data 1 end 5"},
	{name: "a body of unknown length", lines: "headers 1 GET \n data 1 hello \n data 1 end wor \n respond 1 end 204",
		want: "request 1 GET / host=h chunked \n data 1 end hellowor \n < headers 1 end :status=204"},
	{name: "a body of known length, padded", lines: "headers 1 pad=3 GET content-length=8 \n data 1 pad=5 hello \n data 1 end pad=1 wor",
		want: "request 1 GET / host=h length length=8 content-length=8 \n data 1 end hellowor"},
	{name: "an empty body, ended later", lines: "headers 1 GET content-length=0 \n data 1 end", want: "request 1 GET / host=h length content-length=0 \n data 1 end"},
	{name: "trailers", lines: "headers 1 GET \n data 1 hello \n headers 1 end x-sum=1 grpc-status=0 \n respond 1 200 \n send 1 3 \n trailers 1 grpc-status=0 grpc-message=ok",
		want: "request 1 GET / host=h chunked \n data 1 hello \n" + ` trailers 1 end "x-sum: 1\r\ngrpc-status: 0\r\n\r\n"` +
			"\n < headers 1 :status=200 \n took 3 \n < data 1 3 \n < headers 1 end grpc-status=0 grpc-message=ok"},
	{name: "trailers that may not pass", lines: "headers 1 GET \n headers 1 end content-length=1 host=h cookie=a te=trailers x_forwarded_for=1 authorization=x x-y=1",
		want: "request 1 GET / host=h chunked \n" + ` trailers 1 end "x-y: 1\r\n\r\n"`},
	{name: "empty trailers", lines: "headers 1 GET \n headers 1 end \n respond 1 200 \n trailers 1",
		want: "request 1 GET / host=h chunked \n" + ` trailers 1 end "\r\n"` + "\n < headers 1 :status=200 \n < data 1 end 0"},
	{name: "interim answers", lines: "headers 1 end GET \n respond 1 100 \n respond 1 103 link=x \n respond 1 end 304",
		want: "request 1 end GET / host=h none \n < headers 1 :status=100 \n < headers 1 :status=103 link=x \n < headers 1 end :status=304"},
	{name: "the answer before the body", lines: "headers 1 GET \n respond 1 end 413 \n data 1 ab \n reset 1 NO_ERROR \n data 1 cd \n data 1 end",
		want: "request 1 GET / host=h chunked \n < headers 1 end :status=413 \n data 1 ab \n < rst 1 NO_ERROR"},
	{name: "two answers", lines: "headers 1 end GET \n respond 1 200 \n respond 1 200 \n respond 1 103 \n reset 1 CANCEL", want: "request 1 end GET / host=h none \n < headers 1 :status=200 \n error http2: the stream is closed \n error http2: the stream is closed \n < rst 1 CANCEL"},
	{name: "two at a time", lines: "headers 1 end GET \n headers 3 end GET \n respond 3 end 404 \n respond 1 end 500 \n headers 5 end GET",
		want: "request 1 end GET / host=h none \n request 3 end GET / host=h none \n < headers 3 end :status=404 \n < headers 1 end :status=500 \n request 5 end GET / host=h none"},
	{name: "the client resets", lines: "headers 1 GET \n rst 1 CANCEL \n respond 1 200 \n send 1 9 \n trailers 1 a=b \n data 1 x",
		want: "request 1 GET / host=h chunked \n reset 1 CANCEL \n error http2: the stream is closed \n took 0 \n error http2: the stream is closed \n reset 1 STREAM_CLOSED stream-ended \n < rst 1 STREAM_CLOSED"},
	{name: "we reset, and what is under way is ignored", lines: "headers 1 GET \n reset 1 CANCEL \n data 1 abc \n headers 1 end x=y \n rst 1 CANCEL \n window 1 5 \n headers 3 end GET x=y",
		want: "request 1 GET / host=h chunked \n < rst 1 CANCEL \n request 3 end GET / host=h none x=y"},
	{name: "unknown frames and flags are ignored", lines: "frame 0x20 0xff 0 0102 \n frame 0xff 0 7 \n headers 1 end GET \n frame 0x20 0 1 01", want: "request 1 end GET / host=h none"},
	{name: "priorities are ignored", lines: "priority 7 3 \n headers 1 end parent=5 GET \n priority 1 7", want: "request 1 end GET / host=h none"},
	{name: "continuation", lines: "headers 1 end open GET a=b \n continuation 1 open c=d \n continuation 1 e=f", want: "request 1 end GET / host=h none a=b c=d e=f"},
	{name: "continuation of nothing", lines: "headers 1 end open \n continuation 1 open \n continuation 1 GET", want: "request 1 end GET / host=h none"},
	{name: "ping", lines: "ping abc \n ask \n pong trivet? \n pong other", want: "< ping ack=true abc \n < ping ack=false trivet? \n pong 0"},
	{name: "the client goes away", lines: "goaway 0 NO_ERROR bye", want: "goaway 0 NO_ERROR bye"},

	// Heads.
	{name: "cookies in several fields", lines: "headers 1 end GET cookie=a=1 x=y cookie=b=2", want: "request 1 end GET / host=h none x=y Cookie=a=1; b=2"},
	{name: "host instead of authority", lines: "headers 1 end :method=GET :scheme=https :path=/a?b host=h2", want: "request 1 end GET /a?b host=h2 none secure"},
	{name: "host beside authority", lines: "headers 1 end GET host=H x=y", want: "request 1 end GET / host=h none x=y"},
	{name: "all servers, by OPTIONS", lines: "headers 1 end :method=OPTIONS :scheme=http :path=* :authority=h", want: "request 1 end OPTIONS * host=h none"},
	{name: "te trailers is no more than a hint", lines: "headers 1 end GET te=Trailers", want: "request 1 end GET / host=h none"},
	{name: "sensitive values", lines: "headers 1 end GET !x-key=1 \n headers 3 end GET !cookie=1 !authorization=x", want: "request 1 end GET / host=h none x-key=1 sensitive \n request 3 end GET / host=h none authorization=x Cookie=1"},
	{name: "an underscore is dropped", lines: "headers 1 end GET x_y=1", want: "request 1 end GET / host=h none"},
	{name: "an expectation", lines: "headers 1 GET expect=100-continue content-length=5", want: "request 1 GET / host=h length length=5 expect=100-continue content-length=5"},
	{name: "an expectation without a body", lines: "headers 1 end GET expect=100-continue", want: "request 1 end GET / host=h none"},

	// Heads that are sound HTTP/2 and refused.
	{name: "a head above the limit", lines: "headers 1 open GET x=*9000 \n continuation 1 open y=*9000 \n continuation 1 z=*15000 \n data 1 hello \n data 1 end \n respond 1 end 431 \n headers 3 end GET",
		want: "refused 1 431 head-size \n < headers 1 end :status=431 \n request 3 end GET / host=h none", set: Settings{Limits: http1.Limits{Head: 20000}}},
	{name: "a head of many small fields", lines: "headers 1 end GET " + strings.Repeat("a=b ", 10) + "\n headers 3 end GET a=b", want: "refused 1 end 431 head-size \n request 3 end GET / host=h none a=b",
		set: Settings{Limits: http1.Limits{Head: 400}}},
	{name: "too many fields", lines: "headers 1 end GET " + strings.Repeat("a=b ", 100), want: "refused 1 end 431 field-count"},
	{name: "a long path", lines: "headers 1 end :method=GET :scheme=http :authority=h :path=/" + strings.Repeat("a", 9000), want: "refused 1 end 414 line-length"},
	{name: "no host", lines: "headers 1 end :method=GET :scheme=http :path=/", want: "refused 1 end 400 host-missing"},
	{name: "a bad host", lines: "headers 1 end :method=GET :scheme=http :path=/ :authority=u@h", want: "refused 1 end 400 host-invalid"},
	{name: "an empty host", lines: "headers 1 end :method=GET :scheme=http :path=/ :authority=", want: "refused 1 end 400 host-invalid"},
	{name: "an upper-case host beside the authority", lines: "headers 1 end :method=GET :scheme=HTTP :path=/ :authority=H host=g", want: "reset 1 PROTOCOL_ERROR host-conflict \n < rst 1 PROTOCOL_ERROR"},
	{name: "all statuses that have an index", lines: "headers 1 GET \n respond 1 206 \n headers 3 GET \n respond 3 400 \n headers 5 GET \n respond 5 404",
		want: "request 1 GET / host=h chunked \n < headers 1 :status=206 \n request 3 GET / host=h chunked \n < headers 3 :status=400 \n request 5 GET / host=h chunked \n < headers 5 :status=404"},
	{name: "CONNECT", lines: "headers 1 :method=CONNECT :authority=h:443 \n data 1 abc \n respond 1 end 405", want: "refused 1 405 method-connect \n < headers 1 end :status=405"},
	{name: "TRACE", lines: "headers 1 end :method=TRACE :scheme=http :path=/ :authority=h", want: "refused 1 end 405 method-trace"},
	{name: "a method in lower case", lines: "headers 1 end :method=get :scheme=http :path=/ :authority=h", want: "refused 1 end 400 method"},
	{name: "another scheme", lines: "headers 1 end :method=HEAD :scheme=ftp :path=/ :authority=h", want: "refused 1 end head 400 scheme"},
	{name: "a fragment", lines: "headers 1 end :method=GET :scheme=http :path=/a#b :authority=h", want: "refused 1 end 400 target-fragment"},
	{name: "a control character", lines: `headers 1 end GET x=a\x01b`, want: "refused 1 end 400 field-value"},
	{name: "two lengths", lines: "headers 1 GET content-length=1 content-length=1", want: "refused 1 400 content-length-duplicate"},
	{name: "a length with a sign", lines: "headers 1 GET content-length=+1", want: "refused 1 400 content-length"},
	{name: "a body above the limit", lines: "headers 1 GET content-length=11 \n data 1 end *11", want: "refused 1 413 body-size", set: Settings{Limits: http1.Limits{Body: 10}}},
	{name: "an underscore, when refused", lines: "headers 1 end GET x_y=1", want: "refused 1 end 400 field-underscore", set: Settings{Limits: http1.Limits{Underscores: http1.UnderscoresReject}}},
	{name: "an unknown expectation", lines: "headers 1 GET expect=x", want: "refused 1 417 expect"},
	{name: "a refused request with trailers", lines: "headers 1 GET expect=x \n headers 1 end a=b \n respond 1 end 417", want: "refused 1 417 expect \n < headers 1 end :status=417"},

	// WebSockets.
	{name: "a WebSocket", lines: "headers 1 :method=CONNECT :protocol=websocket :scheme=https :path=/chat :authority=h sec-websocket-version=13 \n respond 1 101 sec-websocket-accept=x connection=upgrade upgrade=websocket \n data 1 ping \n send 1 4 \n data 1 end \n send 1 end 1",
		want: "request 1 GET /chat host=h none upgrade=websocket sec-websocket-version=13 secure \n < headers 1 :status=200 \n data 1 ping \n took 4 \n < data 1 4 \n data 1 end \n took 1 \n < data 1 end 1",
		set:  Settings{WebSocket: true}},
	{name: "a WebSocket that is not accepted", lines: "headers 1 :method=CONNECT :protocol=websocket :scheme=https :path=/chat :authority=h \n respond 1 end 403",
		want: "request 1 GET /chat host=h none upgrade=websocket secure \n < headers 1 end :status=403", set: Settings{WebSocket: true}},
	{name: "a WebSocket with a length", lines: "headers 1 :method=CONNECT :protocol=websocket :scheme=https :path=/ :authority=h content-length=0 \n data 1 x", want: "request 1 GET / host=h length upgrade=websocket content-length=0 secure \n data 1 x", set: Settings{WebSocket: true}},
	{name: "another protocol", lines: "headers 1 :method=CONNECT :protocol=h2c :scheme=https :path=/ :authority=h", want: "refused 1 501 protocol", set: Settings{WebSocket: true}},

	// Heads that are malformed.
	{name: "an unknown pseudo-header field", lines: "headers 1 end GET :x=y \n headers 3 end GET", want: "reset 1 PROTOCOL_ERROR pseudo-unknown \n < rst 1 PROTOCOL_ERROR \n request 3 end GET / host=h none"},
	{name: "a status in a request", lines: "headers 1 end GET :status=200", want: "reset 1 PROTOCOL_ERROR pseudo-unknown \n < rst 1 PROTOCOL_ERROR"},
	{name: "two paths", lines: "headers 1 end GET :path=/", want: "reset 1 PROTOCOL_ERROR pseudo-duplicate \n < rst 1 PROTOCOL_ERROR"},
	{name: "two paths, one empty", lines: "headers 1 end :path= GET", want: "reset 1 PROTOCOL_ERROR pseudo-duplicate \n < rst 1 PROTOCOL_ERROR"},
	{name: "a pseudo-header field at the end", lines: "headers 1 end :method=GET :scheme=http :path=/ a=b :authority=h", want: "reset 1 PROTOCOL_ERROR pseudo-late \n < rst 1 PROTOCOL_ERROR"},
	{name: "no method", lines: "headers 1 end :scheme=http :path=/ :authority=h", want: "reset 1 PROTOCOL_ERROR pseudo-missing \n < rst 1 PROTOCOL_ERROR"},
	{name: "no scheme", lines: "headers 1 end :method=GET :path=/ :authority=h", want: "reset 1 PROTOCOL_ERROR pseudo-missing \n < rst 1 PROTOCOL_ERROR"},
	{name: "no path", lines: "headers 1 end :method=GET :scheme=http :authority=h a=b", want: "reset 1 PROTOCOL_ERROR pseudo-missing \n < rst 1 PROTOCOL_ERROR"},
	{name: "no head at all", lines: "headers 1 end", want: "reset 1 PROTOCOL_ERROR pseudo-missing \n < rst 1 PROTOCOL_ERROR"},
	{name: "a pseudo-header field as trailer", lines: "headers 1 GET \n headers 1 end :path=/", want: "request 1 GET / host=h chunked \n reset 1 PROTOCOL_ERROR pseudo-trailer \n < rst 1 PROTOCOL_ERROR"},
	{name: "a space in the path", lines: "headers 1 end :method=GET :scheme=http :path=/␣HTTP/1.1 :authority=h", want: "reset 1 PROTOCOL_ERROR pseudo-value \n < rst 1 PROTOCOL_ERROR"},
	{name: "a line end in the method", lines: `headers 1 end :method=GET\r\n :scheme=http :path=/ :authority=h`, want: "reset 1 PROTOCOL_ERROR pseudo-value \n < rst 1 PROTOCOL_ERROR"},
	{name: "an empty path", lines: "headers 1 end :method=GET :scheme=http :path= :authority=h", want: "reset 1 PROTOCOL_ERROR path-form \n < rst 1 PROTOCOL_ERROR"},
	{name: "a URL as path", lines: "headers 1 end :method=GET :scheme=http :path=http://other/ :authority=h", want: "reset 1 PROTOCOL_ERROR path-form \n < rst 1 PROTOCOL_ERROR"},
	{name: "all servers, by GET", lines: "headers 1 end :method=GET :scheme=http :path=* :authority=h", want: "reset 1 PROTOCOL_ERROR path-form \n < rst 1 PROTOCOL_ERROR"},
	{name: "an upper-case name", lines: "headers 1 end GET X-y=1", want: "reset 1 PROTOCOL_ERROR field-name \n < rst 1 PROTOCOL_ERROR"},
	{name: "a colon in a name", lines: "headers 1 end GET a:b=1", want: "reset 1 PROTOCOL_ERROR field-name \n < rst 1 PROTOCOL_ERROR"},
	{name: "a line end in a name", lines: `headers 1 end GET a\r\nb=1`, want: "reset 1 PROTOCOL_ERROR field-name \n < rst 1 PROTOCOL_ERROR"},
	{name: "a line end in a value", lines: `headers 1 end GET a=b\r\nx:y`, want: "reset 1 PROTOCOL_ERROR field-value \n < rst 1 PROTOCOL_ERROR"},
	{name: "NUL in a value", lines: `headers 1 end GET a=b\x00`, want: "reset 1 PROTOCOL_ERROR field-value \n < rst 1 PROTOCOL_ERROR"},
	{name: "a space before a value", lines: "headers 1 end GET a=␣b", want: "reset 1 PROTOCOL_ERROR field-value \n < rst 1 PROTOCOL_ERROR"},
	{name: "a tab after a value", lines: `headers 1 end GET a=b\t`, want: "reset 1 PROTOCOL_ERROR field-value \n < rst 1 PROTOCOL_ERROR"},
	{name: "connection", lines: "headers 1 end GET connection=keep-alive", want: "reset 1 PROTOCOL_ERROR connection-field \n < rst 1 PROTOCOL_ERROR"},
	{name: "keep-alive", lines: "headers 1 end GET keep-alive=1", want: "reset 1 PROTOCOL_ERROR connection-field \n < rst 1 PROTOCOL_ERROR"},
	{name: "proxy-connection", lines: "headers 1 end GET proxy-connection=keep-alive", want: "reset 1 PROTOCOL_ERROR connection-field \n < rst 1 PROTOCOL_ERROR"},
	{name: "transfer-encoding", lines: "headers 1 GET transfer-encoding=chunked", want: "reset 1 PROTOCOL_ERROR connection-field \n < rst 1 PROTOCOL_ERROR"},
	{name: "upgrade", lines: "headers 1 end GET upgrade=websocket", want: "reset 1 PROTOCOL_ERROR connection-field \n < rst 1 PROTOCOL_ERROR"},
	{name: "te gzip", lines: "headers 1 end GET te=gzip", want: "reset 1 PROTOCOL_ERROR te \n < rst 1 PROTOCOL_ERROR"},
	{name: "te that is nearly trailers", lines: "headers 1 end GET te=trailerz", want: "reset 1 PROTOCOL_ERROR te \n < rst 1 PROTOCOL_ERROR"},
	{name: "another host beside the authority", lines: "headers 1 end GET host=other", want: "reset 1 PROTOCOL_ERROR host-conflict \n < rst 1 PROTOCOL_ERROR"},
	{name: "two hosts", lines: "headers 1 end :method=GET :scheme=http :path=/ host=h host=h", want: "reset 1 PROTOCOL_ERROR host-conflict \n < rst 1 PROTOCOL_ERROR"},
	{name: "a protocol that was not offered", lines: "headers 1 :method=CONNECT :protocol=websocket :scheme=https :path=/ :authority=h", want: "reset 1 PROTOCOL_ERROR connect \n < rst 1 PROTOCOL_ERROR"},
	{name: "a protocol without CONNECT", lines: "headers 1 GET :protocol=websocket", want: "reset 1 PROTOCOL_ERROR connect \n < rst 1 PROTOCOL_ERROR", set: Settings{WebSocket: true}},
	{name: "a second head", lines: "headers 1 GET \n headers 1 GET", want: "request 1 GET / host=h chunked \n reset 1 PROTOCOL_ERROR pseudo-trailer \n < rst 1 PROTOCOL_ERROR"},
	{name: "trailers that do not end the body", lines: "headers 1 GET \n headers 1 a=b", want: "request 1 GET / host=h chunked \n reset 1 PROTOCOL_ERROR trailers-end \n < rst 1 PROTOCOL_ERROR"},
	{name: "trailers that are too large", lines: "headers 1 GET \n headers 1 end a=*300", want: "request 1 GET / host=h chunked \n reset 1 ENHANCE_YOUR_CALM trailer-size \n < rst 1 ENHANCE_YOUR_CALM", set: Settings{Limits: http1.Limits{Head: 300}}},
	{name: "a declared body that does not come", lines: "headers 1 end GET content-length=1", want: "reset 1 PROTOCOL_ERROR length-mismatch \n < rst 1 PROTOCOL_ERROR"},
	{name: "a body that is too short", lines: "headers 1 GET content-length=5 \n data 1 end abc", want: "request 1 GET / host=h length length=5 content-length=5 \n reset 1 PROTOCOL_ERROR length-mismatch \n < rst 1 PROTOCOL_ERROR"},
	{name: "a body that is too long", lines: "headers 1 GET content-length=5 \n data 1 abc \n data 1 pad=2 abc \n data 1 end", want: "request 1 GET / host=h length length=5 content-length=5 \n data 1 abc \n reset 1 PROTOCOL_ERROR length-mismatch \n < rst 1 PROTOCOL_ERROR"},
	{name: "a body that is too short, before trailers", lines: "headers 1 GET content-length=5 \n headers 1 end a=b", want: "request 1 GET / host=h length length=5 content-length=5 \n reset 1 PROTOCOL_ERROR length-mismatch \n < rst 1 PROTOCOL_ERROR"},
	{name: "a stream that depends on itself", lines: "headers 1 end parent=1 GET", want: "reset 1 PROTOCOL_ERROR self-dependency \n < rst 1 PROTOCOL_ERROR"},
	{name: "trailers of a stream that depends on itself", lines: "headers 1 GET \n headers 1 end parent=1 a=b", want: "request 1 GET / host=h chunked \n reset 1 PROTOCOL_ERROR self-dependency \n < rst 1 PROTOCOL_ERROR"},
	{name: "a priority that depends on itself", lines: "headers 1 GET \n priority 1 1", want: "request 1 GET / host=h chunked \n reset 1 PROTOCOL_ERROR self-dependency \n < rst 1 PROTOCOL_ERROR"},
	{name: "a priority that depends on itself, of no stream", lines: "priority 1 1", want: "< goaway 0 PROTOCOL_ERROR self-dependency \n ! self-dependency"},

	// Streams.
	{name: "data after the end", lines: "headers 1 end GET \n data 1 x", want: "request 1 end GET / host=h none \n reset 1 STREAM_CLOSED stream-closed \n < rst 1 STREAM_CLOSED"},
	{name: "trailers after the end", lines: "headers 1 end GET \n headers 1 end a=b", want: "request 1 end GET / host=h none \n reset 1 STREAM_CLOSED stream-closed \n < rst 1 STREAM_CLOSED"},
	{name: "data for a stream that is over", lines: "headers 1 end GET \n respond 1 end 200 \n data 1 x", want: "request 1 end GET / host=h none \n < headers 1 end :status=200 \n reset 1 STREAM_CLOSED stream-ended \n < rst 1 STREAM_CLOSED"},
	{name: "a head for a stream that is over", lines: "headers 1 end GET \n respond 1 end 200 \n headers 1 end GET", want: "request 1 end GET / host=h none \n < headers 1 end :status=200 \n < goaway 1 STREAM_CLOSED stream-reused \n ! stream-reused"},
	{name: "a stream with an even number", lines: "headers 2 end GET", want: "< goaway 0 PROTOCOL_ERROR stream-id \n ! stream-id"},
	{name: "a stream below the last", lines: "headers 5 end GET \n headers 3 end GET", want: "request 5 end GET / host=h none \n < goaway 5 PROTOCOL_ERROR stream-id \n ! stream-id"},
	{name: "data for a stream that is not open", lines: "data 1 x", want: "< goaway 0 PROTOCOL_ERROR stream-idle \n ! stream-idle"},
	{name: "a reset of a stream that is not open", lines: "rst 1 CANCEL", want: "< goaway 0 PROTOCOL_ERROR stream-idle \n ! stream-idle"},
	{name: "a window for a stream that is not open", lines: "window 1 1", want: "< goaway 0 PROTOCOL_ERROR stream-idle \n ! stream-idle"},
	{name: "too many requests at a time", lines: "headers 1 GET \n headers 3 GET x-long=value \n headers 5 end GET x-long=value \n data 3 end x \n respond 1 end 200 \n data 1 end \n headers 7 end GET x-long=value",
		want: "request 1 GET / host=h chunked \n reset 3 REFUSED_STREAM stream-limit \n < rst 3 REFUSED_STREAM \n reset 5 REFUSED_STREAM stream-limit \n < rst 5 REFUSED_STREAM \n < headers 1 end :status=200 \n data 1 end \n request 7 end GET / host=h none x-long=value",
		set:  Settings{Streams: 1}},
	{name: "heads that fill the memory", lines: "headers 1 end GET x=*800 \n headers 3 end GET x=*200 \n headers 5 end GET \n respond 1 end 200 \n headers 7 end GET",
		want: "request 1 end GET / host=h none x=" + strings.Repeat("v", 800) + "\n request 3 end GET / host=h none x=" + strings.Repeat("v", 200) +
			"\n reset 5 REFUSED_STREAM head-memory \n < rst 5 REFUSED_STREAM \n < headers 1 end :status=200 \n request 7 end GET / host=h none",
		set: Settings{Heads: 1200}},

	// The connection.
	{name: "settings that say nothing new", lines: "settings 99=1 8=0 3=0 6=10 2=0", want: ""},
	{name: "push is neither on nor off", lines: "settings 2=2", want: "< goaway 0 PROTOCOL_ERROR setting-push \n ! setting-push"},
	{name: "a window above the maximum", lines: "settings 4=0x80000000", want: "< goaway 0 FLOW_CONTROL_ERROR setting-window \n ! setting-window"},
	{name: "frames that are too small", lines: "settings 5=16383", want: "< goaway 0 PROTOCOL_ERROR setting-frame \n ! setting-frame"},
	{name: "frames that are too large", lines: "settings 5=0x1000000", want: "< goaway 0 PROTOCOL_ERROR setting-frame \n ! setting-frame"},
	{name: "settings for a stream", lines: "frame 4 0 1", want: "< goaway 0 PROTOCOL_ERROR frame-stream \n ! frame-stream"},
	{name: "half a setting", lines: "frame 4 0 0 0001", want: "< goaway 0 FRAME_SIZE_ERROR frame-size \n ! frame-size"},
	{name: "an acknowledgement that says something", lines: "frame 4 1 0 000100000000", want: "< goaway 0 FRAME_SIZE_ERROR frame-size \n ! frame-size"},
	{name: "a short ping", lines: "frame 6 0 0 00", want: "< goaway 0 FRAME_SIZE_ERROR frame-size \n ! frame-size"},
	{name: "a short reset", lines: "headers 1 GET \n frame 3 0 1 000000", want: "request 1 GET / host=h chunked \n < goaway 1 FRAME_SIZE_ERROR frame-size \n ! frame-size"},
	{name: "a short priority", lines: "frame 2 0 1 00000000", want: "< goaway 0 FRAME_SIZE_ERROR frame-size \n ! frame-size"},
	{name: "a short goaway", lines: "frame 7 0 0 00", want: "< goaway 0 FRAME_SIZE_ERROR frame-size \n ! frame-size"},
	{name: "a short window update", lines: "frame 8 0 0 000001", want: "< goaway 0 FRAME_SIZE_ERROR frame-size \n ! frame-size"},
	{name: "headers without their padding length", lines: "frame 1 0x0c 1", want: "< goaway 0 FRAME_SIZE_ERROR frame-size \n ! frame-size"},
	{name: "headers without their priority", lines: "frame 1 0x24 1 00000000", want: "< goaway 0 FRAME_SIZE_ERROR frame-size \n ! frame-size"},
	{name: "data without its padding length", lines: "headers 1 GET \n frame 0 8 1", want: "request 1 GET / host=h chunked \n < goaway 1 FRAME_SIZE_ERROR frame-size \n ! frame-size"},
	{name: "padding as long as the data frame", lines: "headers 1 GET \n frame 0 8 1 010000 \n frame 0 8 1 0200", want: "request 1 GET / host=h chunked \n data 1 \x00 \n < goaway 1 PROTOCOL_ERROR padding \n ! padding"},
	{name: "padding longer than the headers", lines: "frame 1 0x0c 1 0200", want: "< goaway 0 PROTOCOL_ERROR padding \n ! padding"},
	{name: "a frame that is too long", lines: "raw 00400100 00 00000000", want: "< goaway 0 FRAME_SIZE_ERROR frame-too-long \n ! frame-too-long"},
	{name: "data for no stream", lines: "data 0 x", want: "< goaway 0 PROTOCOL_ERROR frame-no-stream \n ! frame-no-stream"},
	{name: "headers for no stream", lines: "headers 0 GET", want: "< goaway 0 PROTOCOL_ERROR frame-no-stream \n ! frame-no-stream"},
	{name: "a reset of no stream", lines: "rst 0 CANCEL", want: "< goaway 0 PROTOCOL_ERROR frame-no-stream \n ! frame-no-stream"},
	{name: "a priority of no stream", lines: "priority 0 1", want: "< goaway 0 PROTOCOL_ERROR frame-no-stream \n ! frame-no-stream"},
	{name: "a ping for a stream", lines: "frame 6 0 1 0000000000000000", want: "< goaway 0 PROTOCOL_ERROR frame-stream \n ! frame-stream"},
	{name: "goaway for a stream", lines: "frame 7 0 1 0000000000000000", want: "< goaway 0 PROTOCOL_ERROR frame-stream \n ! frame-stream"},
	{name: "a push promise", lines: "headers 1 GET \n frame 5 4 1 00000002", want: "request 1 GET / host=h chunked \n < goaway 1 PROTOCOL_ERROR push-promise \n ! push-promise"},
	{name: "another frame in a header block", lines: "headers 1 open GET \n ping x", want: "< goaway 0 PROTOCOL_ERROR continuation-missing \n ! continuation-missing"},
	{name: "another stream in a header block", lines: "headers 1 open GET \n continuation 3 a=b", want: "< goaway 0 PROTOCOL_ERROR continuation-missing \n ! continuation-missing"},
	{name: "an unknown frame in a header block", lines: "headers 1 open GET \n frame 0x20 0 0", want: "< goaway 0 PROTOCOL_ERROR continuation-missing \n ! continuation-missing"},
	{name: "continuation without a header block", lines: "headers 1 end GET \n continuation 1 a=b", want: "request 1 end GET / host=h none \n < goaway 1 PROTOCOL_ERROR continuation-stray \n ! continuation-stray"},
	{name: "many continuations", lines: "headers 1 open GET " + strings.Repeat("\n continuation 1 open a=b", 32), want: "< goaway 0 ENHANCE_YOUR_CALM block-size \n ! block-size"},
	{name: "large continuations", lines: "headers 1 open GET \n" + strings.Repeat("continuation 1 open x=*16000\n", 4), want: "< goaway 0 ENHANCE_YOUR_CALM block-size \n ! block-size",
		set: Settings{Limits: http1.Limits{Head: 20000}}},
	{name: "an index of no field", lines: "frame 1 5 1 fe", want: "< goaway 0 COMPRESSION_ERROR hpack-index \n ! hpack-index"},
	{name: "half a field", lines: "frame 1 5 1 4001", want: "< goaway 0 COMPRESSION_ERROR hpack-truncated \n ! hpack-truncated"},
	{name: "a large integer", lines: "frame 1 5 1 ffffffffffff", want: "< goaway 0 COMPRESSION_ERROR hpack-integer \n ! hpack-integer"},
	{name: "no Huffman code", lines: "frame 1 5 1 40016184ffffffff", want: "< goaway 0 COMPRESSION_ERROR hpack-huffman \n ! hpack-huffman"},
	{name: "a table that is too large", lines: "frame 1 5 1 3fe21f", want: "< goaway 0 COMPRESSION_ERROR hpack-table-size \n ! hpack-table-size"},
	{name: "a table size after a field", lines: "frame 1 5 1 8220", want: "< goaway 0 COMPRESSION_ERROR hpack-table-order \n ! hpack-table-order"},
	{name: "a broken block where there is no room", lines: "headers 1 GET \n frame 1 5 3 fe", want: "request 1 GET / host=h chunked \n < goaway 1 COMPRESSION_ERROR hpack-index \n ! hpack-index", set: Settings{Streams: 1}},
	{name: "a broken block as trailers", lines: "headers 1 GET \n frame 1 5 1 fe", want: "request 1 GET / host=h chunked \n < goaway 1 COMPRESSION_ERROR hpack-index \n ! hpack-index"},
	{name: "nothing is read after an error", lines: "data 0 x \n headers 1 end GET \n reset 1 CANCEL \n ask \n drain \n close NO_ERROR", want: "< goaway 0 PROTOCOL_ERROR frame-no-stream \n ! frame-no-stream \n drained=false \n ! frame-no-stream"},

	// Ending.
	{name: "drain", lines: "headers 1 GET \n drain \n headers 3 GET \n pong trivet. \n headers 5 end GET \n respond 1 end 200 \n data 1 end \n respond 3 end 200 \n data 3 end \n drain",
		want: "request 1 GET / host=h chunked \n drained=false \n < goaway 2147483647 NO_ERROR \n < ping ack=false trivet. \n request 3 GET / host=h chunked \n < goaway 3 NO_ERROR \n reset 5 REFUSED_STREAM draining \n < rst 5 REFUSED_STREAM \n < headers 1 end :status=200 \n data 1 end \n < headers 3 end :status=200 \n data 3 end \n drained=true"},
	{name: "drain, the second time by the clock", lines: "drain \n drain \n pong trivet.", want: "drained=false \n < goaway 2147483647 NO_ERROR \n < ping ack=false trivet. \n drained=true \n < goaway 0 NO_ERROR"},
	{name: "two reasons to end", lines: "priority 3 1 \n priority 1 1", want: "< goaway 0 ENHANCE_YOUR_CALM flood-control \n ! flood-control", set: Settings{Patience: 1}},
	{name: "close", lines: "headers 1 GET \n close INTERNAL_ERROR", want: "request 1 GET / host=h chunked \n < goaway 1 INTERNAL_ERROR"},
}

func TestServer(t *testing.T) {
	for i := range serverTable {
		t.Run(serverTable[i].name, func(t *testing.T) { serverTable[i].check(t, false) })
	}
}

var clientTable = []row{
	{name: "a request and its answer", lines: "request end GET /a?b Host=h X-Y=1 \n headers 1 OK content-length=5 server=x \n data 1 end hello",
		want: "< headers 1 end :method=GET :scheme=http :path=/a?b :authority=h x-y=1(never) \n response 1 user=1 200 length content-length=5 server=x \n data 1 user=1 end hello"},
	{name: "a body, and trailers both ways", lines: "request POST / host=h te=trailers \n send 1 5 \n trailers 1 a=b \n headers 1 OK \n data 1 hello \n headers 1 end grpc-status=0 x_y=1",
		want: "< headers 1 :method=POST :scheme=http :path=/ :authority=h te=trailers \n took 5 \n < data 1 5 \n < headers 1 end a=b(never) \n response 1 user=1 200 chunked \n data 1 hello \n" + ` trailers 1 user=1 end "grpc-status: 0\r\nx_y: 1\r\n\r\n"`},
	{name: "what only HTTP/1.1 has is left out", lines: "request end secure GET / Host=h Connection=close Keep-Alive=1 Proxy-Connection=x Transfer-Encoding=chunked TE=gzip HTTP2-Settings=x",
		want: "< headers 1 end :method=GET :scheme=https :path=/ :authority=h"},
	{name: "secrets stay out of tables", lines: strings.Repeat("request end PUT / cookie=a authorization=b user-agent=c set-cookie=d\n", 3) + "request end sensitive PUT / user-agent=c",
		want: strings.Repeat("< headers %d end :method=PUT :scheme=http :path=/ cookie=a(never) authorization=b(never) user-agent=c set-cookie=d(never)\n", 3) + "< headers 7 end :method=PUT :scheme=http :path=/ user-agent=c(never)"},
	{name: "interim answers", lines: "request end GET / \n headers 1 :status=100 \n headers 1 :status=103 link=x \n headers 1 end :status=204",
		want: "< headers 1 end :method=GET :scheme=http :path=/ \n response 1 user=1 100 none \n response 1 user=1 103 none link=x \n response 1 user=1 end 204 none"},
	{name: "an empty answer", lines: "request end GET / \n headers 1 end OK", want: "< headers 1 end :method=GET :scheme=http :path=/ \n response 1 user=1 end 200 length Content-Length=0"},
	{name: "an answer to HEAD", lines: "request end HEAD / \n headers 1 end OK content-length=7", want: "< headers 1 end :method=HEAD :scheme=http :path=/ \n response 1 user=1 end 200 none content-length=7"},
	{name: "white space around a value", lines: `request end GET / ` + "\n" + ` headers 1 end OK a=␣b\t`, want: "< headers 1 end :method=GET :scheme=http :path=/ \n response 1 user=1 end 200 length a=b Content-Length=0"},
	{name: "a long head", lines: "request end GET / user-agent=*40000", want: "< headers 1 end :method=GET :scheme=http :path=/ \n < continuation 1 \n < continuation 1 user-agent=" + strings.Repeat("v", 40)},
	{name: "heads that are none", lines: "request end GET  \n request end GET /a\\x00 \n respond 1 200 \n send 1 1 \n trailers 1 a=b \n open",
		want: "error http2: not the text of a head \n < headers 1 end :method=GET :scheme=http :path=/a\\x00 \n error http2: the stream is closed \n took 0 \n error http2: the stream is closed \n open 99 websocket=false"},

	{name: "a WebSocket", lines: "settings 8=1 \n request GET /chat host=h connection=upgrade upgrade=WebSocket sec-websocket-key=x sec-websocket-version=13 \n headers 1 OK content-length=5 sec-websocket-protocol=p \n send 1 4 \n data 1 pong \n data 1 end",
		want: "< headers 1 :method=CONNECT :protocol=websocket :scheme=http :path=/chat :authority=h sec-websocket-version=13 \n response 1 user=1 101 none sec-websocket-protocol=p \n took 4 \n < data 1 4 \n data 1 user=1 end pong"},
	{name: "a WebSocket that is not accepted", lines: "settings 8=1 \n open \n request GET /chat host=h upgrade=websocket \n headers 1 end :status=403", want: "open 100 websocket=true \n < headers 1 :method=CONNECT :protocol=websocket :scheme=http :path=/chat :authority=h \n response 1 user=1 end 403 length Content-Length=0"},
	{name: "a WebSocket where there are none", lines: "request GET /chat host=h upgrade=websocket", want: "error http2: the endpoint takes no WebSockets"},
	{name: "WebSockets are taken back", lines: "settings 8=1 \n settings 8=0", want: "< goaway 0 PROTOCOL_ERROR setting-connect \n ! setting-connect"},

	{name: "as many requests as the endpoint takes", lines: "open \n settings 3=2 \n open \n request end GET / \n request end GET / \n request end GET / \n open \n headers 3 end OK \n open \n settings 3=0xffffffff \n settings 3=0 \n open",
		want: "open 100 websocket=false \n open 2 websocket=false \n < headers 1 end :method=GET :scheme=http :path=/ \n < headers 3 end :method=GET :scheme=http :path=/ \n error http2: no further stream may be opened \n open 0 websocket=false \n response 3 user=3 end 200 length Content-Length=0 \n open 1 websocket=false \n open 0 websocket=false"},
	{name: "the endpoint goes away", lines: "request end GET / \n request end GET / \n request end GET / \n goaway 1 NO_ERROR \n open \n headers 1 end OK \n goaway 5 NO_ERROR",
		want: "< headers 1 end :method=GET :scheme=http :path=/ \n < headers 3 end :method=GET :scheme=http :path=/ \n < headers 5 end :method=GET :scheme=http :path=/ \n goaway 1 NO_ERROR \n reset 5 user=5 REFUSED_STREAM unprocessed \n reset 3 user=3 REFUSED_STREAM unprocessed \n open 0 websocket=false \n response 1 user=1 end 200 length Content-Length=0 \n goaway 1 NO_ERROR"},
	{name: "the endpoint refuses", lines: "request end GET / \n rst 1 REFUSED_STREAM", want: "< headers 1 end :method=GET :scheme=http :path=/ \n reset 1 user=1 REFUSED_STREAM unprocessed"},
	{name: "the endpoint resets", lines: "request end GET / \n headers 1 OK \n rst 1 INTERNAL_ERROR", want: "< headers 1 end :method=GET :scheme=http :path=/ \n response 1 user=1 200 chunked \n reset 1 user=1 INTERNAL_ERROR"},
	{name: "the answer before the end of the request", lines: "request POST / \n headers 1 end OK \n send 1 3 \n reset 1 CANCEL", want: "< headers 1 :method=POST :scheme=http :path=/ \n response 1 user=1 end 200 length Content-Length=0 \n took 3 \n < data 1 3 \n < rst 1 CANCEL"},
	{name: "what is under way after a reset is ignored", lines: "request end GET / \n reset 1 CANCEL \n headers 1 OK x=y \n data 1 abc \n headers 1 end a=b \n request end GET / \n headers 3 end :status=404 x=y",
		want: "< headers 1 end :method=GET :scheme=http :path=/ \n < rst 1 CANCEL \n < headers 3 end :method=GET :scheme=http :path=/ \n response 3 user=3 end 404 length x=y Content-Length=0"},
	{name: "drain", lines: "request end GET / \n drain \n open \n headers 1 end OK \n drain", want: "< headers 1 end :method=GET :scheme=http :path=/ \n drained=false \n < goaway 0 NO_ERROR \n open 0 websocket=false \n response 1 user=1 end 200 length Content-Length=0 \n drained=true"},

	{name: "no status", lines: "request end GET / \n headers 1 a=b", want: "< headers 1 end :method=GET :scheme=http :path=/ \n reset 1 user=1 PROTOCOL_ERROR pseudo-missing \n < rst 1 PROTOCOL_ERROR"},
	{name: "no status, and nothing else", lines: "request end GET / \n headers 1", want: "< headers 1 end :method=GET :scheme=http :path=/ \n reset 1 user=1 PROTOCOL_ERROR pseudo-missing \n < rst 1 PROTOCOL_ERROR"},
	{name: "a path in an answer", lines: "request end GET / \n headers 1 OK :path=/", want: "< headers 1 end :method=GET :scheme=http :path=/ \n reset 1 user=1 PROTOCOL_ERROR pseudo-unknown \n < rst 1 PROTOCOL_ERROR"},
	{name: "a status of two digits", lines: "request end GET / \n headers 1 :status=20", want: "< headers 1 end :method=GET :scheme=http :path=/ \n reset 1 user=1 PROTOCOL_ERROR status \n < rst 1 PROTOCOL_ERROR"},
	{name: "status 101", lines: "request end GET / \n headers 1 :status=101", want: "< headers 1 end :method=GET :scheme=http :path=/ \n reset 1 user=1 PROTOCOL_ERROR status-101 \n < rst 1 PROTOCOL_ERROR"},
	{name: "status 600", lines: "request end GET / \n headers 1 :status=600", want: "< headers 1 end :method=GET :scheme=http :path=/ \n reset 1 user=1 PROTOCOL_ERROR answer-head 502 status-code \n < rst 1 PROTOCOL_ERROR"},
	{name: "an answer that is too large", lines: "request end GET / \n headers 1 OK x=*9000", want: "< headers 1 end :method=GET :scheme=http :path=/ \n reset 1 user=1 PROTOCOL_ERROR answer-head 502 head-size \n < rst 1 PROTOCOL_ERROR", set: Settings{Limits: http1.Limits{Head: 8000}}},
	{name: "an interim answer that ends", lines: "request end GET / \n headers 1 end :status=103", want: "< headers 1 end :method=GET :scheme=http :path=/ \n reset 1 user=1 PROTOCOL_ERROR interim-end \n < rst 1 PROTOCOL_ERROR"},
	{name: "data before the answer", lines: "request end GET / \n data 1 x", want: "< headers 1 end :method=GET :scheme=http :path=/ \n reset 1 user=1 PROTOCOL_ERROR answer-missing \n < rst 1 PROTOCOL_ERROR"},
	{name: "a body for HEAD", lines: "request end HEAD / \n headers 1 OK content-length=3 \n data 1 end abc", want: "< headers 1 end :method=HEAD :scheme=http :path=/ \n response 1 user=1 200 none content-length=3 \n reset 1 user=1 PROTOCOL_ERROR length-mismatch \n < rst 1 PROTOCOL_ERROR"},
	{name: "a declared body that does not come", lines: "request end GET / \n headers 1 end OK content-length=3", want: "< headers 1 end :method=GET :scheme=http :path=/ \n reset 1 user=1 PROTOCOL_ERROR length-mismatch \n < rst 1 PROTOCOL_ERROR"},
	{name: "an answer after the end", lines: "request POST / \n headers 1 end OK \n headers 1 end OK", want: "< headers 1 :method=POST :scheme=http :path=/ \n response 1 user=1 end 200 length Content-Length=0 \n reset 1 user=1 STREAM_CLOSED stream-closed \n < rst 1 STREAM_CLOSED"},
	{name: "an answer nobody asked for", lines: "headers 1 OK", want: "< goaway 0 PROTOCOL_ERROR stream-idle \n ! stream-idle"},
	{name: "an answer on a stream of the server's", lines: "headers 2 OK", want: "< goaway 0 PROTOCOL_ERROR stream-idle \n ! stream-idle"},
	{name: "a second answer", lines: "request end GET / \n headers 1 end OK \n headers 1 end OK", want: "< headers 1 end :method=GET :scheme=http :path=/ \n response 1 user=1 end 200 length Content-Length=0 \n < goaway 0 STREAM_CLOSED stream-reused \n ! stream-reused"},
	{name: "push", lines: "request end GET / \n frame 5 4 1 00000002", want: "< headers 1 end :method=GET :scheme=http :path=/ \n < goaway 0 PROTOCOL_ERROR push-promise \n ! push-promise"},
	{name: "push is switched on", lines: "settings 2=1", want: "< goaway 0 PROTOCOL_ERROR setting-push \n ! setting-push"},
	{name: "a broken block", lines: "request end GET / \n frame 1 5 1 fe", want: "< headers 1 end :method=GET :scheme=http :path=/ \n < goaway 0 COMPRESSION_ERROR hpack-index \n ! hpack-index"},
	{name: "many interim answers", lines: "request end GET / \n" + strings.Repeat("headers 1 :status=103\n", 33),
		want: "< headers 1 end :method=GET :scheme=http :path=/ \n" + strings.Repeat("response 1 user=1 103 none\n", 32) + "reset 1 user=1 ENHANCE_YOUR_CALM interim-count \n < rst 1 ENHANCE_YOUR_CALM"},
}

func TestClient(t *testing.T) {
	for i := range clientTable {
		r := clientTable[i]
		for n := 1; strings.Contains(r.want, "%d"); n += 2 {
			r.want = strings.Replace(r.want, "%d", fmt.Sprint(n), 1)
		}
		t.Run(r.name, func(t *testing.T) { r.check(t, true) })
	}
}

func TestGreetings(t *testing.T) {
	for _, c := range []struct {
		name   string
		client bool
		set    Settings
		lines  string
		want   string
	}{
		{"server", false, Settings{}, "settings 4=100000", "< settings 4=262144 6=65536 3=128 9=1 \n < window 0 983041 \n settings 0 \n < settings ack"},
		{"server with WebSockets and small windows", false, Settings{WebSocket: true, Streams: 7, StreamWindow: 1, ConnWindow: 1, Limits: http1.Limits{Head: 100}}, "",
			"< settings 4=65535 6=100 3=7 9=1 8=1"},
		{"client", true, Settings{ConnWindow: 1 << 40}, "settings \n settings ack", "< settings 4=262144 6=65536 2=0 \n < window 0 2147418112 \n settings 0 \n < settings ack"},
		{"another protocol", false, Settings{}, "raw 00", "< settings 4=262144 6=65536 3=128 9=1 \n < window 0 983041 \n < goaway 0 PROTOCOL_ERROR preface \n ! preface"},
		{"no settings", false, Settings{}, "ping x", "< settings 4=262144 6=65536 3=128 9=1 \n < window 0 983041 \n < goaway 0 PROTOCOL_ERROR settings-first \n ! settings-first"},
		{"an acknowledgement instead of settings", true, Settings{}, "settings ack", "< settings 4=262144 6=65536 2=0 \n < window 0 983041 \n < goaway 0 PROTOCOL_ERROR settings-first \n ! settings-first"},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, cut := range []int{0, 1} {
				s := newScript(t, c.client, c.set)
				s.quiet = false
				if c.name == "another protocol" {
					s.peerOut.Truncate(10)
				}
				s.cut = cut
				if c.lines == "" {
					s.frames()
				}
				got := s.play(c.lines)
				if c.lines == "" {
					s.told = nil
					s.c = NewServer(&c.set, &s.sc)
					s.frames()
					got = strings.Join(s.told, "\n")
				} else if cut == 1 {
					continue // what is sent when depends on the pieces
				}
				if diff := cmp.Diff(clean(c.want), order(got)); diff != "" {
					t.Errorf("%s", diff)
				}
			}
		})
	}
}

// order puts what we send first in front of what comes of what the peer sends.
func order(got string) string {
	lines := strings.Split(got, "\n")
	for i, line := range lines {
		if line == "settings 0" {
			lines = append(lines[:i], lines[i+1:]...)
			at := min(2, len(lines))
			return strings.Join(append(append(append([]string{}, lines[:at]...), line), lines[at:]...), "\n")
		}
	}
	return got
}
