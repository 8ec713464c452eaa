package piclo

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"flexd/agent/flex"
)

func TestTheEmbeddedProfileSetsEverySetting(t *testing.T) {
	p := embeddedProfile(t)
	// Settings whose default is that nothing is said.
	empty := map[string]bool{"profile.Notification.Payload": true, "profile.Notification.OtherEvents": true, "profile.Notification.Require": true,
		"profile.Notification.Audience": true, "profile.Key.Pointer": true, "profile.Lists.Single": true, "profile.Obligation.Holidays": true,
		"profile.Instruction.StatusWords": true, "profile.unknownStops": true}
	var walk func(path string, v reflect.Value)
	walk = func(path string, v reflect.Value) {
		if empty[path] {
			return
		}
		if v.Kind() == reflect.Struct && strings.HasPrefix(v.Type().Name(), "profile") || v.Type().Name() == "Profile" || strings.HasSuffix(v.Type().Name(), "Fields") {
			for i := range v.NumField() {
				walk(path+"."+v.Type().Field(i).Name, v.Field(i))
			}
			return
		}
		if v.IsZero() {
			t.Errorf("%s is not set in piclo.yaml", path)
		}
	}
	walk("profile", reflect.ValueOf(*p))
}

func profileFile(t *testing.T, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "own.yaml")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestAFileNeedsToHoldOnlyWhatDiffers(t *testing.T) {
	p, err := LoadProfile(profileFile(t, `
name: trial
power: {unit: kW, capacity_of: asset}
key: {min_gap: 30s}
instruction:
  capacity: [/offer/power~1kw, /capacity]
  direction: []
`))
	if err != nil {
		t.Fatal(err)
	}
	in, err := p.instruction([]byte(`{"id":"a","offer":{"power/kw":"7.5"},"asset_ids":["x"],"direction":"sideways","start":"2026-03-02T16:00:00Z"}`))
	if err != nil || in.Capacity != 7500 || len(in.Problems) != 0 || in.Direction != "" {
		t.Errorf("%+v, %v", in, err)
	}
	if time.Duration(p.Key.MinGap) != 30*time.Second || time.Duration(p.Key.TTL) != 24*time.Hour || p.Paths.Token != "/authtoken/v1/" {
		t.Errorf("%+v", p)
	}
	if empty, err := LoadProfile(profileFile(t, "# nothing differs\n")); err != nil || empty.Name != "piclo" {
		t.Errorf("%v", err)
	}
}

