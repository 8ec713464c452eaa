package drivers

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"flexd/agent/flex"
	"flexd/drivers/drivertest"
	"flexd/drivers/modbus"
	"flexd/drivers/sunspec"
)

// picky is a bus that takes not everything.
type picky struct {
	sunspec.Bus
	most    uint16 // registers in one read; 0: no bound
	code    byte   // the exception for more; 0: silence
	refuses byte   // a function that is refused, with code 1 unless fnCode says otherwise
	fnCode  byte
	dead    bool

	asked []modbus.Request
	after func() // runs after each write that was taken
}

func (p *picky) Do(ctx context.Context, r modbus.Request) (modbus.Response, error) {
	p.asked = append(p.asked, r)
	isRead := r.Func == modbus.ReadHolding || r.Func == modbus.ReadInput
	switch {
	case p.dead, isRead && p.most > 0 && r.Count > p.most && p.code == 0:
		return modbus.Response{}, modbus.ErrTimeout
	case isRead && p.most > 0 && r.Count > p.most:
		return modbus.Response{}, &modbus.Exception{Func: r.Func, Code: p.code}
	case r.Func == p.refuses:
		return modbus.Response{}, &modbus.Exception{Func: r.Func, Code: max(p.fnCode, 1)}
	}
	res, err := p.Bus.Do(ctx, r)
	if err == nil && !isRead && p.after != nil {
		p.after()
	}
	return res, err
}

func quietly() *slog.Logger { return slog.New(slog.DiscardHandler) }

// The limit of a device shows in its refusals; a read beyond it is answered all
// the same, the next one without a refusal, and without asking for it again.
func TestTheLongestReadIsLearned(t *testing.T) {
	for _, code := range []byte{0, 2, 3, 4} {
		for _, most := range []uint16{1, 2, 10, 32, 50, 64, 100, 124} {
			t.Run(fmt.Sprintf("%d registers, exception %d", most, code), func(t *testing.T) {
				bus := &picky{Bus: &counting{most: 125, changes: steadily}, most: most, code: code}
				m := mannered(bus, mannerSettings{}, quietly())
				if _, err := m.Do(t.Context(), readOf(1)); err != nil {
					t.Fatal(err)
				}
				for i := range 2 {
					bus.asked = nil
					got, err := m.Do(t.Context(), readOf(125))
					if err != nil || len(got.Words) != 125 || got.Words[0] != 100 || got.Words[124] != 224 {
						t.Fatalf("read %d: %d words, %v", i, len(got.Words), err)
					}
					for _, r := range bus.asked {
						if i > 0 && r.Count > most {
							t.Errorf("asked for %d registers again", r.Count)
						}
					}
				}
				overlap := int(min(seam, (most-1)/2))
				if n, best := len(bus.asked), (125+int(most)-1-overlap)/(int(most)-overlap); most > 2 && n > 2*best+1 {
					t.Errorf("%d pieces where %d would do", n, best)
				}
			})
		}
	}
}

// What is not there is not looked for in pieces for ever, and a device that is
// silent costs one more timeout, not many.
func TestAReadThatFailsForAnotherReasonIsNotCutUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := drivertest.NewBank(40000, drivertest.Common(66, "Maker", "Thing", "SN-1"))
		bus := &picky{Bus: b}
		m := mannered(bus, mannerSettings{}, quietly())
		hole := modbus.Request{Unit: 1, Func: modbus.ReadHolding, Addr: 39990, Count: 40}
		ask := func() int {
			bus.asked = nil
			if _, err := m.Do(t.Context(), hole); err == nil {
				t.Fatal("registers that are not there were read")
			}
			return len(bus.asked)
		}
		if n := ask(); n > 2 {
			t.Errorf("%d requests for what is not there", n)
		}
		if n := ask(); n != 1 {
			t.Errorf("%d requests for what is known not to be there", n)
		}
		time.Sleep(innocence + time.Second)
		if n := ask(); n != 2 {
			t.Errorf("%d requests after ten minutes: it may have been another reason", n)
		}
		bus.dead = true
		hole.Addr = 40002
		if n := ask(); n != 2 {
			t.Errorf("a silent device was asked %d times", n)
		}
	})
}

