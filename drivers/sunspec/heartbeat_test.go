package sunspec_test

import (
	"slices"
	"testing"
	"time"

	"flexd/agent/flex"
	"flexd/drivers/drivertest"
	"flexd/drivers/sunspec"
)

// hearing is a battery whose bank follows only a controller that it hears.
func hearing(last uint16) *drivertest.Bank {
	b := bank(40000, append(battery704(plain), drivertest.Bank802(6, 0, 4000, 5000, plain)))
	b.Set(802, 19, last)
	return b
}

// beaten are the heartbeats that were written, and the place of the first among
// all writes.
func beaten(b *drivertest.Bank) (beats []uint16, firstAt int) {
	firstAt = -1
	for i, w := range b.Writes() {
		if w.Addr != b.Addr(802, 19) {
			continue
		}
		if firstAt < 0 {
			firstAt = i
		}
		beats = append(beats, w.Values...)
	}
	return beats, firstAt
}

func TestABankHearsItsController(t *testing.T) {
	b := hearing(41)
	d := open(t, b, sunspec.Config{Role: flex.RoleStorage})
	p, err := d.Open(t.Context())
	if err != nil || p.Refresh != time.Second {
		t.Fatalf("refresh %v, %v", p.Refresh, err)
	}
	snapshot(t, d)
	for range 3 {
		if rec := apply(t, d, set(1000)); !slices.ContainsFunc(rec.Wrote, func(r flex.Register) bool { return r.Name == "802.CtrlHb" }) {
			t.Errorf("the receipt tells nothing of it: %+v", rec.Wrote)
		}
	}
	if got, first := beaten(b); !slices.Equal(got, []uint16{42, 43, 44}) || first < 1 {
		t.Errorf("beats %v, the first as write %d", got, first)
	}
}

func TestAHeartbeatStartsAgainFromZero(t *testing.T) {
	b := hearing(65533)
	d := open(t, b, sunspec.Config{Role: flex.RoleStorage})
	snapshot(t, d)
	for range 4 {
		apply(t, d, set(1000))
	}
	if got, _ := beaten(b); !slices.Equal(got, []uint16{65534, 0, 1, 2}) {
		t.Errorf("beats %v", got)
	}
}

func TestABankWithoutAHeartbeatGetsNone(t *testing.T) {
	b := hearing(0xFFFF)
	d := open(t, b, sunspec.Config{Role: flex.RoleStorage})
	if p, err := d.Open(t.Context()); err != nil || p.Refresh != 0 {
		t.Errorf("refresh %v, %v", p.Refresh, err)
	}
	snapshot(t, d)
	apply(t, d, set(1000))
	if got, _ := beaten(b); len(got) > 0 {
		t.Errorf("beats %v", got)
	}
}

// A device that refuses the heartbeat is controlled all the same, and is not
// told a second one.
func TestARefusedHeartbeatHoldsNoSetpointBack(t *testing.T) {
	b := hearing(7)
	b.Fault(3, drivertest.Refused)
	d := open(t, b, sunspec.Config{Role: flex.RoleStorage})
	snapshot(t, d)
	for range 2 {
		if rec := apply(t, d, set(1000)); rec.Effective != 1000 {
			t.Errorf("%+v", rec)
		}
	}
	if got, _ := beaten(b); !slices.Equal(got, []uint16{8}) {
		t.Errorf("beats %v", got)
	}
}
