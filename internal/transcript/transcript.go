// Package transcript answers whether a state machine behaves as a written conversation says. It is for tests.
//
// A transcript is a text file. Each line is a command and, after "=>", what it must answer; "#" begins a comment:
//
//	config fall=3      # begin with these rules
//	2s fail            => up
//	4s fail            => down
//
// What the commands mean, the tests of each package say. It never knows a state machine itself.
package transcript

import (
	"bufio"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Actor takes a command, split at its spaces, and returns its answer.
type Actor func(command []string) (answer string, err error)

// Play plays each testdata/*.txt as a test of its own, with a new actor. There must be one at least.
func Play(t *testing.T, newActor func() Actor) {
	t.Helper()
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no transcripts: %v", err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".txt")
		t.Run(name, func(t *testing.T) { play(t, file, newActor()) })
	}
}

func play(t *testing.T, file string, act Actor) {
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	n := 1
	for ; lines.Scan(); n++ {
		line, _, _ := strings.Cut(lines.Text(), "#")
		command, want, _ := strings.Cut(line, "=>")
		fields := strings.Fields(command)
		if len(fields) == 0 {
			continue
		}
		got, err := act(fields)
		if err != nil {
			t.Fatalf("%s:%d: %v", file, n, err)
		}
		if want = strings.TrimSpace(want); got != want {
			t.Errorf("%s:%d: %s\n got %s\nwant %s", file, n, strings.TrimSpace(command), got, want)
		}
	}
	if err := lines.Err(); err != nil {
		t.Fatalf("%s:%d: %v", file, n, err)
	}
}