// A register that is refused by one function is written with the other, and
// the device is not asked with the first again.
func TestTheWriteFunctionIsLearned(t *testing.T) {
	for _, c := range []struct {
		refuses, code byte
		asked         byte
		want          string
	}{
		{16, 1, modbus.WriteMultiple, "16 6 6"},
		{16, 2, modbus.WriteMultiple, "16 6 6"}, // as a Plenticore does
		{6, 1, modbus.WriteSingle, "6 16 16"},
		{0, 0, modbus.WriteMultiple, "16 16"},
		{0, 0, modbus.WriteSingle, "6 6"},
	} {
		bus := &picky{Bus: &counting{most: 125, changes: steadily}, refuses: c.refuses, fnCode: c.code}
		m := mannered(bus, mannerSettings{}, quietly())
		for range 2 {
			if _, err := m.Do(t.Context(), modbus.Request{Unit: 1, Func: c.asked, Addr: 7, Values: []uint16{1}}); err != nil {
				t.Errorf("%+v: %v", c, err)
			}
		}
		got := ""
		for _, r := range bus.asked {
			got += fmt.Sprintf(" %d", r.Func)
		}
		if got != " "+c.want {
			t.Errorf("%+v: functions%s", c, got)
		}
	}
}

// Registers that belong together are never split behind the driver's back.
func TestSeveralRegistersAreNotSplit(t *testing.T) {
	for _, set := range []mannerSettings{{}, {writeFunc: 6}} {
		bus := &picky{Bus: &counting{most: 125, changes: steadily}, refuses: 16}
		m := mannered(bus, set, quietly())
		_, err := m.Do(t.Context(), modbus.Request{Unit: 1, Func: modbus.WriteMultiple, Addr: 7, Values: []uint16{1, 2}})
		if code(err) != modbus.IllegalFunction || !strings.Contains(err.Error(), "function 6") || !strings.Contains(err.Error(), "belong together") {
			t.Errorf("%+v: %v", set, err)
		}
		for _, r := range bus.asked {
			if r.Func == modbus.WriteSingle {
				t.Errorf("half a value was written: %v", r)
			}
		}
	}
}

// A SunSpec device that takes function 6 alone is controlled as any other, as
// far as its values fit into one register.
func TestADeviceWithoutFunction16(t *testing.T) {
	s := drivertest.Scale{Pct: -1}
	pv := []drivertest.Model{drivertest.Common(66, "Maker", "Thing", "SN-1"), drivertest.Inverter(1200, s), drivertest.Nameplate(4, 10000, 0, s),
		drivertest.Settings(10000, s), drivertest.Status(0), drivertest.Immediate(s)}
	battery := append(append(pv[:2:2], drivertest.Nameplate(82, 10000, 20000, s)), append(pv[3:6:6], drivertest.Storage(8000, s))...)
	for _, c := range []struct {
		name   string
		models []drivertest.Model
		role   flex.Role
		orders []flex.Target
	}{
		{"a cap", pv, "", []flex.Target{told(flex.OrderCap, 5000), told(flex.OrderCap, 8300)}},
		{"rates", battery, flex.RoleStorage, []flex.Target{told(flex.OrderSet, 5000), told(flex.OrderSet, -3000)}},
	} {
		for _, code := range []byte{1, 2} {
			t.Run(fmt.Sprintf("%s, exception %d", c.name, code), func(t *testing.T) {
				drivertest.Run(t, func(t *testing.T) drivertest.Rig {
					b := drivertest.NewBank(40000, c.models...)
					bus := &picky{Bus: b, refuses: modbus.WriteMultiple, fnCode: code}
					return drivertest.On(b, func() drivertest.Device {
						d, err := sunspec.New(sunspec.Config{ID: "dev", Unit: 1, Role: c.role, Bus: mannered(bus, mannerSettings{}, quietly())})
						if err != nil {
							t.Fatal(err)
						}
						return d
					}, c.orders...)
				})
			})
		}
	}
}

