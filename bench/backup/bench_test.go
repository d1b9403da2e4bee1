package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestTheDataIsTheSameEachTime(t *testing.T) {
	for _, build := range []func(string, float64) error{makeSmall, makeMixed} {
		a, b := filepath.Join(t.TempDir(), "a"), filepath.Join(t.TempDir(), "b")
		for _, dir := range []string{a, b} {
			if err := build(dir, 0.001); err != nil {
				t.Fatal(err)
			}
		}
		if err := sameContent(a, b); err != nil {
			t.Error(err)
		}
		if treeBytes(a) == 0 {
			t.Error("there is no data")
		}
	}
}

func TestAnEditChangesAboutOnePercent(t *testing.T) {
	dir := t.TempDir()
	if err := makeMixed(dir, 0.05); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "large-0")
	before, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := edit(dir, 1); err != nil {
		t.Fatal(err)
	}
	after, err := os.ReadFile(file)
	if err != nil || len(after) != len(before)+16*insertBytes || bytes.Equal(before, after[:len(before)]) {
		t.Errorf("%d bytes, before %d, %v", len(after), len(before), err)
	}
}

func TestThePageShowsMediansAndBars(t *testing.T) {
	l := &lab{settings: settings{tools: []string{"restic", "trivet"}, sets: []string{"small"}, restic: "true", rounds: 3, scale: 1}, results: map[cell][]sample{}}
	for i := range 3 {
		l.results[cell{"small", "initial", "restic"}] = append(l.results[cell{"small", "initial", "restic"}], sample{wall: time.Duration(i+5) * time.Second, cpu: time.Second, rssMiB: 100, addedMB: 10})
		l.results[cell{"small", "initial", "trivet"}] = append(l.results[cell{"small", "initial", "trivet"}], sample{wall: time.Duration(i+1) * time.Second, cpu: time.Second, rssMiB: 90, addedMB: 10})
	}
	page := l.page(time.Now())
	for _, want := range []string{"| initial | 6.00 / 1.00 / 100 / 10.0 | 2.00 / 1.00 / 90 / 10.0 |", "| initial, against restic | small | 2.20 | 3.00 | 1.00 | yes |", "| peak memory, against restic | small | 0.83 | 1.11 | 1.00 | yes |"} {
		if !strings.Contains(page, want) {
			t.Errorf("%q is not in:\n%s", want, page)
		}
	}
}