func TestAnAccountNeedsAClientIDWhereTheProfileLogsIn(t *testing.T) {
	for name, ok := range map[string]bool{"piclo": false, "pointer": true} {
		p, err := LoadProfile(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Suits(""); (err == nil) != ok || p.Suits("me") != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestABadProfileIsExplainedWithEveryLine(t *testing.T) {
	for text, mentions := range map[string][]string{
		"naem: x\npower: {unit: GW}\nzone: Mars/Base\n": {"line 1: unknown key naem", "line 2: \"GW\": choose MW", "line 3: \"Mars/Base\""},
		"response: {path: /x/}\n":                       {"line 1: unknown key path"},
		"notification: {algorithms: [HS256]}\n":         {"HS256"},
		"notification: {algorithms: [none]}\n":          {"none"},
		"notification: {algorithms: []}\n":              {"line 1: notification.algorithms must not be empty"},
		"notification: {data_url: [data_url]}\n":        {"JSON pointer"},
		"notification: {skew: 60}\n":                    {"duration with its unit"},
		"paths: {token: authtoken}\n":                   {"write a path"},
		"paths: {token: /a/../b/}\n":                    {"write a path"},
		"paths: {asset: /assets/}\n":                    {"{id}"},
		"instruction: {capacity: /capacity}\n":          {"list of up to 20"},
		"name: a\nname: b\n":                            {"already defined"},
		"version: 2\n":                                  {"version must be 1"},
		"a: [\n":                                        {"line"},
		"- x\n":                                         {"line 1", "kind seq"},
		"stop: {capacity_zero: maybe}\n":                {"kind str"},
	} {
		_, err := LoadProfile(profileFile(t, text))
		for _, m := range mentions {
			if err == nil || !strings.Contains(err.Error(), m) {
				t.Errorf("%q: %v, want a word of %q", text, err, m)
			}
		}
		if err != nil && strings.Contains(err.Error(), "piclo.") && !strings.Contains(err.Error(), "piclo.yaml") {
			t.Errorf("%q names Go types: %v", text, err)
		}
	}
	if _, err := LoadProfile("no-such-profile"); err == nil || !strings.Contains(err.Error(), "piclo") {
		t.Errorf("%v", err)
	}
	if _, err := LoadProfile(profileFile(t, "# "+strings.Repeat("x", maxProfile))); err == nil {
		t.Error("a file without end was read")
	}
}

func TestWhatContradictsItselfIsToldAtItsLine(t *testing.T) {
	for text, want := range map[string]string{
		"x: 1\npower: {unti: kW}\n":                                                  "line 2: unknown key unti (did you mean unit?)",
		"notifcation: {}\n":                                                          "line 1: unknown key notifcation (did you mean notification?)",
		"lists:\n  zebra: 1\n":                                                       "line 2: unknown key zebra: there are items, single",
		"instruction:\n  capacity: {at: [/c], uint: kW}\n":                           "line 2: unknown key uint (did you mean unit?)",
		"instruction:\n  capacity:\n    unit: kW\n":                                  `line 3: "at" with a list`,
		"instruction:\n  capacity: {at: [/c], at: [/d]}\n":                           "line 2: at is already defined",
		"instruction:\n  capacity: {at: [c], unit: GW}\n":                            `line 2: "c": write a JSON pointer`,
		"instruction:\n  start: {at: [/s], format: DD/MM}\n":                         "line 2: \"DD/MM\": choose rfc3339",
		"instruction:\n  start: {at: [/s], format: 02/01/2006 15:04}\n":              "made of YYYY MM DD",
		"instruction:\n  start: {at: [/s], format: YYYY-MM-DD}\n":                    "needs HH and mm",
		"instruction:\n  start: {at: [/s], format: YYYY-MM-DD HH:mm DD}\n":           "DD twice",
		"obligation:\n  start_date: {at: [/s], format: YYYY-MM-DD HH}\n":             "for a date",
		"obligation:\n  days: {at: [/d], words: {monday: [m]}}\n":                    "line 2: unknown meaning monday",
		"obligation:\n  holidays: wales\n":                                           "line 2: \"wales\": choose england-and-wales",
		"instruction:\n  direction: {at: [/d], words: {export: [a], import: [A]}}\n": "a already means export",
		"notification: {location: [header], header: ''}\n":                           "line 1: notification.header must name",
		"notification: {serialization: detached}\n":                                  "line 1: notification.location has body",
		"notification: {serialization: detached, location: [field]}\n":               "line 1: notification.payload must name the signed field",
		"notification:\n  payload: [/x]\n":                                           "line 2: notification.payload is for serialization: detached",
		"notification:\n  signature: none\n  require: [iat]\n":                       "line 3: notification.require asks for claims",
		"notification:\n  require: [aud]\n":                                          "line 1: notification.audience must list",
		"notification: {require: [sub]}\n":                                           "choose iat or exp",
		"notification: {other_events: {x: maybe}}\n":                                 "choose accept or refuse",
		"notification: {signature: hmac}\n":                                          "choose jws or none",
		"notification: {header: 'a: b'}\n":                                           "header's name",
		"key: {format: der}\n":                                                       "choose auto or pem",
		"key: {pointer: key}\n":                                                      "JSON pointer",
		"power:\n  direction_from: [sign]\n":                                         "line 2: power.direction_from has sign: set power.sign",
		"power:\n  sign: export\n":                                                   "line 1: power.direction_from lacks sign",
		"power: {sign: export, direction_from: [instruction, obligation, sign]}\n":   "apart",
		"power: {direction_from: [obligation, obligation]}\n":                        "names obligation twice",
		"power: {direction_from: []}\n":                                              "must not be empty",
		"power:\n  export_words: [import]\n":                                         "line 2: power.export_words has \"import\"",
		"stop:\n  type_words: [start]\n":                                             "instruction.start_words has \"start\"",
		"lists: {paging: pages}\n":                                                   "choose next or link",
		"lists: {paging: page, page: ''}\n":                                          "lists.page must name",
		"lists: {first_page: 7}\n":                                                   "is 0 or 1",
		"lists: {first_page: x}\n":                                                   "write a whole number",
		"stop: {capacity_zero: maybe}\n":                                             "write true or false",
		"power: 7\n":                                                                 "write keys with values below it",
		"token: {kind: oauth}\n":                                                     "choose login or static",
		"response:\n  use: on\n  accept: off\n":                                      "line 2: response.use is on",
		"name: a\n---\nname: b\n":                                                    "second document",
	} {
		_, err := LoadProfile(profileFile(t, text))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

func TestEveryProblemIsToldInTheOrderOfTheLines(t *testing.T) {
	_, err := LoadProfile(profileFile(t, "zone: Mars/Base\npower: {unit: GW, sgin: x}\ninstruction:\n  end: {at: [e], format: x, zone: y}\n"))
	var problems *ProfileError
	if !errors.As(err, &problems) || len(problems.Problems) != 6 {
		t.Fatalf("%v", err)
	}
	for i, line := range []string{"line 1", "line 2", "line 2", "line 4", "line 4", "line 4"} {
		if !strings.HasPrefix(problems.Problems[i], line) {
			t.Errorf("%d: %s", i, problems.Problems[i])
		}
	}
}

func TestEmbeddedProfilesLoadByName(t *testing.T) {
	if got := Profiles(); !slices.Equal(got, []string{"piclo", "pointer"}) {
		t.Errorf("%v", got)
	}
	for _, name := range Profiles() {
		if p, err := LoadProfile(name); err != nil || string(p.Name) != name {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzProfile(f *testing.F) {
	f.Add(embedded)
	f.Add([]byte("power: {unit: kW}"))
	f.Add([]byte("a: &a [*a]"))
	f.Add([]byte(mapped))
	f.Add([]byte("notification: {location: [header], serialization: detached, other_events: {x: accept}}"))
	f.Add([]byte("instruction: {capacity: {at: [/c], <<: {unit: kW}}}"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		p := embeddedProfile(t)
		if p.overlay("fuzz.yaml", raw) != nil {
			return
		}
		if in, err := p.instruction([]byte(goodInstruction)); err == nil && (in.Capacity < 0 || in.Capacity > flex.MaxPower) {
			t.Fatalf("%+v", in)
		}
	})
}
