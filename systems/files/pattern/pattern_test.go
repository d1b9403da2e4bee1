package pattern

import (
	"errors"
	"os/exec"
	"path"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func compile(t testing.TB, opts Options, lines ...string) *List {
	t.Helper()
	l, err := Compile(lines, opts)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestResticDialect(t *testing.T) {
	for _, c := range []struct {
		patterns string
		path     string
		want     bool
	}{
		{"*.tmp", "/home/a.tmp", true},
		{"*.tmp", "/home/a.tmp/deep/below", true},
		{"*.tmp", "/home/a.tmpx", false},
		{"/home", "/home/user/x", true},
		{"/home", "/srv/home/x", false},
		{"home", "/srv/home/x", true},
		{"home/user", "/srv/home/user", true},
		{"home/user", "/srv/home/x/user", false},
		{"home/", "/srv/home", true},
		{"/a/**/z", "/a/z", true},
		{"/a/**/z", "/a/b/z", true},
		{"/a/**/z", "/a/b/c/d/z/y", true},
		{"/a/**/z", "/b/a/z", false},
		{"a/**", "/x/a", true},
		{"a/**", "/x/a/b", true},
		{"**", "/x", true},
		{"/", "/x/y", true},
		{"**/z", "/a/b/z", true},
		{"/a/*/c", "/a/b/c/d", true},
		{"/a/*/c", "/a/c", false},
		{"x?z", "/a/xyz", true},
		{"[a-c]x", "/q/bx", true},
		{"[a-c]x", "/q/dx", false},
		{`\*`, "/q/*", true},
		{`\*`, "/q/x", false},
		{"*mid*", "/q/amidst", true},
		{"*.txt !keep.txt", "/a/keep.txt", false},
		{"*.txt !keep.txt", "/a/b.txt", true},
		{"/a !/a/b", "/a/b/c", false},
		{"/a !/a/b", "/a/c", true},
		{"!/a/b /a", "/a/b", true},
		{"\xff*", "/a/\xffb", true},
	} {
		l := compile(t, Options{Dialect: Restic}, strings.Fields(c.patterns)...)
		if got := l.Follow(c.path, false); got != c.want {
			t.Errorf("%q chooses %q: %t, want %t", c.patterns, c.path, got, c.want)
		}
	}
}

func TestCaseIsFoldedOnRequest(t *testing.T) {
	l := compile(t, Options{FoldCase: true}, "*.JPG", "/Home/[a-z]")
	for p, want := range map[string]bool{"/x/a.jpg": true, "/x/a.JpG": true, "/hOME/Z": true, "/x/a.png": false} {
		if l.Follow(p, false) != want {
			t.Errorf("%q: got %t", p, !want)
		}
	}
}

func TestGitignoreChoosesDirectoriesOnlyAfterASlash(t *testing.T) {
	l := compile(t, Options{Dialect: Gitignore}, "build/", "/top", "a/b")
	if l.Follow("/x/build", false) || !l.Follow("/x/build", true) {
		t.Error("a pattern with a slash at its end must match directories only")
	}
	if !l.Follow("/top", false) || l.Follow("/x/top", false) {
		t.Error("a leading slash anchors the pattern")
	}
	if !l.Follow("/a/b", false) || l.Follow("/x/a/b", false) {
		t.Error("a slash in the middle anchors the pattern")
	}
}

func TestBadPatternIsNamed(t *testing.T) {
	_, err := Compile([]string{"fine", "[a"}, Options{})
	var bad *BadPatternError
	if !errors.As(err, &bad) || bad.Line != 2 || bad.Pattern != "[a" {
		t.Fatalf("got %v", err)
	}
}

func TestLinesDropsCommentsAndSpace(t *testing.T) {
	got := Lines([]byte("# no\r\n\n  a  \nb\n"), Restic)
	if strings.Join(got, "|") != "a|b" {
		t.Errorf("got %q", got)
	}
	got = Lines([]byte("a\\ \nb  \n  c\n\\#d\n"), Gitignore)
	if strings.Join(got, "|") != `a\ |b|  c|\#d` {
		t.Errorf("got %q", got)
	}
}

func TestMayHoldPrunesAnchoredPatterns(t *testing.T) {
	l := compile(t, Options{}, "/a/b/*.c")
	if !l.Root().MayHold() || !l.Root().Enter("a").MayHold() || !l.Root().Enter("a").Enter("b").MayHold() {
		t.Error("the way to the match must be open")
	}
	if l.Root().Enter("x").MayHold() || l.Root().Enter("a").Enter("c").MayHold() {
		t.Error("a directory off the way holds nothing")
	}
	if !compile(t, Options{}, "x").Root().Enter("q").MayHold() {
		t.Error("a floating pattern may match anywhere")
	}
	if (Place{}).MayHold() || (Place{}).Enter("x").Chosen("y", false) {
		t.Error("the zero place matches nothing")
	}
}

// naive is restic's rule, spelled out: some run of the path's names matches the pattern, and the last
// pattern with such a run decides.
func naive(patterns []string, p string) bool {
	names := strings.Split(strings.Trim(p, "/"), "/")
	chosen := false
	for _, pat := range patterns {
		body, negated := strings.CutPrefix(pat, "!")
		body = path.Clean(body)
		parts := strings.Split(strings.Trim(body, "/"), "/")
		if naiveRun(parts, names, body[0] == '/') {
			chosen = !negated
		}
	}
	return chosen
}

func naiveRun(parts, names []string, anchored bool) bool {
	for from := range names {
		if from > 0 && anchored {
			break
		}
		for to := from; to <= len(names); to++ {
			if to > from && naiveMatch(parts, names[from:to]) {
				return true
			}
		}
	}
	return false
}

func naiveMatch(parts, names []string) bool {
	if len(parts) == 0 {
		return len(names) == 0
	}
	if parts[0] == "**" {
		return naiveMatch(parts[1:], names) || len(names) > 0 && naiveMatch(parts, names[1:])
	}
	if len(names) == 0 {
		return false
	}
	ok, _ := path.Match(parts[0], names[0])
	return ok && naiveMatch(parts[1:], names[1:])
}

func TestAgreesWithTheRuleSpelledOut(t *testing.T) {
	part := rapid.SampledFrom([]string{"a", "b", "ab", "*", "a*", "*b", "*a*", "?", "[ab]", "**", "a?b"})
	name := rapid.SampledFrom([]string{"a", "b", "ab", "aab", "c", "ba", "x"})
	rapid.Check(t, func(t *rapid.T) {
		var patterns []string
		for range rapid.IntRange(1, 4).Draw(t, "patterns") {
			p := strings.Join(rapid.SliceOfN(part, 1, 4).Draw(t, "parts"), "/")
			p = rapid.SampledFrom([]string{"", "/", "!", "!/"}).Draw(t, "head") + p
			patterns = append(patterns, p)
		}
		p := "/" + strings.Join(rapid.SliceOfN(name, 1, 5).Draw(t, "path"), "/")
		l, err := Compile(patterns, Options{Dialect: Restic})
		if err != nil {
			t.Fatal(err)
		}
		if got, want := l.Follow(p, false), naive(patterns, p); got != want {
			t.Fatalf("%q on %q: got %t, want %t", patterns, p, got, want)
		}
	})
}

// git check-ignore is asked about paths whose parents are not excluded: those are never visited.
func TestAgreesWithGit(t *testing.T) {
	git, err := exec.LookPath("git")
	if err != nil {
		t.Fatal("git is needed: ", err)
	}
	dir := t.TempDir()
	if out, err := exec.Command(git, "init", "-q", dir).CombinedOutput(); err != nil {
		t.Fatal(err, string(out))
	}
	lists := []string{
		"*.o", "/a", "a/b", "a/**", "**/b", "a/**/c", "*\n!*.c", "/*\n!/a\n/a/*\n!/a/b", "[!a]", "?b", "a*", `\!x`, "foo/*", "**", "x/**/y/*.c\n!z.c",
	}
	var paths []string
	names := []string{"a", "b", "c", "x.c", "ab", "!x"}
	for _, x := range names {
		paths = append(paths, x)
		for _, y := range names {
			paths = append(paths, x+"/"+y)
			for _, z := range names {
				paths = append(paths, x+"/"+y+"/"+z)
			}
		}
	}
	for _, lines := range lists {
		cmd := exec.Command(git, "-C", dir, "-c", "core.excludesFile=/dev/null", "check-ignore", "--no-index", "--stdin", "-z")
		if err := writeFile(dir+"/.git/info/exclude", lines+"\n"); err != nil {
			t.Fatal(err)
		}
		cmd.Stdin = strings.NewReader(strings.Join(paths, "\x00") + "\x00")
		out, _ := cmd.Output() // exit code 1 means that none is ignored
		ignored := map[string]bool{}
		for p := range strings.SplitSeq(string(out), "\x00") {
			ignored[p] = true
		}
		l := compile(t, Options{Dialect: Gitignore}, strings.Split(lines, "\n")...)
		for _, p := range paths {
			if parent := path.Dir(p); ignored[parent] {
				continue
			}
			if got := l.Follow(p, false); got != ignored[p] && !l.Follow(p, true) {
				t.Errorf("%q on %q: got %t, git says %t", lines, p, got, ignored[p])
			} else if got && !ignored[p] {
				t.Errorf("%q on %q: chosen, but not by git", lines, p)
			}
		}
	}
}

func FuzzCompileNeverPanicsAndAgrees(f *testing.F) {
	f.Add("*.tmp\n!/a/**/b\n[a-z]", "/a/x/b", true)
	f.Add("**/**\n/", "//", false)
	f.Fuzz(func(t *testing.T, text, p string, git bool) {
		opts := Options{Dialect: Restic}
		if git {
			opts.Dialect = Gitignore
		}
		l, err := Compile(Lines([]byte(text), opts.Dialect), opts)
		if err != nil {
			return
		}
		if len(p) > 200 || len(text) > 400 {
			return
		}
		l.Follow(p, true)
		l.Root().MayHold()
	})
}

func BenchmarkChosen(b *testing.B) {
	l := compile(b, Options{}, "*.tmp", "node_modules", "/proc", "/sys", "*.o", ".cache", "/home/*/Downloads")
	place := l.Root().Enter("home").Enter("user")
	b.ReportAllocs()
	for b.Loop() {
		place.Chosen("some-file-name.txt", false)
	}
}

func BenchmarkEnter(b *testing.B) {
	l := compile(b, Options{}, "*.tmp", "node_modules", "*.o", ".cache")
	place := l.Root()
	b.ReportAllocs()
	for b.Loop() {
		place = place.Enter("directory")
	}
}
