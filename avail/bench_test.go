package avail

import "testing"

func BenchmarkErlangCOfAMillionServers(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		ErlangC(999_000, 1_000_000)
	}
}

func BenchmarkServersOfTenErlangs(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		Servers(Poisson(200, 0.05), Want{Wait: 0.1, Share: .9999})
	}
}

func BenchmarkKOfNOfAMillion(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		KOfN(995_500, 1_000_000, .004)
	}
}

func BenchmarkRepairableThreeOfFive(b *testing.B) {
	b.ReportAllocs()
	r := Repairable{N: 5, Needed: 3, Crews: 1, MTBF: 1000 * Hour, MTTR: 4 * Hour, Uncovered: .01, Common: .02}
	for b.Loop() {
		r.Down()
	}
}

func BenchmarkClopperPearson(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		ClopperPearson(3, 10_000, .95)
	}
}

func BenchmarkOutagesInterval(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		Outages{Rate: 10 / PerSecond(Year), Mean: Hour}.Interval(Year, .95)
	}
}
