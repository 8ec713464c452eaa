package piclo

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"flexd/agent/flex"
)

func TestTheEmbeddedProfileSetsEverySetting(t *testing.T) {
	p := embeddedProfile(t)
	// Settings whose default is that nothing is said.
	empty := map[string]bool{"profile.Notification.Payload": true, "profile.Notification.OtherEvents": true, "profile.Notification.Require": true,
		"profile.Notification.Audience": true, "profile.Key.Pointer": true, "profile.Lists.Single": true, "profile.Obligation.Holidays": true}
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

func FuzzProfile(f *testing.F) {
	f.Add(embedded)
	f.Add([]byte("power: {unit: kW}"))
	f.Add([]byte("a: &a [*a]"))
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
