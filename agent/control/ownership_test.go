package control

import (
	"testing"
	"time"

	"flexd/agent/flex"
)

// owned runs one dispatch of p watts on d under a policy.
func owned(t *testing.T, d *device, p flex.Watts, set DeviceSettings) *rig {
	t.Helper()
	r := newRig(t, nil, false, d)
	s := &r.c.slots[0].set
	s.Ownership, s.Contests, s.Rest = set.Ownership, set.Contests, set.Rest
	r.start()
	if d.role == flex.RolePV {
		time.Sleep(70 * time.Second) // a minute of baseline
	}
	r.board.change(func(b *board) {
		b.running = []flex.Dispatch{wants("i1", d, p, time.Now(), time.Now().Add(3*time.Hour))}
	})
	time.Sleep(5*time.Second + 100*time.Millisecond)
	return r
}

// meddle is somebody else's write, which others keep alive.
func (d *device) meddle(w flex.Watts) {
	d.set(func(d *device) { d.told, d.until, d.left = &w, time.Now().Add(time.Hour), true })
}

func (r *rig) seen() flex.Interference {
	if in := r.c.Status()[0].Interference; in != nil {
		return *in
	}
	return flex.Interference{}
}

func TestAContestEndsAfterItsAnswersAreUsedUp(t *testing.T) {
	bubble(t, func(t *testing.T) {
		d := &device{id: "bat"}
		r := owned(t, d, 5000, DeviceSettings{Contests: 3, Rest: 20 * time.Minute})
		for range 10 {
			d.meddle(1000)
			time.Sleep(20 * time.Second)
		}
		_, powers := d.log()
		if len(powers) != 4 {
			t.Errorf("writes %v, want the first and three answers", powers)
		}
		in := r.seen()
		if in.Cause != flex.CauseController || in.Contests != 3 || in.Until.IsZero() || !r.alarms.is("overridden_by_others bat") {
			t.Errorf("interference %+v, alarm %v", in, r.alarms.is("overridden_by_others bat"))
		}
		p := r.c.Progress()["i1"]
		if len(p.Yielded) != 1 || p.MissingReason != flex.ReasonDeviceUnavailable || p.Missing != 5000 || p.Engaged || r.journal.open("bat") || !d.controlled() {
			t.Errorf("progress %+v, journal open %v, others' control stands %v", p, r.journal.open("bat"), d.controlled())
		}
		d.set(func(d *device) { d.told, d.left = nil, false })
		time.Sleep(21 * time.Minute)
		if !d.controlled() || r.alarms.is("overridden_by_others bat") || !r.c.Progress()["i1"].Engaged {
			t.Error("not tried again after the rest")
		}
		r.kill()
	})
}

func TestYieldGivesUpAtOnceAndRestsWhileOthersControl(t *testing.T) {
	bubble(t, func(t *testing.T) {
		d := &device{id: "bat"}
		r := owned(t, d, 5000, DeviceSettings{Ownership: flex.OwnYield, Rest: 2 * time.Minute})
		d.meddle(1000)
		time.Sleep(11 * time.Second)
		if p := r.c.Progress()["i1"]; p.Engaged || p.Missing != 5000 || p.MissingReason != flex.ReasonDeviceUnavailable {
			t.Errorf("progress %+v", p)
		}
		time.Sleep(5 * time.Minute) // a rest and more, and others are still there
		if _, powers := d.log(); len(powers) != 1 || !r.alarms.is("overridden_by_others bat") {
			t.Errorf("writes %v: others' control was written over", powers)
		}
		d.set(func(d *device) { d.told, d.left = nil, false })
		time.Sleep(2*time.Minute + 5*time.Second)
		if _, powers := d.log(); len(powers) < 2 || !d.controlled() || r.alarms.is("overridden_by_others bat") {
			t.Errorf("writes %v: not taken again after the rest", powers)
		}
		r.kill()
	})
}

func TestARestOutlivesTheDispatchItBeganIn(t *testing.T) {
	bubble(t, func(t *testing.T) {
		d := &device{id: "bat"}
		r := owned(t, d, 5000, DeviceSettings{Ownership: flex.OwnYield, Rest: 5 * time.Minute})
		d.meddle(1000)
		time.Sleep(11 * time.Second)
		d.set(func(d *device) { d.told, d.left = nil, false }) // the others are gone
		r.board.change(func(b *board) { b.running = nil })
		time.Sleep(10 * time.Second)
		r.board.change(func(b *board) {
			b.running = []flex.Dispatch{wants("i2", d, 4000, time.Now(), time.Now().Add(time.Hour))}
		})
		time.Sleep(time.Minute)
		if _, powers := d.log(); len(powers) != 1 || r.c.Progress()["i2"].Missing != 4000 {
			t.Errorf("writes %v, progress %+v", powers, r.c.Progress()["i2"])
		}
		r.kill()
	})
}

