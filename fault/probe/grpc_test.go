package probe

import (
	"bytes"
	"crypto/x509"
	"encoding/binary"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"golang.org/x/net/http2"
)

// healthService answers Check like a gRPC server: by the status of the service
// that is asked about, as field 1 of the message.
func healthService(t *testing.T) http.Handler {
	answers := map[string][]byte{
		"":        {8, 1},
		"orders":  {8, 2},
		"new":     {8, 0},
		"seven":   {8, 7},
		"extra":   append([]byte{16, 5, 26, 1, 'x', 0x21, 1, 2, 3, 4, 5, 6, 7, 8, 0x2d, 1, 2, 3, 4}, 8, 1),
		"empty":   {},
		"garbled": {8},
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if r.ProtoMajor != 2 || r.Method != "POST" || r.URL.Path != "/grpc.health.v1.Health/Check" ||
			r.Header.Get("Content-Type") != "application/grpc" || r.Header.Get("Te") != "trailers" || r.Header.Get("Grpc-Timeout") == "" {
			t.Errorf("request is %s %s %s %v", r.Proto, r.Method, r.URL, r.Header)
		}
		service := ""
		if len(body) > 5 {
			service = string(body[7:])
		}
		w.Header().Set("Content-Type", "application/grpc")
		w.Header().Set("Trailer", "Grpc-Status, Grpc-Message")
		switch service {
		case "down":
			w.WriteHeader(http.StatusBadGateway)
			return
		case "unknown":
			w.Header().Set("Grpc-Status", "5") // trailers only
			return
		case "unimplemented":
			w.Header().Set("Grpc-Status", "12")
			return
		case "internal":
			w.Header().Set("Grpc-Status", "13")
			w.Header().Set("Grpc-Message", "it hurts")
			return
		case "compressed":
			_, _ = w.Write([]byte{1, 0, 0, 0, 0})
		case "short":
			_, _ = w.Write([]byte{0, 0, 0, 0, 9, 8, 1})
		case "long":
			_, _ = w.Write(make([]byte, maxHead+maxBody))
		default:
			message := answers[service]
			_, _ = w.Write(append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(message))), message...))
		}
		w.(http.Flusher).Flush()
		w.Header().Set("Grpc-Status", "0")
	})
}

