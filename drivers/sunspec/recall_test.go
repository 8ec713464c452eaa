package sunspec_test

import (
	"testing"

	"flexd/agent/flex"
	"flexd/drivers/drivertest"
	"flexd/drivers/sunspec"
)

// A process that takes a device over does not walk the chain that its
// predecessor has walked, unless another device answers, or another firmware,
// or the models lie elsewhere.
func TestAJournaledDeviceIsFoundWithoutAWalk(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(b *drivertest.Bank)
		walks  bool
	}{
		{"as it was", func(*drivertest.Bank) {}, false},
		{"another serial number", func(b *drivertest.Bank) { b.Set(1, 50, 0x5858) }, true},
		{"another firmware", func(b *drivertest.Bank) { b.Set(1, 42, 0x5858) }, true},
		{"another model", func(b *drivertest.Bank) { b.Set(103, 0, 101) }, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := bank(40000, battery124(plain))
			cfg := sunspec.Config{Role: flex.RoleStorage}
			first := open(t, b, cfg)
			if _, err := first.Open(t.Context()); err != nil {
				t.Fatal(err)
			}
			walked := b.Reads()
			e := snapshot(t, first)
			c.change(b)

			d := open(t, b, cfg)
			if e.Snapshot.Where == nil {
				t.Fatal("the journal does not say where the device was found")
			}
			d.Recall(e.Snapshot)
			before := b.Reads()
			if _, err := d.Open(t.Context()); err != nil {
				t.Fatal(err)
			}
			if n := b.Reads() - before; n >= walked != c.walks {
				t.Errorf("found by %d reads, the walk is %d", n, walked)
			}
			r, err := d.Read(t.Context())
			if err != nil || r.Power == nil || r.SoC == nil {
				t.Errorf("read %+v, %v", r, err)
			}
		})
	}
}

// What a release has found on its way is not looked for again by the Open that
// follows, but by the one after that.
func TestWhatAReleaseHasFoundIsNotLookedForAgain(t *testing.T) {
	b := bank(40000, battery124(plain))
	cfg := sunspec.Config{Role: flex.RoleStorage}
	e := snapshot(t, open(t, b, cfg))
	d := open(t, b, cfg)
	if _, err := d.Release(t.Context(), e); err != nil {
		t.Fatal(err)
	}
	for _, looks := range []bool{false, true} {
		before := b.Reads()
		if _, err := d.Open(t.Context()); err != nil {
			t.Fatal(err)
		}
		if n := b.Reads() - before; n > 0 != looks {
			t.Errorf("%d reads, want some: %v", n, looks)
		}
	}
}
