package drivertest

import (
	"math"

	"flexd/agent/flex"
)

// On is the rig of a bank: it reads the registers by its own account of the
// models, so that a driver's mistake is not repeated here.
func On(b *Bank, device func() Device, orders ...flex.Target) Rig {
	return Rig{Device: device, Orders: orders, Told: b.Told, Control: b.Control, Lapse: b.lapse, Others: b.others, Limit: b.limit,
		Fault: func(n int, f Fault) bool { b.Fault(n, f); return true }, Blank: b.blank, Produce: b.produce, Swap: func() { b.Set(1, 50, 0x5858) }}
}

// scaledAt reads a signed value with its scale factor, for both by offset.
func (b *Bank) scaledAt(model uint16, off, sf int) float64 {
	return float64(int16(b.Get(model, off))) * math.Pow10(int(int16(b.Get(model, sf))))
}

// wmax is what percentages of AC power refer to.
func (b *Bank) wmax() float64 {
	if b.Has(702) {
		return b.scaledAt(702, 26, 45)
	}
	return b.scaledAt(121, 2, 22)
}

// Told is the power in force by the registers: a setpoint, else a cap.
func (b *Bank) Told() (flex.Watts, bool) {
	w := func(v float64) (flex.Watts, bool) { return flex.Watts(math.Round(v)), true }
	if b.Has(704) && b.Get(704, 22) == 1 {
		if b.Get(704, 23) == 1 {
			v := int32(uint32(b.Get(704, 24))<<16 | uint32(b.Get(704, 25)))
			return w(float64(v) * math.Pow10(int(int16(b.Get(704, 55)))))
		}
		return w(b.scaledAt(704, 28, 56) / 100 * b.wmax())
	}
	if b.Has(124) && b.Get(124, 5) == 3 {
		out, in := b.scaledAt(124, 12, 25), b.scaledAt(124, 13, 25)
		if out != -in {
			return 0, false
		}
		return w(out / 100 * b.scaledAt(124, 2, 18))
	}
	if b.Has(704) && b.Get(704, 14) == 1 {
		return w(math.Floor(b.scaledAt(704, 15, 54)/100*b.wmax() + 1e-6))
	}
	if b.Has(123) && b.Get(123, 9) == 1 {
		return w(math.Floor(b.scaledAt(123, 5, 23)/100*b.wmax() + 1e-6))
	}
	return 0, false
}

// lapse does what a device does when its timers run out.
func (b *Bank) lapse() {
	if b.Has(123) && b.Get(123, 7) > 0 {
		b.Set(123, 9, 0)
	}
	if b.Has(124) && b.Get(124, 15) > 0 {
		b.Set(124, 5, 0)
	}
	if b.Has(704) && b.Get(704, 19) > 0 {
		b.Set(704, 15, b.Get(704, 16))
		b.Set(704, 14, b.Get(704, 17))
	}
	if b.Has(704) && b.Get(704, 32) > 0 {
		b.Set(704, 24, b.Get(704, 26), b.Get(704, 27))
		b.Set(704, 28, b.Get(704, 29))
		b.Set(704, 22, b.Get(704, 30))
	}
}

// others changes what is in force, timers included, as another controller would.
func (b *Bank) others() {
	switch {
	case b.Has(704) && b.Get(704, 22) == 1:
		b.Set(704, 24, 0, 77)
		b.Set(704, 28, 7)
		b.Set(704, 32, 900)
	case b.Has(124) && b.Get(124, 5) != 0:
		b.Set(124, 5, 2)
		b.Set(124, 12, 33, 44)
	case b.Has(704):
		b.Set(704, 15, 13)
	default:
		b.Set(123, 5, 13)
	}
}

// limit puts a cap of 40 % in force.
func (b *Bank) limit() {
	if b.Has(704) {
		b.Set(704, 15, scaled(40, int(int16(b.Get(704, 54)))))
		b.Set(704, 14, 1)
		return
	}
	b.Set(123, 5, scaled(40, int(int16(b.Get(123, 23)))))
	b.Set(123, 9, 1)
}

// blank makes every measurement "not implemented".
func (b *Bank) blank() {
	if b.Has(103) {
		b.Set(103, 14, 0x8000)
		b.Set(103, 16, 0xFFFF)
		b.Set(103, 24, 0, 0)
	}
	if b.Has(701) {
		b.Set(701, 10, 0x8000)
		b.Set(701, 17, 0xFFFF, 0xFFFF, 0xFFFF, 0xFFFF, 0xFFFF, 0xFFFF, 0xFFFF, 0xFFFF, 0xFFFF, 0xFFFF)
	}
	if b.Has(124) {
		b.Set(124, 8, 0xFFFF)
	}
	if b.Has(713) {
		b.Set(713, 4, 0xFFFF)
	}
	if b.Has(714) {
		b.Set(714, 57, 0x8000)
	}
	if b.Has(802) {
		b.Set(802, 11, 0xFFFF)
		b.Set(802, 47, 0x8000)
	}
	if b.Has(203) {
		b.Set(203, 16, 0x8000)
		b.Set(203, 18, 0x8000)
		b.Set(203, 38, 0, 0)
		b.Set(203, 46, 0, 0)
	}
}

// produce sets the measured AC power.
func (b *Bank) produce(w flex.Watts) {
	if b.Has(701) {
		b.Set(701, 10, scaled(float64(w), int(int16(b.Get(701, 116)))))
		return
	}
	b.Set(103, 14, scaled(float64(w), int(int16(b.Get(103, 15)))))
}
