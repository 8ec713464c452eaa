package piclo

import (
	"strings"
	"testing"
	"time"

	"flexd/agent/flex"
)

// with gives the embedded profile with text on top.
func with(t testing.TB, text string) *Profile {
	t.Helper()
	p := loaded(t, "")
	if err := p.overlay("test.yaml", []byte(text)); err != nil {
		t.Fatal(err)
	}
	return p
}

func TestPowersWithUnitAndSign(t *testing.T) {
	const signed = "power: {direction_from: [instruction, sign, obligation], sign: export}\n"
	for _, c := range []struct {
		name, profile, field string
		value                string
		want                 flex.Watts
		direction            flex.Direction
		problem              string
	}{
		{"kW by the field", "instruction: {capacity: {at: [/capacity], unit: kW}}", "capacity", `"7.5"`, 7500, flex.Export, ""},
		{"W by the profile", "power: {unit: W}", "capacity", `300`, 300, flex.Export, ""},
		{"the document names the unit", "instruction: {capacity: {at: [/capacity], unit_at: [/type]}, type: []}", "capacity", `7`, 0, flex.Export, "\"start\" is not a unit"},
		{"positive is export", signed + "instruction: {direction: []}", "capacity", `"0.01"`, 10_000, flex.Export, ""},
		{"negative is import", signed + "instruction: {direction: []}", "capacity", `"-0.01"`, 10_000, flex.Import, ""},
		{"negative is import, as a number", signed + "instruction: {direction: []}", "capacity", `-0.01`, 10_000, flex.Import, ""},
		{"positive is import where the field says so", signed + "instruction: {direction: [], capacity: {at: [/capacity], sign: import}}", "capacity", `"0.01"`, 10_000, flex.Import, ""},
		{"field and sign agree", signed, "capacity", `"0.01"`, 10_000, flex.Export, ""},
		{"field and sign disagree", signed, "capacity", `"-0.01"`, 10_000, "", "export by its field and import by the sign"},
		{"two signs", signed, "capacity", `"--1"`, 0, flex.Export, "decimal"},
		{"a plus", signed, "capacity", `"+1"`, 0, flex.Export, "decimal"},
		{"finer than a watt", signed, "capacity", `"-0.0000001"`, 0, flex.Export, "watt"},
		{"out of range", signed, "capacity", `"-99999999999"`, 0, flex.Export, "range"},
		{"words of the field's own", "instruction: {direction: {at: [/direction], words: {export: [up], import: [down]}}}", "direction", `"Down"`, 50_100, flex.Import, ""},
		{"words of the field replace the profile's", "instruction: {direction: {at: [/direction], words: {export: [up]}}}", "direction", `"export"`, 50_100, "", "neither"},
	} {
		in, err := with(t, c.profile).instruction(change(t, c.field, c.value))
		if err != nil {
			t.Fatal(err)
		}
		text := ""
		if len(in.Problems) > 0 {
			text = in.Problems[0].Text
		}
		if in.Capacity != c.want || in.Direction != c.direction || c.problem == "" != (text == "") || !strings.Contains(text, c.problem) {
			t.Errorf("%s: %v %q, problem %q", c.name, in.Capacity, in.Direction, text)
		}
	}
}

func TestTheUnitInTheDocument(t *testing.T) {
	p := with(t, "instruction: {capacity: {at: [/p/value], unit_at: [/p/unit]}}")
	for unit, want := range map[string]flex.Watts{`"kW"`: 5000, `"W"`: 5, `"MW"`: 5_000_000, `"mW"`: 0, `"GW"`: 0, `7`: 0, `{}`: 0, `null`: 0} {
		in, err := p.instruction([]byte(`{"id":"a","p":{"value":5,"unit":` + unit + `},"start":"2026-03-02T16:00:00Z"}`))
		refused := len(in.Problems) > 0 && in.Problems[len(in.Problems)-1].Reason == flex.ReasonUnitUnresolved
		if err != nil || in.Capacity != want || refused != (want == 0) {
			t.Errorf("%s: %v, %+v", unit, in.Capacity, in.Problems)
		}
	}
}

