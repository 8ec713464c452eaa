package allocate

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

	"flexd/agent/flex"
	"flexd/longtest"
)

// world builds a random site.
func world(r *rand.Rand) Input {
	in := Input{Now: t0}
	for i := range 1 + r.IntN(5) {
		id := flex.DeviceID(fmt.Sprintf("b%d", i))
		power := flex.Watts(r.Int64N(10_000))
		d := battery(id, power, flex.Percent(r.IntN(10_001)))
		if r.IntN(3) == 0 {
			d = solar(id, 10_000, power)
		}
		if r.IntN(3) == 0 {
			d.Target = flex.Target{Device: id, Order: flex.OrderSet, Power: flex.Watts(r.Int64N(2000)-1000).Clamp(-power, power)}
		}
		if d.Role == flex.RoleStorage && r.IntN(4) == 0 {
			d.Reading.Limit = ptr(flex.Watts(r.Int64N(10_000)))
		}
		d.Online = r.IntN(8) > 0
		if r.IntN(6) == 0 {
			d.Reading.At = t0.Add(-time.Minute)
		}
		in.Devices = append(in.Devices, d)
		in.Assets = append(in.Assets, Asset{ID: flex.AssetID(id), Devices: []flex.DeviceID{id}, Control: Setpoint})
		if i > 0 && r.IntN(2) == 0 {
			in.Assets[0].Devices = append(in.Assets[0].Devices, id)
		}
	}
	for i := range r.IntN(6) {
		start := t0.Add(time.Duration(r.IntN(120)-90) * time.Second)
		d := flex.Dispatch{ID: flex.InstructionID(fmt.Sprintf("d%d", i)), Window: flex.Window{Start: start, End: start.Add(time.Duration(1+r.IntN(200)) * time.Second)}}
		d.Shares = []flex.AssetShare{{Asset: in.Assets[r.IntN(len(in.Assets))].ID, Power: flex.Watts(r.Int64N(30_000) - 15_000)}}
		if r.IntN(4) == 0 {
			d.StopAt = start.Add(time.Duration(r.IntN(100)) * time.Second)
		}
		in.Dispatches = append(in.Dispatches, d)
	}
	if r.IntN(4) == 0 {
		in.Holds = append(in.Holds, flex.Hold{Asset: in.Assets[r.IntN(len(in.Assets))].ID})
	}
	if r.IntN(10) == 0 {
		in.Holds = append(in.Holds, flex.Hold{})
	}
	if r.IntN(2) == 0 {
		in.Site = Site{ImportLimit: flex.Watts(1 + r.Int64N(20_000)), ExportLimit: flex.Watts(1 + r.Int64N(20_000))}
		if r.IntN(2) == 0 {
			in.Site.Meter = meter(flex.Watts(r.Int64N(30_000) - 15_000))
		}
	}
	return in
}

func TestDecideKeepsEveryBound(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for range longtest.Pick(8_000, 20_000) {
		in := world(r)
		p := Decide(in)
		checkBounds(t, in, p)
		checkHolds(t, in, p)
		for id, s := range p.Shortfall {
			if s.Missing <= 0 || s.Reason == "" || s.Text == "" {
				t.Fatalf("shortfall of %s without amount or reason: %+v", id, s)
			}
		}
		if t.Failed() {
			t.Fatalf("input %+v", in)
		}
	}
}

func checkBounds(t failer, in Input, p Plan) {
	static := in.Site.Meter == nil
	var up, down flex.Watts
	for i, tg := range p.Targets {
		d := in.Devices[i]
		switch tg.Order {
		case flex.OrderSet:
			if tg.Power.Abs() > d.Plate.MaxPower {
				t.Errorf("%s: %v is above the rating %v", tg.Device, tg.Power, d.Plate.MaxPower)
			}
			if l := d.Reading.Limit; d.Online && l != nil && tg.Power > *l {
				t.Errorf("%s: %v is above the cap of %v that was found", tg.Device, tg.Power, *l)
			}
			if d.Online && *d.Reading.SoC <= d.ReserveSoC && tg.Power > 0 || d.Online && *d.Reading.SoC >= flex.Full && tg.Power < 0 {
				t.Errorf("%s: %v at %v", tg.Device, tg.Power, *d.Reading.SoC)
			}
			if d.Online && d.Reading.At.Before(t0) && tg.Power.Abs() > max(0, d.Target.Power.Abs()) {
				t.Errorf("%s: %v is new on an old reading", tg.Device, tg.Power)
			}
			if !d.Online {
				static = false // what an offline device keeps cannot be clipped
			}
			up, down = up+tg.Power, down+min(0, tg.Power)
		case flex.OrderCap:
			if tg.Power < 0 {
				t.Errorf("%s: cap %v", tg.Device, tg.Power)
			}
		case flex.OrderNone:
			if tg.Power != 0 {
				t.Errorf("%s wants nothing, but %v", tg.Device, tg.Power)
			}
		}
	}
	if static && in.Site.ExportLimit > 0 && (up > max(0, in.Site.ExportLimit) || down < -in.Site.ImportLimit) {
		t.Errorf("targets sum to %v (charging %v), beyond the site's limits %+v", up, down, in.Site)
	}
}

