package control

import (
	"testing"
	"time"

	"flexd/agent/flex"
)

func TestTwins(t *testing.T) {
	const bat, pv, hybrid, meter = flex.RoleStorage, flex.RolePV, flex.RoleHybrid, flex.RoleMeter
	for _, tc := range []struct {
		name string
		a, b identity
		want bool
	}{
		{"the same serial", identity{"a", bat, "m", "SN1234"}, identity{"b", bat, "m", "SN1234"}, true},
		{"another", identity{"a", bat, "m", "SN1234"}, identity{"b", bat, "m", "SN1235"}, false},
		{"of another maker", identity{"a", bat, "m", "SN1234"}, identity{"b", bat, "n", "SN1234"}, false},
		{"none", identity{"a", bat, "m", ""}, identity{"b", bat, "m", ""}, false},
		{"nobody wrote one", identity{"a", bat, "m", "00000000"}, identity{"b", bat, "m", "00000000"}, false},
		{"the two sides of one", identity{"a", bat, "m", "SN1234"}, identity{"b", pv, "m", "SN1234"}, false},
		{"a side and the whole", identity{"a", hybrid, "m", "SN1234"}, identity{"b", bat, "m", "SN1234"}, true},
		{"its meter", identity{"a", hybrid, "m", "SN1234"}, identity{"b", meter, "m", "SN1234"}, false},
	} {
		if got := twinsOf([]identity{tc.a, tc.b}); (len(got) == 2) != tc.want {
			t.Errorf("%s: %v", tc.name, got)
		}
	}
}

// One inverter behind two addresses is controlled by neither, told by name, and
// handed back when it turns out in mid-window.
func TestOneDeviceBehindTwoAddressesIsNotControlled(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a, b := &device{id: "a", serial: "SN-4711"}, &device{id: "b", serial: "SN-4711"}
		b.offline = true
		r := newRig(t, nil, false, a, b)
		r.start()
		defer r.kill()
		end := time.Now().Add(time.Hour)
		r.board.change(func(bd *board) {
			bd.running = []flex.Dispatch{wants("i", a, 2000, time.Now(), end), wants("j", b, 2000, time.Now(), end)}
		})
		time.Sleep(5 * time.Second)
		if !a.controlled() {
			t.Error("alone it is controlled")
		}
		b.set(func(d *device) { d.offline = false })
		time.Sleep(40 * time.Second)
		if a.controlled() || b.controlled() || !r.alarms.is("duplicate_device a") || !r.alarms.is("duplicate_device b") {
			t.Errorf("controlled %v and %v", a.controlled(), b.controlled())
		}
		if p := r.c.Progress()["i"]; p.MissingReason != flex.ReasonDuplicateDevice || p.Missing != 2000 {
			t.Errorf("%+v", p)
		}
	})
}
