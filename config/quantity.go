package config

import (
	"math"
	"strconv"
	"strings"
	"time"
)

// Size is a number of bytes.
type Size int64

// Rate is a number of things (or bytes) per second.
type Rate float64

// Percent is a percentage: 20 for 20%.
type Percent float64

// Fraction is the percentage as a fraction: 0.2 for 20%.
func (p Percent) Fraction() float64 { return float64(p) / 100 }

func (p Percent) String() string { return strconv.FormatFloat(float64(p), 'f', -1, 64) + "%" }

func (r Rate) String() string { return strconv.FormatFloat(float64(r), 'f', -1, 64) + "/s" }

// String is the size as shortly as it may be written in a file without losing a byte.
func (s Size) String() string {
	shortest := strconv.FormatInt(int64(s), 10)
	for _, unit := range []string{"KiB", "MiB", "GiB", "TiB", "kB", "MB", "GB", "TB"} {
		bytes, _ := sizeUnit(unit)
		text := strconv.FormatInt(int64(s)/int64(bytes), 10) + unit
		if s != 0 && int64(s)%int64(bytes) == 0 && len(text) <= len(shortest) {
			shortest = text
		}
	}
	return shortest
}

const durationHint = "write a number with a unit: 300ms, 2s, 5m, 1h, 30d"

// ParseDuration reads a Go duration that may also use d (24 hours) and w (7 days). It is never negative.
func ParseDuration(text string) (time.Duration, error) {
	if text == "0" {
		return 0, nil
	}
	if text == "" {
		return 0, wrong("is not a duration", durationHint)
	}
	if _, err := strconv.ParseFloat(text, 64); err == nil {
		return 0, wrong("has no unit", "write "+text+"s for seconds, "+text+"ms for milliseconds")
	}
	total := time.Duration(0)
	for rest := text; rest != ""; {
		digits := strings.IndexFunc(rest, func(r rune) bool { return (r < '0' || r > '9') && r != '.' })
		if digits <= 0 {
			return 0, wrong("is not a duration", durationHint)
		}
		end := digits + strings.IndexAny(rest[digits:]+"0", "0123456789.")
		part, err := durationPart(rest[:digits], rest[digits:end])
		if err != nil {
			return 0, err
		}
		if total += part; total < 0 {
			return 0, wrong("is too long", "the longest duration is 292 years")
		}
		rest = rest[end:]
	}
	return total, nil
}

func durationPart(number, unit string) (time.Duration, error) {
	days := map[string]int{"d": 1, "w": 7}[unit]
	if days == 0 {
		switch unit {
		case "ns", "us", "µs", "ms", "s", "m", "h":
		default:
			return 0, wrong("has the unknown unit "+strconv.Quote(unit), "units are ns, us, ms, s, m, h, d and w")
		}
		part, err := time.ParseDuration(number + unit)
		if err != nil {
			return 0, wrong("is not a duration", durationHint)
		}
		return part, nil
	}
	n, err := strconv.ParseFloat(number, 64)
	if err != nil {
		return 0, wrong("is not a duration", durationHint)
	}
	if n *= float64(days) * 24 * float64(time.Hour); n >= math.MaxInt64 {
		return 0, wrong("is too long", "the longest duration is 292 years")
	}
	return time.Duration(n), nil
}

// sizeUnit is the bytes of a unit; B and the empty unit are 1.
func sizeUnit(unit string) (float64, bool) {
	switch unit {
	case "", "B":
		return 1, true
	case "kB", "KB":
		return 1e3, true
	case "MB":
		return 1e6, true
	case "GB":
		return 1e9, true
	case "TB":
		return 1e12, true
	case "KiB":
		return 1 << 10, true
	case "MiB":
		return 1 << 20, true
	case "GiB":
		return 1 << 30, true
	case "TiB":
		return 1 << 40, true
	default:
		return 0, false
	}
}

const sizeHint = "write bytes, with a unit or without: 4096, 64KiB, 10MB"

// ParseSize reads a number of bytes: 4096, 64KiB (by 1024), 1GB (by 1000). A fraction must come to whole bytes.
func ParseSize(text string) (Size, error) {
	bytes, err := quantity(text, sizeHint)
	if err != nil {
		return 0, err
	}
	if bytes >= math.MaxInt64 {
		return 0, wrong("is too large", sizeHint)
	}
	if bytes != math.Trunc(bytes) {
		return 0, wrong("is not a whole number of bytes", sizeHint)
	}
	return Size(bytes), nil
}

func quantity(text, hint string) (float64, error) {
	digits := strings.IndexFunc(text, func(r rune) bool { return (r < '0' || r > '9') && r != '.' })
	if digits < 0 {
		digits = len(text)
	}
	n, err := strconv.ParseFloat(text[:digits], 64)
	if err != nil {
		return 0, wrong("does not begin with a number", hint)
	}
	unit := strings.TrimSpace(text[digits:])
	factor, known := sizeUnit(unit)
	if !known {
		return 0, wrong("has the unknown unit "+strconv.Quote(unit), "units are B, kB, MB, GB, TB (by 1000) and KiB, MiB, GiB, TiB (by 1024)")
	}
	return n * factor, nil
}

const rateHint = "write a number per time: 100/s, 10/m, 64KiB/s"

// ParseRate reads a number per s, m, h or d, and gives it per second.
func ParseRate(text string) (Rate, error) {
	number, per, found := strings.Cut(text, "/")
	if !found {
		return 0, wrong("does not say per which time", rateHint)
	}
	n, err := quantity(strings.TrimSpace(number), rateHint)
	if err != nil {
		return 0, err
	}
	seconds := map[string]float64{"s": 1, "m": 60, "h": 3600, "d": 86400}[strings.TrimSpace(per)]
	if seconds == 0 {
		return 0, wrong("has the unknown time "+strconv.Quote(per), "times are s, m, h and d: "+rateHint)
	}
	return Rate(n / seconds), nil
}

// ParsePercent reads 20% or 99.95%.
func ParsePercent(text string) (Percent, error) {
	number, found := strings.CutSuffix(text, "%")
	n, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
	if err != nil || math.IsNaN(n) || math.IsInf(n, 0) || n < 0 {
		return 0, wrong("is not a percentage", "write a number with a percent sign: 20%")
	}
	if !found {
		hint := "write " + number + "%"
		if n > 0 && n < 1 {
			hint = "write " + Percent(math.Round(n*1e6)/1e4).String()
		}
		return 0, wrong("has no percent sign", hint)
	}
	return Percent(n), nil
}
