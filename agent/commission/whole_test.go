package commission

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"flexd/agent/allocate"
	"flexd/agent/clock/clocktest"
	"flexd/agent/control"
	"flexd/agent/flex"
)

// battery is a device as control sees it, with registers that fall back.
type battery struct {
	mu      sync.Mutex
	power   flex.Watts
	set     flex.Watts
	armed   time.Time // until when the setpoint stands
	longest time.Duration
	last    time.Time
	wrote   []flex.Watts
	meter   bool
	of      *battery   // the meter's
	sun     flex.Watts // of a roof, which can only be capped; 0: a battery
}

func (b *battery) ID() flex.DeviceID {
	if b.meter {
		return "grid"
	}
	return "bat1"
}
func (b *battery) Endpoint() string { return "192.0.2.1:502" }
func (b *battery) Unit() uint8 {
	if b.meter {
		return 2
	}
	return 1
}

func (b *battery) Open(context.Context) (flex.Nameplate, error) {
	if b.meter {
		return flex.Nameplate{Role: flex.RoleMeter, Can: []flex.Capability{flex.CanMeasure}}, nil
	}
	if b.sun > 0 {
		return flex.Nameplate{Serial: "s1", Role: flex.RolePV, MaxPower: 10_000, Revert: true, Method: "fake",
			Can: []flex.Capability{flex.CanCap, flex.CanMeasure}}, nil
	}
	return flex.Nameplate{Serial: "s1", Role: flex.RoleStorage, MaxPower: 10_000, MaxCharge: 10_000, MaxDischarge: 10_000, Revert: true, Method: "fake",
		Can: []flex.Capability{flex.CanSet, flex.CanIdle, flex.CanMeasure, flex.CanSoC}}, nil
}