func TestTimesAreReadAsTheFieldSays(t *testing.T) {
	for _, c := range []struct{ setting, value, want string }{
		{"format: unix", `1772467200`, "2026-03-02T16:00:00Z"},
		{"format: unix", `"1772467200"`, "2026-03-02T16:00:00Z"},
		{"format: unix", `1772467200000`, ""},
		{"format: unix", `-1`, ""},
		{"format: unix", `1772467200.5`, ""},
		{"format: unix", `"2026-03-02T16:00:00Z"`, ""},
		{"format: unix_ms", `1772467200123`, "2026-03-02T16:00:00Z"},
		{"format: unix_ms", `1772467200`, ""},
		{`format: "DD/MM/YYYY HH:mm"`, `"02/03/2026 16:00"`, "2026-03-02T16:00:00Z"},
		{`format: "DD/MM/YYYY HH:mm"`, `"02/07/2026 16:00"`, "2026-07-02T15:00:00Z"},
		{`format: "DD/MM/YYYY HH:mm", zone: America/New_York`, `"02/07/2026 16:00"`, "2026-07-02T20:00:00Z"},
		{`format: "MM/DD/YYYY HH:mm"`, `"13/03/2026 16:00"`, ""},
		{`format: "DD/MM/YYYY HH:mm"`, `"25/10/2026 01:30"`, ""},
		{`format: "DD/MM/YYYY HH:mm"`, `"29/03/2026 01:30"`, ""},
		{`format: "DD/MM/YYYY HH:mm"`, `"31/02/2026 01:30"`, ""},
		{`format: "DD/MM/YYYY HH:mm"`, `"2/3/2026 16:00"`, ""},
		{`format: "DD/MM/YYYY HH:mm"`, `"02/03/2026 16:00:00"`, ""},
		{`format: "DD/MM/YYYY HH:mm"`, `"02/03/2026 24:00"`, ""},
		{`format: "YYYYMMDDTHHmmssZ"`, `"20260302T160000Z"`, "2026-03-02T16:00:00Z"},
		{`format: "YYYYMMDDTHHmmssZ"`, `"20260302T160000+0130"`, "2026-03-02T14:30:00Z"},
		{`format: "YYYY-MM-DD HH:mm Z"`, `"2026-10-25 01:30 +01:00"`, "2026-10-25T00:30:00Z"},
		{`format: "YYYY-MM-DD HH:mm Z"`, `"2026-10-25 01:30 +99:00"`, ""},
		{"zone: America/New_York", `"2026-07-02T16:00:00"`, "2026-07-02T20:00:00Z"},
		{"zone: America/New_York", `"2026-11-01T01:30:00"`, ""},
	} {
		p := with(t, "instruction: {end: [], start: {at: [/start], "+c.setting+"}}")
		in, err := p.instruction(change(t, "start", c.value))
		if err != nil {
			t.Fatal(err)
		}
		got := in.Window.Start.Format(time.RFC3339)
		if c.want == "" != (len(in.Problems) > 0) || c.want != "" && got != c.want {
			t.Errorf("%s, %s: %s, %+v", c.setting, c.value, got, in.Problems)
		}
	}
}

func TestFormatsOfTheWholeProfileAndOfContracts(t *testing.T) {
	p := with(t, `
time: {format: unix, date: DD.MM.YYYY, clock: minutes, duration: iso8601}
obligation:
  end_date: {at: [/end_date], format: iso}
  days: {at: [/service_days], words: {mon: [lundi], sun: [dimanche]}}
  bank_holidays: {at: [/bank_holidays], words: {exclude: [sauf]}}
  region: {at: [/country], words: {scotland: [SCO], england-and-wales: [ENG, WAL]}}
`)
	good := `{"id":"o","capacity":"1","start_date":"05.01.2026","end_date":"2026-12-31","start_time":960,"end_time":1439,"max_runtime":"PT90M",
		"service_days":["Lundi","dimanche"],"bank_holidays":"sauf","country":"sco"}`
	ob, err := p.obligation([]byte(good), testNow)
	if err != nil || ob.StartDate != "2026-01-05" || ob.EndDate != "2026-12-31" || ob.StartTime != 16*time.Hour || ob.EndTime != day || ob.MaxRuntime != 90*time.Minute ||
		len(ob.Days) != 2 || ob.Days[0] != time.Sunday || ob.BankHolidays || ob.Region != "scotland" {
		t.Errorf("%+v, %v", ob, err)
	}
	for _, c := range [][2]string{{`05.01.2026`, `2026-01-05`}, {`960`, `1440`}, {`960`, `"16:00"`}, {`PT90M`, `P1M`}, {`PT90M`, `01:30:00`}, {`"sco"`, `"north"`}, {`"sauf"`, `"peut-être"`}} {
		if ob, err := p.obligation([]byte(strings.Replace(good, c[0], c[1], 1)), testNow); err == nil {
			t.Errorf("%s for %s: %+v", c[1], c[0], ob)
		}
	}
	p.Obligation.Holidays = "northern-ireland"
	ob, err = p.obligation([]byte(strings.Replace(good, `,"country":"sco"`, "", 1)), testNow)
	if err != nil || ob.Region != "northern-ireland" {
		t.Errorf("the profile's region: %q, %v", ob.Region, err)
	}
	if ob, err = embeddedProfile(t).obligation([]byte(goodObligation), testNow); err != nil || ob.Region != "" {
		t.Errorf("nobody said a region: %q, %v", ob.Region, err)
	}
}

