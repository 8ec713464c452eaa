package regmap

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const good = `map: x
title: t
status: unverified
sources: [s]
role: storage
points:
  p: {at: 10, type: s16, unit: W}
  mode: {at: 20, type: u16, access: rw, memory: persistent}
  set: {at: 21, type: s32, unit: W, access: rw, memory: volatile}
measure: {power: p}
rating: {charge: 100, discharge: 100}
control:
  set:
    of: battery
    arm: [{point: mode, value: 1}]
    write: [{point: set, value: power}]
    release: [{point: mode, value: 0}]
    active: [{point: mode, in: [1]}]
    fallback: {after: 60s, to: itself}
`

func TestWhatIsWrongIsToldWithItsLine(t *testing.T) {
	if _, err := Parse("x.yaml", []byte(good)); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct{ name, from, to, want string }{
		{"unknown key", "title: t", "titel: t", "x.yaml:2: unknown key titel"},
		{"type", "type: s16", "type: s17", "x.yaml:7: \"s17\": choose u16"},
		{"address", "at: 10", "at: 70000", "x.yaml:7: \"70000\": write a wire address"},
		{"beyond the end", "at: 10", "at: 0xFFFF", ""},
		{"a point that is not there", "power: p}", "power: q}", "x.yaml:10: \"q\" is no point"},
		{"a read-only point is written", "access: rw, memory: volatile", "memory: volatile", "set is read only"},
		{"points share a register", "at: 21, type: s32", "at: 20, type: s32", "share a register"},
		{"a persistent register moves", "write: [{point: set", "write: [{point: mode", "mode is persistent and would wear out"},
		{"no release", "    release: [{point: mode, value: 0}]\n", "", "has no release sequence"},
		{"no fall-back", "    fallback: {after: 60s, to: itself}\n", "", "does not say what happens when nobody writes"},
		{"a refresh that is too slow", "    fallback:", "    refresh: 40s\n    fallback:", "more than half of the fall-back time"},
		{"a release by power", "value: 0}]", "value: power}]", "a release knows no power"},
		{"a setpoint that may be refused", "write: [{point: set,", "write: [{optional: true, point: set,", "is not optional"},
		{"a release that may be refused", "release: [{point: mode,", "release: [{optional: true, point: mode,", "nothing in it has to succeed"},
		{"restoring needs a boot sequence", "value: 0}]", "value: found}]", "give boot"},
		{"nothing tells whether it is in force", "    active: [{point: mode, in: [1]}]\n", "", "does not say when control is in force"},
		{"a check against nothing", "in: [1]", "hint: x", "compares with nothing"},
		{"values and points differ in number", "value: power", "value: [power, power]", "needs one value for each point"},
		{"a meter is not controlled", "role: storage", "role: meter", "a meter is not controlled"},
		{"no source", "sources: [s]", "sources: []", "sources is missing"},
		{"no power is measured", "measure: {power: p}", "measure: {soc: p}", "no power is measured"},
		{"not YAML", "map: x", "map: [", "is not YAML"},
		{"a grid setpoint without the grid", "of: battery", "of: grid", "needs measure.grid"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			text := strings.Replace(good, tc.from, tc.to, 1)
			if text == good {
				t.Fatal("nothing was replaced")
			}
			_, err := Parse("x.yaml", []byte(text))
			if tc.want == "" {
				return
			}
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%v\nwant one with: %s", err, tc.want)
			}
		})
	}
}

func TestASiteMendsAShippedMap(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "sigenergy.yaml"), []byte(strings.Replace(good, "map: x", "map: mine", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	if m, err := Load("sigenergy", dir); err != nil || m.Name != "mine" {
		t.Errorf("%+v, %v", m, err)
	}
	if m, err := Load("huawei-luna", dir); err != nil || m.Name != "huawei-luna" {
		t.Errorf("%+v, %v", m, err)
	}
	if _, err := Load("none", dir); err == nil || !strings.Contains(err.Error(), "shipped are") {
		t.Error(err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(good))
	for _, name := range Names() {
		raw, _ := Source(name)
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		m, err := Parse("f.yaml", raw)
		if err == nil && (m.Name == "" || len(m.Points) == 0) {
			t.Error("an empty map passed")
		}
	})
}

func FuzzWords(f *testing.F) {
	f.Add(uint64(0x12345678), 2, true)
	f.Fuzz(func(t *testing.T, v uint64, n int, low bool) {
		if n < 1 || n > 4 {
			return
		}
		v &= 1<<(16*n) - 1
		if got := bits(split(v, n, low), low); got != v {
			t.Errorf("%x became %x", v, got)
		}
	})
}
