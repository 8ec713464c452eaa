package regmap_test

import (
	"slices"
	"strings"
	"testing"

	"flexd/drivers/regmap"
)

// nameless are the maps whose device has no register that tells it apart, by
// what is published: such a map has to be named in the configuration.
var nameless = []string{"eastron-sdm630", "sigenergy"}

// A scan may name a map only where its device answers, and no other's.
func TestAMapKnowsItsOwnDeviceAlone(t *testing.T) {
	same := map[string]string{"victron-gx-mode3": "victron-gx", "solaredge-pv": "solaredge-storedge", "sma-stp-se-battery": "sma-stp-se"} // one device, two maps
	family := func(name string) string {
		if f := same[name]; f != "" {
			return f
		}
		return name
	}
	type device struct {
		unit byte
		bus  regmap.Bus
	}
	devices := map[string]device{}
	for _, m := range mades {
		b := m.bench()
		devices[m.name] = device{b.unit, b.p}
	}
	devices["solaredge-pv"] = devices["solaredge-storedge"] // the same inverter, which has batteries here
	for _, m := range meters {
		v := m.build()
		devices[m.name] = device{v.unit, v}
	}
	for _, name := range regmap.Names() {
		m, err := regmap.Load(name, "")
		if err != nil {
			t.Fatal(err)
		}
		twin := same[name] != ""
		for _, other := range same {
			twin = twin || other == name
		}
		if twin != (m.Question != "") {
			t.Errorf("%s: two maps for its device %v, what decides: %q", name, twin, m.Question)
		}
		if devices[name].bus == nil {
			t.Errorf("%s: no simulated device", name)
		}
		if len(m.Identity) == 0 {
			if !slices.Contains(nameless, name) {
				t.Errorf("%s states no identity", name)
			}
			if !strings.Contains(strings.Join(m.Notes, " "), "no device scan can name this map") {
				t.Errorf("%s does not say that it has to be named in the configuration", name)
			}
			continue
		}
		for other, v := range devices {
			cfg := regmap.Config{ID: "dev", Endpoint: "h:1", Unit: v.unit, Map: m, Bus: v.bus}
			if m.Role.String() == "meter" {
				cfg.Sign = "export_positive"
			}
			d, err := regmap.New(cfg)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := d.Open(t.Context()); (err == nil) != (family(name) == family(other)) {
				t.Errorf("map %s on %s: %v", name, other, err)
			}
		}
	}
}