func newGRPCServer(t *testing.T) (address string) {
	s := httptest.NewUnstartedServer(healthService(t))
	s.Config.Protocols = &http.Protocols{}
	s.Config.Protocols.SetUnencryptedHTTP2(true)
	s.Start()
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

func TestGRPC(t *testing.T) {
	address := newGRPCServer(t)
	for service, want := range map[string]string{
		"":              "SERVING",
		"extra":         "SERVING",
		"orders":        "error: status NOT_SERVING, want SERVING",
		"new":           "error: status UNKNOWN, want SERVING",
		"empty":         "error: status UNKNOWN, want SERVING",
		"seven":         "error: status 7, want SERVING",
		"unknown":       "error: the service is not known to its health service",
		"unimplemented": "error: the server has no grpc.health.v1 service",
		"internal":      "error: grpc-status 13 it hurts",
		"down":          "error: HTTP status 502, want 200",
		"garbled":       "error: garbled message",
		"compressed":    "error: garbled message",
		"short":         "error: garbled message",
		"long":          "error: wait for answer: .*",
	} {
		t.Run(service, func(t *testing.T) {
			detail, err := ask(t, &GRPC{Service: service}, address)
			wants(t, detail, err, want)
		})
	}
}

func TestGRPCOverTLS(t *testing.T) {
	s := httptest.NewUnstartedServer(healthService(t))
	s.EnableHTTP2 = true
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	defer s.Close()
	roots := x509.NewCertPool()
	roots.AddCert(s.Certificate())
	detail, err := ask(t, &GRPC{TLS: &TLS{Roots: roots}, Authority: "example.com"}, s.Listener.Addr().String())
	wants(t, detail, err, "SERVING")
	detail, err = ask(t, &GRPC{TLS: &TLS{}}, s.Listener.Addr().String())
	wants(t, detail, err, "error: TLS handshake: .*unknown authority")
}

func TestGRPCOfBadServers(t *testing.T) {
	frames := func(write func(f *http2.Framer)) func(net.Conn) {
		return func(c net.Conn) {
			var out bytes.Buffer
			write(http2.NewFramer(&out, nil))
			_, _ = c.Write(out.Bytes())
			mute(c)
		}
	}
	for name, c := range map[string]struct {
		handle func(net.Conn)
		want   string
	}{
		"HTTP/1":   {says("HTTP/1.1 400 Bad Request\r\n\r\n"), "error: wait for answer: .*"},
		"closes":   {func(net.Conn) {}, "error: (wait for answer|send request): (connection closed by the endpoint|connection reset by peer|broken pipe)"},
		"resets":   {frames(func(f *http2.Framer) { _ = f.WriteRSTStream(1, http2.ErrCodeRefusedStream) }), "error: wait for answer: stream reset: REFUSED_STREAM"},
		"goes":     {frames(func(f *http2.Framer) { _ = f.WriteGoAway(0, http2.ErrCodeNo, nil) }), "error: wait for answer: GOAWAY: NO_ERROR"},
		"complain": {frames(func(f *http2.Framer) { _ = f.WriteGoAway(1, http2.ErrCodeEnhanceYourCalm, nil) }), "error: wait for answer: GOAWAY: ENHANCE_YOUR_CALM"},
	} {
		t.Run(name, func(t *testing.T) {
			detail, err := ask(t, &GRPC{}, server(t, c.handle))
			wants(t, detail, err, c.want)
		})
	}
}

// TestGRPCAnswersPings, which a server may send before it answers, and lets one
// go away that finishes what it has begun.
func TestGRPCAnswersPings(t *testing.T) {
	ponged := make(chan bool, 1)
	address := server(t, func(c net.Conn) {
		_, _ = io.ReadFull(c, make([]byte, len(http2.ClientPreface)))
		f := http2.NewFramer(c, c)
		_ = f.WriteSettings()
		_ = f.WritePing(false, [8]byte{1, 2})
		_ = f.WriteGoAway(1, http2.ErrCodeNo, nil)
		_ = f.WriteWindowUpdate(0, 100)
		acked := false
		for {
			frame, err := f.ReadFrame()
			if err != nil {
				return
			}
			switch frame := frame.(type) {
			case *http2.SettingsFrame:
				acked = acked || frame.IsAck()
			case *http2.PingFrame:
				ponged <- acked && frame.IsAck() && frame.Data == [8]byte{1, 2}
				// :status 200 and grpc-status 12, without Huffman coding.
				_ = f.WriteHeaders(http2.HeadersFrameParam{
					StreamID: 1, EndStream: true, EndHeaders: true,
					BlockFragment: []byte("\x88\x00\x0bgrpc-status\x0212"),
				})
			}
		}
	})
	detail, err := ask(t, &GRPC{}, address)
	wants(t, detail, err, "error: the server has no grpc.health.v1 service")
	if !<-ponged {
		t.Error("settings and ping are not acknowledged")
	}
}

func TestGRPCHeaders(t *testing.T) {
	for want, c := range map[string]struct {
		check  GRPC
		target Target
	}{
		"http 10.0.0.1:50051": {GRPC{}, Target{Address: "10.0.0.1:50051"}},
		"https orders":        {GRPC{TLS: &TLS{}, Authority: "orders"}, Target{Address: "10.0.0.1:50051"}},
		"http localhost":      {GRPC{}, Target{Address: "unix:/run/x"}},
	} {
		h := c.check.headers(t.Context(), c.target)
		if got := fmt.Sprint(h[1][1], " ", h[3][1]); got != want || len(h) != 7 {
			t.Errorf("headers are %v, want %s, and no grpc-timeout without a deadline", h, want)
		}
	}
}

func TestHealthRequestIsAMessage(t *testing.T) {
	long := strings.Repeat("s", 200)
	for service, want := range map[string]string{
		"":       "\x00\x00\x00\x00\x00",
		"orders": "\x00\x00\x00\x00\x08\x0a\x06orders",
		long:     "\x00\x00\x00\x00\xcb\x0a\xc8\x01" + long,
	} {
		if got := string(healthRequest(service)); got != want {
			t.Errorf("request for %q is %q, want %q", service, got, want)
		}
	}
}

func FuzzServingStatus(f *testing.F) {
	f.Add([]byte{8, 1})
	f.Add([]byte{16, 5, 26, 1, 'x', 0x21, 1, 2, 3, 4, 5, 6, 7, 8, 0x2d, 1, 2, 3, 4, 8, 1})
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff})
	f.Add([]byte{10, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f})
	f.Fuzz(func(t *testing.T, message []byte) {
		status, err := servingStatus(message)
		again, _ := servingStatus(append([]byte{26, 1, 'x'}, message...))
		if err == nil && again != status {
			t.Errorf("an unknown field before it changes the status from %d to %d", status, again)
		}
	})
}
