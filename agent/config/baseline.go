package config

import "time"

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
	o := at.object("method", "fallback", "minutes")
	if !o.get("method").given() {
		o.get("method").problem("choose zero, nominated or recent", "is missing")
	}
	b := &Baseline{Method: o.get("method").choice("", []string{"zero", "nominated", "recent"})}
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
	return b
}