func (b *battery) Read(context.Context) (flex.Reading, error) {
	soc := flex.Percent(5000)
	if b.meter {
		r, err := b.of.Read(context.Background())
		w := *r.Power - 2000
		return flex.Reading{Device: "grid", At: r.At, Power: &w}, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	want := b.sun
	if time.Now().Before(b.armed) {
		want = b.set
		if b.sun > 0 {
			want = min(b.set, b.sun)
		}
	}
	b.power += (want - b.power).Clamp(-200, 200) // a reading a second
	w := b.power
	if b.sun > 0 {
		return flex.Reading{Device: "bat1", At: time.Now(), Power: &w}, nil
	}
	return flex.Reading{Device: "bat1", At: time.Now(), Power: &w, SoC: &soc}, nil
}

func (b *battery) Snapshot(context.Context) (flex.Snapshot, error) {
	return flex.Snapshot{Device: b.ID(), At: time.Now(), Endpoint: b.Endpoint(), Unit: 1, Serial: "s1", Map: "fake"}, nil
}

func (b *battery) Verify(_ context.Context, t flex.Target) (flex.Receipt, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	return flex.Receipt{Device: "bat1", At: now, Echo: t.Power == b.set && now.Before(b.armed), Effective: b.set}, nil
}

func (b *battery) Apply(_ context.Context, t flex.Target) (flex.Receipt, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	if !b.last.IsZero() && t.Power == b.set && now.Before(b.armed) {
		b.longest = max(b.longest, now.Sub(b.last))
	}
	b.set, b.armed, b.last = t.Power, now.Add(t.Revert), now
	b.wrote = append(b.wrote, t.Power)
	return flex.Receipt{Device: "bat1", Sent: now, At: now, Echo: true, Effective: t.Power}, nil
}

func (b *battery) Release(context.Context, flex.JournalEntry) (flex.Receipt, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.armed = time.Time{}
	now := time.Now()
	return flex.Receipt{Device: "bat1", Sent: now, At: now, Echo: true}, nil
}

func (b *battery) Neutral(ctx context.Context) (flex.Receipt, error) {
	return b.Release(ctx, flex.JournalEntry{})
}

// nobody is a board, a journal and a health without anything on them.
type nobody struct{}

func (nobody) Running() []flex.Dispatch                             { return nil }
func (nobody) Holds() []flex.Hold                                   { return nil }
func (nobody) StoreFailing() bool                                   { return false }
func (nobody) OnChange(func())                                      {}
func (nobody) Commit(context.Context, flex.Changes) error           { return nil }
func (nobody) Journal(context.Context) ([]flex.JournalEntry, error) { return nil, nil }
func (nobody) Raise(string, string, string)                         {}
func (nobody) Clear(string, string)                                 {}

// house is the site over a real controller.
type house struct{ c *control.Controller }

func (h house) Busy(flex.DeviceID) *flex.Refusal { return nil }
func (h house) Device(id flex.DeviceID) (flex.DeviceStatus, bool) {
	all := h.c.Status()
	i := slices.IndexFunc(all, func(s flex.DeviceStatus) bool { return s.ID == id })
	if i < 0 {
		return flex.DeviceStatus{}, false
	}
	return all[i], true
}
func (h house) Meter() (flex.Reading, bool) {
	st, ok := h.Device("grid")
	if !ok || st.Reading == nil {
		return flex.Reading{}, false
	}
	return *st.Reading, true
}

// inHouse runs a commissioning over the real control.
func inHouse(t *testing.T, s Settings) (Record, *battery, house, error) {
	t.Helper()
	return inHouseOf(t, &battery{}, s)
}

func inHouseOf(t *testing.T, bat *battery, s Settings) (Record, *battery, house, error) {
	t.Helper()
	ov := NewOverride()
	c := control.New(control.Config{Devices: []control.Device{bat, &battery{meter: true, of: bat}}, Meter: "grid",
		Decide: func(in allocate.Input) allocate.Plan {
			p := allocate.Decide(in)
			p.Targets, p.Next = ov.Shape(in.Now, p.Targets, p.Next, in.Holds)
			return p
		}, Board: nobody{}, Journal: nobody{}, Health: nobody{}})
	ov.OnChange(c.Wake)
	ctx, end := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	defer func() {
		end()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if err := c.Shutdown(context.Background(), true); err != nil {
			t.Error(err)
		}
	}()
	time.Sleep(3 * time.Second)
	r, err := New(Config{Site: house{c}, Hand: ov, Now: func() (time.Time, flex.ClockTrust) { return time.Now(), flex.ClockSynced }}).
		Run(t.Context(), Order{Device: "bat1", Settings: s}, func(step, text string) { t.Log(step, text) })
	return r, bat, house{c}, err
}

func TestControlCarriesTheNudgesOut(t *testing.T) {
	clocktest.Bubble(t, func(t *testing.T) {
		r, bat, h, err := inHouse(t, Settings{})
		if err != nil || !r.Proven() || len(r.Problems) > 0 {
			t.Fatalf("%+v, %v", r, err)
		}
		bat.mu.Lock()
		defer bat.mu.Unlock()
		if got := slices.Compact(slices.Clone(bat.wrote)); !slices.Equal(got, []flex.Watts{500, -500}) {
			t.Errorf("control wrote %v", got)
		}
		if bat.longest > 30*time.Second {
			t.Errorf("a setpoint was not refreshed for %v", bat.longest)
		}
		if st, _ := h.Device("bat1"); st.Held || !bat.armed.IsZero() {
			t.Error("not handed back")
		}
	})
}

func TestControlCapsARoofToProveIt(t *testing.T) {
	clocktest.Bubble(t, func(t *testing.T) {
		r, roof, h, err := inHouseOf(t, &battery{sun: 4000, power: 4000}, Settings{Revert: true})
		if err != nil || !r.Proven() || len(r.Problems) > 0 || r.Measured.Revert == nil || r.Measured.Revert.AfterMS == nil {
			t.Fatalf("%+v, %v", r, err)
		}
		roof.mu.Lock()
		defer roof.mu.Unlock()
		if got := slices.Compact(slices.Clone(roof.wrote)); !slices.Equal(got, []flex.Watts{3000, 3500, 3000}) {
			t.Errorf("control wrote %v", got)
		}
		if st, _ := h.Device("bat1"); st.Held || time.Now().Before(roof.armed) {
			t.Error("not handed back")
		}
	})
}
