package config

import (
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// Methods of baselines.
var baselines = []string{"zero", "nominated", "recent", "10-of-10"}

// ofTen are the keys that only 10-of-10 has.
var ofTen = []string{"step", "days", "rest_days", "lookback", "adjust", "holidays"}

// baseline reads what an asset's dispatches are held against.
func baseline(asset object, control string) *Baseline {
	at := asset.get("baseline")
	if asset.get("reference").choice("zero", []string{"zero", "baseline"}) == "zero" {
		if at.given() {
			at.problem("set reference: baseline, or remove it", "is for reference: baseline only")
		}
		return nil
	}
	if !at.given() {
		asset.get("reference").problem("add baseline: {method: recent}; `flexd config reference` shows the others", "names no baseline")
		return nil
	}
	o := at.object(append([]string{"method", "fallback", "minutes"}, ofTen...)...)
	if !o.get("method").given() {
		o.get("method").problem("choose "+strings.Join(baselines, " or "), "is missing")
	}
	b := &Baseline{Method: o.get("method").choice("", baselines)}
	// Where the watts depend on it a wrong baseline is worse than a refusal.
	safe := "zero"
	if control == "meter" {
		safe = "refuse"
	}
	b.Fallback = o.get("fallback").choice(safe, []string{"refuse", "zero", "recent"})
	b.Span = time.Duration(o.get("minutes").number(30, 5, 120)) * time.Minute
	if v := o.get("minutes"); v.given() && b.Method != "recent" && b.Fallback != "recent" {
		v.problem("remove it", "is for method or fallback recent only")
	}
	if v := o.get("fallback"); v.given() && (b.Fallback == b.Method || b.Method == "zero") {
		v.problem("choose another, or remove it", "is no way out of method %s", b.Method)
	}
	b.ofTen(o)
	return b
}

// ofTen reads the settings of 10-of-10.
func (b *Baseline) ofTen(o object) {
	if b.Method != "10-of-10" {
		for _, k := range ofTen {
			if v := o.get(k); v.given() {
				v.problem("remove it, or set method: 10-of-10", "is for method 10-of-10 only")
			}
		}
		return
	}
	b.Step = map[string]time.Duration{"30m": 30 * time.Minute, "15m": 15 * time.Minute}[o.get("step").choice("30m", []string{"30m", "15m"})]
	b.Days = o.get("days").number(10, 1, 30)
	b.RestDays = o.get("rest_days").number(4, 1, 20)
	b.Lookback = o.get("lookback").number(60, 7, 90)
	b.Holidays = o.get("holidays").choice("england-and-wales", []string{"england-and-wales", "scotland", "northern-ireland", "none"})
	b.Adjust = 2000 // 20 %
	if v := o.get("adjust"); v.given() && !(v.node.Kind == yaml.ScalarNode && slices.Contains([]string{"off", "false"}, v.node.Value)) {
		b.Adjust = v.percent()
	} else if v.given() {
		b.Adjust = 0
	}
}

// localDays checks that days can be told apart as people at the site do.
func localDays(at value, a Asset, site value) {
	if b := a.Baseline; b != nil && b.Method == "10-of-10" && !scalar(site, "timezone").given() {
		scalar(at, "baseline").problem("set site.timezone, such as Europe/London", "compares days of the local clock")
	}
}
