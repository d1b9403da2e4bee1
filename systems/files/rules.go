package files

import (
	"io"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/trivet-ha/trivet/systems/files/pattern"
)

// rules are the patterns as they stand in one directory.
type rules struct {
	fixed []pattern.Place // of the configuration
	local []pattern.Place // of ignore files, those of the deepest directory last
}

// rootRules are the rules in the root directory.
func rootRules(lists []*pattern.List) rules {
	var r rules
	for _, l := range lists {
		if !l.Empty() {
			r.fixed = append(r.fixed, l.Root())
		}
	}
	return r
}

// descend follows the names of an absolute path.
func (r rules) descend(absolute string) rules {
	for _, name := range components(absolute) {
		r = r.enter(name)
	}
	return r
}

func (r rules) enter(name string) rules {
	return rules{fixed: enterAll(r.fixed, name), local: enterAll(r.local, name)}
}

func enterAll(places []pattern.Place, name string) []pattern.Place {
	if len(places) == 0 {
		return nil
	}
	next := make([]pattern.Place, len(places))
	for i, p := range places {
		next[i] = p.Enter(name)
	}
	return next
}

// excludesName reports whether the configuration's patterns exclude the name: it is not even looked at then, which
// matters where a look hangs (a dead network mount).
func (r rules) excludesName(name string) bool {
	return slices.ContainsFunc(r.fixed, func(p pattern.Place) bool { return p.Chosen(name, false) })
}

// excludes reports whether any rule excludes the entry. Of the ignore files the deepest that says anything decides.
func (r rules) excludes(name string, isDir bool) bool {
	if isDir && slices.ContainsFunc(r.fixed, func(p pattern.Place) bool { return p.Chosen(name, true) }) {
		return true
	}
	for _, p := range slices.Backward(r.local) {
		if chosen, decided := p.Decide(name, isDir); decided {
			return chosen
		}
	}
	return false
}

// maxRuleFileBytes bounds an ignore file, and the header of a tag.
const maxRuleFileBytes = 1 << 20

// withIgnoreFiles adds the rules that the directory's own ignore files hold.
func (r rules) withIgnoreFiles(fd int, names, ignoreFiles []string) (rules, error) {
	for _, file := range ignoreFiles {
		if _, found := slices.BinarySearch(names, file); !found {
			continue
		}
		text, err := readSmall(fd, file, maxRuleFileBytes)
		if err != nil {
			return r, err
		}
		list, err := pattern.Compile(pattern.Lines(text, pattern.Gitignore), pattern.Options{Dialect: pattern.Gitignore})
		if err != nil {
			return r, err
		}
		r.local = append(slices.Clone(r.local), list.Root())
	}
	return r, nil
}

// tagged returns the tag that the directory holds.
func tagged(fd int, names []string, tags []Tag) (string, bool) {
	for _, tag := range tags {
		if _, found := slices.BinarySearch(names, tag.Name); !found {
			continue
		}
		if tag.Header == "" {
			return tag.Name, true
		}
		text, err := readSmall(fd, tag.Name, int64(len(tag.Header)))
		if err == nil && strings.HasPrefix(string(text), tag.Header) {
			return tag.Name, true
		}
	}
	return "", false
}

// readSmall reads the beginning of a regular file in an open directory.
func readSmall(dir int, name string, most int64) ([]byte, error) {
	fd, err := unix.Openat(dir, name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &pathError{"open", name, err}
	}
	defer unix.Close(fd)
	text, err := io.ReadAll(io.LimitReader(rawFile(fd), most))
	if err != nil {
		return nil, &pathError{"read", name, err}
	}
	return text, nil
}

// rawFile reads an open file.
type rawFile int

func (f rawFile) Read(p []byte) (int, error) {
	for {
		n, err := unix.Read(int(f), p)
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return 0, err
		case n == 0 && len(p) > 0:
			return 0, io.EOF
		}
		return n, nil
	}
}

// pathError is an fs.PathError without a place: the caller knows where.
type pathError struct {
	op, name string
	err      error
}

func (e *pathError) Error() string { return e.op + " " + path.Base(e.name) + ": " + e.err.Error() }
func (e *pathError) Unwrap() error { return e.err }
