package probe

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// GRPC asks grpc.health.v1.Health/Check: SERVING is well. It speaks HTTP/2 with
// prior knowledge, or over TLS if that is set.
//
// The one small call is written out here, on HTTP/2 frames: gRPC's own library
// would be a hundred times the code.
// https://github.com/grpc/grpc/blob/master/doc/health-checking.md
type GRPC struct {
	// Service to ask about; empty is the server as a whole.
	Service string
	// Authority is the :authority header; the endpoint's address by default.
	Authority string
	// TLS, if set, speaks TLS.
	TLS *TLS
}

// Do implements Check.
func (c *GRPC) Do(ctx context.Context, t Target) (detail string, err error) {
	conn, stop, err := connect(ctx, t, c.TLS, "", http2.NextProtoTLS)
	if err != nil {
		return "", err
	}
	defer stop()
	call := newCall(conn)
	if err := call.send(c.headers(ctx, t), healthRequest(c.Service)); err != nil {
		return "", explain(ctx, "send request", err)
	}
	if err := call.receive(); err != nil {
		return "", explain(ctx, "wait for answer", err)
	}
	return call.verdict()
}

func (c *GRPC) headers(ctx context.Context, t Target) [][2]string {
	authority, scheme := c.Authority, "http"
	if authority == "" {
		authority = t.Address
		if t.host() == "" {
			authority = "localhost"
		}
	}
	if c.TLS != nil {
		scheme = "https"
	}
	h := [][2]string{
		{":method", "POST"}, {":scheme", scheme}, {":path", "/grpc.health.v1.Health/Check"}, {":authority", authority},
		{"content-type", "application/grpc"}, {"te", "trailers"}, {"user-agent", "trivet-probe"},
	}
	if deadline, ok := ctx.Deadline(); ok {
		h = append(h, [2]string{"grpc-timeout", fmt.Sprintf("%dm", max(1, time.Until(deadline).Milliseconds()))})
	}
	return h
}

// healthRequest is a HealthCheckRequest as a gRPC message: not compressed, its
// length, and field 1, the service.
func healthRequest(service string) []byte {
	var body []byte
	if service != "" {
		body = append(body, 1<<3|2)
		body = binary.AppendUvarint(body, uint64(len(service)))
		body = append(body, service...)
	}
	return append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(body))), body...)
}

// servingStatus finds field 1 of a HealthCheckResponse, the status.
func servingStatus(message []byte) (status uint64, err error) {
	for len(message) > 0 {
		tag, n := binary.Uvarint(message)
		if n <= 0 {
			return 0, errGarbled
		}
		message = message[n:]
		var value uint64
		switch tag & 7 {
		case 0: // varint
			value, n = binary.Uvarint(message)
		case 1: // 64 bits
			n = 8
		case 2: // length and bytes
			length, k := binary.Uvarint(message)
			if k <= 0 || length > uint64(len(message)) {
				return 0, errGarbled
			}
			n = k + int(length)
		case 5: // 32 bits
			n = 4
		default:
			n = 0
		}
		if n <= 0 || n > len(message) {
			return 0, errGarbled
		}
		message = message[n:]
		if tag == 1<<3 {
			status = value
		}
	}
	return status, nil
}

var errGarbled = errors.New("garbled message")

// call is one unary call on a connection of its own.
type call struct {
	conn   net.Conn
	framer *http2.Framer
	fields map[string]string // of the answer's headers and trailers
	data   []byte
}

// callStream is the first stream that a client opens. RFC 9113 §5.1.1.
const callStream = 1

func newCall(conn net.Conn) *call {
	c := &call{conn: conn, framer: http2.NewFramer(nil, io.LimitReader(conn, maxHead+maxBody)), fields: map[string]string{}}
	c.framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	c.framer.MaxHeaderListSize = maxHead
	return c
}

// send writes the connection preface and the request, at once.
func (c *call) send(headers [][2]string, message []byte) error {
	var out, block bytes.Buffer
	out.WriteString(http2.ClientPreface)
	f := http2.NewFramer(&out, nil)
	enc := hpack.NewEncoder(&block)
	for _, h := range headers {
		_ = enc.WriteField(hpack.HeaderField{Name: h[0], Value: h[1]}) // into memory
	}
	err := errors.Join(
		f.WriteSettings(http2.Setting{ID: http2.SettingEnablePush, Val: 0}),
		f.WriteHeaders(http2.HeadersFrameParam{StreamID: callStream, BlockFragment: block.Bytes(), EndHeaders: true}),
		f.WriteData(callStream, true, message),
	)
	if err != nil {
		return err
	}
	_, err = c.conn.Write(out.Bytes())
	return err
}

// receive reads frames until the answer has ended.
func (c *call) receive() error {
	for {
		frame, err := c.framer.ReadFrame()
		if err != nil {
			return err
		}
		if ended, err := c.take(frame); ended || err != nil {
			return err
		}
	}
}

func (c *call) take(frame http2.Frame) (ended bool, err error) {
	switch f := frame.(type) {
	case *http2.SettingsFrame:
		if !f.IsAck() {
			return false, c.reply(func(f *http2.Framer) error { return f.WriteSettingsAck() })
		}
	case *http2.PingFrame:
		if !f.IsAck() {
			return false, c.reply(func(out *http2.Framer) error { return out.WritePing(true, f.Data) })
		}
	case *http2.GoAwayFrame:
		if f.ErrCode != http2.ErrCodeNo || f.LastStreamID < callStream {
			return false, fmt.Errorf("GOAWAY: %v", f.ErrCode)
		}
	case *http2.RSTStreamFrame:
		return false, fmt.Errorf("stream reset: %v", f.ErrCode)
	case *http2.MetaHeadersFrame:
		for _, field := range f.Fields {
			c.fields[field.Name] = field.Value
		}
		return f.StreamEnded(), nil
	case *http2.DataFrame:
		c.data = append(c.data, f.Data()...)
		return f.StreamEnded(), nil
	}
	return false, nil
}

func (c *call) reply(write func(*http2.Framer) error) error {
	return write(http2.NewFramer(c.conn, nil))
}

// verdict judges the answer.
func (c *call) verdict() (detail string, err error) {
	if status := c.fields[":status"]; status != "200" {
		return "", fmt.Errorf("HTTP status %s, want 200", status)
	}
	switch code := c.fields["grpc-status"]; code {
	case "0":
	case "5":
		return "", errors.New("the service is not known to its health service")
	case "12":
		return "", errors.New("the server has no grpc.health.v1 service")
	default:
		return "", fmt.Errorf("grpc-status %s %s", code, c.fields["grpc-message"])
	}
	if len(c.data) < 5 || c.data[0] != 0 || int(binary.BigEndian.Uint32(c.data[1:])) != len(c.data)-5 {
		return "", errGarbled
	}
	status, err := servingStatus(c.data[5:])
	if err != nil {
		return "", err
	}
	names := []string{"UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"}
	name := fmt.Sprint(status)
	if status < uint64(len(names)) {
		name = names[status]
	}
	if name != "SERVING" {
		return "", fmt.Errorf("status %s, want SERVING", name)
	}
	return name, nil
}
