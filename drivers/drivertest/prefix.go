package drivertest

import (
	"testing"

	"flexd/agent/flex"
)

// most is more writes than any sequence has.
const most = 40

// prefixes: whichever write of a sequence is the last one that came through,
// be it for a kill, a cut or a refusal, the plant gives what it gave, what it
// is to give, or something between; never more. Order is part of safety.
func prefixes(t *testing.T, r Rig) {
	need(t, r.Gives != nil && r.Fault != nil, "the power at the plant")
	free := r.Gives()
	orders := append([]flex.Target(nil), r.Orders...)
	if a := r.Orders[0]; a.Power > 0 { // less in the same direction, and from there to the other one
		a.Power /= 6
		orders = append(orders, a)
	}
	for i, to := range orders {
		cutApply(t, r, nil, to, free)
		for j := range orders {
			if i != j {
				cutApply(t, r, &orders[j], to, free)
			}
		}
		cutRelease(t, r, to, free)
	}
}

// freed lets a device that rests after its release go on by itself.
func (r Rig) freed() {
	if r.Rests && r.Lapse != nil {
		r.Lapse()
	}
}

// taken records the device and applies an order, where there is one.
func taken(t *testing.T, r Rig, from *flex.Target) (Device, flex.JournalEntry) {
	t.Helper()
	dev := r.Device()
	snap, err := dev.Snapshot(timeout(t))
	if err != nil {
		t.Fatal(err)
	}
	e := flex.JournalEntry{Device: snap.Device, Snapshot: snap}
	if from != nil {
		e.Intent = apply(t, r, dev, *from).Holds
	}
	return dev, e
}

func cutApply(t *testing.T, r Rig, from *flex.Target, to flex.Target, free flex.Watts) {
	t.Helper()
	for n := 1; n <= most; n++ {
		r.freed()
		dev, e := taken(t, r, from)
		old := r.Gives()
		r.Fault(n, Refused)
		_, err := dev.Apply(timeout(t), to)
		r.Fault(n, NoFault)
		between(t, r, n, old, to.Power)
		e.Intent = nil // nobody heard of what came through
		release(t, r.Device(), e)
		freed(t, r, n, free)
		if err == nil {
			return
		}
	}
	t.Errorf("%v: more than %d writes", to.Power, most)
}

func cutRelease(t *testing.T, r Rig, from flex.Target, free flex.Watts) {
	t.Helper()
	for n := 1; n <= most; n++ {
		r.freed()
		dev, e := taken(t, r, &from)
		old := r.Gives()
		r.Fault(n, Refused)
		_, err := dev.Release(timeout(t), e)
		r.Fault(n, NoFault)
		between(t, r, n, old, free)
		release(t, r.Device(), e)
		freed(t, r, n, free)
		if err == nil {
			return
		}
	}
	t.Errorf("release from %v: more than %d writes", from.Power, most)
}

// slip is what a step of a setpoint and the plant's own rounding may come to.
const slip = 15

// freed is what the plant does by itself, or rests at.
func freed(t *testing.T, r Rig, n int, free flex.Watts) {
	t.Helper()
	if r.Rests {
		between(t, r, n, 0, free)
		return
	}
	between(t, r, n, free, free)
}

func between(t *testing.T, r Rig, n int, a, b flex.Watts) {
	t.Helper()
	if r.Rests { // until its timer frees it
		a, b = min(a, b, 0), max(a, b, 0)
	}
	if now := r.Gives(); now < min(a, b)-slip || now > max(a, b)+slip {
		t.Errorf("from %v to %v, cut at write %d: the plant gives %v", a, b, n, now)
	}
}
