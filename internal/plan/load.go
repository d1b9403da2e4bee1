package plan

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/trivet-ha/trivet/avail"
	"github.com/trivet-ha/trivet/config"
)

// Loading is what a pool's load takes.
type Loading struct {
	Rate    float64 `json:"rate_per_second"`
	Service float64 `json:"service_seconds"`
	Workers int     `json:"workers"` // of each server
	Offered float64 `json:"offered_erlangs"`
	// Servers is how many are needed, and Table what several numbers of them give; -1 is that no number does.
	Servers int       `json:"servers_needed"`
	Have    int       `json:"servers"`
	Table   []Serving `json:"table"`
	// Simple is the number that n/m = s/t asks for.
	Simple float64 `json:"servers_by_ratio"`

	wait  avail.Seconds
	share float64
}

// Serving is what a number of servers gives.
type Serving struct {
	Servers      int     `json:"servers"`
	Utilisation  float64 `json:"utilisation"`
	WaitChance   float64 `json:"wait_chance"`
	MeanWait     Seconds `json:"mean_wait_seconds"`
	MeanResponse Seconds `json:"mean_response_seconds"`
	// Longer is the share of requests that wait longer than is wanted, and P99 what 99 of 100 wait at most.
	Longer float64 `json:"wait_longer"`
	P99    Seconds `json:"wait_p99_seconds"`
	Enough bool    `json:"enough"`
}

// Seconds is a time; in JSON a number, or null for one without end.
type Seconds avail.Seconds

// MarshalJSON implements json.Marshaler.
func (s Seconds) MarshalJSON() ([]byte, error) {
	if f := float64(s); !math.IsInf(f, 0) && !math.IsNaN(f) {
		return strconv.AppendFloat(nil, f, 'g', 6, 64), nil
	}
	return []byte("null"), nil
}

// waitShare is the share of requests that must not wait longer, where the file does not say.
const waitShare = 0.99

func newLoading(l config.PoolLoad, have int) *Loading {
	load := avail.Load{Arrivals: avail.PerSecond(l.Rate), Service: avail.Of(l.ServiceTime), ArrivalSCV: 1, ServiceSCV: l.Variation}
	return Capacity(load, l.Workers, avail.Want{Wait: avail.Of(l.Wait), Share: waitShare}, have)
}

// Capacity is how many servers a load takes, each with so many workers; have is how many there are, 0 is not known.
func Capacity(load avail.Load, workers int, want avail.Want, have int) *Loading {
	l := &Loading{
		Rate: float64(load.Arrivals), Service: float64(load.Service), Workers: workers, Offered: load.On(1).Offered(), Have: have,
		Simple: avail.ServerRatio(float64(load.Arrivals), load.Service, 1) / float64(workers), wait: want.Wait, share: want.Share,
	}
	slots := avail.Servers(load, want)
	if slots < 0 {
		l.Servers = -1
		return l
	}
	l.Servers = (slots + workers - 1) / workers
	least := max(1, int(l.Offered)/workers)
	span := max(l.Servers-least, 4)
	for _, n := range spread(max(1, min(least, l.Servers-1)), l.Servers+max(2, span/2)) {
		l.Table = append(l.Table, l.serving(load, n))
	}
	if have > 0 && have < l.Table[0].Servers {
		l.Table = append([]Serving{l.serving(load, have)}, l.Table...)
	}
	for i := range l.Table {
		s := &l.Table[i]
		s.Enough = s.Servers >= l.Servers
	}
	return l
}

// spread is at most a dozen whole numbers from a to b, both included.
func spread(a, b int) (all []int) {
	step := max(1, (b-a+10)/11)
	for n := a; n < b; n += step {
		all = append(all, n)
	}
	return append(all, b)
}

func (l *Loading) serving(load avail.Load, servers int) Serving {
	q := load.On(servers * l.Workers)
	return Serving{
		Servers: servers, Utilisation: q.Utilisation(), WaitChance: q.WaitChance(), MeanWait: Seconds(q.MeanWait()), MeanResponse: Seconds(q.MeanResponse()),
		Longer: q.WaitTail(l.wait), P99: Seconds(q.WaitQuantile(0.99)),
	}
}

// Wait is the time that a share of requests must not wait longer than.
func (l *Loading) Wait() (time.Duration, float64) { return l.wait.Duration(), l.share }

// every says how often something fails and for how long.
func every(mtbf, mttr time.Duration) string {
	return fmt.Sprintf("every %s, for %s", duration(mtbf), duration(mttr))
}

// duration writes a duration as short as it can be: 30d, 1h30m, 50ms.
func duration(d time.Duration) string {
	const day = 24 * time.Hour
	switch {
	case d >= 100*day || d >= day && d%day == 0:
		return strconv.FormatInt(int64(d.Round(day)/day), 10) + "d"
	case d >= day:
		return fmt.Sprintf("%dd%s", d/day, duration((d % day).Round(time.Hour)))
	case d >= time.Minute:
		if d >= time.Hour {
			d = d.Round(time.Minute)
		}
		text := d.Round(time.Second).String()
		text = strings.TrimSuffix(text, "m0s") + map[bool]string{true: "m"}[strings.HasSuffix(text, "m0s")]
		return strings.TrimSuffix(text, "h0m") + map[bool]string{true: "h"}[strings.HasSuffix(text, "h0m")]
	case d >= time.Second:
		return d.Round(10 * time.Millisecond).String()
	default:
		return d.Round(time.Microsecond).String()
	}
}

// Duration writes a time for people; forever is "without end".
func Duration(s avail.Seconds) string {
	switch {
	case math.IsInf(float64(s), 1):
		return "without end"
	case s > 0 && s < 1e-6:
		return "0s"
	case s >= 10*avail.Year:
		return strconv.FormatFloat(float64(s/avail.Year), 'g', 4, 64) + " years"
	}
	return duration(s.Duration())
}