func TestAlarmLeavesTheDeviceUntilItHoldsOursAgain(t *testing.T) {
	bubble(t, func(t *testing.T) {
		d := &device{id: "bat"}
		r := owned(t, d, 5000, DeviceSettings{Ownership: flex.OwnAlarm})
		d.meddle(1000)
		time.Sleep(3 * time.Minute)
		p := r.c.Progress()["i1"]
		if _, powers := d.log(); len(powers) != 1 || !r.alarms.is("foreign_write bat") || !r.seen().HandsOff {
			t.Errorf("writes %v, alarm %v, %+v", powers, r.alarms.is("foreign_write bat"), r.seen())
		}
		if len(p.Failed) != 1 || p.Delivering == nil || *p.Delivering || !p.Engaged {
			t.Errorf("progress %+v: it is said to deliver", p)
		}
		d.meddle(5000)
		time.Sleep(30 * time.Second)
		if _, powers := d.log(); len(powers) < 2 || r.seen().HandsOff {
			t.Errorf("writes %v: the lease is refreshed again where it holds", powers)
		}
		r.kill()
	})
}

func TestACapLoweredByOthersWinsUnderEveryPolicy(t *testing.T) {
	for _, policy := range []flex.Ownership{"", flex.OwnContest, flex.OwnAlarm, flex.OwnYield} {
		for _, after := range []time.Duration{0, 4 * time.Second, 12 * time.Second, 12700 * time.Millisecond} {
			bubble(t, func(t *testing.T) {
				d := &device{id: "pv", role: flex.RolePV, sun: 8000}
				r := owned(t, d, -3000, DeviceSettings{Ownership: policy})
				time.Sleep(after)
				d.meddle(2000)
				d.set(func(d *device) { d.foreign = flex.Refuse(flex.ReasonLimitSetByOthers, "a cap by others") })
				n := len(d.applies)
				time.Sleep(5 * time.Minute)
				times, powers := d.log()
				if len(times) != n || !r.alarms.is("limit_set_by_others pv") || r.seen().Cause != flex.CauseLimit {
					t.Errorf("%s after %v: caps %v, %+v", policy, after, powers, r.seen())
				}
				if p := r.c.Progress()["i1"]; p.MissingReason != flex.ReasonLimitSetByOthers || p.Engaged {
					t.Errorf("%s: progress %+v", policy, p)
				}
				r.kill()
			})
		}
	}
}

func TestACapIsReadBeforeItIsRaised(t *testing.T) {
	bubble(t, func(t *testing.T) {
		d := &device{id: "pv", role: flex.RolePV, sun: 8000}
		r := owned(t, d, -3000, DeviceSettings{})
		d.meddle(4000)
		r.board.change(func(b *board) { b.running[0].Shares[0].Power = -2000 })
		time.Sleep(3 * time.Second)
		if _, powers := d.log(); len(powers) != 1 {
			t.Errorf("caps %v: others' lower cap was raised", powers)
		}
		r.kill()
	})
}

func TestACapRaisedByOthersIsContested(t *testing.T) {
	bubble(t, func(t *testing.T) {
		d := &device{id: "pv", role: flex.RolePV, sun: 8000}
		r := owned(t, d, -3000, DeviceSettings{})
		d.meddle(7000)
		time.Sleep(31 * time.Second)
		if _, powers := d.log(); len(powers) < 2 || powers[1] != 5000 || r.seen().Contests != 1 {
			t.Errorf("caps %v, %+v", powers, r.seen())
		}
		r.kill()
	})
}

func TestCausesAreToldApart(t *testing.T) {
	for _, tc := range []struct {
		name string
		do   func(*device)
		want flex.Cause
	}{
		{"another value stands and acts", func(d *device) { d.meddle(1000) }, flex.CauseController},
		{"control is off before its time", func(d *device) { d.set(func(d *device) { d.told = nil }) }, flex.CauseReverted},
		{"it was away and came back without", func(d *device) {
			d.set(func(d *device) { d.offline, d.told = true, nil })
			time.Sleep(8 * time.Second)
			d.set(func(d *device) { d.offline = false })
		}, flex.CauseRestarted},
	} {
		bubble(t, func(t *testing.T) {
			d := &device{id: "bat"}
			r := owned(t, d, 5000, DeviceSettings{})
			tc.do(d)
			time.Sleep(12 * time.Second)
			if got := r.seen().Cause; got != tc.want {
				t.Errorf("%s: cause %q, want %q", tc.name, got, tc.want)
			}
			time.Sleep(20 * time.Second)
			if !d.controlled() {
				t.Errorf("%s: not told again", tc.name)
			}
			r.kill()
		})
	}
}

func TestADeviceSwitchedOffAgainAndAgainIsGivenUp(t *testing.T) {
	bubble(t, func(t *testing.T) {
		d := &device{id: "bat"}
		r := owned(t, d, 5000, DeviceSettings{Contests: 3, Rest: time.Hour})
		for range 40 {
			d.set(func(d *device) { d.told = nil })
			time.Sleep(3 * time.Second)
		}
		if times, _ := d.log(); len(times) > 8 || !r.alarms.is("overridden_by_others bat") {
			t.Errorf("%d writes, alarm %v", len(times), r.alarms.is("overridden_by_others bat"))
		}
		r.kill()
	})
}
