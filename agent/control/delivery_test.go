package control

import (
	"strings"
	"testing"
	"time"

	"flexd/agent/allocate"
	"flexd/agent/flex"
)

// said remembers the latest text of every alarm.
type said struct {
	*alarms
	text map[string]string
}

func (s *said) Raise(code, subject, text string) {
	s.alarms.Raise(code, subject, text)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.text[code+" "+subject] = text
}

func (s *said) of(what string) string { s.mu.Lock(); defer s.mu.Unlock(); return s.text[what] }

// What is not delivered for the configured time is an alarm within 5 s, which
// tells the control room what it must know, and ends when it is delivered.
func TestNonDeliveryIsTold(t *testing.T) {
	bubble(t, func(t *testing.T) {
		d := &device{id: "bat"}
		r := newRig(t, nil, false, d)
		words := &said{alarms: r.alarms, text: map[string]string{}}
		r.c.cfg.Health = words
		r.c.cfg.Delivery = map[flex.AssetID]Delivery{asset(d): {After: 20 * time.Second}}
		r.start()
		defer r.kill()
		order := wants("i1", d, 5000, time.Now(), time.Now().Add(time.Hour))
		order.Operator, order.Obligation = "SPEN", "ob7"
		r.board.change(func(b *board) { b.running = []flex.Dispatch{order} })
		const code = CodeNotDelivered + " asset-bat"
		time.Sleep(2 * time.Minute)
		if r.alarms.ever(code) {
			t.Fatal("raised while all is delivered")
		}
		d.set(func(d *device) { d.ignores = true })
		time.Sleep(18 * time.Second)
		if r.alarms.is(code) {
			t.Error("raised before the configured time")
		}
		time.Sleep(7 * time.Second)
		text := words.of(code)
		for _, want := range []string{"asset asset-bat is asked for 5 kW", "instruction i1 of obligation ob7 of SPEN", "-200 W measured", "5.2 kW missing since 2000-01-01T00:02:0", "bat holds its setpoint and does not follow it", "tell the control room"} {
			if !strings.Contains(text, want) {
				t.Errorf("%q is not in %q", want, text)
			}
		}
		if p := r.c.Progress()["i1"]; !r.alarms.is(code) || p.Delivering == nil || *p.Delivering {
			t.Errorf("25 s after: %+v", p)
		}
		d.set(func(d *device) { d.ignores = false })
		time.Sleep(5 * time.Second)
		if !r.alarms.is(code) {
			t.Error("cleared by a moment of delivery")
		}
		time.Sleep(10 * time.Second)
		if r.alarms.is(code) {
			t.Error("not cleared")
		}
	})
}

// What the plan itself cannot give is told as well, and ends with the dispatch.
func TestAHoldIsNonDelivery(t *testing.T) {
	bubble(t, func(t *testing.T) {
		d := &device{id: "bat"}
		r := newRig(t, nil, false, d)
		r.start()
		defer r.kill()
		r.board.change(func(b *board) {
			b.running = []flex.Dispatch{wants("i1", d, 5000, time.Now(), time.Now().Add(5*time.Minute))}
			b.holds = []flex.Hold{{By: "ann"}}
		})
		time.Sleep(76 * time.Second) // settling, and a minute
		if !r.alarms.is(CodeNotDelivered + " asset-bat") {
			t.Error("not told")
		}
		time.Sleep(4 * time.Minute)
		if r.alarms.is(CodeNotDelivered + " asset-bat") {
			t.Error("told after the end")
		}
	})
}

func TestWhatAnAssetDelivers(t *testing.T) {
	w := func(p flex.Watts) *flex.Watts { return &p }
	bat, pv := battery("b", 5000), battery("pv", 5000)
	bat.Reading.Power, pv.Role, pv.Reading.Power = w(3000), flex.RolePV, w(1000)
	blind := bat
	blind.Reading = nil
	frozen := allocate.State{PVBaseline: map[flex.DeviceID]map[flex.InstructionID]flex.Watts{"pv": {"i": 4000}}}
	meter := &flex.Reading{Device: "m", At: today, Power: w(-500)}
	d := ask("i", 0, -time.Minute, time.Hour)
	based := d
	based.Baselines = []flex.Baseline{{Asset: "a", Method: flex.MethodRecent}}
	zero := d
	zero.Baselines = []flex.Baseline{{Asset: "a", Method: flex.MethodZero, Detail: "instead of recent"}}
	for _, tc := range []struct {
		name  string
		in    allocate.Input
		asset allocate.Asset
		d     flex.Dispatch
		asked flex.Watts
		got   flex.Watts
		read  bool
	}{
		{"a battery", site(bat), allocate.Asset{}, d, 3000, 3000, true},
		{"generation is no delivery of export", site(bat, pv), allocate.Asset{}, d, 3000, 3000, true},
		{"generation turned down", site(pv), allocate.Asset{}, d, -3000, -3000, true},
		{"both", site(bat, pv), allocate.Asset{}, d, -3000, 0, true},
		{"not read", site(blind), allocate.Asset{}, d, 3000, 0, false},
		{"a meter that only shows", site(bat), allocate.Asset{MeterID: "m", Meter: meter}, d, 3000, 3000, true},
		{"held by its meter", site(bat), allocate.Asset{MeterID: "m", Meter: meter, Control: allocate.Meter}, d, 3000, -500, true},
		{"settled by its meter", site(bat), allocate.Asset{MeterID: "m", Meter: meter}, based, 3000, -500, true},
		{"settled from zero", site(bat), allocate.Asset{MeterID: "m", Meter: meter}, zero, 3000, 3000, true},
		{"its meter is lost", site(bat), allocate.Asset{MeterID: "m", Control: allocate.Meter}, d, 3000, 0, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			in, a := tc.in, tc.asset
			in.State = frozen
			a.ID, a.Devices = "a", in.Assets[0].Devices
			if got, how, read := delivered(in, &a, []flex.Dispatch{tc.d}, tc.asked); got != tc.got || read != tc.read {
				t.Errorf("%v (%s), read %v; want %v, %v", got, how, read, tc.got, tc.read)
			}
		})
	}
}

