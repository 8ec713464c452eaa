package piclo

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Bounds of a plausible instant; outside lies a unit or field mix-up.
const (
	firstYear = 2000
	lastYear  = 2099
)

const day = 24 * time.Hour

// parseInstant reads RFC 3339, or a date and time without an offset, which
// is then local to loc; an hour that the zone has twice or not at all is
// refused, since nobody can tell which is meant.
func parseInstant(s string, loc *time.Location) (time.Time, error) {
	if len(s) < len("2006-01-02T15:04") || len(s) > 40 || s[10] != 'T' && s[10] != ' ' || s[13] != ':' || len(s) > 16 && !strings.ContainsRune(":Z+-", rune(s[16])) {
		return time.Time{}, errors.New(`is not a time such as "2026-03-01T16:00:00Z"`)
	}
	text := s[:10] + "T" + s[11:]
	if strings.Contains(text, ",") {
		return time.Time{}, errors.New("uses a comma in the seconds")
	}
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04Z07:00"} {
		if t, err := time.Parse(layout, text); err == nil {
			return bounded(t.UTC())
		}
	}
	for _, layout := range []string{"2006-01-02T15:04:05", "2006-01-02T15:04"} {
		naive, err := time.Parse(layout, text)
		if err != nil {
			continue
		}
		t, err := fromLocal(naive, loc)
		if err != nil {
			return time.Time{}, err
		}
		return bounded(t.UTC())
	}
	return time.Time{}, errors.New(`is not a time such as "2026-03-01T16:00:00Z"`)
}

func bounded(t time.Time) (time.Time, error) {
	if t.Year() < firstYear || t.Year() > lastYear {
		return time.Time{}, fmt.Errorf("lies outside the years %d to %d", firstYear, lastYear)
	}
	return t, nil
}

// fromLocal gives the only instant at which loc's clocks show naive.
func fromLocal(naive time.Time, loc *time.Location) (time.Time, error) {
	var found []time.Time
	for _, near := range []time.Time{naive.Add(-day), naive.Add(day)} {
		_, offset := near.In(loc).Zone()
		t := naive.Add(-time.Duration(offset) * time.Second)
		_, there := t.In(loc).Zone()
		if there == offset && (len(found) == 0 || !found[0].Equal(t)) {
			found = append(found, t)
		}
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return time.Time{}, fmt.Errorf("does not exist in %s: the clocks go forward then", loc)
	}
	return time.Time{}, fmt.Errorf("happens twice in %s: the clocks go back then", loc)
}

// parseDate reads a calendar day; an instant counts as its day in loc.
func parseDate(s string, loc *time.Location) (string, error) {
	t, err := time.Parse(time.DateOnly, s)
	if err != nil {
		if t, err = parseInstant(s, loc); err != nil {
			return "", errors.New(`is not a date such as "2026-03-01"`)
		}
		t = t.In(loc)
	}
	if _, err := bounded(t); err != nil {
		return "", err
	}
	return t.Format(time.DateOnly), nil
}

// parseClock reads a time of day as the time since midnight: "HH:mm" or
// "HH:mm:ss". As an end, the last minute of the day and 24:00 mean midnight.
func parseClock(s string, end bool) (time.Duration, error) {
	bad := errors.New(`is not a time of day such as "16:30"`)
	parts := strings.Split(s, ":")
	if len(parts) != 2 && len(parts) != 3 {
		return 0, bad
	}
	var n [3]int
	for i, p := range parts {
		v, err := digits(p, 2)
		if err != nil {
			return 0, bad
		}
		n[i] = v
	}
	if n[1] > 59 || n[2] > 59 || n[0] > 24 || n[0] == 24 && (n[1] > 0 || n[2] > 0 || !end) {
		return 0, bad
	}
	if end && n[0] == 23 && n[1] == 59 && (n[2] == 0 || n[2] == 59) {
		return day, nil
	}
	return time.Duration(n[0])*time.Hour + time.Duration(n[1])*time.Minute + time.Duration(n[2])*time.Second, nil
}

// digits reads up to n decimal digits and nothing else.
func digits(s string, n int) (int, error) {
	if s == "" || len(s) > n || strings.Trim(s, "0123456789") != "" {
		return 0, errors.New("not a number")
	}
	return strconv.Atoi(s)
}

// parseSpan reads a duration: "HH:mm:ss", "HH:mm", or with days in front,
// "1T02:00:00", "1DT02:00:00", "1 02:00:00".
func parseSpan(s string) (time.Duration, error) {
	bad := errors.New(`is not a duration such as "02:30:00" or "1T02:30:00"`)
	var total time.Duration
	if i := strings.IndexAny(s, "T "); i >= 0 {
		days, err := digits(strings.TrimSuffix(s[:i], "D"), 3)
		if err != nil || days > 366 {
			return 0, bad
		}
		total, s = time.Duration(days)*day, s[i+1:]
	}
	parts := strings.Split(s, ":")
	if len(parts) != 2 && len(parts) != 3 {
		return 0, bad
	}
	units := [3]time.Duration{time.Hour, time.Minute, time.Second}
	for i, p := range parts {
		width := 2
		if i == 0 {
			width = 4
		}
		v, err := digits(p, width)
		if err != nil || i > 0 && v > 59 {
			return 0, bad
		}
		total += time.Duration(v) * units[i]
	}
	return total, nil
}
