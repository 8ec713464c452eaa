package config

import (
	"strings"
	"testing"
	"time"
)

func TestProblemsOfBaselines(t *testing.T) {
	for _, tc := range []struct{ name, text, want string }{
		{"a baseline that is not named", "assets: [{market_id: x, devices: [], reference: baseline}]", "assets[0].reference: names no baseline"},
		{"a baseline without its method", "assets: [{market_id: x, devices: [], reference: baseline, baseline: {}}]", "assets[0].baseline.method: is missing"},
		{"a baseline of nothing", "assets: [{market_id: x, devices: [], baseline: {method: zero}}]", "is for reference: baseline only"},
		{"minutes of a nomination", "assets: [{market_id: x, devices: [], reference: baseline, baseline: {method: nominated, minutes: 10}}]", "is for method or fallback recent only"},
		{"days without a local clock", "site: {id: a}\nassets: [{market_id: x, devices: [], reference: baseline, baseline: {method: 10-of-10}}]", "assets[0].baseline: compares days of the local clock"},
		{"days of a nomination", "assets: [{market_id: x, devices: [], reference: baseline, baseline: {method: nominated, days: 5}}]", "baseline.days: is for method 10-of-10 only"},
		{"an adjustment of everything", "assets: [{market_id: x, devices: [], reference: baseline, baseline: {method: 10-of-10, adjust: 120%}}]", "baseline.adjust: cannot be read"},
		{"a fallback on itself", "assets: [{market_id: x, devices: [], reference: baseline, baseline: {method: recent, fallback: recent}}]", "is no way out of method recent"},
	} {
		if _, err := Parse("flexd.yaml", []byte(tc.text)); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want %s", tc.name, err, tc.want)
		}
	}
}

func TestTenOfTenHasDefaults(t *testing.T) {
	parse := func(more string) Baseline {
		c, err := Parse("x.yaml", []byte(`site: {id: a, timezone: Europe/London}
market: {base_url: "https://api.example.com", client_id: abc, api_key: {file: key}}
devices: [{id: b, address: "h:1"}]
assets: [{market_id: x, devices: [b], reference: baseline, baseline: {method: 10-of-10`+more+`}}]`))
		if err != nil {
			t.Fatal(err)
		}
		return *c.Assets[0].Baseline
	}
	want := Baseline{Method: "10-of-10", Fallback: "zero", Span: 30 * time.Minute, Step: 30 * time.Minute, Days: 10, RestDays: 4, Lookback: 60, Adjust: 2000, Holidays: "england-and-wales"}
	if got := parse(""); got != want {
		t.Errorf("%+v", got)
	}
	want.Adjust, want.Step, want.Fallback = 0, 15*time.Minute, "recent"
	if got := parse(", adjust: off, step: 15m, fallback: recent"); got != want {
		t.Errorf("%+v", got)
	}
}
