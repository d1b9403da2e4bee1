package config

import (
	"testing"
	"time"
)

const objectivesText = `
listeners: {web: {address: ":8080", pool: site}}
pools: {site: {endpoints: [10.0.0.1:80, 10.0.1.2:80, db.example:80]}}
objectives:
  availability: 99.95%
  recovery_time: 5m
  zones: {a: 10.0.0.0/16, b: [10.0.1.0/24, 2001:db8::/32]}
  assume:
    machine: {mtbf: 500d}
    pools: {site: {rate: 200/s, service_time: 50ms, workers: 4}}
`

func TestObjectivesHaveDefaults(t *testing.T) {
	c, err := Parse("trivet.yaml", []byte(objectivesText))
	if err != nil {
		t.Fatal(err)
	}
	o := &c.Objectives
	if !o.Promised() || o.Availability != 99.95 || o.Window != 30*24*time.Hour || o.RecoveryTime != 5*time.Minute || o.RecoveryPoint != 0 {
		t.Errorf("objectives %+v", o)
	}
	if m := o.Assume.Machine; m.MTBF != 500*24*time.Hour || m.MTTR != 4*time.Hour {
		t.Errorf("a machine fails after %v for %v", m.MTBF, m.MTTR)
	}
	if l := o.Assume.LoadOf("site"); l.Rate != 200 || l.Workers != 4 || l.Variation != 1 || l.Wait != 100*time.Millisecond {
		t.Errorf("load %+v", l)
	}
	if l := o.Assume.LoadOf("other"); l.Workers != 1 || l.Rate != 0 {
		t.Errorf("load of a pool that nothing is said of: %+v", l)
	}
	c, err = Parse("trivet.yaml", nil)
	if err != nil {
		t.Fatal(err)
	}
	if c.Objectives.Promised() || c.Objectives.Assume.Nodes != 1 || c.Objectives.Assume.Coverage != 99 {
		t.Errorf("of an empty file: %+v", c.Objectives)
	}
}

func TestTheNarrowestZoneHoldsAnAddress(t *testing.T) {
	c, err := Parse("trivet.yaml", []byte(objectivesText))
	if err != nil {
		t.Fatal(err)
	}
	for host, want := range map[string]Name{"10.0.0.1": "a", "10.0.1.2": "b", "2001:db8::1": "b", "192.0.2.1": "", "db.example": ""} {
		if got := c.Objectives.ZoneOf(host); got != want {
			t.Errorf("%s is in zone %q, want %q", host, got, want)
		}
	}
}
