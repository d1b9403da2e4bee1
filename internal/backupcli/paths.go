package backupcli

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/trivet-ha/trivet/systems/files"
	"github.com/trivet-ha/trivet/systems/files/pattern"
)

// paths are the arguments and what the lists name.
func (b *backupVerb) paths(args []string) ([]string, error) {
	paths := append([]string{}, args...)
	for _, file := range b.filesFrom {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("read list of paths: %w", err)
		}
		for _, line := range pattern.Lines(text, pattern.Restic) {
			found, err := filepath.Glob(line)
			if err != nil {
				return nil, usage("", "%s: the pattern %q cannot be read", file, line)
			}
			paths = append(paths, found...)
		}
	}
	for _, list := range []struct {
		files []string
		end   byte
	}{{b.verbatim, '\n'}, {b.rawNUL, 0}} {
		for _, file := range list.files {
			text, err := os.ReadFile(file)
			if err != nil {
				return nil, fmt.Errorf("read list of paths: %w", err)
			}
			for path := range bytes.SplitSeq(text, []byte{list.end}) {
				if len(path) > 0 {
					paths = append(paths, string(path))
				}
			}
		}
	}
	if len(paths) == 0 {
		return nil, usage("trivet backup --repo REPO PATH...", "no path is named")
	}
	return paths, nil
}

// skipFlags say what a backup leaves out.
type skipFlags struct {
	excludes, iexcludes, excludeFiles, iexcludeFiles []string
	caches, oneFileSystem                            bool
	ifPresent, ignoreFiles                           []string
	largerThan                                       string
}

func (s *skipFlags) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringArrayVarP(&s.excludes, "exclude", "e", nil, "leave out what matches the pattern (restic's: *.tmp, /var/cache, a/**/b, !keep)")
	f.StringArrayVar(&s.iexcludes, "iexclude", nil, "the same, without regard to case")
	f.StringArrayVar(&s.excludeFiles, "exclude-file", nil, "read such patterns from a file")
	f.StringArrayVar(&s.iexcludeFiles, "iexclude-file", nil, "the same, without regard to case")
	f.StringArrayVar(&s.ignoreFiles, "ignore-file", nil, "honour files of this name in the tree, in the language of .gitignore")
	f.BoolVar(&s.caches, "exclude-caches", false, "leave out what is in directories marked by CACHEDIR.TAG")
	f.StringArrayVar(&s.ifPresent, "exclude-if-present", nil, "leave out what is in directories that hold the file NAME[:HEADER]")
	f.StringVar(&s.largerThan, "exclude-larger-than", "", "leave out larger files: 500M, 2GiB")
	f.BoolVarP(&s.oneFileSystem, "one-file-system", "x", false, "stay on the file system of each path")
}

// forSnapshot is what the snapshot says of it.
func (s *skipFlags) forSnapshot() []string {
	return append(append([]string{}, s.excludes...), s.iexcludes...)
}

func (s *skipFlags) skip() (files.Skip, error) {
	skip := files.Skip{IgnoreFiles: s.ignoreFiles, OneFileSystem: s.oneFileSystem}
	var err error
	if skip.Patterns, skip.Key, err = patternLists(s.excludes, s.iexcludes, s.excludeFiles, s.iexcludeFiles); err != nil {
		return skip, err
	}
	if s.caches {
		skip.Tagged = append(skip.Tagged, files.CacheDirTag())
	}
	for _, tag := range s.ifPresent {
		name, header, _ := strings.Cut(tag, ":")
		skip.Tagged = append(skip.Tagged, files.Tag{Name: name, Header: header})
	}
	if s.largerThan != "" {
		if skip.LargerThan, err = parseSize(s.largerThan); err != nil {
			return skip, usage("", "%v", err)
		}
	}
	return skip, nil
}

// patternLists compiles patterns and files of them; key tells two sets of patterns apart.
func patternLists(exact, folded, exactFiles, foldedFiles []string) (lists []*pattern.List, key string, err error) {
	for _, set := range []struct {
		lines, files []string
		fold         bool
	}{{exact, exactFiles, false}, {folded, foldedFiles, true}} {
		lines := append([]string{}, set.lines...)
		for _, file := range set.files {
			text, err := os.ReadFile(file)
			if err != nil {
				return nil, "", fmt.Errorf("read patterns: %w", err)
			}
			for _, line := range pattern.Lines(text, pattern.Restic) {
				lines = append(lines, os.ExpandEnv(strings.ReplaceAll(line, "$$", "\x00")))
			}
		}
		for i := range lines {
			lines[i] = strings.ReplaceAll(lines[i], "\x00", "$")
		}
		if len(lines) == 0 {
			continue
		}
		l, err := pattern.Compile(lines, pattern.Options{Dialect: pattern.Restic, FoldCase: set.fold})
		if err != nil {
			return nil, "", usage("", "%v", err)
		}
		lists = append(lists, l)
		key += fmt.Sprintf("%t%q", set.fold, lines)
	}
	return lists, key, nil
}
