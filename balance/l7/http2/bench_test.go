package http2

import (
	"bytes"
	"fmt"
	"runtime"
	"testing"
	"unsafe"
)

// pair is a client's and a server's connection of this package, which talk without a network.
type pair struct {
	server, client   *Conn
	ssc, csc         Scratch
	toServer, toPeer []byte
	onServer         func(*Event)
	onClient         func(*Event)
}

func newPair(set Settings) *pair {
	p := &pair{}
	p.server, p.client = NewServer(&set, &p.ssc), NewClient(&set, &p.csc)
	p.onServer, p.onClient = func(*Event) {}, func(*Event) {}
	p.exchange()
	return p
}

// exchange passes on what both sides have to say, until they have no more.
func (p *pair) exchange() {
	for len(p.server.Out)+len(p.client.Out) > 0 {
		p.toServer, p.client.Out = p.client.Out, p.toServer[:0]
		p.server.Receive(p.toServer, 0)
		for ev := p.server.Next(); ev != nil; ev = p.server.Next() {
			p.onServer(ev)
		}
		p.toPeer, p.server.Out = p.server.Out, p.toPeer[:0]
		p.client.Receive(p.toPeer, 0)
		for ev := p.client.Next(); ev != nil; ev = p.client.Next() {
			p.onClient(ev)
		}
	}
}

var (
	smallRequest   = []byte("GET /index.html HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nUser-Agent: h2load nghttp2/1.52.0\r\n\r\n")
	browserRequest = []byte("GET /products/list?category=12&sort=price HTTP/1.1\r\n" +
		"Host: shop.example.com\r\n" +
		"User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\n" +
		"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n" +
		"Accept-Language: en-US,en;q=0.5\r\n" +
		"Accept-Encoding: gzip, deflate, br\r\n" +
		"Cookie: session=8f14e45fceea167a5a36dedd4bea2543; theme=dark\r\n\r\n")
	smallResponse = []byte("HTTP/1.1 200 OK\r\nServer: nginx\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n" +
		"Content-Type: text/plain\r\nContent-Length: 128\r\n\r\n")
)

// BenchmarkRoundTrip is the whole work of both engines for a request and its answer of 128 bytes.
func BenchmarkRoundTrip(b *testing.B) {
	for _, c := range []struct {
		name    string
		request []byte
	}{{"small", smallRequest}, {"browser", browserRequest}} {
		b.Run(c.name, func(b *testing.B) {
			round := roundTrip(b, c.request, make([]byte, 128))
			b.ReportAllocs()
			for b.Loop() {
				round()
			}
		})
	}
}

func roundTrip(tb testing.TB, request, body []byte) func() {
	p := newPair(Settings{})
	response := bytes.Replace(smallResponse, []byte("128"), fmt.Append(nil, len(body)), 1)
	answered := 0
	p.onServer = func(ev *Event) {
		if ev.Kind == KindRequest {
			if err := p.server.SendResponse(ev.Stream, response, 0); err != nil || p.server.SendData(ev.Stream, body, End) != len(body) {
				tb.Fatal(err)
			}
		}
	}
	p.onClient = func(ev *Event) {
		if ev.Kind == KindData {
			p.client.Consumed(ev.Stream, len(ev.Data))
		}
		if ev.End {
			answered++
		}
	}
	return func() {
		answered = 0
		if _, err := p.client.SendRequest(request, End); err != nil {
			tb.Fatal(err)
		}
		p.exchange()
		if answered != 1 {
			tb.Fatal("no answer: ", p.client.Err(), p.server.Err())
		}
	}
}

func TestARoundTripAllocatesNothing(t *testing.T) {
	for _, request := range [][]byte{smallRequest, browserRequest} {
		round := roundTrip(t, request, make([]byte, 3000))
		for range 1000 {
			round()
		}
		if allocs := testing.AllocsPerRun(2000, round); allocs > 0 {
			t.Errorf("%v allocations for %.20q", allocs, request)
		}
	}
}