// Wherever a sequence of single writes ends, the battery is bound to what it
// was told before, to what it is told now, or between.
func TestEveryBeginningOfSingleWritesIsBetween(t *testing.T) {
	s := drivertest.Scale{Pct: -1}
	for _, powers := range [][2]flex.Watts{{5000, 2000}, {2000, 5000}, {5000, -3000}, {-3000, 5000}, {-5000, -1000}, {-1000, -5000}, {4000, 0}, {0, -4000}} {
		b := drivertest.NewBank(40000, drivertest.Common(66, "Maker", "Thing", "SN-1"), drivertest.Inverter(1200, s), drivertest.Nameplate(82, 10000, 20000, s),
			drivertest.Settings(10000, s), drivertest.Status(0), drivertest.Immediate(s), drivertest.Storage(8000, s))
		bus := &picky{Bus: b, refuses: modbus.WriteMultiple}
		d, err := sunspec.New(sunspec.Config{ID: "dev", Unit: 1, Role: flex.RoleStorage, Bus: mannered(bus, mannerSettings{}, quietly())})
		if err != nil {
			t.Fatal(err)
		}
		ctx := t.Context()
		if _, err := d.Open(ctx); err != nil {
			t.Fatal(err)
		}
		if _, err := d.Apply(ctx, told(flex.OrderSet, powers[0])); err != nil {
			t.Fatal(err)
		}
		least, most := float64(min(powers[0], powers[1]))-8, float64(max(powers[0], powers[1]))+8
		bus.after = func() {
			if b.Get(124, 5) != 3 {
				return // not in force
			}
			up := float64(int16(b.Get(124, 12))) / 1000 * 8000
			low := -float64(int16(b.Get(124, 13))) / 1000 * 8000
			if low > up || low < least || up > most {
				t.Errorf("from %v to %v: the battery is bound to %v ... %v", powers[0], powers[1], low, up)
			}
		}
		if _, err := d.Apply(ctx, told(flex.OrderSet, powers[1])); err != nil {
			t.Fatal(err)
		}
	}
}

// What was learned of a device is learned anew after a restart. In mid-dispatch
// that costs one refused request for each register, and neither an error nor another order.
func TestLearningAnewAfterARestartCostsNoDispatch(t *testing.T) {
	s := drivertest.Scale{Pct: -1}
	b := drivertest.NewBank(40000, drivertest.Common(66, "Maker", "Thing", "SN-1"), drivertest.Inverter(1200, s), drivertest.Nameplate(82, 10000, 20000, s),
		drivertest.Settings(10000, s), drivertest.Status(0), drivertest.Immediate(s), drivertest.Storage(8000, s))
	bus := &picky{Bus: b, most: 30, code: modbus.IllegalValue, refuses: modbus.WriteMultiple}
	life := func() *sunspec.Device {
		d, err := sunspec.New(sunspec.Config{ID: "dev", Unit: 1, Role: flex.RoleStorage, Bus: mannered(bus, mannerSettings{}, quietly())})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := d.Open(t.Context()); err != nil {
			t.Fatal(err)
		}
		return d
	}
	d := life()
	snap, err := d.Snapshot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for n := range 3 {
		bus.asked = nil
		rec, err := d.Apply(t.Context(), told(flex.OrderSet, 3000))
		if err != nil || !rec.Echo || rec.Effective != 3000 {
			t.Fatalf("life %d: %+v, %v", n, rec, err)
		}
		refused := func() int {
			return len(slices.DeleteFunc(bus.asked, func(r modbus.Request) bool { return r.Func != modbus.WriteMultiple }))
		}
		if k := refused(); k == 0 || k > 8 {
			t.Errorf("life %d: %d requests were refused", n, k)
		}
		bus.asked = nil
		if rec, err := d.Apply(t.Context(), told(flex.OrderSet, 3000)); err != nil || !rec.Echo {
			t.Fatalf("life %d, again: %+v, %v", n, rec, err)
		}
		if k := refused(); k > 1 { // several in one request are tried again each time
			t.Errorf("life %d, again: %d requests were refused", n, k)
		}
		if n == 2 {
			if rec, err := life().Release(t.Context(), flex.JournalEntry{Snapshot: snap, Intent: rec.Holds}); err != nil || !rec.Echo {
				t.Errorf("%+v, %v", rec, err)
			}
		}
		d = life()
	}
}

func told(o flex.Order, w flex.Watts) flex.Target {
	return flex.Target{Device: "dev", Order: o, Power: w, Revert: time.Minute}
}
