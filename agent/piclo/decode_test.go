package piclo

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"flexd/agent/flex"
)

func embeddedProfile(t testing.TB) *Profile {
	t.Helper()
	p, err := LoadProfile("piclo")
	if err != nil {
		t.Fatal(err)
	}
	return p
}

const goodInstruction = `{"id":"i1","revision":2,"type":"start","obligation_id":"ob1","competition_id":"c1","asset_ids":["a1","a2"],
"capacity":"0.05010","direction":"export","start":"2026-03-02T16:00:00Z","end":"2026-03-02T17:00:00+00:00","status":"sent",
"signature":null,"operator":"SPEN","surprise":{"kept":true}}`

const goodObligation = `{"id":"ob1","competition_id":"c1","bid_id":"b1","operator":"SPEN","asset_ids":["a1"],"capacity":"0.1","direction":"export",
"start_date":"2026-01-01","end_date":"2027-01-01","service_days":["mon","Tuesday","SUN"],"bank_holidays":"exclude",
"start_time":"16:00","end_time":"23:59","max_runtime":"02:00:00"}`

func TestAGoodInstructionDecodesExactly(t *testing.T) {
	in, err := embeddedProfile(t).instruction([]byte(goodInstruction))
	if err != nil {
		t.Fatal(err)
	}
	if len(in.Problems) != 0 || in.ID != "i1" || in.Revision != 2 || !in.HasRevision || in.Kind != flex.KindStart || in.Obligation != "ob1" ||
		in.Competition != "c1" || !slices.Equal(in.Assets, []flex.AssetID{"a1", "a2"}) || in.Capacity != 50_100 || in.Direction != flex.Export ||
		in.Status != "sent" || in.Signature != "" || in.Operator != "SPEN" || !strings.Contains(string(in.Raw), "surprise") ||
		!in.Window.Start.Equal(time.Date(2026, 3, 2, 16, 0, 0, 0, time.UTC)) || in.Window.Duration() != time.Hour || in.Window.Start.Location() != time.UTC {
		t.Errorf("%+v", in)
	}
}

