package piclo

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// maxDuration bounds every duration of a document.
const maxDuration = 366 * day

// instantIn reads an instant as the market writes it.
func instantIn(s string, f timeFormat, loc *time.Location) (time.Time, error) {
	switch f.kind {
	case formatUnix, formatUnixMS:
		return unixTime(s, f.kind)
	case formatPattern:
		return f.pattern.read(s, loc)
	}
	t, err := parseInstant(s, loc)
	if err != nil && len(s) >= 10 && len(s) <= 13 && strings.Trim(s, "0123456789") == "" {
		err = fmt.Errorf("%w; it may be unix time: set the field's format to unix or unix_ms", err)
	}
	return t, err
}

// unixTime reads whole seconds or milliseconds since 1970.
func unixTime(s, kind string) (time.Time, error) {
	n, err := wholeText(s)
	if err != nil {
		return time.Time{}, errors.New("is not a whole number, as the profile's format " + kind + " says")
	}
	t := time.Unix(n, 0)
	if kind == formatUnixMS {
		t = time.UnixMilli(n)
	}
	t, err = bounded(t.UTC())
	if err != nil {
		err = fmt.Errorf("as %s %w: check the format", kind, err)
	}
	return t, err
}

// wholeText reads up to 15 digits.
func wholeText(s string) (int64, error) {
	if s == "" || len(s) > 15 || strings.Trim(s, "0123456789") != "" {
		return 0, errors.New("is not a whole number")
	}
	return strconv.ParseInt(s, 10, 64)
}

// dateIn reads a day as the market writes it, as YYYY-MM-DD.
func dateIn(s string, f dateFormat, loc *time.Location) (string, error) {
	switch f.kind {
	case formatUnix, formatUnixMS:
		t, err := unixTime(s, f.kind)
		if err != nil {
			return "", err
		}
		return t.In(loc).Format(time.DateOnly), nil
	case formatPattern:
		n, err := f.pattern.take(s)
		if err != nil {
			return "", err
		}
		t, err := n.naive()
		if err != nil {
			return "", err
		}
		return t.Format(time.DateOnly), nil
	}
	return parseDate(s, loc)
}

// clockIn reads a time of day as the market writes it. As an end, the last
// minute of the day means midnight in every format.
func clockIn(s string, f clockFormat, end bool) (time.Duration, error) {
	unit := map[clockFormat]time.Duration{formatSeconds: time.Second, formatMinutes: time.Minute}[f]
	if unit == 0 {
		return parseClock(s, end)
	}
	n, err := wholeText(s)
	if err != nil || n > int64(day/unit) || n == int64(day/unit) && !end {
		return 0, fmt.Errorf("is not a number of %s since midnight", f)
	}
	d := time.Duration(n) * unit
	if end && d >= day-time.Minute && (d == day-time.Minute || d == day-time.Second) {
		return day, nil
	}
	return d, nil
}

// spanIn reads a duration as the market writes it.
func spanIn(s string, f spanFormat) (time.Duration, error) {
	var unit time.Duration
	switch f {
	case formatSeconds:
		unit = time.Second
	case formatMinutes:
		unit = time.Minute
	case formatHours:
		unit = time.Hour
	case formatISO8601:
		return isoDuration(s)
	default:
		return parseSpan(s)
	}
	n, err := wholeText(s)
	if err != nil || n > int64(maxDuration/unit) {
		return 0, fmt.Errorf("is not a whole number of %s up to a year", f)
	}
	return time.Duration(n) * unit, nil
}

// isoDuration reads ISO 8601 durations of weeks, or of days, hours, minutes
// and seconds. Years and months have no fixed length and are refused.
func isoDuration(s string) (time.Duration, error) {
	bad := errors.New(`is not a duration such as "PT2H30M" or "P1DT2H"; years and months have no fixed length`)
	rest, ok := strings.CutPrefix(s, "P")
	if !ok || rest == "" || len(s) > 40 {
		return 0, bad
	}
	date, clock, timed := strings.Cut(rest, "T")
	if timed && clock == "" {
		return 0, bad
	}
	a, weeks, okDate := isoParts(date, "WD", []time.Duration{7 * day, day})
	b, _, okClock := isoParts(clock, "HMS", []time.Duration{time.Hour, time.Minute, time.Second})
	if !okDate || !okClock || weeks && (timed || strings.Contains(date, "D")) || a+b > maxDuration {
		return 0, bad
	}
	return a + b, nil
}

