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
	return p.readObligation(raw, now, nil)
}

func (p *Profile) readObligation(raw json.RawMessage, now time.Time, t *trace) (flex.Obligation, error) {
	doc, err := decodeObject(raw)
	if err != nil {
		return flex.Obligation{}, fmt.Errorf("the obligation is %w", err)
	}
	f, m := &fields{p: p, doc: doc, trace: t}, p.Obligation
	id, given := f.text("id", m.ID, maxID)
	f.need("id", given && id != "", m.ID)
	ob := flex.Obligation{ID: flex.ObligationID(id), Zone: p.Zone.String(), SyncedAt: now, Raw: slices.Clone(raw)}
	comp, _ := f.text("competition", m.Competition, maxID)
	ob.Competition = flex.CompetitionID(comp)
	ob.Bid, _ = f.text("bid", m.Bid, maxID)
	ob.Operator, _ = f.text("operator", m.Operator, maxText)
	ob.Assets = named[flex.AssetID](f.ids("assets", m.Assets))
	var bySign flex.Direction
	ob.Capacity, bySign, given = f.power("capacity", m.Capacity, p.Power.Sign)
	f.need("capacity", given, m.Capacity.At)
	if p.Power.CapacityOf == capacityOfAsset {
		ob.Capacity = min(ob.Capacity*flex.Watts(len(ob.Assets)), flex.MaxPower)
		f.trace.means("%s over %d assets%s", ob.Capacity, len(ob.Assets), tail(bySign))
	}
	switch d := f.direction("direction", m.Direction); {
	case d != "" && bySign != "" && d != bySign:
		f.problem(flex.ReasonDirectionUnresolved, "the direction is %s by its field and %s by the sign of the power", d, bySign)
	case d != "":
		ob.Direction = d
	default:
		ob.Direction = bySign
	}
	p.service(f, &ob)
	if err := f.err(); err != nil {
		return flex.Obligation{}, fmt.Errorf("obligation %q: %w", clip(id), err)
	}
	return ob, nil
}

// service reads when the contract is to be ready.
func (p *Profile) service(f *fields, ob *flex.Obligation) {
	m := p.Obligation
	var given bool
	ob.StartDate, given = f.date("start_date", m.StartDate)
	f.need("start_date", given, m.StartDate.At)
	ob.EndDate, given = f.date("end_date", m.EndDate)
	f.need("end_date", given, m.EndDate.At)
	ob.StartTime, given = f.clock("start_time", m.StartTime, false)
	f.need("start_time", given, m.StartTime.At)
	ob.EndTime, given = f.clock("end_time", m.EndTime, true)
	f.need("end_time", given, m.EndTime.At)
	ob.MaxRuntime, _ = f.span("max_runtime", m.MaxRuntime)
	ob.Days = weekdays(f, m.Days)
	ob.BankHolidays = bankHolidays(f, m.BankHolidays)
	ob.Region = region(f, m.Region, string(m.Holidays))
	if ob.StartDate != "" && ob.EndDate != "" && ob.EndDate <= ob.StartDate {
		f.trace.again("end_date")
		f.problem(flex.ReasonBadField, "end_date: %s is not after the first day, %s", ob.EndDate, ob.StartDate)
	}
}

// region reads whose bank holidays are meant; unsaid, those of the profile.
func region(f *fields, at regionAt, otherwise string) string {
	s, given := f.text("region", at.At, maxText)
	if !given || s == "" {
		return otherwise
	}
	if m, known := at.meaning(s); known {
		s = m
	}
	if s = strings.ToLower(s); !slices.Contains(regions(), s) {
		f.problem(flex.ReasonBadField, "%s: %q is not a region with bank holidays (%s): give its words a meaning in the profile",
			at.At[0], clip(s), strings.Join(regions(), ", "))
		return ""
	}
	f.trace.means("%s", s)
	return s
}

// weekdays reads service days by their English names or the profile's words;
// a contract that names none is in service on all of them.
func weekdays(f *fields, at daysAt) []time.Weekday {
	v, name, ok := f.find("days", at.At)
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
			if m, known := at.meaning(s); known {
				s = m
			}
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
	f.trace.value(out)
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
func bankHolidays(f *fields, at holidaysAt) bool {
	v, name, ok := f.find("bank_holidays", at.At)
	if !ok {
		return true
	}
	if b, isBool := v.(bool); isBool {
		f.trace.value(b)
		return b
	}
	s, _ := v.(string)
	word, known := at.meaning(s)
	if !known {
		word = strings.ToLower(s)
	}
	switch word {
	case "include", "included":
		f.trace.means("service on bank holidays")
		return true
	case "exclude", "excluded":
		f.trace.means("no service on bank holidays")
		return false
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