func checkHolds(t failer, in Input, p Plan) {
	for _, h := range in.Holds {
		for _, a := range in.Assets {
			if h.Asset != "" && h.Asset != a.ID {
				continue
			}
			for _, id := range a.Devices {
				for _, tg := range p.Targets {
					if tg.Device == id && tg.Order != flex.OrderNone {
						t.Errorf("%s is held and still told %+v", id, tg)
					}
				}
			}
		}
	}
}

func TestDecideDoesNotDependOnOrderNorChangeItsInput(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for range 5000 {
		in := world(r)
		a := Decide(in)
		other := in
		other.Dispatches = append([]flex.Dispatch(nil), in.Dispatches...)
		other.Holds = append([]flex.Hold(nil), in.Holds...)
		r.Shuffle(len(other.Dispatches), func(i, j int) {
			other.Dispatches[i], other.Dispatches[j] = other.Dispatches[j], other.Dispatches[i]
		})
		r.Shuffle(len(other.Holds), func(i, j int) { other.Holds[i], other.Holds[j] = other.Holds[j], other.Holds[i] })
		if b := Decide(other); !reflect.DeepEqual(a, b) {
			t.Fatalf("order matters:\n%+v\n%+v", a, b)
		}
	}
}

// TestNextIsTheNextChange asks for the plan at instants up to Next, with the
// same fresh readings, and wants the same orders until then.
func TestNextIsTheNextChange(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	at := func(in Input, now time.Time) Plan {
		shift := now.Sub(in.Now)
		in.Now = now
		devices := append([]Device(nil), in.Devices...)
		for i := range devices {
			rd := *devices[i].Reading
			rd.At = rd.At.Add(shift)
			devices[i].Reading = &rd
		}
		in.Devices = devices
		if in.Site.Meter != nil {
			m := *in.Site.Meter
			m.At = m.At.Add(shift)
			in.Site.Meter = &m
		}
		return Decide(in)
	}
	for range 3000 {
		in := world(r)
		p := Decide(in)
		in.State = p.State
		until := p.Next
		if until.IsZero() {
			until = t0.Add(time.Hour)
		}
		span := until.Sub(t0)
		for _, off := range []time.Duration{1, span / 3, span - 1} {
			q := at(in, t0.Add(off))
			for i := range q.Targets {
				if q.Targets[i].Order != p.Targets[i].Order || q.Targets[i].Power != p.Targets[i].Power {
					t.Fatalf("%s changes from %+v to %+v after %v, before Next at %v", q.Targets[i].Device, p.Targets[i], q.Targets[i], off, span)
				}
			}
		}
	}
}

// One tick of the planner in the midst of a dispatch, every device read anew:
// batteries alone, and half of them generators.
func BenchmarkDecide(b *testing.B) {
	for _, generation := range []bool{false, true} {
		for _, n := range []int{1, 16, 64, 256} {
			name := fmt.Sprintf("batteries=%d", n)
			if generation {
				name = fmt.Sprintf("mixed=%d", n)
			}
			b.Run(name, func(b *testing.B) {
				var devices []Device
				for i := range n {
					if i%2 == 0 || !generation {
						devices = append(devices, battery(flex.DeviceID(fmt.Sprintf("b%d", i)), 5000, 8000))
					} else {
						devices = append(devices, solar(flex.DeviceID(fmt.Sprintf("p%d", i)), 5000, 3000))
					}
				}
				in := input(devices, dispatch("d", -flex.Watts(n)*2000))
				in.Site = Site{ImportLimit: 10_000_000, ExportLimit: 10_000_000, Meter: meter(0)}
				var p Planner
				b.ReportAllocs()
				for b.Loop() {
					in.Now = in.Now.Add(time.Millisecond)
					in.Site.Meter.At = in.Now
					for i := range in.Devices {
						in.Devices[i].Reading.At = in.Now
					}
					in.State = p.Decide(in).State
				}
			})
		}
	}
}
