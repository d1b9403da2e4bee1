package demo

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/trivet-ha/trivet/avail"
	"github.com/trivet-ha/trivet/avail/report"
)

// reckoned ends the story with what Trivet itself has measured of it: every fault, whether a client noticed, and the promise of
// the demo's file beside what was predicted and what came of it.
func reckoned(ctx context.Context, s *Stage) error {
	s.Phase("after")
	if err := s.Pause(ctx, time.Second); err != nil {
		return err
	}
	s.Say("trivet report")
	r, err := s.Trivet.Report(ctx)
	if err != nil {
		return err
	}
	unnoticed := 0
	for _, f := range r.Faults {
		noticed := "no client noticed"
		if f.Failed > 0 {
			noticed = fmt.Sprintf("clients lost %d requests", f.Failed)
		} else {
			unnoticed++
		}
		s.Saw("%s, %s: detected after %s, over after %s; %s", s.nameOf(f.Where), f.What, rounded(f.ToDetect), rounded(f.ToRecover), noticed)
	}
	if n := len(r.Faults); n > 0 {
		sure := avail.ClopperPearson(unnoticed, n, report.Confidence)
		s.Saw("%d of %d faults went unnoticed: sure to 95 %% that %.0f to %.0f %% of such faults do", unnoticed, n, 100*sure.Low, 100*sure.High)
	}
	for i := range r.Lines {
		if text := lineText(&r.Lines[i]); text != "" {
			s.Saw("%s", text)
		}
	}
	s.Saw("%s", r.Gap)
	return nil
}

// lineText is one figure that was measured, beside what was promised and predicted of it.
func lineText(l *report.Line) string {
	if l.Measured == nil {
		return ""
	}
	text := fmt.Sprintf("%-34s measured %s", l.Name, figure(l.Unit, *l.Measured))
	if l.Low != nil && l.High != nil {
		text += fmt.Sprintf(" (%s to %s)", figure(l.Unit, *l.Low), figure(l.Unit, *l.High))
	}
	if l.Predicted != nil {
		text += ", predicted " + figure(l.Unit, *l.Predicted)
	}
	if l.Promised != nil {
		text += ", promised " + figure(l.Unit, *l.Promised)
	}
	return text
}

func figure(u report.Unit, f float64) string {
	if u == report.Times {
		return rounded(avail.Seconds(f))
	}
	return fmt.Sprintf("%.4g %%", math.Round(f*1e6)/1e4)
}

func rounded(s avail.Seconds) string { return s.Duration().Round(100 * time.Microsecond).String() }
