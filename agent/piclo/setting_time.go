package piclo

import (
	"errors"
	"strings"

	"go.yaml.in/yaml/v3"
)

// How times are written. The zero value of each stands for the profile's
// common setting.
type (
	timeFormat struct {
		kind    string
		pattern pattern // of kind formatPattern
	}
	dateFormat struct {
		kind    string
		pattern pattern
	}
	clockFormat string
	spanFormat  string
)

// Words of the formats.
const (
	formatRFC3339 = "rfc3339"
	formatUnix    = "unix"
	formatUnixMS  = "unix_ms"
	formatISO     = "iso"
	formatPattern = "pattern"

	formatClock   = "clock"
	formatISO8601 = "iso8601"
	formatSeconds = "seconds"
	formatMinutes = "minutes"
	formatHours   = "hours"
)

// UnmarshalYAML reads the format of instants.
func (f *timeFormat) UnmarshalYAML(n *yaml.Node) error {
	_, err := scalar(n, func(s string) (err error) {
		f.kind = s
		switch s {
		case formatRFC3339, formatUnix, formatUnixMS:
			return nil
		}
		f.kind = formatPattern
		if f.pattern, err = parsePattern(s, true); err != nil {
			return errors.New(`choose rfc3339, unix or unix_ms, or write a pattern such as "DD/MM/YYYY HH:mm": ` + err.Error())
		}
		return nil
	})
	return err
}

// UnmarshalYAML reads the format of days.
func (f *dateFormat) UnmarshalYAML(n *yaml.Node) error {
	_, err := scalar(n, func(s string) (err error) {
		f.kind = s
		switch s {
		case formatISO, formatUnix, formatUnixMS:
			return nil
		}
		f.kind = formatPattern
		if f.pattern, err = parsePattern(s, false); err != nil {
			return errors.New(`choose iso, unix or unix_ms, or write a pattern such as "DD/MM/YYYY": ` + err.Error())
		}
		return nil
	})
	return err
}

// UnmarshalYAML reads the format of times of day.
func (f *clockFormat) UnmarshalYAML(n *yaml.Node) error {
	s, err := scalar(n, oneOf(formatClock, formatSeconds, formatMinutes))
	*f = clockFormat(s)
	return err
}

// UnmarshalYAML reads the format of durations.
func (f *spanFormat) UnmarshalYAML(n *yaml.Node) error {
	s, err := scalar(n, oneOf(formatClock, formatISO8601, formatSeconds, formatMinutes, formatHours))
	*f = spanFormat(s)
	return err
}

// pattern is a way of writing a time: fixed runs of digits with fixed text
// between them.
type pattern []patternPart

// patternPart is either a run of digits with a meaning or fixed text.
type patternPart struct {
	token string // YYYY, MM, DD, HH, mm, ss or Z (the offset from UTC)
	text  string
}

// patternTokens in the order in which they are tried.
func patternTokens() []string { return []string{"YYYY", "MM", "DD", "HH", "mm", "ss", "Z"} }

const maxPattern = 40

// parsePattern reads a pattern. With the time of day, hours and minutes are
// needed; a day of the month without its year or month is no time at all.
func parsePattern(s string, clock bool) (pattern, error) {
	if len(s) > maxPattern || !plainText(s) {
		return nil, errors.New("it is plain text of up to 40 characters")
	}
	var p pattern
	have := map[string]bool{}
	for s != "" {
		token := ""
		for _, t := range patternTokens() {
			if strings.HasPrefix(s, t) {
				token = t
				break
			}
		}
		switch {
		case token != "" && have[token]:
			return nil, errors.New("it has " + token + " twice")
		case token != "":
			have[token] = true
			p, s = append(p, patternPart{token: token}), s[len(token):]
			continue
		case isLetter(s[0]) && s[0] != 'T', isDigit(s[0]):
			return nil, errors.New("it is made of YYYY MM DD HH mm ss Z and marks between them")
		}
		p, s = append(p, patternPart{text: s[:1]}), s[1:]
	}
	for _, t := range []string{"YYYY", "MM", "DD"} {
		if !have[t] {
			return nil, errors.New("it lacks " + t)
		}
	}
	if clock != (have["HH"] && have["mm"]) || !clock && (have["HH"] || have["mm"] || have["ss"] || have["Z"]) {
		return nil, errors.New("it needs HH and mm for a time, and none of HH mm ss Z for a date")
	}
	return p, nil
}

func isLetter(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' }
func isDigit(c byte) bool  { return c >= '0' && c <= '9' }

// plainText tells whether s is printable ASCII.
func plainText(s string) bool {
	for _, c := range []byte(s) {
		if c < ' ' || c >= 0x7f {
			return false
		}
	}
	return true
}