func TestDurationsInEveryFormat(t *testing.T) {
	for _, c := range []struct {
		format spanFormat
		s      string
		want   time.Duration // -1: refused
	}{
		{formatISO8601, "PT2H30M", 150 * time.Minute}, {formatISO8601, "P1DT2H", 26 * time.Hour}, {formatISO8601, "P2W", 14 * day}, {formatISO8601, "PT0S", 0},
		{formatISO8601, "PT5400S", 90 * time.Minute}, {formatISO8601, "P1D", day}, {formatISO8601, "P1Y", -1}, {formatISO8601, "P1M", -1}, {formatISO8601, "PT", -1},
		{formatISO8601, "P", -1}, {formatISO8601, "", -1}, {formatISO8601, "PT1M1H", -1}, {formatISO8601, "PT1H1H", -1}, {formatISO8601, "P1W1D", -1}, {formatISO8601, "P1WT1H", -1},
		{formatISO8601, "PT-1H", -1}, {formatISO8601, "-PT1H", -1}, {formatISO8601, "PT1.5H", -1}, {formatISO8601, "P99999999W", -1}, {formatISO8601, "P400D", -1}, {formatISO8601, "PTH", -1},
		{formatISO8601, "pt1h", -1}, {formatISO8601, "1H", -1}, {formatISO8601, "PT1HX", -1},
		{formatSeconds, "90", 90 * time.Second}, {formatMinutes, "90", 90 * time.Minute}, {formatHours, "2", 2 * time.Hour}, {formatSeconds, "-1", -1},
		{formatSeconds, "1.5", -1}, {formatHours, "99999", -1}, {formatMinutes, "", -1}, {formatClock, "01:30", 90 * time.Minute}, {formatClock, "90", -1},
	} {
		d, err := spanIn(c.s, c.format)
		if c.want < 0 != (err != nil) || err == nil && d != c.want {
			t.Errorf("%s %q: %v, %v", c.format, c.s, d, err)
		}
	}
}

func TestTheRawTextIsHashedAndTheEndRuleIsTold(t *testing.T) {
	p := embeddedProfile(t)
	a, _ := p.instruction([]byte(goodInstruction))
	b, _ := p.instruction([]byte(goodInstruction + " "))
	if len(a.RawHash) != 64 || a.RawHash == b.RawHash || a.Content != b.Content {
		t.Errorf("%q %q", a.RawHash, b.RawHash)
	}
	if !p.EndInPastStops() || with(t, "stop: {end_moved_earlier: false}").EndInPastStops() {
		t.Error("the rule is not the profile's")
	}
}

// mapped has every kind of mapping.
const mapped = `
power: {unit: kW, sign: import, direction_from: [sign, instruction, obligation]}
time: {format: unix_ms, duration: iso8601}
instruction:
  capacity: {at: [/p/v, /capacity], unit_at: [/p/u], unit: W}
  direction: {at: [/direction], words: {export: [up, export], import: [down]}}
  start: {at: [/start], format: "YYYY-MM-DDTHH:mm:ssZ", zone: America/New_York}
obligation:
  capacity: {at: [/capacity], sign: export}
  start_date: {at: [/start_date], format: DD/MM/YYYY}
  start_time: {at: [/start_time], format: seconds}
  days: {at: [/service_days], words: {mon: [m]}}
`

func FuzzMappedFields(f *testing.F) {
	p := with(f, mapped)
	f.Add([]byte(goodInstruction))
	f.Add([]byte(`{"id":"x","p":{"v":-5,"u":"kW"},"start":"2026-03-02T16:00:00+01:00","end":1772467200000,"direction":"down"}`))
	f.Add([]byte(`{"id":"x","capacity":-0.0,"start_date":"02/03/2026","end_date":"2026-12-31","start_time":3600,"end_time":"24:00","max_runtime":"P1DT1H","service_days":["m"]}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		in, err := p.instruction(raw)
		if err == nil && (in.Capacity < 0 || in.Capacity > flex.MaxPower || in.Direction != "" && in.Direction.Sign() == 0) {
			t.Fatalf("%+v", in)
		}
		if err == nil && in.Kind == flex.KindStart && len(in.Problems) == 0 && in.Window.Start.IsZero() {
			t.Fatalf("%+v", in)
		}
		ob, err := p.obligation(raw, testNow)
		if err == nil && (ob.Capacity < 0 || ob.MaxRuntime < 0 || ob.StartTime < 0 || ob.StartTime >= day || ob.EndTime > day || ob.EndDate <= ob.StartDate) {
			t.Fatalf("%+v", ob)
		}
	})
}

func FuzzPattern(f *testing.F) {
	f.Add("DD/MM/YYYY HH:mm", "02/03/2026 16:00")
	f.Add("YYYYMMDDTHHmmssZ", "20260302T160000+0100")
	f.Add("YYYY-MM-DD", "2026-03-02")
	loc := loaded(f, "").Zone.Location
	f.Fuzz(func(t *testing.T, layout, value string) {
		for _, clock := range []bool{true, false} {
			p, err := parsePattern(layout, clock)
			if err != nil {
				continue
			}
			if p.String() != layout {
				t.Fatalf("%q became %q", layout, p)
			}
			if at, err := p.read(value, loc); err == nil && (at.Year() < firstYear-1 || at.Year() > lastYear+1) {
				t.Fatalf("%q by %q is %v", value, layout, at)
			}
		}
	})
}