// What is less than asked is not delivered, however large the device, and
// whether the device or the plan keeps it back.
func TestLessThanAskedIsNotDelivered(t *testing.T) {
	for _, tc := range []struct {
		name  string
		asked flex.Watts
		gives flex.Watts
		rated flex.Watts // the share of it that the plan may tell
		want  bool
	}{
		{"310 W of 500 W of a device of 10 kW", 500, 310, 0, false},
		{"460 W of 500 W", 500, 460, 0, true},
		{"all that is told, and half of what is asked", 5000, 2500, 2500, false},
		{"nothing of 40 W", 40, 0, 0, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				d := &device{id: "bat", gives: func(flex.Watts) flex.Watts { return tc.gives }}
				r := newRig(t, nil, false, d)
				r.c.slots[0].set.MaxPower = tc.rated
				r.start()
				defer r.kill()
				r.board.change(func(b *board) {
					b.running = []flex.Dispatch{wants("i1", d, tc.asked, time.Now(), time.Now().Add(time.Hour))}
				})
				time.Sleep(100 * time.Second)
				p := r.c.Progress()["i1"]
				if got := !p.DeliverAt.IsZero(); got != tc.want || p.Delivering == nil || *p.Delivering != got {
					t.Errorf("delivered %v, want %v: %+v", got, tc.want, p)
				}
				if acting := !p.ActingAt.IsZero(); acting != (tc.gives != 0) {
					t.Errorf("acting %v at %v", acting, tc.gives)
				}
				if r.alarms.is("not_delivered asset-bat") == tc.want {
					t.Error("the alarm and the proof do not agree")
				}
			})
		})
	}
}

// What was asked is counted against what was measured, and what nobody
// measured is told apart.
func TestEnergyIsCountedAgainstWhatWasAsked(t *testing.T) {
	bubble(t, func(t *testing.T) {
		d := &device{id: "bat"}
		r := newRig(t, nil, false, d)
		r.start()
		defer r.kill()
		time.Sleep(5 * time.Second)
		begin := time.Now().Add(10 * time.Second)
		order := wants("i1", d, 5000, begin, begin.Add(10*time.Minute))
		r.board.change(func(b *board) { b.running = []flex.Dispatch{order} })
		time.Sleep(10*time.Second + 5*time.Minute)
		d.set(func(d *device) { d.ignores = true })
		time.Sleep(2 * time.Minute)
		d.set(func(d *device) { d.offline = true })
		time.Sleep(4 * time.Minute)
		got := r.c.Progress()["i1"].Energy
		if len(got) != 1 || got[0].Asked != 5000*600 || got[0].Followed != 600 || got[0].By != "by its devices" {
			t.Fatalf("counted %+v", got)
		}
		// 5 min at 5 kW, then 2 min and what is still fresh of it at -200 W
		if e := got[0]; e.Unmeasured < 5000*140 || e.Unmeasured > 5000*160 || e.Delivered < 1_465_000 || e.Delivered > 1_475_000 {
			t.Errorf("counted %+v", e)
		}
		r.board.change(func(b *board) { b.running = nil })
		time.Sleep(2 * time.Second)
		if got := r.c.Progress()["i1"].Energy; len(got) != 0 {
			t.Errorf("kept %+v of a dispatch that is off the board", got)
		}
	})
}

// Nobody sees what a device does that does not answer: it shows its last value
// with its age, and is never told to deliver.
func TestAnOfflineDeviceIsNeverDelivering(t *testing.T) {
	bubble(t, func(t *testing.T) {
		d := &device{id: "bat"}
		r := newRig(t, nil, false, d)
		r.start()
		defer r.kill()
		r.board.change(func(b *board) {
			b.running = []flex.Dispatch{wants("i1", d, 5000, time.Now(), time.Now().Add(time.Minute))}
		})
		time.Sleep(40 * time.Second)
		if st := r.c.Status()[0]; st.Proof.DeliverAt.IsZero() || st.ReadingAge > 2 {
			t.Fatalf("while it answers: %+v", st)
		}
		d.set(func(d *device) { d.offline = true })
		time.Sleep(15 * time.Second)
		st := r.c.Status()[0]
		if st.Online || !st.Proof.DeliverAt.IsZero() || !st.Proof.ActingAt.IsZero() || st.Proof.EchoAt.IsZero() {
			t.Errorf("online %v, proof %+v", st.Online, st.Proof)
		}
		if st.Reading == nil || st.ReadingAge < 10 || st.ReadingAge > 17 {
			t.Errorf("reading %+v, %v s old", st.Reading, st.ReadingAge)
		}
		due := time.Now().Add(5 * time.Second)
		time.Sleep(40 * time.Second)
		if st = r.c.Status()[0]; !st.ReleaseOwed || st.OwedSince.Sub(due).Abs() > 2*time.Second {
			t.Errorf("owed %v since %v, due at %v", st.ReleaseOwed, st.OwedSince, due)
		}
	})
}