// recorded returns the bytes by which a client in its steady state sends a request.
func recorded(request []byte) (begin, frame []byte) {
	var sc Scratch
	c := NewClient(&Settings{}, &sc)
	for range 4 {
		begin = append(begin, c.Out...)
		c.Out = nil
		id, _ := c.SendRequest(request, End)
		c.Reset(id, Cancel)
	}
	begin = append(begin, c.Out...)
	c.Out = nil
	if _, err := c.SendRequest(request, End); err != nil {
		panic(err)
	}
	return begin, c.Out
}

// BenchmarkRequestHead is the server's work for a request without body: frame, block, text, http1.Request, and reset.
func BenchmarkRequestHead(b *testing.B) {
	for _, r := range []struct {
		name    string
		request []byte
	}{{"small", smallRequest}, {"browser", browserRequest}} {
		b.Run(r.name, func(b *testing.B) {
			begin, frame := recorded(r.request)
			set := Settings{Patience: 1 << 30}
			var sc Scratch
			c := NewServer(&set, &sc)
			c.Receive(begin, 0)
			for ev := c.Next(); ev != nil; ev = c.Next() {
				c.Out = c.Out[:0]
			}
			id := uint32(101)
			b.ReportAllocs()
			b.SetBytes(int64(len(frame)))
			for b.Loop() {
				id += 2
				frame[5], frame[6], frame[7], frame[8] = byte(id>>24), byte(id>>16), byte(id>>8), byte(id)
				c.Receive(frame, 0)
				ev := c.Next()
				if ev == nil || ev.Kind != KindRequest {
					b.Fatal(ev, c.Err())
				}
				c.Reset(id, Cancel)
				c.Out = c.Out[:0]
			}
		})
	}
}

// BenchmarkResponseHead is the server's work to send the head of an answer.
func BenchmarkResponseHead(b *testing.B) {
	var sc Scratch
	c := NewServer(&Settings{}, &sc)
	s := c.open(1)
	b.ReportAllocs()
	for b.Loop() {
		c.Out = c.Out[:0]
		s.sendEnd = false
		if err := c.SendResponse(1, smallResponse, 0); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkData is the work of both engines for a body in one direction, in frames of 16 KiB, and its window updates.
func BenchmarkData(b *testing.B) {
	for _, size := range []int{1 << 10, 16 << 10} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			p := newPair(Settings{})
			p.onServer = func(ev *Event) {
				if ev.Kind == KindData {
					p.server.Consumed(ev.Stream, len(ev.Data))
				}
			}
			id, err := p.client.SendRequest([]byte("POST / HTTP/1.1\r\nHost: h\r\n\r\n"), 0)
			if err != nil {
				b.Fatal(err)
			}
			data := make([]byte, size)
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				if n := p.client.SendData(id, data, 0); n != size {
					b.Fatal(n, p.server.Err(), p.client.Err())
				}
				p.exchange()
			}
		})
	}
}

// TestAnIdleConnectionIsSmall: what a client's connection keeps after a hundred requests, all of them different.
func TestAnIdleConnectionIsSmall(t *testing.T) {
	var sc, csc Scratch
	set := Settings{}
	const conns = 200
	kept := make([]*Conn, conns)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for i := range kept {
		kept[i] = NewServer(&set, &sc)
		client := NewClient(&set, &csc)
		for j := range 100 {
			request := fmt.Appendf(nil, "GET /%d HTTP/1.1\r\nHost: h%d\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0 %d\r\n\r\n", j, j/2, j/2)
			if _, err := client.SendRequest(request, End); err != nil {
				t.Fatal(err)
			}
			kept[i].Receive(client.Out, 0)
			for ev := kept[i].Next(); ev != nil; ev = kept[i].Next() {
				if ev.Kind == KindRequest {
					_ = kept[i].SendResponse(ev.Stream, fmt.Appendf(nil, "HTTP/1.1 200 OK\r\nServer: x%d\r\n\r\n", j/2), End)
				}
			}
			client.Receive(kept[i].Out, 0)
			for ev := client.Next(); ev != nil; ev = client.Next() {
			}
			client.Out, kept[i].Out = nil, nil
		}
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	each := int(after.HeapAlloc-before.HeapAlloc) / conns
	t.Logf("%d bytes each, %d of them the Conn", each, unsafe.Sizeof(Conn{}))
	if each > 20<<10 {
		t.Errorf("%d bytes each", each)
	}
	runtime.KeepAlive(kept)
}
