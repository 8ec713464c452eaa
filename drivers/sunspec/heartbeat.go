package sunspec

import (
	"context"
	"time"

	"flexd/agent/flex"
	"flexd/drivers/modbus"
)

const (
	// heartbeatEvery is how often model 802 wants CtrlHb to go up.
	heartbeatEvery = time.Second
	// lastBeat is followed by zero; 65535 means not implemented.
	lastBeat = 65534
)

// beats tells whether the bank wants to hear from its controller: 802.CtrlHb,
// "incremented every second with periodic resets to zero".
func beats(im image) bool { return im.of(802).has("CtrlHb") }

// heartbeat tells the bank that its controller is there, behind each setpoint
// and as long as one stands: a setpoint does not wait for it, and a bank that
// took none for want of it takes the next, a second later. What comes of it is
// no fault of the setpoint's; a device that refuses to have it written has no
// use for it.
func (d *Device) heartbeat(ctx context.Context, turn int64, rec *flex.Receipt, im image) {
	if !beats(im) {
		return
	}
	b := im.of(802)
	d.mu.Lock()
	if d.beat == nil { // go on where a predecessor stopped
		v, _ := b.raw("CtrlHb")
		d.beat = &v
	}
	next := *d.beat + 1
	if next > lastBeat {
		next = 0
	}
	d.beat = &next
	mute := d.mute
	d.mu.Unlock()
	if mute {
		return
	}
	r, err := b.write("CtrlHb", "CtrlHb", assign{"CtrlHb", next})
	if err != nil {
		return
	}
	var aside flex.Receipt // its time of sending is not the setpoint's
	err = d.writeParts(ctx, modbus.Write, turn, &aside, b, []flex.Register{r})
	rec.Wrote = append(rec.Wrote, aside.Wrote...)
	if isException(err) {
		d.mu.Lock()
		d.mute = true
		d.mu.Unlock()
	}
}
