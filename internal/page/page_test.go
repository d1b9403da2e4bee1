package page

import (
	"math"
	"strings"
	"testing"
)

func write(t *testing.T, p *Page) string {
	t.Helper()
	var b strings.Builder
	if err := p.Write(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestAPageLoadsNothing(t *testing.T) {
	text := write(t, &Page{Title: "A plan", Sections: []Section{{Title: "One", Chart: &Chart{X: []float64{1, 2}, Lines: []Line{{Name: "a", Y: []float64{1, math.NaN()}}}}}}})
	for _, forbidden := range []string{`src="`, "<link", "@import", "url(http", "fetch("} {
		if strings.Contains(text, forbidden) {
			t.Errorf("the page has %q", forbidden)
		}
	}
	for _, wanted := range []string{"default-src 'none'", "uPlot", "prefers-color-scheme: dark", "&#34;y&#34;:[1,null]"} {
		if !strings.Contains(text, wanted) {
			t.Errorf("the page lacks %q", wanted)
		}
	}
}

func TestTextsAreEscaped(t *testing.T) {
	const evil = `</style></script><script>alert("x")</script>`
	text := write(t, &Page{Title: evil, Lead: evil, Foot: evil, Facts: []Fact{{Name: evil, Value: evil, Note: evil}}, Sections: []Section{{
		Title: evil, Text: evil, Bars: []Bar{{Name: evil, Value: evil, Note: evil, Size: 50}},
		Table: &Table{Heads: []string{evil}, Right: []bool{true}, Rows: [][]Cell{Cells(evil)}},
		Chart: &Chart{X: []float64{1}, XName: evil, YName: evil, Lines: []Line{{Name: evil, Y: []float64{1}}}},
	}}})
	if strings.Contains(text, "alert(\"x\")") {
		t.Error("a text became a script")
	}
	if strings.Count(text, "<script>") != 2 {
		t.Errorf("the page has %d scripts, want its own two", strings.Count(text, "<script>"))
	}
}

func TestAPageWithoutChartsHasNoScript(t *testing.T) {
	text := write(t, &Page{Title: "A plan", Lead: "It is kept.", Good: Good, Sections: []Section{{Title: "T", Bars: []Bar{{Name: "a", Size: 250}, {Name: "b", Size: -1}}}}})
	if strings.Contains(text, "<script") {
		t.Error("there is a script")
	}
	for _, wanted := range []string{"width:100.00%", "width:0.00%", `class="lead good"`} {
		if !strings.Contains(text, wanted) {
			t.Errorf("the page lacks %q", wanted)
		}
	}
}
