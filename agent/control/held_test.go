package control

import (
	"strings"
	"testing"
	"time"

	"flexd/agent/flex"
)

// A fault in mid-window is told in the device's own words, and not as if it
// failed to deliver; its setpoint is taken out of force until it is over.
func TestADeviceThatFollowsNothingIsToldInItsOwnWords(t *testing.T) {
	bubble(t, func(t *testing.T) {
		d := &device{id: "bat"}
		r := newRig(t, nil, false, d)
		r.start()
		r.board.change(func(b *board) {
			b.running = []flex.Dispatch{wants("i1", d, 5000, time.Now(), time.Now().Add(time.Hour))}
		})
		time.Sleep(20 * time.Second)
		why := flex.Refuse(flex.ReasonDeviceFaulty, "the inverter says ground fault")
		d.set(func(d *device) { d.held, d.foreign, d.ignores = why, why, true })
		time.Sleep(3 * time.Second)
		if d.controlled() || r.alarms.is("not_delivering bat") || !r.alarms.is(CodeForeignLimit+" bat") {
			t.Errorf("3 s later: controlled %v, not delivering %v", d.controlled(), r.alarms.is("not_delivering bat"))
		}
		time.Sleep(time.Minute)
		p := r.c.Progress()["i1"]
		if times, _ := d.log(); d.controlled() || p.MissingReason != flex.ReasonDeviceFaulty || !strings.Contains(p.MissingText, "ground fault") {
			t.Errorf("a minute later: %d writes, %+v", len(times), p)
		}
		d.set(func(d *device) { d.held, d.foreign, d.ignores = nil, nil, false })
		time.Sleep(35 * time.Second)
		if !d.controlled() || r.alarms.is(CodeForeignLimit+" bat") {
			t.Error("not controlled again after the fault")
		}
		r.kill()
	})
}
