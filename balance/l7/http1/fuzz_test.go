package http1

import (
	"bytes"
	"testing"
)

// FuzzRequest: never panics, agrees with net/http, a prefix never means more
// than the whole, and what is forwarded reads as what was received.
func FuzzRequest(f *testing.F) {
	for _, c := range requestTable {
		f.Add([]byte(c.raw))
	}
	for _, c := range bodyTable {
		f.Add([]byte("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n" + c.raw))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		compareRequest(t, raw)
		if len(raw) < 1<<9 {
			checkRequestPrefixes(t, raw, nil)
			checkRequestPrefixes(t, raw, tightLimits[len(raw)%len(tightLimits)])
		}
		var r Request
		if n, err := r.Parse(raw, nil); n > 0 && err == nil {
			checkForwarded(t, &r)
		}
	})
}

// checkForwarded parses what a proxy would send on and compares.
func checkForwarded(t *testing.T, r *Request) {
	t.Helper()
	if !r.Has(Host) {
		return // HTTP/1.0: the proxy must add Host
	}
	sent := forward(r)
	var again Request
	if n, err := again.Parse(sent, nil); n != len(sent) || err != nil {
		t.Fatalf("forwarded %q, which gives %d, %v", sent, n, err)
	}
	switch {
	case !bytes.Equal(again.MethodText, r.MethodText), !bytes.Equal(again.Target, r.Target),
		!bytes.Equal(again.Path, r.Path), !bytes.Equal(again.Query, r.Query), !bytes.Equal(again.Host, r.Host),
		again.Framing != r.Framing, again.Length != r.Length, again.Expect != r.Expect:
		t.Fatalf("forwarded %q, which means %s, was %s", sent, facts(&again), facts(r))
	}
	if twice := forward(&again); !bytes.Equal(twice, sent) {
		t.Fatalf("forwarded %q, then %q", sent, twice)
	}
	for _, f := range again.Fields {
		if f.Hop && f.Known != TransferEncoding {
			t.Fatalf("forwarded %q, with the hop-by-hop field %s", sent, f.Name)
		}
	}
}

func forward(r *Request) []byte {
	b := AppendRequestLine(nil, r.MethodText, r.Target)
	b = AppendFields(b, r.Fields)
	if r.Framing == FramingChunked {
		b = AppendChunked(b)
	}
	return AppendEnd(b)
}

// FuzzResponse: as FuzzRequest.
func FuzzResponse(f *testing.F) {
	for _, c := range responseTable {
		if len(c.raw) < 1000 {
			f.Add([]byte(c.raw), uint8(c.to))
		}
	}
	for _, c := range bodyTable {
		f.Add([]byte("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"+c.raw), uint8(GET))
	}
	f.Fuzz(func(t *testing.T, raw []byte, to uint8) {
		method := Method(to)%PATCH + 1 // not TRACE, CONNECT: never forwarded
		compareResponse(t, raw, method)
		if len(raw) < 1<<9 {
			checkResponsePrefixes(t, raw, method)
		}
		var r Response
		n, err := r.Parse(raw, method, nil)
		if n == 0 || err != nil || r.Status == 101 {
			return
		}
		sent := AppendStatus(nil, 1, r.Status, r.Reason)
		sent = AppendFields(sent, r.Fields)
		if r.Framing == FramingChunked {
			sent = AppendChunked(sent)
		}
		sent = AppendEnd(sent)
		var again Response
		if n, err := again.Parse(sent, method, nil); n != len(sent) || err != nil {
			t.Fatalf("forwarded %q, which gives %d, %v", sent, n, err)
		}
		if again.Status != r.Status || again.Framing != r.Framing || again.Length != r.Length || !bytes.Equal(again.Reason, r.Reason) {
			t.Fatalf("forwarded %q, which means %s, was %s", sent, responseFacts(&again), responseFacts(&r))
		}
	})
}

// FuzzBody: the pieces in which a body comes make no difference, and what is
// forwarded decodes to the same payload.
func FuzzBody(f *testing.F) {
	for _, c := range bodyTable {
		f.Add([]byte(c.raw), uint8(1), uint8(2))
	}
	f.Fuzz(func(t *testing.T, raw []byte, first, step uint8) {
		var whole, decoded Body
		whole.Reset(FramingChunked, 0, Verbatim)
		decoded.Reset(FramingChunked, 0, Decode)
		sent, used, err := passAll(&whole, raw, 0)
		payload, usedToo, errToo := passAll(&decoded, raw, 0)
		if used != usedToo || err != errToo || whole.Received() != decoded.Received() || int(whole.Received()) != len(payload) {
			t.Fatalf("%q: the modes disagree: %d %v, %d %v", raw, used, err, usedToo, errToo)
		}
		var pieces Body
		pieces.Reset(FramingChunked, 0, Verbatim)
		cut := min(int(first), len(raw))
		head, usedHead, errPieces := passAll(&pieces, raw[:cut], 0)
		if errPieces == nil && !pieces.Done() {
			var tail []byte
			var n int
			tail, n, errPieces = passAll(&pieces, raw[cut:], int(step)%16+1)
			head, usedHead = append(head, tail...), usedHead+n
		}
		if !bytes.Equal(head, sent) || usedHead != used || errPieces != err {
			t.Fatalf("%q in pieces: %q %d %v\nat once: %q %d %v", raw, head, usedHead, errPieces, sent, used, err)
		}
		if err != nil || !whole.Done() {
			return
		}
		var again Body
		again.Reset(FramingChunked, 0, Verbatim)
		if twice, _, err := passAll(&again, sent, 0); err != nil || !again.Done() || !bytes.Equal(twice, sent) {
			t.Fatalf("forwarded %q, then %q, %v", sent, twice, err)
		}
		again.Reset(FramingChunked, 0, Decode)
		if out, _, err := passAll(&again, sent, 0); err != nil || !bytes.Equal(out, payload) {
			t.Fatalf("forwarded %q, which decodes to %q, want %q, %v", sent, out, payload, err)
		}
	})
}
