package regmap_test

import (
	"testing"
	"time"

	"flexd/agent/flex"
	"flexd/drivers/modbus"
	"flexd/drivers/regmap"
	"flexd/drivers/sunspec"
)

// meter is one maker's meter showing a draw of 2345.6 W from the grid at
// 49.9 Hz, with 1234.5 kWh drawn and 67.8 kWh fed in.
type meter struct {
	name  string
	build func() *vendor
}

var meters = []meter{
	{name: "carlo-gavazzi-em24", build: func() *vendor { return gavazzi(1648) }},
	{name: "carlo-gavazzi-em530", build: func() *vendor { return gavazzi(1760) }},
	{name: "eastron-sdm630", build: eastron},
}

func newMeter(unit byte) *vendor {
	v := newVendor(unit)
	v.allow, v.arms = among(), only()
	v.power = func(*vendor, time.Time) (float64, bool) { return 0, false }
	v.show = func(*vendor, float64) {}
	return v
}

// gavazzi keeps integers, low word first: 0.1 W, 0.1 Hz, 0.1 kWh.
func gavazzi(kind uint16) *vendor {
	v := newMeter(1)
	v.put(0x000B, kind)
	v.put32(0x0028, 23456, true)
	v.put(0x0033, 499)
	v.put(0xA000, 7)
	v.put32(0x0034, 12345, true)
	v.put32(0x004E, 678, true)
	v.putS(0x5000, "BX123456789", 7)
	return v
}

// eastron keeps floats, high word first: W, Hz, kWh.
func eastron() *vendor {
	v := newMeter(1)
	v.inputs = true
	v.putF(0x0034, 2345.6, false)
	v.putF(0x0046, 49.9, false)
	v.putF(0x0048, 1234.5, false)
	v.putF(0x004A, 67.8, false)
	return v
}

func TestEveryMeterMapAgainstItsMeter(t *testing.T) {
	for _, m := range meters {
		t.Run(m.name, func(t *testing.T) {
			v := m.build()
			for sign, want := range map[string]flex.Watts{sunspec.ImportPositive: -2346, sunspec.ExportPositive: 2346} {
				r, err := openMeter(t, m.name, v, sign).Read(t.Context())
				if err != nil || r.Power == nil || *r.Power != want || r.Frequency == nil || *r.Frequency < 49.89 || *r.Frequency > 49.91 {
					t.Fatalf("%s: %+v, %v", sign, r, err)
				}
				in, out := r.ImportedWh, r.ExportedWh
				if sign == sunspec.ExportPositive {
					in, out = out, in
				}
				if in == nil || out == nil || *in != 1234500 || *out != 67800 {
					t.Errorf("%s: energies %v and %v", sign, in, out)
				}
			}
			if len(v.writes) != 0 {
				t.Errorf("a meter was written to: %v", v.writes)
			}
		})
	}
}

func openMeter(t *testing.T, name string, v *vendor, sign string) *regmap.Device {
	t.Helper()
	mp, err := regmap.Load(name, "")
	if err != nil {
		t.Fatal(err)
	}
	d, err := regmap.New(regmap.Config{ID: "grid", Endpoint: "h:1", Unit: v.unit, Map: mp, Bus: v, Sign: sign})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// A meter that stops to answer, or answers what is no number, gives no power.
func TestAMeterWithoutANumberGivesNoPower(t *testing.T) {
	v := eastron()
	d := openMeter(t, "eastron-sdm630", v, sunspec.ImportPositive)
	v.put32(0x0034, 0x7FC00000, false)
	if r, err := d.Read(t.Context()); err != nil || r.Power != nil {
		t.Errorf("%+v, %v", r, err)
	}
	delete(v.words, at(1, 0x0034))
	if _, err := d.Read(t.Context()); err == nil {
		t.Error("a reading of a register that is not there")
	}
	if _, err := v.Do(t.Context(), modbus.Request{Unit: 1, Func: modbus.ReadHolding, Addr: 0x0046, Count: 2}); err == nil {
		t.Error("the meter answers for holding registers")
	}
}
