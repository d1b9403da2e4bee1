package apitest

import (
	"context"
	"time"

	"github.com/trivet-ha/trivet/avail"
	"github.com/trivet-ha/trivet/avail/report"
)

// Report implements api.Reporter: a window in which one of three promises was broken.
func (n *Node) Report(_ context.Context, window time.Duration) (report.Report, error) {
	if window <= 0 {
		window = 30 * 24 * time.Hour
	}
	to := time.Date(2026, 5, 31, 12, 0, 0, 0, time.UTC)
	points := []report.Point{
		{At: to.Add(-2 * time.Hour).Unix(), Counts: report.Counts{Requests: 900_000, Failed: 100, Latency: []uint64{890_000, 10_000}, LatencySum: 9000, Up: 7200, EndpointUp: 14_000, EndpointDown: 400}},
		{At: to.Add(-time.Hour).Unix(), Counts: report.Counts{Requests: 100_000, Failed: 900, Latency: []uint64{99_900, 100}, LatencySum: 1000, Up: 3590, Down: 10, EndpointUp: 7200}},
	}
	return report.New(report.Input{
		From: to.Add(-window), To: to, Bounds: []avail.Seconds{0.05, 0.25},
		Promise:   report.Promise{Availability: .9995, Window: window, LatencyP99: 300 * time.Millisecond, RecoveryTime: 5 * time.Minute},
		Predicted: &report.Predicted{Availability: .9996, Low: .998, High: 1, Coverage: .99, Weakest: "this machine, on which Trivet runs"},
		Whole:     report.Subject{Points: points}, Routes: []report.Subject{{Name: "web/site", Points: points}}, Pools: []report.Subject{{Name: "site", Points: points}},
		Faults: []report.Fault{
			{ID: 1, Pool: "site", Where: "10.0.0.12:8000", What: "endpoint.down", Began: to.Add(-2 * time.Hour), ToDetect: 1.5, ToRecover: 200, Failed: 3},
			{ID: 2, Pool: "site", Where: "10.0.0.12:8000", What: "endpoint.down", Began: to.Add(-time.Hour), ToDetect: 0.5, ToRecover: 20},
		},
	}), nil
}
