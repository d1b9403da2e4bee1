package plan

import (
	"fmt"

	"github.com/trivet-ha/trivet/avail"
	"github.com/trivet-ha/trivet/config"
	"github.com/trivet-ha/trivet/config/lint"
)

// Findings are the single points of failure of a file, the one that costs most first: what is down whenever it is, with
// the downtime that it can be expected to cost in a year. A file that leads to no pool has none.
func Findings(c *config.Config) []lint.Finding {
	p, err := New(c, nil)
	if err != nil {
		return nil
	}
	var all []lint.Finding
	for _, i := range p.Importances {
		if !i.Single || avail.Seconds(i.DownPerYear) < avail.Minute {
			continue
		}
		path, write := "", "a second machine that runs Trivet, behind the same name or address, and objectives: {assume: {nodes: 2}}"
		if pool := c.Pool(config.Name(i.Part)); pool != nil {
			path, write = "pools."+i.Part+".endpoints", "another endpoint, on a machine of its own"
		} else if i.Part != trivet && i.Kind == "zone" {
			path, write = "objectives.zones", "enough endpoints in other zones to carry the load without it"
		} else if i.Part != trivet && i.What != thisMachineText {
			write = "endpoints on other machines too"
		}
		at := config.Position{}
		if path != "" {
			at = c.Position(path)
		}
		all = append(all, lint.Finding{
			Rule: "single-point-of-failure", Severity: lint.Note, File: c.File(), Line: at.Line, Column: at.Column, Width: at.Width, Source: at.Source, Path: path,
			What:  fmt.Sprintf("%s: %s of downtime a year can be expected", i.What, i.DownPerYear.Time()),
			Why:   fmt.Sprintf("the service is down whenever it is; it is no. %d of what costs most, by trivet plan", len(all)+1),
			Write: write,
		})
	}
	return all
}
