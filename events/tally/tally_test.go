package tally

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/trivet-ha/trivet/avail/report"
)

func open(t *testing.T, path string) *Store {
	t.Helper()
	s, err := Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func write(t *testing.T, s *Store, at time.Time, requests uint64) {
	t.Helper()
	c := report.Counts{Requests: requests, Failed: 1, Latency: []uint64{requests, 1}, Up: 60}
	if err := s.Write(t.Context(), at, []Row{{Kind: Pool, Name: "site", Counts: c}, {Kind: Whole, Counts: c}}); err != nil {
		t.Fatal(err)
	}
}

func total(t *testing.T, s *Store, from, to time.Time) (points int, c report.Counts) {
	t.Helper()
	all, err := s.Read(t.Context(), Pool, from, to)
	if err != nil {
		t.Fatal(err)
	}
	for i, p := range all["site"] {
		if i > 0 && p.At <= all["site"][i-1].At {
			t.Fatalf("points are out of order: %v", all)
		}
		c.Add(p.Counts)
	}
	return len(all["site"]), c
}

func TestPartsOfAMinuteAddUp(t *testing.T) {
	s := open(t, "")
	at := time.Unix(6000, 0)
	write(t, s, at.Add(5*time.Second), 10)
	write(t, s, at.Add(50*time.Second), 20)
	write(t, s, at.Add(65*time.Second), 5)
	if n, c := total(t, s, at, at.Add(time.Hour)); n != 2 || c.Requests != 35 || c.Failed != 3 || c.Latency[0] != 35 || c.Up != 180 {
		t.Errorf("%d points, %+v", n, c)
	}
}

// TestNothingIsLostOnTheWayToDays rolls a year of counts, one a quarter of an hour, again and again.
func TestNothingIsLostOnTheWayToDays(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "state.db"))
	begin := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	const days = 60
	for quarter := range days * 24 * 4 / 8 { // two hours apart: the test is not about volume
		write(t, s, begin.Add(time.Duration(quarter)*2*time.Hour), 100)
		if quarter%50 == 0 {
			if err := s.Roll(t.Context(), begin.Add(time.Duration(quarter)*2*time.Hour)); err != nil {
				t.Fatal(err)
			}
		}
	}
	now := begin.Add(days * 24 * time.Hour)
	if err := s.Roll(t.Context(), now); err != nil {
		t.Fatal(err)
	}
	n, c := total(t, s, begin, now)
	if c.Requests != days*12*100 {
		t.Errorf("%d requests are left of %d", c.Requests, days*12*100)
	}
	if most := days + 35*12 + 50; n > most || n < 24+33*12 {
		t.Errorf("%d points: the old ones are by the day, those of five weeks by the hour", n)
	}
	if err := s.Roll(t.Context(), now.Add(Keep+48*time.Hour)); err != nil {
		t.Fatal(err)
	}
	if n, _ := total(t, s, begin, now); n != 0 {
		t.Errorf("%d points are older than thirteen months", n)
	}
}

func TestFaultsAreKeptOnceAndOverRestarts(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.db")
	s := open(t, path)
	ended := time.Unix(1_000_000, 0)
	f := report.Fault{ID: 7, Pool: "site", Where: "10.0.0.1:80", What: "endpoint.down", Began: ended.Add(-time.Minute).UTC(), ToDetect: 1, ToRecover: 60, Failed: 3}
	for range 2 {
		if err := s.WriteFault(t.Context(), f, ended); err != nil {
			t.Fatal(err)
		}
	}
	s.Close()
	s = open(t, path)
	all, err := s.Faults(t.Context(), ended.Add(-time.Hour), ended)
	if err != nil || len(all) != 1 || all[0] != f {
		t.Errorf("%+v, %v", all, err)
	}
	if all, _ := s.Faults(t.Context(), ended.Add(time.Second), ended.Add(time.Hour)); len(all) != 0 {
		t.Errorf("of another time: %+v", all)
	}
	if err := s.Roll(t.Context(), ended.Add(Keep+time.Hour)); err != nil {
		t.Fatal(err)
	}
	if all, _ := s.Faults(t.Context(), time.Time{}, ended); len(all) != 0 {
		t.Errorf("older than thirteen months: %+v", all)
	}
}

func TestAFileOfALaterVersionIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.db")
	s := open(t, path)
	if _, err := s.db.Exec(`update trivet_schema set version = 99 where part = 'tally'`); err != nil {
		t.Fatal(err)
	}
	s.Close()
	if _, err := Open(t.Context(), path); err == nil {
		t.Error("it is opened")
	}
	if _, err := Open(t.Context(), "/dev/null/state.db"); err == nil {
		t.Error("a file that can not be is opened")
	}
}
