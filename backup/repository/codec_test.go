package repository

import (
	"bytes"
	"testing"
)

func TestDecompressionNeverExceedsWhatTheIndexSays(t *testing.T) {
	c := newCodecs()
	bomb := Best.newEncoder().EncodeAll(make([]byte, 64<<20), nil)
	for _, claimed := range []int{1, 1000, 64<<20 - 1, 64<<20 + 1} {
		if out, err := c.decodeBlob(nil, bomb, claimed); err == nil {
			t.Errorf("claimed %d: got %d bytes", claimed, len(out))
		}
	}
	if out, err := c.decodeBlob(nil, bomb, 64<<20); err != nil || len(out) != 64<<20 {
		t.Errorf("%d bytes, %v", len(out), err)
	}
	if _, err := c.decodeBlob(nil, []byte("no zstd"), 10); err == nil {
		t.Error("decoded nonsense")
	}
}

func TestEveryLevelComesBack(t *testing.T) {
	c := newCodecs()
	data := bytes.Repeat([]byte("abcdefgh12345678"), 5000)
	for level := Fastest; level < Off; level++ {
		packed := level.newEncoder().EncodeAll(data, nil)
		out, err := c.decodeBlob(nil, packed, len(data))
		if err != nil || !bytes.Equal(out, data) || len(packed) > len(data)/10 {
			t.Errorf("%v: %d bytes packed, %v", level, len(packed), err)
		}
		if back, err := ParseCompression(level.String()); err != nil || back != level {
			t.Errorf("%v is not read back", level)
		}
	}
	if _, err := ParseCompression("gzip"); err == nil {
		t.Error("gzip is no level")
	}
}
