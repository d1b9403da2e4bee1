package main

import (
	"slices"
	"strings"
	"testing"
	"time"
)

const dnsperfOutput = `Statistics:

  Queries sent:         196542
  Queries completed:    196500 (99.98%)
  Queries lost:         42 (0.02%)

  Response codes:       NOERROR 196500 (100.00%)
  Average packet size:  request 32, response 80
  Run time (s):         4.000750
  Queries per second:   49115.790

  Average Latency (s):  0.006350 (min 0.000015, max 0.225409)
  Latency StdDev (s):   0.011218
`

func TestReadsWhatDNSPerfPrints(t *testing.T) {
	out, err := parseDNSPerf(dnsperfOutput)
	if want := (outcome{requests: 196500, errors: 42, seconds: 4.00075, p50: 6350 * time.Microsecond}); err != nil || out != want {
		t.Errorf("read %+v, %v; want %+v", out, err, want)
	}
	if _, err := parseDNSPerf("Error: unable to connect"); err == nil {
		t.Error("a run that failed passed for a result")
	}
}

func TestReadsTheAddressesOfAnAnswer(t *testing.T) {
	msg := slices.Clone(dnsQuestion)
	msg[2], msg[7] = 0x84, 2
	for _, last := range []byte{11, 12} {
		msg = append(msg, 0xC0, 12, 0, 1, 0, 1, 0, 0, 0, 30, 0, 4, 127, 0, 0, last)
	}
	got, err := addressesIn(msg)
	if err != nil || !slices.Equal(got, []string{"127.0.0.11", "127.0.0.12"}) {
		t.Errorf("read %v, %v", got, err)
	}
	spelled := append(slices.Clone(dnsQuestion), dnsQuestion[12:28]...)
	spelled[7] = 1
	spelled = append(spelled, 0, 1, 0, 1, 0, 0, 0, 30, 0, 4, 127, 0, 0, 13)
	if got, err := addressesIn(spelled); err != nil || !slices.Equal(got, []string{"127.0.0.13"}) {
		t.Errorf("read %v, %v", got, err)
	}
	for _, bad := range [][]byte{nil, msg[:20], msg[:len(msg)-1]} {
		if got, err := addressesIn(bad); err == nil {
			t.Errorf("%x is read as %v", bad, got)
		}
	}
}

func TestTheLongestDeathCounts(t *testing.T) {
	l := &lab{deaths: []deathSample{{peer: "trivet", gone: time.Second}, {peer: "trivet", gone: 2 * time.Second}, {peer: "gdnsd", gone: time.Hour}}}
	for _, b := range dnsBars() {
		got, ok := b.got(l)
		if ok != (b.name == "dns-death") || ok && (got != 2 || !b.ok(got)) {
			t.Errorf("%s: %v, %v", b.what, got, ok)
		}
	}
}

func TestFindsTheVersionInWhatProgramsSayOfThemselves(t *testing.T) {
	for text, want := range map[string]string{
		"CoreDNS-1.15.0\nlinux/amd64, go1.26.8, \n":                          "1.15.0",
		"gdnsd version 3.8.1\nUsage: gdnsd [-c /etc/gdnsd]\n":                "3.8.1",
		"nginx version: nginx/1.22.1\n":                                      "nginx/1.22.1",
		"Nov 24 09:35:56 PowerDNS Authoritative Server 4.7.3 (C) 2001-2022.": "4.7.3",
		"HAProxy version 2.6.12-1 2023/03/10 - https://haproxy.org/\n":       "HAProxy version 2.6.12-1 2023/03/10 - https://haproxy.org/",
	} {
		if got := versionIn(text); got != want {
			t.Errorf("%q is %q; want %q", text, got, want)
		}
	}
}

func TestEveryCaseNeedsItsOwnPrograms(t *testing.T) {
	for cases, want := range map[string][]string{"dns": {"dnsperf"}, "idle": {"nginx", "wrk"}, "dns-death,kill": {"dnsperf", "nginx", "wrk"}} {
		s := settings{cases: strings.Split(cases, ",")}
		if got := s.programs(); !slices.Equal(got, want) {
			t.Errorf("%s: %v; want %v", cases, got, want)
		}
	}
}
