package drivertest

import (
	"context"
	"errors"
	"maps"
	"slices"
	"testing"
	"time"

	"flexd/agent/flex"
)

// Device is the driver under test.
type Device interface {
	Open(ctx context.Context) (flex.Nameplate, error)
	Read(ctx context.Context) (flex.Reading, error)
	Snapshot(ctx context.Context) (flex.Snapshot, error)
	Apply(ctx context.Context, t flex.Target) (flex.Receipt, error)
	Release(ctx context.Context, e flex.JournalEntry) (flex.Receipt, error)
	Neutral(ctx context.Context) (flex.Receipt, error)
	Verify(ctx context.Context, t flex.Target) (flex.Receipt, error)
}

// Rig is one device and the ways to look at it and to disturb it behind the
// driver's back. A way that a rig does not have is nil, and what needs it is
// skipped.
type Rig struct {
	// Device gives the driver as a new process would have it.
	Device func() Device
	// Orders are at least two different targets the device can follow.
	Orders []flex.Target
	// Told is the power the device was told and holds in force, worked out
	// from the device and not by the driver.
	Told func() (flex.Watts, bool)
	// Gives is the power at the plant, whoever has a say in it.
	Gives func() flex.Watts
	// Control copies the registers a driver may write.
	Control func() map[uint16]uint16
	// Lapse lets the device's timers run out.
	Lapse func()
	// Others changes the order in force as somebody else would.
	Others func()
	// Limit puts a cap in force as somebody else would.
	Limit func()
	// Fault lets something happen to the nth write from now; false when the
	// rig cannot do that. NoFault takes back what was to happen.
	Fault func(n int, f Fault) bool
	// Blank makes everything measured "not implemented".
	Blank func()
	// Produce sets the measured power, + towards the grid.
	Produce func(flex.Watts)
	// Once are registers that arm control: a refresh need not write them again.
	Once []uint16
	// Blind tells that control can be written and not read back.
	Blind bool
	// Rests tells that a device which was released rests at 0 W until its
	// timer frees it.
	Rests bool
	// Unheld tells that the device cannot be held at 0 W: it is left to itself.
	Unheld bool
	// Swap puts another device, with another serial number, at the address.
	Swap func()
}

// Run holds the driver to the rules. Each rule gets a fresh rig.
func Run(t *testing.T, rig func(t *testing.T) Rig) {
	rules := []struct {
		name string
		test func(*testing.T, Rig)
	}{
		{"a release after an order restores what was found", restores},
		{"a release is idempotent", idempotent},
		{"a release by a later process restores what was found", laterProcess},
		{"a release after a lapse counts as released", lapsed},
		{"a release leaves alone what others changed", othersChanged},
		{"a release writes nothing to another device", swapped},
		{"a refresh writes again what the order wrote", refreshes},
		{"a power is rounded towards less, within a step", rounds},
		{"an order is within a step at every tenth of its range", sweeps},
		{"a cap found in force is respected", foundCap},
		{"an uncertain write is resolved by reading back", uncertain},
		{"an uncertain release is resolved by reading back", uncertainRelease},
		{"a write that was not sent is said to be so", unsent},
		{"what is not implemented is never zero", blank},
		{"the sign is + towards the grid", sign},
		{"verify writes nothing and tells the truth", verifies},
		{"a sequence that is cut gives nothing beyond the old and the new power", prefixes},
		{"neutral takes a setpoint out of force and leaves a cap", neutral},
		{"an order for nothing is unsupported", unsupported},
	}
	for _, r := range rules {
		t.Run(r.name, func(t *testing.T) { r.test(t, rig(t)) })
	}
}

const limitTime = 10 * time.Second

func timeout(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limitTime)
	t.Cleanup(cancel)
	return ctx
}

// need skips a rule for which the rig has no means.
func need(t *testing.T, has bool, what string) {
	t.Helper()
	if !has {
		t.Skip("the rig has no means for: " + what)
	}
}

// session is a driver opened, and its device recorded and told.
type session struct {
	dev   Device
	entry flex.JournalEntry
	found map[uint16]uint16
	first flex.Receipt
}

