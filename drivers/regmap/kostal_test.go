package regmap_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"flexd/agent/flex"
	strangers "flexd/drivers/drivertest/makers"
)

func kostal(o strangers.KostalOptions) made {
	return madeFor("kostal-plenticore").with(func(now func() time.Time) plant { return strangers.NewKostal(now, o) })
}

// Register 5 tells the order of words. Taken for the other one, 2.2 kW of
// charging is 4.5 kW of discharging.
func TestAKostalOfEitherByteOrder(t *testing.T) {
	for _, big := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			b := kostal(strangers.KostalOptions{BigEndian: big, House: 700, Sun: 900, Charge: 4200, Discharge: 3600}).bench(as(flex.RoleHybrid, true))
			d, e := b.take(t)
			found := b.owner()
			if p, err := d.Open(t.Context()); err != nil || p.MaxCharge != 4200 || p.MaxDischarge != 3600 {
				t.Errorf("big-endian %v: %+v, %v", big, p, err)
			}
			for _, w := range []flex.Watts{-2200, 3000, 0, 500} {
				if err := b.steer(t, d, e, w, 5*time.Second); err != nil {
					t.Fatal(err)
				}
				near(t, "told", float64(b.gives()), float64(w), 2)
				b.truthful(t, d)
			}
			b.handedBack(t, e, found)
		})
	}
}

// An order of words that no source knows is not guessed at.
func TestAKostalOfUnknownByteOrderIsNotTouched(t *testing.T) {
	b := kostal(strangers.KostalOptions{House: 700}).bench()
	b.put(5, 7)
	if _, err := b.driver(t, b.p).Open(t.Context()); err == nil || !strings.Contains(err.Error(), "order of its registers is not known") {
		t.Errorf("%v", err)
	}
	if len(b.p.writes) > 0 {
		t.Errorf("%d writes", len(b.p.writes))
	}
}

func TestAKostalWhoseInstallerLeftItInternalIsRefusedInWords(t *testing.T) {
	b := kostal(strangers.KostalOptions{House: 700, Internal: true}).bench()
	d := b.driver(t, b.p)
	if _, err := d.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	_, err := d.Apply(t.Context(), b.order(1000))
	refusedWith(t, err, "external via protocol")
}
