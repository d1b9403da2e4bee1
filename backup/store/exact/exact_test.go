package exact

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

func newReader(ctx context.Context, s string, length int64) io.ReadCloser {
	return Reader(ctx, io.NopCloser(strings.NewReader(s)), length)
}

func TestYieldsWhatWasAskedFor(t *testing.T) {
	for _, length := range []int64{-1, 0, 1, 4, 5} {
		want := "abcde"
		if length >= 0 {
			want = want[:length]
		}
		if err := iotest.TestReader(newReader(t.Context(), "abcde", length), []byte(want)); err != nil {
			t.Errorf("%d: %v", length, err)
		}
	}
}

func TestAShortSourceIsAnError(t *testing.T) {
	got, err := io.ReadAll(newReader(t.Context(), "abc", 4))
	if string(got) != "abc" || err != io.ErrUnexpectedEOF {
		t.Errorf("%q, %v", got, err)
	}
}

func TestACancelledReadSaysSo(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := io.ReadAll(newReader(ctx, "abc", 3)); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