// begin opens a driver, records the device and applies the first order.
func begin(t *testing.T, r Rig) session {
	t.Helper()
	ctx := timeout(t)
	s := session{dev: r.Device(), found: r.Control()}
	if _, err := s.dev.Open(ctx); err != nil {
		t.Fatal(err)
	}
	snap, err := s.dev.Snapshot(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if snap.Foreign != nil {
		t.Fatalf("a free device is foreign: %v", snap.Foreign)
	}
	s.entry = flex.JournalEntry{Device: snap.Device, Snapshot: snap}
	s.first = apply(t, r, s.dev, r.Orders[0])
	s.entry.Intent = s.first.Holds
	return s
}

func apply(t *testing.T, r Rig, d Device, want flex.Target) flex.Receipt {
	t.Helper()
	rec, err := d.Apply(timeout(t), want)
	if err != nil {
		t.Fatalf("apply %v: %v", want.Power, err)
	}
	if !rec.Echo || !r.Blind && (rec.At.IsZero() || len(rec.Holds) == 0) {
		t.Fatalf("apply %v: no echo: %+v", want.Power, rec)
	}
	return rec
}

func release(t *testing.T, d Device, e flex.JournalEntry) flex.Receipt {
	t.Helper()
	rec, err := d.Release(timeout(t), e)
	if err != nil {
		t.Fatalf("release: %v", err)
	}
	return rec
}

func wantFound(t *testing.T, r Rig, found map[uint16]uint16) {
	t.Helper()
	if now := r.Control(); !maps.Equal(found, now) {
		for a, w := range found {
			if now[a] != w {
				t.Errorf("register %d: found %d, now %d", a, w, now[a])
			}
		}
	}
}

func wantFree(t *testing.T, r Rig) {
	t.Helper()
	if told, on := r.Told(); on && !(r.Rests && told == 0) {
		t.Errorf("an order of %v is still in force", told)
	}
}

func restores(t *testing.T, r Rig) {
	s := begin(t, r)
	for _, o := range r.Orders[1:] {
		s.entry.Intent = apply(t, r, s.dev, o).Holds
	}
	if rec := release(t, s.dev, s.entry); !rec.Echo || rec.Foreign {
		t.Errorf("receipt %+v", rec)
	}
	wantFree(t, r)
	wantFound(t, r, s.found)
}

func idempotent(t *testing.T, r Rig) {
	s := begin(t, r)
	release(t, s.dev, s.entry)
	rec := release(t, s.dev, s.entry)
	if !rec.Echo || rec.Foreign || len(rec.Wrote) != 0 {
		t.Errorf("second release: %+v", rec)
	}
	wantFound(t, r, s.found)
}

func laterProcess(t *testing.T, r Rig) {
	s := begin(t, r)
	if rec := release(t, r.Device(), s.entry); !rec.Echo || rec.Foreign {
		t.Errorf("receipt %+v", rec)
	}
	wantFound(t, r, s.found)
	// The write may stand though its proof never reached the journal.
	s = begin(t, r)
	s.entry.Intent = nil
	if rec := release(t, r.Device(), s.entry); !rec.Echo || rec.Foreign {
		t.Errorf("without intent: receipt %+v", rec)
	}
	wantFound(t, r, s.found)
}

func lapsed(t *testing.T, r Rig) {
	need(t, r.Lapse != nil, "lapse")
	s := begin(t, r)
	r.Lapse()
	if rec := release(t, r.Device(), s.entry); !rec.Echo || rec.Foreign {
		t.Errorf("receipt %+v", rec)
	}
	wantFree(t, r)
}

func othersChanged(t *testing.T, r Rig) {
	need(t, r.Others != nil, "others")
	s := begin(t, r)
	r.Others()
	theirs := r.Control()
	rec := release(t, r.Device(), s.entry)
	if !rec.Foreign || rec.Echo || len(rec.Wrote) != 0 {
		t.Errorf("receipt %+v", rec)
	}
	wantFound(t, r, theirs)
}

func swapped(t *testing.T, r Rig) {
	need(t, r.Swap != nil, "swap")
	s := begin(t, r)
	r.Swap()
	before := r.Control()
	if _, err := r.Device().Release(timeout(t), s.entry); err == nil {
		t.Error("released another device")
	}
	wantFound(t, r, before)
}

func refreshes(t *testing.T, r Rig) {
	s := begin(t, r)
	again := apply(t, r, s.dev, r.Orders[0])
	wrote := func(rec flex.Receipt) map[uint16]bool {
		m := map[uint16]bool{}
		for _, w := range rec.Wrote {
			for i := range w.Words {
				if a := w.Addr + uint16(i); !slices.Contains(r.Once, w.Addr) {
					m[a] = true
				}
			}
		}
		return m
	}
	if a, b := wrote(s.first), wrote(again); len(b) == 0 || !maps.Equal(a, b) {
		t.Errorf("first wrote %v, refresh %v", a, b)
	}
	if again.Sent.IsZero() {
		t.Error("a refresh that was not sent")
	}
}

// within checks what the device was told against the order: never more in
// magnitude, and less by less than a step.
func within(t *testing.T, r Rig, order flex.Target, rec flex.Receipt, step flex.Watts) {
	t.Helper()
	told, on := r.Told()
	if !on {
		t.Fatalf("%v: nothing is in force", order.Power)
	}
	if told.Abs() > order.Power.Abs()+1 || order.Power.Abs()-told.Abs() > step || told*order.Power < 0 {
		t.Errorf("ordered %v, told %v, step %v", order.Power, told, step)
	}
	if d := (rec.Effective - told).Abs(); d > 1 {
		t.Errorf("receipt says %v, the device was told %v", rec.Effective, told)
	}
}

func rounds(t *testing.T, r Rig) {
	s := begin(t, r)
	plate, err := s.dev.Open(timeout(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range r.Orders {
		for _, odd := range []flex.Watts{0, 1, 7, 49} {
			if o.Power < 0 {
				odd = -odd
			}
			o := o
			o.Power -= odd
			within(t, r, o, apply(t, r, s.dev, o), plate.Step)
		}
	}
}

func sweeps(t *testing.T, r Rig) {
	s := begin(t, r)
	plate, err := s.dev.Open(timeout(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range r.Orders {
		top := o.Power
		for tenth := range flex.Watts(11) {
			o.Power = top * tenth / 10
			if r.Unheld && o.Power == 0 {
				continue
			}
			if o.Order == flex.OrderCap && o.Power > 0 && o.Power < plate.Step {
				continue // exactly 0 % is only for a cap of 0
			}
			within(t, r, o, apply(t, r, s.dev, o), plate.Step)
		}
	}
}

// foundCap: a cap found in force is not ours. What is controlled by a cap is
// refused; a setpoint goes beside it and leaves it alone.
func foundCap(t *testing.T, r Rig) {
	need(t, r.Limit != nil, "limit")
	free := r.Control()
	r.Limit()
	found := r.Control()
	dev := r.Device()
	snap, err := dev.Snapshot(timeout(t))
	if err != nil {
		t.Fatal(err)
	}
	if r.Orders[0].Order == flex.OrderSet {
		besideCap(t, r, dev, snap, free, found)
		return
	}
	if snap.Foreign == nil || snap.Foreign.Reason != flex.ReasonLimitSetByOthers {
		t.Errorf("foreign: %v", snap.Foreign)
	}
	_, err = dev.Apply(timeout(t), r.Orders[0])
	if why, ok := flex.RefusalOf(err); !ok || why.Reason != flex.ReasonLimitSetByOthers {
		t.Errorf("apply: %v", err)
	}
	wantFound(t, r, found)
}

func besideCap(t *testing.T, r Rig, dev Device, snap flex.Snapshot, free, found map[uint16]uint16) {
	t.Helper()
	if snap.Foreign != nil {
		t.Fatalf("foreign: %v", snap.Foreign)
	}
	got, err := dev.Read(timeout(t))
	if err != nil || got.Limit == nil {
		t.Errorf("the cap is not told: %+v, %v", got, err)
	}
	rec := apply(t, r, dev, r.Orders[1])
	for a, w := range r.Control() {
		if free[a] != found[a] && w != found[a] {
			t.Errorf("register %d of the cap: found %d, now %d", a, found[a], w)
		}
	}
	release(t, dev, flex.JournalEntry{Device: snap.Device, Snapshot: snap, Intent: rec.Holds})
	wantFound(t, r, found)
}

func uncertain(t *testing.T, r Rig) {
	need(t, r.Fault != nil, "fault")
	for _, f := range []Fault{LostReply, LostWrite} {
		for n := 1; n <= 2; n++ {
			s := begin(t, r)
			if !r.Fault(n, f) {
				release(t, s.dev, s.entry)
				continue
			}
			rec := apply(t, r, s.dev, r.Orders[1])
			if told, on := r.Told(); !on || (told-rec.Effective).Abs() > 1 {
				t.Errorf("fault %d at write %d: told %v (%v), receipt %v", f, n, told, on, rec.Effective)
			}
			s.entry.Intent = rec.Holds
			release(t, s.dev, s.entry)
			wantFound(t, r, s.found)
		}
	}
}

func uncertainRelease(t *testing.T, r Rig) {
	need(t, r.Fault != nil, "fault")
	for _, f := range []Fault{LostReply, LostWrite} {
		for n := 1; n <= 2; n++ {
			s := begin(t, r)
			if !r.Fault(n, f) {
				release(t, s.dev, s.entry)
				continue
			}
			if rec := release(t, s.dev, s.entry); !rec.Echo || rec.Foreign {
				t.Errorf("fault %d at write %d: %+v", f, n, rec)
			}
			wantFound(t, r, s.found)
		}
	}
}

func unsent(t *testing.T, r Rig) {
	need(t, r.Fault != nil, "fault")
	dev, found := r.Device(), r.Control()
	if _, err := dev.Snapshot(timeout(t)); err != nil {
		t.Fatal(err)
	}
	need(t, r.Fault(1, Unsent), "a write that is not sent")
	rec, err := dev.Apply(timeout(t), r.Orders[0])
	if !errors.Is(err, flex.ErrNotSent) || errors.Is(err, flex.ErrUncertain) || !rec.Sent.IsZero() {
		t.Errorf("receipt %+v, error %v", rec, err)
	}
	wantFound(t, r, found)
}

func blank(t *testing.T, r Rig) {
	need(t, r.Blank != nil, "blank")
	dev := r.Device()
	if _, err := dev.Open(timeout(t)); err != nil {
		t.Fatal(err)
	}
	r.Blank()
	got, err := dev.Read(timeout(t))
	if err != nil {
		t.Fatal(err)
	}
	if got.Power != nil || got.SoC != nil || got.Frequency != nil || got.ExportedWh != nil || got.Battery != nil {
		t.Errorf("read %+v", got)
	}
}

func sign(t *testing.T, r Rig) {
	need(t, r.Produce != nil, "produce")
	dev := r.Device()
	for _, w := range []flex.Watts{1200, -1200, 0} {
		r.Produce(w)
		got, err := dev.Read(timeout(t))
		if err != nil {
			t.Fatal(err)
		}
		if got.Power == nil || *got.Power != w {
			t.Errorf("produces %v, read %v", w, got.Power)
		}
	}
}

func verifies(t *testing.T, r Rig) {
	need(t, !r.Blind, "reading back")
	s := begin(t, r)
	before := r.Control()
	for i, o := range r.Orders[:2] {
		rec, err := s.dev.Verify(timeout(t), o)
		if err != nil || rec.Echo != (i == 0) || (len(rec.Problems) > 0) != (i == 1) || len(rec.Wrote) > 0 {
			t.Errorf("order %d: %+v, %v", i, rec, err)
		}
	}
	wantFound(t, r, before)
}

func neutral(t *testing.T, r Rig) {
	begin(t, r)
	before := r.Control()
	rec, err := r.Device().Neutral(timeout(t))
	if err != nil || !rec.Echo {
		t.Errorf("%+v, %v", rec, err)
	}
	if r.Orders[0].Order == flex.OrderCap { // it may be others', and nobody knows what was before
		if len(rec.Wrote) > 0 || len(rec.Problems) == 0 {
			t.Errorf("a cap is left, and said to be: %+v", rec)
		}
		wantFound(t, r, before)
		return
	}
	wantFree(t, r)
}

func unsupported(t *testing.T, r Rig) {
	dev := r.Device()
	found := r.Control()
	if _, err := dev.Apply(timeout(t), flex.Target{Order: flex.OrderNone}); !errors.Is(err, flex.ErrUnsupported) {
		t.Errorf("error %v", err)
	}
	wantFound(t, r, found)
}
