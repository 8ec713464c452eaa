package drivers_test

import (
	"strings"
	"testing"
	"time"

	"flexd/drivers"
	"flexd/drivers/drivertest/makers"
	"flexd/drivers/modbus/modbustest"
)

// Where several maps fit one device all of them are named, with what decides;
// where one does there is nothing to decide.
func TestMapsThatFitOneDeviceSayWhatDecides(t *testing.T) {
	t.Parallel()
	known, _ := drivers.KnownMaps("", quiet())
	for _, c := range []struct {
		name string
		dev  makers.Device
		unit uint8
		want int
	}{
		{"victron-gx", makers.NewVictron(time.Now, makers.VictronOptions{}), 100, 2},
		{"huawei-luna", makers.NewHuawei(time.Now, makers.HuaweiOptions{}), 1, 1},
	} {
		found := known(t.Context(), c.dev, "h:502", c.unit)
		if len(found) != c.want || found[c.want-1].Map != c.name {
			t.Errorf("%s: %+v", c.name, found)
		}
		for _, m := range found {
			if (m.Question != "") != (c.want > 1) {
				t.Errorf("%s decides: %q", m.Map, m.Question)
			}
		}
	}
}

// A device that cannot be recognised is found at its map's own unit, and the
// map that may be its own is named.
func TestAProbeNamesWhatCannotBeRecognised(t *testing.T) {
	t.Parallel()
	s := modbustest.New(t)
	s.Set(30014, 500)
	res, err := drivers.Probe(t.Context(), drivers.ProbeConfig{Address: gate(t, s.Addr(), only(247, -2)), Timeout: 200 * time.Millisecond})
	if err != nil || res.Unit != 247 || !strings.Contains(res.Problem, "sigenergy") || strings.Contains(res.Problem, "eastron") {
		t.Errorf("unit %d, %q, %v", res.Unit, res.Problem, err)
	}
}