// isoParts reads numbers with their letters, which come in this order.
func isoParts(s, letters string, units []time.Duration) (total time.Duration, first, ok bool) {
	next := 0
	for s != "" {
		i := strings.IndexAny(s, letters[next:])
		if i < 1 {
			return 0, false, false
		}
		n, err := digits(s[:i], 8)
		at := strings.IndexByte(letters, s[i])
		if err != nil || n > int(maxDuration/units[at]) {
			return 0, false, false
		}
		total += time.Duration(n) * units[at]
		first = first || at == 0
		next, s = at+1, s[i+1:]
		if total > maxDuration {
			return 0, false, false
		}
	}
	return total, first, true
}

// taken are the numbers that a pattern found.
type taken struct {
	n      map[string]int
	offset *time.Duration
}

// take reads s by the pattern, to the letter.
func (p pattern) take(s string) (taken, error) {
	bad := errors.New("is not written like " + p.String())
	out := taken{n: map[string]int{}}
	for _, part := range p {
		switch {
		case part.token == "":
			var ok bool
			if s, ok = strings.CutPrefix(s, part.text); !ok {
				return taken{}, bad
			}
		case part.token == "Z":
			offset, rest, ok := takeOffset(s)
			if !ok {
				return taken{}, bad
			}
			out.offset, s = &offset, rest
		default:
			width := len(part.token)
			if len(s) < width {
				return taken{}, bad
			}
			n, err := digits(s[:width], width)
			if err != nil {
				return taken{}, bad
			}
			out.n[part.token], s = n, s[width:]
		}
	}
	if s != "" {
		return taken{}, bad
	}
	return out, nil
}

// takeOffset reads "Z", "+01:00" or "+0100".
func takeOffset(s string) (time.Duration, string, bool) {
	if rest, ok := strings.CutPrefix(s, "Z"); ok {
		return 0, rest, true
	}
	if len(s) < 5 || s[0] != '+' && s[0] != '-' {
		return 0, "", false
	}
	h, rest := s[1:3], strings.TrimPrefix(s[3:], ":")
	if len(rest) < 2 {
		return 0, "", false
	}
	hours, err := digits(h, 2)
	minutes, err2 := digits(rest[:2], 2)
	if err != nil || err2 != nil || hours > 14 || minutes > 59 {
		return 0, "", false
	}
	d := time.Duration(hours)*time.Hour + time.Duration(minutes)*time.Minute
	if s[0] == '-' {
		d = -d
	}
	return d, rest[2:], true
}

// naive is the time on the wall; a day that no calendar has is refused.
func (t taken) naive() (time.Time, error) {
	y, m, d := t.n["YYYY"], t.n["MM"], t.n["DD"]
	at := time.Date(y, time.Month(m), d, t.n["HH"], t.n["mm"], t.n["ss"], 0, time.UTC)
	if at.Year() != y || int(at.Month()) != m || at.Day() != d || at.Hour() != t.n["HH"] || at.Minute() != t.n["mm"] || at.Second() != t.n["ss"] {
		return time.Time{}, errors.New("is no such day or time: check the order of day and month in the format")
	}
	return bounded(at)
}

// read gives the instant that s names by the pattern.
func (p pattern) read(s string, loc *time.Location) (time.Time, error) {
	n, err := p.take(s)
	if err != nil {
		return time.Time{}, err
	}
	naive, err := n.naive()
	if err != nil {
		return time.Time{}, err
	}
	if n.offset != nil {
		return bounded(naive.Add(-*n.offset))
	}
	t, err := fromLocal(naive, loc)
	if err != nil {
		return time.Time{}, err
	}
	return bounded(t.UTC())
}

// String writes the pattern as it was given.
func (p pattern) String() string {
	var b strings.Builder
	for _, part := range p {
		b.WriteString(part.token + part.text)
	}
	return b.String()
}
