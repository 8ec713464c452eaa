package trust

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"flexd/agent/flex"
)

func claimsOf(t *testing.T, text string) (Claims, error) {
	t.Helper()
	dec := json.NewDecoder(strings.NewReader(text))
	dec.UseNumber()
	var m map[string]any
	if err := dec.Decode(&m); err != nil {
		t.Fatal(err)
	}
	return ParseClaims(m)
}

func TestTimesAgainstTheClock(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	for name, c := range map[string]struct {
		claims string
		ok     bool
	}{
		"none given":                      {`{}`, true},
		"null is not given":               {`{"exp":null}`, true},
		"issued now":                      {`{"iat":1800000000}`, true},
		"issued within the tolerance":     {`{"iat":1800000060}`, true},
		"issued in the future":            {`{"iat":1800000061}`, false},
		"issued in the future, fraction":  {`{"iat":1800000060.5}`, false},
		"issued years ago":                {`{"iat":1500000000}`, true},
		"written as a float":              {`{"iat":1.8e9,"exp":1.80000006e9}`, true},
		"expires later":                   {`{"exp":1800000100}`, true},
		"expired within the tolerance":    {`{"exp":1799999950}`, true},
		"expired":                         {`{"exp":1799999940}`, false},
		"not yet valid":                   {`{"nbf":1800000061}`, false},
		"valid since":                     {`{"nbf":1799999999}`, true},
		"expired although issued rightly": {`{"iat":1799990000,"exp":1799990100}`, false},
	} {
		got, err := claimsOf(t, c.claims)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if err := got.Check(now, flex.ClockSynced, time.Minute); (err == nil) != c.ok || err != nil && !errors.Is(err, ErrTime) {
			t.Errorf("%s: %v", name, err)
		}
		if err := got.Check(now, flex.ClockUntrusted, time.Minute); err != nil {
			t.Errorf("%s: refused by an untrusted clock: %v", name, err)
		}
	}
}

func TestTimesThatAreNoNumbersOfSeconds(t *testing.T) {
	for _, claims := range []string{
		`{"iat":"1800000000"}`, `{"iat":-1}`, `{"exp":1e400}`, `{"exp":1e18}`, `{"nbf":[]}`, `{"exp":true}`, `{"iat":{}}`,
		`{"exp":9223372036854775808}`,
	} {
		if _, err := claimsOf(t, claims); err == nil {
			t.Errorf("%s was accepted", claims)
		}
	}
}
