package allocate

import (
	"strings"
	"testing"

	"flexd/agent/flex"
)

// The owner's bounds hold within the device's own, by use; every clip tells
// its reason.
func TestOwnersBounds(t *testing.T) {
	owned := func(power flex.Watts, soc flex.Percent) Device {
		d := battery("b", power, soc)
		d.Owner = Owner{
			Normal:    Bounds{MaxCharge: ptr(flex.Watts(1000)), MaxDischarge: ptr(flex.Watts(2000)), Reserve: 5000},
			Event:     Bounds{MaxCharge: ptr(flex.Watts(3000)), MaxDischarge: ptr(flex.Watts(4000)), Reserve: 3000},
			Emergency: Bounds{MaxDischarge: ptr(flex.Watts(9000))},
		}
		return d
	}
	spent := owned(10_000, 9000)
	spent.Owner.Left = ptr(flex.WattHours(0))
	brim := battery("b", 10_000, 8000)
	brim.MaxSoC = 8000
	for _, tc := range []struct {
		name   string
		dev    Device
		power  flex.Watts
		use    flex.Use
		want   flex.Watts
		reason flex.Reason
		text   string
	}{
		{"normal discharge", owned(10_000, 9000), 8000, flex.UseNormal, 2000, flex.ReasonOwnerLimit, "normal use"},
		{"normal charge", owned(10_000, 6000), -8000, flex.UseNormal, -1000, flex.ReasonOwnerLimit, "charging"},
		{"normal reserve", owned(10_000, 5000), 1000, flex.UseNormal, 0, flex.ReasonEnergyInsufficient, "reserve is 50"},
		{"event discharge", owned(10_000, 9000), 8000, flex.UseEvent, 4000, flex.ReasonOwnerLimit, "paid event"},
		{"event charge", owned(10_000, 6000), -8000, flex.UseEvent, -3000, flex.ReasonOwnerLimit, "charging"},
		{"event below the normal reserve", owned(10_000, 4000), 1000, flex.UseEvent, 1000, "", ""},
		{"event reserve", owned(10_000, 3000), 1000, flex.UseEvent, 0, flex.ReasonEnergyInsufficient, "reserve is 30"},
		{"emergency", owned(10_000, 2500), 8000, flex.UseEmergency, 8000, "", ""},
		{"the device's reserve outranks an emergency", owned(10_000, 2000), 8000, flex.UseEmergency, 0, flex.ReasonEnergyInsufficient, "reserve is 20"},
		{"the rating outranks the owner", owned(1000, 9000), 8000, flex.UseEvent, 1000, flex.ReasonRating, "rated"},
		{"the day's cycles are done", spent, 3000, flex.UseEvent, 0, flex.ReasonOwnerLimit, "as often today"},
		{"and do not keep from charging", spent, -1000, flex.UseEvent, -1000, "", ""},
		{"nor from helping in an emergency", spent, 3000, flex.UseEmergency, 3000, "", ""},
		{"not charged above max_soc", brim, -1000, flex.UseEvent, 0, flex.ReasonEnergyInsufficient, "full at 80"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d := dispatch("d", tc.power)
			d.Use = tc.use
			p := Decide(input([]Device{tc.dev}, d))
			if got := p.Targets[0].Power; got != tc.want {
				t.Errorf("power %v, want %v (%v)", got, tc.want, p.Targets[0].Whys)
			}
			sf := p.Shortfall["d"]
			if sf.Reason != tc.reason || !strings.Contains(sf.Text, tc.text) || (sf.Missing != 0) != (tc.reason != "") {
				t.Errorf("shortfall %+v, want %s %q", sf, tc.reason, tc.text)
			}
		})
	}
}

// A battery that serves a rehearsal and an instruction is used for the wider.
func TestTheWiderUseHolds(t *testing.T) {
	b := battery("b", 10_000, 9000)
	b.Owner.Normal.MaxDischarge = ptr(flex.Watts(1000))
	test, paid := dispatch("t", 2000), dispatch("d", 3000)
	test.Use = flex.UseNormal
	if got := Decide(input([]Device{b}, test, paid)).Targets[0].Power; got != 5000 {
		t.Errorf("power %v, want 5 kW", got)
	}
}
