// Package page writes a report as one HTML file that needs nothing else: no network, no other file, light and dark as the
// reader's machine is. Charts are drawn by uPlot, which is in the file with them; bars and tables are plain HTML, so that
// the page says all that matters without a script too.
//
// It decides nothing about what is shown, and trusts no text: all of it is escaped, and a policy in the page forbids it to
// load anything.
package page

import (
	_ "embed"
	"encoding/json"
	"html/template"
	"io"
	"math"
	"strconv"
)

// Page is a report.
type Page struct {
	Title    string
	Lead     string // one or two sentences: what it comes to
	Good     Tone   // of the lead
	Facts    []Fact // a few figures in large type
	Sections []Section
	Foot     string
}

// Tone is how something stands.
type Tone string

// The tones.
const (
	Neutral Tone = ""
	Good    Tone = "good"
	Bad     Tone = "bad"
)

// Fact is one figure.
type Fact struct {
	Name, Value, Note string
	Tone              Tone
}

// Section is a part of the page.
type Section struct {
	Title string
	Text  string
	Bars  []Bar
	Chart *Chart
	Table *Table
}

// Bar is a figure with a bar of a length.
type Bar struct {
	Name, Value string
	Note        string
	Size        float64 // relative to the others of the section, at least 0
	Tone        Tone
}

// Percent is the bar's length; a template uses it.
func (b Bar) Percent() template.CSS {
	return template.CSS(strconv.FormatFloat(math.Max(0, math.Min(100, b.Size)), 'f', 2, 64) + "%")
}

// Table is rows under headings; those of Right are aligned as numbers are.
type Table struct {
	Heads []string
	Right []bool
	Rows  [][]Cell
}

// Cell is a text in a table.
type Cell struct {
	Text string
	Tone Tone
}

// Cells makes a row of plain texts.
func Cells(texts ...string) []Cell {
	row := make([]Cell, len(texts))
	for i, t := range texts {
		row[i] = Cell{Text: t}
	}
	return row
}

// Column is how a column is aligned; a template uses it.
func (t *Table) Column(i int) string {
	if i < len(t.Right) && t.Right[i] {
		return "right"
	}
	return ""
}

// Chart is lines over a common axis.
type Chart struct {
	X      []float64 // ascending; seconds since 1970 if Time
	XName  string
	YName  string
	Lines  []Line
	Time   bool
	Log    bool    // a logarithmic y axis
	Steps  bool    // values hold until the next
	Marked float64 // an x to be marked; NaN or 0 is none
}

// Line is one of them; NaN is a gap.
type Line struct {
	Name string
	Y    []float64
	Dash bool
	Tone Tone
}

// number is a float64 in JSON, or null.
type number float64

// MarshalJSON implements json.Marshaler.
func (n number) MarshalJSON() ([]byte, error) {
	if f := float64(n); !math.IsNaN(f) && !math.IsInf(f, 0) {
		return json.Marshal(f)
	}
	return []byte("null"), nil
}

func numbers(all []float64) []number {
	out := make([]number, len(all))
	for i, f := range all {
		out[i] = number(f)
	}
	return out
}

// Data is the chart for the script in the page; a template uses it.
func (c *Chart) Data() (string, error) {
	type line struct {
		Name string   `json:"name"`
		Y    []number `json:"y"`
		Dash bool     `json:"dash"`
		Tone Tone     `json:"tone"`
	}
	data := struct {
		X      []number `json:"x"`
		XName  string   `json:"xname"`
		YName  string   `json:"yname"`
		Lines  []line   `json:"lines"`
		Time   bool     `json:"time"`
		Log    bool     `json:"log"`
		Steps  bool     `json:"steps"`
		Marked number   `json:"marked"`
	}{numbers(c.X), c.XName, c.YName, nil, c.Time, c.Log, c.Steps, number(c.Marked)}
	for _, l := range c.Lines {
		data.Lines = append(data.Lines, line{l.Name, numbers(l.Y), l.Dash, l.Tone})
	}
	encoded, err := json.Marshal(data) // escapes <, > and &
	return string(encoded), err
}

//go:embed page.html
var pageHTML string

//go:embed page.css
var pageCSS string

//go:embed page.js
var pageJS string

//go:embed uplot/uPlot.iife.min.js
var uplotJS string

//go:embed uplot/LICENSE
var uplotLicence string

//go:embed uplot/uPlot.min.css
var uplotCSS string

// Write writes the page. The error is that of writing.
func (p *Page) Write(w io.Writer) error {
	t, err := template.New("page").Parse(pageHTML)
	if err != nil {
		return err
	}
	charts := false
	for _, s := range p.Sections {
		charts = charts || s.Chart != nil
	}
	return t.Execute(w, struct {
		*Page
		Charts          bool
		CSS, UplotCSS   template.CSS
		Script, UplotJS template.JS
	}{p, charts, template.CSS(pageCSS), template.CSS(uplotCSS), template.JS(pageJS), template.JS("/*\n" + uplotLicence + "*/\n" + uplotJS)})
}