// change replaces one field of the good instruction; "" removes it.
func change(t testing.TB, field, value string) []byte {
	t.Helper()
	var m map[string]json.RawMessage
	if err := json.Unmarshal([]byte(goodInstruction), &m); err != nil {
		t.Fatal(err)
	}
	delete(m, field)
	if value != "" {
		m[field] = json.RawMessage(value)
	}
	raw, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func TestAnEmptyTextIsAFieldLeftOut(t *testing.T) {
	p := embeddedProfile(t)
	in, err := p.instruction([]byte(`{"id":"a","asset_ids":["x"],"capacity":"0.1","direction":"export","start":"2026-03-02T16:00:00Z","end":"","signature":"","operator":""}`))
	if err != nil || len(in.Problems) != 0 || !in.Window.Open() {
		t.Errorf("instruction = %+v, %v", in, err)
	}
	ob, err := p.obligation([]byte(`{"id":"ob1","asset_ids":["a1"],"capacity":"0.1","direction":"export","start_date":"2026-01-01","end_date":"2027-01-01",
		"start_time":"00:00","end_time":"24:00","max_runtime":"","competition_id":""}`), testNow)
	if err != nil || ob.MaxRuntime != 0 {
		t.Errorf("obligation = %+v, %v", ob, err)
	}
}

func TestABadFieldBecomesAProblemAndNothingIsLost(t *testing.T) {
	p := embeddedProfile(t)
	for _, c := range []struct{ field, value, mention string }{
		{"capacity", `"0.0500001"`, "watt"}, {"capacity", `"5e-9"`, "watt"}, {"capacity", `5e99`, "decimal"}, {"capacity", `"-0.05"`, "negative"},
		{"capacity", `-0.05`, "negative"}, {"capacity", `"0,05"`, "decimal"}, {"capacity", `" 0.05"`, "decimal"}, {"capacity", `"50 kW"`, "decimal"},
		{"capacity", `true`, "decimal"}, {"capacity", `null`, "missing"}, {"capacity", ``, "missing"}, {"capacity", `"99999999999"`, "range"},
		{"capacity", `"-0"`, "negative"}, {"capacity", `""`, "missing"}, {"capacity", `"NaN"`, "decimal"}, {"capacity", `"٠.٥"`, "decimal"},
		{"asset_ids", `[]`, "empty"}, {"direction", `"up"`, "neither"}, {"direction", `1`, "neither"}, {"direction", `{}`, "object"},
		{"start", ``, "missing"}, {"start", `null`, "missing"}, {"start", `"tomorrow"`, "time"}, {"start", `1772467200`, "time"},
		{"start", `"2026-03-29T01:30:00"`, "does not exist"}, {"start", `"2026-10-25T01:30:00"`, "twice"}, {"start", `"1970-01-01T00:00:00Z"`, "years"},
		{"start", `"2026-02-30T00:00:00Z"`, "time"}, {"end", `"2026-03-02T16:00:00Z"`, "not after"}, {"end", `"2026-03-02T15:00:00Z"`, "not after"},
		{"type", `"pause"`, "neither"}, {"type", `[]`, "list"}, {"revision", `"v2"`, "whole"}, {"revision", `"02"`, "whole"}, {"revision", `"2e0"`, "whole"}, {"revision", `25e-1`, "whole"}, {"revision", `1e400`, "whole"}, {"revision", `-1`, "whole"}, {"revision", `1.5`, "whole"},
		{"revision", `99999999999999999999`, "whole"}, {"asset_ids", `[1.5]`, "text"}, {"asset_ids", `[null]`, "null"}, {"asset_ids", `["a","a"]`, "twice"},
		{"asset_ids", `[""]`, "empty"}, {"asset_ids", "[" + strings.Repeat(`"a",`, 1000) + `"b"]`, "more than"}, {"asset_ids", `{}`, "object"},
		{"obligation_id", `{"id":1}`, "object"}, {"obligation_id", `"` + strings.Repeat("x", 200) + `"`, "longer"}, {"operator", `"a\u0000b"`, "control"},
	} {
		in, err := p.instruction(change(t, c.field, c.value))
		if err != nil || in.ID != "i1" || len(in.Problems) == 0 || !strings.Contains(in.Problems[0].Text, c.mention) {
			t.Errorf("%s = %s: %+v, %v", c.field, c.value, in.Problems, err)
		}
	}
}

func TestWhatCountsAsAnExactPower(t *testing.T) {
	p := embeddedProfile(t)
	for value, want := range map[string]flex.Watts{
		`"0.05"`: 50_000, `0.05`: 50_000, `0.0500000000`: 50_000, `"1"`: 1_000_000, `"0.00001"`: 10, `"0.000001"`: 1, `"12.34567"`: 12_345_670,
	} {
		if in, err := p.instruction(change(t, "capacity", value)); err != nil || len(in.Problems) > 0 || in.Capacity != want {
			t.Errorf("%s: %v %v %v", value, in.Capacity, in.Problems, err)
		}
	}
	p.Power.CapacityOf, p.Power.Unit = capacityOfAsset, unit(flex.Kilowatt)
	if in, _ := p.instruction(change(t, "capacity", `"7.5"`)); in.Capacity != 15_000 {
		t.Errorf("of each of two assets, in kW: %v", in.Capacity)
	}
}

func TestStopRules(t *testing.T) {
	p := embeddedProfile(t)
	for _, c := range []struct {
		field, value string
		want         flex.Kind
	}{
		{"type", `"stop"`, flex.KindStop}, {"type", `"STOP"`, flex.KindStop}, {"type", `"emergency_stop"`, flex.KindStop}, {"type", ``, flex.KindStart},
		{"type", `null`, flex.KindStart}, {"status", `"Cancelled"`, flex.KindStop}, {"status", `"withdrawn"`, flex.KindStop}, {"status", `"completed"`, flex.KindStart},
		{"capacity", `"0"`, flex.KindStop}, {"capacity", `0.000`, flex.KindStop}, {"capacity", `"x"`, flex.KindStart}, {"capacity", ``, flex.KindStart},
	} {
		if in, err := p.instruction(change(t, c.field, c.value)); err != nil || in.Kind != c.want {
			t.Errorf("%s = %s: %s, %v", c.field, c.value, in.Kind, err)
		}
	}
	in, err := p.instruction([]byte(`{"id":"s1","type":"stop","stops":"i1","capacity":"junk","start":"junk"}`))
	if err != nil || in.Kind != flex.KindStop || !slices.Equal(in.Stops, []flex.InstructionID{"i1"}) {
		t.Errorf("a stop with bad fields must stay a stop: %+v, %v", in, err)
	}
	in, err = p.instruction([]byte(`{"id":"s1","type":"stop"}`))
	if err != nil || len(in.Problems) != 0 {
		t.Errorf("a bare stop: %+v, %v", in.Problems, err)
	}
}

func TestElementsWithoutAnIDAreErrorsAndARepeatedKeyIsAProblem(t *testing.T) {
	p := embeddedProfile(t)
	for _, raw := range []string{``, `null`, `7`, `[]`, `"x"`, `{}`, `{"id":""}`, `{"id":null}`, `{"id":{}}`, `{"id":"a\nb"}`, `{"id":1.5}`, `{"id":"x"`,
		`{"id":"` + strings.Repeat("x", 129) + `"}`} {
		if in, err := p.instruction([]byte(raw)); err == nil {
			t.Errorf("%s: %+v", raw, in)
		}
	}
	in, err := p.instruction([]byte(`{"id":"a","capacity":"0.1","capacity":"9","start":"2026-03-02T16:00:00Z"}`))
	if err != nil || len(in.Problems) != 1 || in.Problems[0].Reason != flex.ReasonMalformed {
		t.Errorf("%+v, %v", in.Problems, err)
	}
	if in, err = p.instruction([]byte(`{"id":42}`)); err != nil || in.ID != "42" {
		t.Errorf("a number as an id: %+v, %v", in, err)
	}
}

func TestContentIsTheSameWhenNothingThatMattersChanged(t *testing.T) {
	p := embeddedProfile(t)
	content := func(raw []byte) string {
		in, err := p.instruction(raw)
		if err != nil {
			t.Fatal(err)
		}
		return in.Content
	}
	base := content([]byte(goodInstruction))
	for name, raw := range map[string][]byte{
		"order of the assets": change(t, "asset_ids", `["a2","a1"]`), "status": change(t, "status", `"received"`), "revision": change(t, "revision", `3`),
		"unknown field": change(t, "surprise", `1`), "zeros": change(t, "capacity", `0.0501`), "zone": change(t, "start", `"2026-03-02T17:00:00+01:00"`),
		"signature": change(t, "signature", `"abc"`),
	} {
		if content(raw) != base {
			t.Errorf("%s changed the content", name)
		}
	}
	seen := map[string]string{base: "base"}
	for name, raw := range map[string][]byte{
		"capacity": change(t, "capacity", `"0.06"`), "start": change(t, "start", `"2026-03-02T16:00:01Z"`), "open end": change(t, "end", `null`),
		"direction": change(t, "direction", `"import"`), "no direction": change(t, "direction", ``), "assets": change(t, "asset_ids", `["a1"]`),
		"obligation": change(t, "obligation_id", `"x"`), "stop": change(t, "type", `"stop"`), "problem": change(t, "end", `"junk"`),
	} {
		c := content(raw)
		if other, dup := seen[c]; dup {
			t.Errorf("%s has the content of %s", name, other)
		}
		seen[c] = name
	}
}

func TestAnObligationDecodes(t *testing.T) {
	p := embeddedProfile(t)
	ob, err := p.obligation([]byte(goodObligation), testNow)
	if err != nil {
		t.Fatal(err)
	}
	if ob.ID != "ob1" || ob.Capacity != 100_000 || ob.StartTime != 16*time.Hour || ob.EndTime != 24*time.Hour || ob.BankHolidays ||
		!slices.Equal(ob.Days, []time.Weekday{time.Sunday, time.Monday, time.Tuesday}) || ob.MaxRuntime != 2*time.Hour || ob.Zone != "Europe/London" ||
		ob.EndDate != "2027-01-01" || ob.Direction != flex.Export || !ob.SyncedAt.Equal(testNow) {
		t.Errorf("%+v", ob)
	}
	for _, c := range [][2]string{
		{`"ob1"`, `""`}, {`"0.1"`, `"x"`}, {`"2026-01-01"`, `"01/01/2026"`}, {`"2027-01-01"`, `"2026-01-01"`}, {`"mon"`, `"m"`}, {`"exclude"`, `"maybe"`},
		{`"16:00"`, `"24:00"`}, {`"23:59"`, `"24:01"`}, {`"02:00:00"`, `"two hours"`}, {`"export"`, `"sideways"`}, {`["a1"]`, `[["a1"]]`}, {`"end_time"`, `"x"`},
	} {
		if ob, err := p.obligation([]byte(strings.Replace(goodObligation, c[0], c[1], 1)), testNow); err == nil {
			t.Errorf("%s for %s: accepted as %+v", c[1], c[0], ob)
		}
	}
}

func TestAnAssetTakesTheFirstCapacityThatIsGiven(t *testing.T) {
	p := embeddedProfile(t)
	a, err := p.asset([]byte(`{"id":"z","ref":"r","active_export_capacity":null,"max_export_capacity":"0.05","active_import_capacity":"0.01",
		"max_import_capacity":"9","min_runtime":"00:30:00","max_runtime":"1T02:00:00","recovery_time":"junk","export_meter_id":"2000012345678"}`), testNow)
	if err != nil || a.Export != 50_000 || a.Import != 10_000 || a.MinRuntime != 30*time.Minute || a.MaxRuntime != 26*time.Hour || a.Recovery != 0 || a.ExportMPAN != "2000012345678" {
		t.Errorf("%+v, %v", a, err)
	}
	for _, raw := range []string{`{}`, `{"id":"z","max_export_capacity":"x"}`, `[]`, `{"id":"z","id":"y"}`} {
		if a, err := p.asset([]byte(raw), testNow); err == nil {
			t.Errorf("%s: %+v", raw, a)
		}
	}
}

func TestTimesOfDayAndDurations(t *testing.T) {
	for s, want := range map[string]string{
		"16:00": "16h0m0s", "00:00": "0s", "9:05": "9h5m0s", "23:59:59": "24h0m0s", "23:59": "24h0m0s", "24:00": "24h0m0s", "24:00:00": "24h0m0s",
		"23:58": "23h58m0s", "24:01": "", "25:00": "", "12:60": "", "12": "", "": "", "12:0x": "", "-1:00": "", "12:00:00:00": "",
	} {
		if d, err := parseClock(s, true); want == "" != (err != nil) || err == nil && d.String() != want {
			t.Errorf("clock %q: %v, %v", s, d, err)
		}
	}
	for s, want := range map[string]string{
		"02:30:00": "2h30m0s", "1T02:00:00": "26h0m0s", "1DT02:00:00": "26h0m0s", "2 00:00:01": "48h0m1s", "100:00:00": "100h0m0s", "00:30": "30m0s",
		"": "", "T": "", "1T": "", "x": "", "02:61:00": "", "-02:00:00": "", "9999T00:00:00": "",
	} {
		if d, err := parseSpan(s); want == "" != (err != nil) || err == nil && d.String() != want {
			t.Errorf("span %q: %v, %v", s, d, err)
		}
	}
}

func TestNaiveTimesAreLocalToTheProfilesZone(t *testing.T) {
	loc := embeddedProfile(t).Zone.Location
	for s, want := range map[string]string{
		"2026-07-01T16:00:00":       "2026-07-01T15:00:00Z",
		"2026-01-01 16:00":          "2026-01-01T16:00:00Z",
		"2026-03-29T00:59:59":       "2026-03-29T00:59:59Z",
		"2026-03-29T02:00:00":       "2026-03-29T01:00:00Z",
		"2026-03-29T01:00:00":       "",
		"2026-10-25T00:59:59":       "2026-10-24T23:59:59Z",
		"2026-10-25T01:00:00":       "",
		"2026-10-25T02:00:00":       "2026-10-25T02:00:00Z",
		"2026-10-25T01:30:00Z":      "2026-10-25T01:30:00Z",
		"2026-10-25T01:30:00+01:00": "2026-10-25T00:30:00Z",
		"2026-10-25T01:30+01:00":    "2026-10-25T00:30:00Z",
		"2026-07-01T16:00:00.5Z":    "2026-07-01T16:00:00Z",
		"2026-07-01":                "", "2026-07-01T25:00:00Z": "", "2026-7-1T16:00:00Z": "", "20260701T160000Z": "", "2026-07-01T16:00:60Z": "",
		"2026-07-01T16:00:00,5Z": "", "2200-07-01T16:00:00Z": "", "2026-07-01T16:00:00 Z": "", "2026-07-01T16:00:00+99:00": "",
	} {
		got, err := parseInstant(s, loc)
		if want == "" != (err != nil) || err == nil && got.Format(time.RFC3339) != want {
			t.Errorf("%q: %v, %v", s, got, err)
		}
	}
}

func TestDirectionComesFromThePlacesOfTheProfileInTheirOrder(t *testing.T) {
	p := embeddedProfile(t)
	ob, comp := flex.Obligation{Direction: flex.Import}, flex.Competition{Direction: flex.Export}
	for _, c := range []struct {
		in   flex.Direction
		ob   flex.Obligation
		comp flex.Competition
		want flex.Direction
	}{
		{flex.Export, ob, comp, flex.Export}, {"", ob, comp, flex.Import}, {"", flex.Obligation{}, comp, flex.Export}, {"", flex.Obligation{}, flex.Competition{}, ""},
	} {
		if got := p.ResolveDirection(flex.Instruction{Direction: c.in}, c.ob, c.comp); got != c.want {
			t.Errorf("%+v: %q", c, got)
		}
	}
}

func FuzzInstruction(f *testing.F) {
	p := embeddedProfile(f)
	f.Add([]byte(goodInstruction))
	f.Add([]byte(`{"id":"s","type":"stop","stops":["a"],"status":"cancelled"}`))
	f.Add([]byte(`{"id":1,"capacity":1.5,"start":"2026-03-29T01:30","asset_ids":"a"}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		in, err := p.instruction(raw)
		if err != nil {
			return
		}
		if in.ID == "" || in.Content == "" || in.Capacity < 0 || in.Capacity > flex.MaxPower || in.Kind == "" || len(in.Assets) > maxAssets {
			t.Fatalf("%+v", in)
		}
		if in.Kind == flex.KindStart && len(in.Problems) == 0 && (in.Window.Start.IsZero() || !in.Window.Open() && in.Window.Duration() <= 0) {
			t.Fatalf("a start without a window passed: %+v", in)
		}
		if _, err := json.Marshal(in); err != nil {
			t.Fatalf("cannot be stored: %v", err)
		}
	})
}

func FuzzObligation(f *testing.F) {
	p := embeddedProfile(f)
	f.Add([]byte(goodObligation))
	f.Add([]byte(`{"id":"x","capacity":1,"start_date":"2026-01-01","end_date":"2026-02-01T00:00:00Z","start_time":"22:00","end_time":"06:00"}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		ob, err := p.obligation(raw, testNow)
		if err == nil && (ob.ID == "" || len(ob.Days) == 0 || ob.StartTime < 0 || ob.EndTime > day || ob.EndDate <= ob.StartDate || ob.Capacity < 0) {
			t.Fatalf("%+v", ob)
		}
	})
}

func ExampleMarket_Subscription() {
	m, err := Open(Config{BaseURL: "https://api.picloflex.com", ClientID: "x", APIKey: func() (string, error) { return "", nil }, Wall: fixedWall{}})
	if err != nil {
		fmt.Println(err)
		return
	}
	event, _ := m.Subscription()
	fmt.Println(event)
	// Output: fp_dispatch_instruction_collection
}

func TestALongListKeepsItsOrder(t *testing.T) {
	var list []json.RawMessage
	for n := range 1001 {
		id := fmt.Sprintf("i%04d", n)
		if n == 700 || n == 900 {
			id = ""
		}
		list = append(list, json.RawMessage(strings.Replace(goodInstruction, `"i1"`, strconv.Quote(id), 1)))
	}
	got, bad, first := embeddedProfile(t).instructions(list)
	if len(got) != 999 || bad != 2 || first == nil || got[0].ID != "i0000" || got[700].ID != "i0701" || got[998].ID != "i1000" {
		t.Errorf("%d read, %d not, %v", len(got), bad, first)
	}
}

// A whole number is the same in every spelling.
func TestARevisionInAnySpelling(t *testing.T) {
	for spelling, want := range map[string]int64{`7`: 7, `7.0`: 7, `7e0`: 7, `0.7e1`: 7, `70e-1`: 7, `"7"`: 7, `0`: 0, `"0"`: 0, `9007199254740991`: 9007199254740991, `""`: 1} {
		in, err := embeddedProfile(t).instruction([]byte(strings.Replace(goodInstruction, `"revision":2`, `"revision":`+spelling, 1)))
		if err != nil || len(in.Problems) > 0 || in.Revision != want || in.HasRevision != (spelling != `""`) {
			t.Errorf("%s is read as %d, %v, %v", spelling, in.Revision, in.Problems, err)
		}
	}
}
