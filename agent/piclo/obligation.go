package piclo

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"flexd/agent/flex"
)

// obligation decodes one contract; it is taken whole or not at all.
func (p *Profile) obligation(raw json.RawMessage, now time.Time) (flex.Obligation, error) {
	doc, err := decodeObject(raw)
	if err != nil {
		return flex.Obligation{}, fmt.Errorf("the obligation is %w", err)
	}
	f, m := &fields{doc: doc}, p.Obligation
	id, given := f.text(m.ID, maxID)
	f.need(given && id != "", m.ID)
	ob := flex.Obligation{ID: flex.ObligationID(id), Zone: p.Zone.String(), SyncedAt: now, Raw: slices.Clone(raw)}
	comp, _ := f.text(m.Competition, maxID)
	ob.Competition = flex.CompetitionID(comp)
	ob.Bid, _ = f.text(m.Bid, maxID)
	ob.Operator, _ = f.text(m.Operator, maxText)
	ob.Assets = named[flex.AssetID](f.ids(m.Assets))
	ob.Capacity, given = f.power(m.Capacity, p.Power.Unit)
	f.need(given, m.Capacity)
	if p.Power.CapacityOf == capacityOfAsset {
		ob.Capacity = min(ob.Capacity*flex.Watts(len(ob.Assets)), flex.MaxPower)
	}
	ob.Direction = f.direction(m.Direction, p.Power)
	p.service(f, &ob)
	if err := f.err(); err != nil {
		return flex.Obligation{}, fmt.Errorf("obligation %q: %w", clip(id), err)
	}
	return ob, nil
}

// service reads when the contract is to be ready.
func (p *Profile) service(f *fields, ob *flex.Obligation) {
	m := p.Obligation
	date := func(s string) (string, error) { return parseDate(s, p.Zone.Location) }
	clockAs := func(end bool) func(string) (time.Duration, error) {
		return func(s string) (time.Duration, error) { return parseClock(s, end) }
	}
	var given bool
	ob.StartDate, given = parsed(f, m.StartDate, date)
	f.need(given, m.StartDate)
	ob.EndDate, given = parsed(f, m.EndDate, date)
	f.need(given, m.EndDate)
	ob.StartTime, given = parsed(f, m.StartTime, clockAs(false))
	f.need(given, m.StartTime)
	ob.EndTime, given = parsed(f, m.EndTime, clockAs(true))
	f.need(given, m.EndTime)
	ob.MaxRuntime, _ = parsed(f, m.MaxRuntime, parseSpan)
	ob.Days = weekdays(f, m.Days)
	ob.BankHolidays = bankHolidays(f, m.BankHolidays)
	if ob.StartDate != "" && ob.EndDate != "" && ob.EndDate <= ob.StartDate {
		f.problem(flex.ReasonBadField, "end_date: %s is not after the first day, %s", ob.EndDate, ob.StartDate)
	}
}

// weekdays reads service days by their English names; a contract that names
// none is in service on all of them.
func weekdays(f *fields, ps pointers) []time.Weekday {
	v, name, ok := ps.find(f.doc)
	if !ok {
		return []time.Weekday{0, 1, 2, 3, 4, 5, 6}
	}
	list, isList := v.([]any)
	if !isList || len(list) == 0 || len(list) > 7 {
		f.problem(flex.ReasonBadField, "%s is not a list of one to seven days", name)
		return nil
	}
	var out []time.Weekday
	for _, item := range list {
		s, err := asText(item, maxText)
		var d time.Weekday
		if err == nil {
			d, err = parseWeekday(s)
		}
		if err != nil {
			f.problem(flex.ReasonBadField, "%s: %v", name, err)
			return nil
		}
		if !slices.Contains(out, d) {
			out = append(out, d)
		}
	}
	slices.Sort(out)
	return out
}

// parseWeekday reads "mon", "Monday" and the like.
func parseWeekday(s string) (time.Weekday, error) {
	low := strings.ToLower(s)
	for d := time.Sunday; d <= time.Saturday; d++ {
		full := strings.ToLower(d.String())
		if low == full || len(low) >= 3 && len(low) <= 5 && strings.HasPrefix(full, low) {
			return d, nil
		}
	}
	return 0, fmt.Errorf("%q is not a day of the week", clip(s))
}

// bankHolidays reads include/exclude or a boolean. Unsaid, bank holidays are
// days like others: being ready once too often harms nobody.
func bankHolidays(f *fields, ps pointers) bool {
	v, name, ok := ps.find(f.doc)
	if !ok {
		return true
	}
	switch v := v.(type) {
	case bool:
		return v
	case string:
		switch strings.ToLower(v) {
		case "include", "included":
			return true
		case "exclude", "excluded":
			return false
		}
	}
	f.problem(flex.ReasonBadField, "%s is neither include nor exclude", name)
	return false
}

// obligations decodes a list; those that cannot be read are told in one
// error, next to the others.
func (p *Profile) obligations(list []json.RawMessage, now time.Time) ([]flex.Obligation, error) {
	return each(list, func(raw json.RawMessage) (flex.Obligation, error) { return p.obligation(raw, now) })
}

// each decodes the elements of a list, keeps the good ones and names the
// first five bad ones.
func each[T any](list []json.RawMessage, decode func(json.RawMessage) (T, error)) ([]T, error) {
	var out []T
	var bad []error
	for _, raw := range list {
		v, err := decode(raw)
		switch {
		case err == nil:
			out = append(out, v)
		case len(bad) < 5:
			bad = append(bad, err)
		}
	}
	return out, errors.Join(bad...)
}
