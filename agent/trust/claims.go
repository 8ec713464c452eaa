package trust

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"time"

	"flexd/agent/flex"
)

// ErrTime: the token is not valid at this instant.
var ErrTime = errors.New("the token's time does not fit")

// maxEpoch is the last second of the year 9999: beyond it time values no
// longer survive being written down.
const maxEpoch = 253402300799

// Claims are the registered times of a verified payload (RFC 7519 section
// 4.1); a zero time was not given.
type Claims struct {
	IssuedAt  time.Time
	Expires   time.Time
	NotBefore time.Time
	ID        string
}

// ParseClaims reads the times of a payload that was verified. Numbers may
// have fractions; a text, a negative or an absurd value is an error.
func ParseClaims(payload map[string]any) (Claims, error) {
	var c Claims
	for name, to := range map[string]*time.Time{"iat": &c.IssuedAt, "exp": &c.Expires, "nbf": &c.NotBefore} {
		v, given := payload[name]
		if !given || v == nil {
			continue
		}
		t, err := numericDate(v)
		if err != nil {
			return Claims{}, fmt.Errorf("the claim %s %w", name, err)
		}
		*to = t
	}
	if id, ok := payload["jti"].(string); ok && len(id) <= 256 {
		c.ID = id
	}
	return c, nil
}

// numericDate is RFC 7519's seconds since 1970, as json.Number or float64.
func numericDate(v any) (time.Time, error) {
	var seconds float64
	switch n := v.(type) {
	case json.Number:
		f, err := strconv.ParseFloat(n.String(), 64)
		if err != nil {
			return time.Time{}, errors.New("is not a number of seconds")
		}
		seconds = f
	case float64:
		seconds = n
	default:
		return time.Time{}, errors.New("is not a number of seconds")
	}
	if math.IsNaN(seconds) || seconds < 0 || seconds > maxEpoch {
		return time.Time{}, errors.New("is out of range")
	}
	whole, frac := math.Modf(seconds)
	return time.Unix(int64(whole), int64(frac*1e9)).UTC(), nil
}

// Check judges the times at now with the given tolerance. There is no
// maximum age: relays and retries may deliver late. With an untrusted clock
// nothing is refused for its time.
func (c Claims) Check(now time.Time, clock flex.ClockTrust, skew time.Duration) error {
	if clock == flex.ClockUntrusted {
		return nil
	}
	at := func(t time.Time) string { return t.UTC().Format(time.RFC3339) }
	switch {
	case c.IssuedAt.After(now.Add(skew)):
		return fmt.Errorf("%w: issued at %s, in the future by our clock (%s)", ErrTime, at(c.IssuedAt), at(now))
	case c.NotBefore.After(now.Add(skew)):
		return fmt.Errorf("%w: not valid before %s, and it is %s by our clock", ErrTime, at(c.NotBefore), at(now))
	case !c.Expires.IsZero() && !c.Expires.After(now.Add(-skew)):
		return fmt.Errorf("%w: expired at %s, and it is %s by our clock", ErrTime, at(c.Expires), at(now))
	}
	return nil
}
