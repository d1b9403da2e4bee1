package tidy

import (
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

var (
	bubbleWords = regexp.MustCompile(`in a\s+synctest\s+bubble`)
	mapLine     = regexp.MustCompile("^[-*|] *`([a-z0-9_./-]+?)/?`")
	markdownRef = regexp.MustCompile(`\[[^\]]*\]\(([^)\s]+)\)`)
	heading     = regexp.MustCompile(`(?m)^#{1,6} +(.+?) *$`)
	notInAnchor = regexp.MustCompile(`[^\p{L}\p{N} _-]`)
	codeFence   = regexp.MustCompile("(?s)```.*?```")
)

// architectureLinesMax keeps the page short enough to be read in one sitting.
const architectureLinesMax = 200

// checkCodeMap compares the lines of ARCHITECTURE.md's section "Code map" that start with a folder in backquotes
// with the folders of the module. A package counts as mapped when it, or one of the two folders above it, is listed.
func checkCodeMap(m *Module) (broken []string) {
	const page = "ARCHITECTURE.md"
	text, err := os.ReadFile(filepath.Join(m.Root, page))
	if err != nil {
		return []string{page + ": " + err.Error()}
	}
	if n := strings.Count(string(text), "\n"); n > architectureLinesMax {
		broken = append(broken, fmt.Sprintf("%s: %d lines, at most %d", page, n, architectureLinesMax))
	}
	_, section, ok := strings.Cut(string(text), "\n## Code map\n")
	if !ok {
		return append(broken, page+": no section \"Code map\"")
	}
	section, _, _ = strings.Cut(section, "\n## ")
	mapped := make(map[string]bool)
	for line := range strings.Lines(section) {
		if found := mapLine.FindStringSubmatch(line); found != nil {
			mapped[found[1]] = true
		}
	}
	for _, dir := range slices.Sorted(maps.Keys(mapped)) {
		if info, err := os.Stat(filepath.Join(m.Root, dir)); err != nil || !info.IsDir() {
			broken = append(broken, page+": the code map names "+dir+", which is no folder")
		}
	}
	for _, p := range m.Packages {
		if up := path.Dir(p.Dir); p.Dir != "." && !mapped[p.Dir] && !mapped[up] && !mapped[path.Dir(up)] {
			broken = append(broken, page+": the code map leaves out "+p.Dir)
		}
	}
	return broken
}

// checkLinks follows every relative link of every Markdown page, and every anchor into one.
func checkLinks(m *Module) (broken []string) {
	for _, page := range m.Texts {
		if path.Ext(page) != ".md" {
			continue
		}
		text, err := os.ReadFile(filepath.Join(m.Root, page))
		if err != nil {
			broken = append(broken, page+": "+err.Error())
			continue
		}
		for _, found := range markdownRef.FindAllStringSubmatch(codeFence.ReplaceAllString(string(text), ""), -1) {
			if why := deadLink(m.Root, page, found[1]); why != "" {
				broken = append(broken, fmt.Sprintf("%s: link to %s: %s", page, found[1], why))
			}
		}
	}
	return broken
}

// deadLink returns why a link of a page leads nowhere, "" when it does lead somewhere.
func deadLink(root, page, link string) string {
	if strings.Contains(link, "://") || strings.HasPrefix(link, "mailto:") {
		return ""
	}
	target, anchor, _ := strings.Cut(link, "#")
	file := page
	if target != "" {
		file = path.Join(path.Dir(page), target)
	}
	info, err := os.Stat(filepath.Join(root, file))
	if err != nil {
		return "no such file"
	}
	if anchor == "" || info.IsDir() || path.Ext(file) != ".md" {
		return ""
	}
	text, err := os.ReadFile(filepath.Join(root, file))
	if err != nil {
		return err.Error()
	}
	for _, h := range heading.FindAllStringSubmatch(codeFence.ReplaceAllString(string(text), ""), -1) {
		if anchorOf(h[1]) == anchor {
			return ""
		}
	}
	return "no such heading"
}

// anchorOf returns the anchor that the usual renderers give a heading.
func anchorOf(title string) string {
	title = notInAnchor.ReplaceAllString(strings.ToLower(title), "")
	return strings.ReplaceAll(title, " ", "-")
}

// foreignWords are what does not belong in a repository: paths of one person's machine, names of tools that helped to
// write it. Each is a literal to look for first, which is quick, and the pattern that decides. They are put together
// here so that this file does not contain them.
func foreignWords() map[string]*regexp.Regexp {
	words := make(map[string]*regexp.Regexp)
	for literal, pattern := range map[string]string{
		"/wo" + "rk/": `/wo` + `rk/(main|shared|\.)`, "/tmp/" + "common": "", "/ro" + "ot/go": "",
		"cla" + "ude": `\bcla` + `ude\b`, "anth" + "ropic": "", "chat" + "gpt": "", "open" + "ai": `\bopen` + `ai\b`,
		"copi" + "lot": `\bcopi` + `lot\b`, "l" + "lm": `\bl` + `lm\b`, "ai a" + "ssistant": `\bai a` + `ssistant`, "ai a" + "gent": `\bai a` + `gent`,
	} {
		if pattern == "" {
			pattern = regexp.QuoteMeta(literal)
		}
		words[literal] = regexp.MustCompile(pattern)
	}
	return words
}

func checkWords(m *Module) (broken []string) {
	foreign := foreignWords()
	names := slices.Clone(m.Texts)
	for _, p := range m.Packages {
		for _, f := range p.Files {
			names = append(names, f.Path)
		}
	}
	for _, name := range names {
		if base := path.Base(name); base == "go.sum" || base == "LICENSE" {
			continue
		}
		text, err := os.ReadFile(filepath.Join(m.Root, name))
		if err != nil {
			broken = append(broken, name+": "+err.Error())
			continue
		}
		lower := strings.ToLower(string(text))
		for literal, pattern := range foreign {
			if !strings.Contains(lower, literal) {
				continue
			}
			for _, at := range pattern.FindAllStringIndex(lower, -1) {
				line := strings.Count(lower[:at[0]], "\n") + 1
				broken = append(broken, fmt.Sprintf("%s:%d: %q does not belong here", name, line, lower[at[0]:at[1]]))
			}
		}
	}
	return broken
}
