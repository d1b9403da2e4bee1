package main

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// The data sets resemble source trees and shared files (small), and disk images and logs (mixed).
const (
	smallFiles  = 70_000
	tinyFiles   = 10_000_000
	mixedFiles  = 8
	mixedBytes  = 512 << 20
	editBytes   = 64 << 10
	insertBytes = 1000
)

// asMaker as the first argument makes this program one that makes data.
const asMaker = "as-maker"

// makeData makes the data set what in dir, with its scale, or edits it, with its round.
func makeData(what, dir, number string) error {
	n, err := strconv.ParseFloat(number, 64)
	if err != nil {
		return err
	}
	switch what {
	case "small":
		return makeSmall(dir, n)
	case "mixed":
		return makeMixed(dir, n)
	case "tiny":
		return makeTiny(dir, n)
	}
	return edit(dir, uint64(n))
}

// words is the vocabulary of the texts; their frequency follows Zipf's law, as that of real ones.
type words struct {
	src  *rand.Rand
	zipf *rand.Zipf
	list []string
}

func newWords(src *rand.Rand) *words {
	w := &words{src: src, zipf: rand.NewZipf(src, 1.1, 4, 20_000)}
	const letters = "etaoinshrdlucmfwypvbgkjqxz"
	for range 20_001 {
		var b strings.Builder
		for range 2 + src.IntN(9) {
			b.WriteByte(letters[int(math.Abs(src.NormFloat64())*6)%26])
		}
		w.list = append(w.list, b.String())
	}
	return w
}

// text appends n bytes of lines.
func (w *words) text(b []byte, n int) []byte {
	end := len(b) + n
	for line := 0; len(b) < end; {
		word := w.list[w.zipf.Uint64()]
		b = append(b, word...)
		if line += len(word); line > 60 {
			b = append(b, '\n')
			line = 0
		} else {
			b = append(b, ' ')
		}
	}
	return b[:end]
}

func noise(b []byte, src *rand.Rand) {
	for ; len(b) >= 8; b = b[8:] {
		binary.LittleEndian.PutUint64(b, src.Uint64())
	}
}

// makeSmall makes many small files in a tree: sizes like those of sources, a third of them twice.
func makeSmall(dir string, scale float64) error {
	src := rand.New(rand.NewPCG(1, 1))
	w := newWords(src)
	files := int(smallFiles * scale)
	var buf, last []byte
	for i := range files {
		sub := filepath.Join(dir, fmt.Sprintf("p%02d", i%37), fmt.Sprintf("d%d", i/370%60), fmt.Sprintf("s%d", i/20%19))
		if i%20 == 0 || i < 40 {
			if err := os.MkdirAll(sub, 0o755); err != nil {
				return err
			}
		}
		size := int(math.Exp(src.NormFloat64()*1.6 + 8.1)) // median 3.3 KB, a long tail
		size = min(size, 3<<20)
		switch {
		case i%3 == 1 && len(last) > 0:
			buf = append(buf[:0], last...)
		case i%17 == 0:
			buf = append(buf[:0], make([]byte, size)...)
			noise(buf, src)
		default:
			buf = w.text(buf[:0], size)
		}
		last = append(last[:0], buf...)
		name := filepath.Join(sub, fmt.Sprintf("file-%d.txt", i))
		if err := os.WriteFile(name, buf, 0o644); err != nil {
			if err := os.MkdirAll(sub, 0o755); err != nil {
				return err
			}
			if err := os.WriteFile(name, buf, 0o644); err != nil {
				return err
			}
		}
	}
	return nil
}

// makeTiny makes files of one line, a thousand to a directory. No two are the same.
func makeTiny(dir string, scale float64) error {
	const perDir = 1000
	for i := range int(tinyFiles * scale) {
		sub := filepath.Join(dir, fmt.Sprintf("d%02d", i/perDir%100), fmt.Sprintf("s%d", i/perDir))
		if i%perDir == 0 {
			if err := os.MkdirAll(sub, 0o755); err != nil {
				return err
			}
		}
		if err := os.WriteFile(filepath.Join(sub, fmt.Sprintf("file-%d", i)), fmt.Appendf(nil, "this is file number %d\n", i), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// makeMixed makes a few large files: half of them noise, half of them text.
func makeMixed(dir string, scale float64) error {
	src := rand.New(rand.NewPCG(2, 2))
	w := newWords(src)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for i := range mixedFiles {
		if err := makeLarge(filepath.Join(dir, fmt.Sprintf("large-%d", i)), int64(mixedBytes*scale), i%2 == 0, src, w); err != nil {
			return err
		}
	}
	return nil
}

func makeLarge(path string, bytes int64, noisy bool, src *rand.Rand, w *words) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	out := bufio.NewWriterSize(f, 1<<20)
	buf := make([]byte, 0, 1<<20)
	for left := bytes; left > 0; left -= int64(len(buf)) {
		n := int(min(left, 1<<20))
		if noisy {
			buf = buf[:n]
			noise(buf, src)
		} else {
			buf = w.text(buf[:0], n)
		}
		if _, err := out.Write(buf); err != nil {
			return err
		}
	}
	return out.Flush()
}

// edit overwrites one percent of each file in blocks at random places, and inserts bytes at 16 others.
func edit(dir string, seed uint64) error {
	src := rand.New(rand.NewPCG(3, seed))
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := editFile(filepath.Join(dir, e.Name()), src); err != nil {
			return err
		}
	}
	return nil
}

func editFile(path string, src *rand.Rand) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	block := make([]byte, editBytes)
	for range max(1, len(data)/100/editBytes) {
		noise(block, src)
		at := src.IntN(max(1, len(data)-editBytes))
		copy(data[at:], block)
	}
	out := make([]byte, 0, len(data)+16*insertBytes)
	const inserts = 16
	for i := range inserts {
		part := data[i*len(data)/inserts : (i+1)*len(data)/inserts]
		at := src.IntN(len(part) + 1)
		out = append(out, part[:at]...)
		noise(block[:insertBytes], src)
		out = append(out, block[:insertBytes]...)
		out = append(out, part[at:]...)
	}
	return os.WriteFile(path, out, 0o644)
}
