package allocate

import (
	"flag"
	"fmt"
	"math/bits"
	"math/rand/v2"
	"os"
	"reflect"
	"testing"
	"time"

	"pgregory.net/rapid"

	"flexd/agent/flex"
)

// TestMain asks for more cases than usual: one takes microseconds.
func TestMain(m *testing.M) {
	flag.Parse()
	set := false
	flag.Visit(func(f *flag.Flag) { set = set || f.Name == "rapid.checks" })
	if !set {
		_ = flag.Set("rapid.checks", "1000")
	}
	os.Exit(m.Run())
}

// drawn makes the random worlds of these tests out of what rapid draws, so
// that a failing one is shrunk to the least that fails.
type drawn struct{ t *rapid.T }

// Uint64 turns the bits round: rapid prefers small numbers, and rand reads from
// the top.
func (d drawn) Uint64() uint64 { return bits.Reverse64(rapid.Uint64().Draw(d.t, "n")) }

// owned draws a world in which owners, upper bounds and control by meters
// play a part as well, and each device belongs to one asset.
func owned(t *rapid.T) Input {
	r := rand.New(drawn{t})
	in := world(r)
	free := map[flex.DeviceID]bool{}
	for i := range in.Assets {
		a := &in.Assets[i]
		var mine []flex.DeviceID
		for _, id := range a.Devices {
			if !free[id] {
				free[id] = true
				mine = append(mine, id)
			}
		}
		a.Devices = mine
		if r.IntN(4) == 0 {
			a.MaxDispatch = flex.Watts(1 + r.Int64N(8000))
		}
	}
	for i := range in.Devices {
		d := &in.Devices[i]
		if d.Role == flex.RolePV {
			continue
		}
		if r.IntN(2) == 0 {
			d.MaxSoC = flex.Percent(d.ReserveSoC + 1 + flex.Percent(r.IntN(7000)))
		}
		bounds := func() (b Bounds) {
			if r.IntN(2) == 0 {
				p := flex.Watts(r.Int64N(8000))
				b.MaxDischarge = &p
			}
			if r.IntN(2) == 0 {
				p := flex.Watts(r.Int64N(8000))
				b.MaxCharge = &p
			}
			b.Reserve = flex.Percent(r.IntN(6000))
			return b
		}
		d.Owner = Owner{Normal: bounds(), Event: bounds(), Emergency: bounds()}
		if r.IntN(3) == 0 {
			left := flex.WattHours(r.IntN(3) * 500)
			d.Owner.Left = &left
		}
		d.Plate.Energy = flex.WattHours(r.IntN(20_000))
	}
	for i := range in.Dispatches {
		in.Dispatches[i].Use = flex.Use(r.IntN(3) - 1)
	}
	return in
}

// Never above a rating, a reserve, an upper bound, the site's limits, a hold,
// or what the owner allows; and what is missing has a reason.
func TestNothingIsEverAboveALimit(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		in := owned(rt)
		p := Decide(in)
		checkBounds(rt, in, p)
		checkHolds(rt, in, p)
		for i, tg := range p.Targets {
			d := in.Devices[i]
			if tg.Order != flex.OrderSet || !d.Online {
				continue
			}
			use := flex.UseNormal
			for _, x := range in.Dispatches {
				for _, id := range tg.Dispatch {
					if x.ID == id {
						use = max(use, x.Use)
					}
				}
			}
			b := d.Owner.For(use)
			over := b.MaxDischarge != nil && tg.Power > *b.MaxDischarge || b.MaxCharge != nil && -tg.Power > *b.MaxCharge
			dry := *d.Reading.SoC <= d.Reserve(use) && tg.Power > 0 || *d.Reading.SoC >= d.Full() && tg.Power < 0
			spent := d.Owner.Left != nil && *d.Owner.Left <= 0 && use != flex.UseEmergency && tg.Power > 0
			if over || dry || spent {
				rt.Errorf("%s is told %v %v at %v (reserve %v, full %v, owner %+v)", tg.Device, tg.Power, use, *d.Reading.SoC, d.Reserve(use), d.Full(), b)
			}
		}
		for id, s := range p.Shortfall {
			if s.Missing <= 0 || s.Reason == "" || s.Text == "" {
				rt.Errorf("shortfall of %s without amount or reason: %+v", id, s)
			}
		}
	})
}

// What the devices of an asset are told adds up to what is asked of it, or
// the rest is a shortfall that is explained.
func TestSharesAddUpOrTheShortfallIsExplained(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		in := owned(rt)
		for i := range in.Devices { // a device that keeps an old target is counted by nobody
			in.Devices[i].Online, in.Devices[i].Target = true, flex.Target{}
			in.Devices[i].Reading.At = in.Now
		}
		if len(in.Dispatches) > 1 {
			in.Dispatches = in.Dispatches[:1]
		}
		p := Decide(in)
		for _, d := range in.Dispatches {
			if !d.Wants(in.Now) {
				continue
			}
			asked, given := d.Shares[0].Power, flex.Watts(0)
			for i, tg := range p.Targets {
				switch tg.Order {
				case flex.OrderSet:
					given += tg.Power
				case flex.OrderCap:
					given -= p.State.PVBaseline[in.Devices[i].ID][d.ID] - tg.Power
				case flex.OrderNone:
				}
			}
			if missing := (asked - given).Abs(); missing != p.Shortfall[d.ID].Missing {
				rt.Errorf("%v asked, %v told: %v missing, %v explained (%+v)", asked, given, missing, p.Shortfall[d.ID].Missing, p.Targets)
			}
		}
	})
}

// A process that begins anew in the midst of dispatches, with nothing but what
// the devices hold and what was measured in the last minute, tells them the same.
func TestARestartAtAnyStepEqualsNoRestart(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		in := owned(rt)
		in.Site.Meter = nil            // its sign is learned anew
		for i := range in.Dispatches { // nothing is admitted that asks an asset for both at once
			in.Dispatches[i].Shares[0].Power = -in.Dispatches[i].Shares[0].Power.Abs()
		}
		if rapid.Bool().Draw(rt, "export") {
			for i := range in.Dispatches {
				in.Dispatches[i].Shares[0].Power = in.Dispatches[i].Shares[0].Power.Abs()
			}
		}
		for i := range in.Devices {
			d := &in.Devices[i]
			d.Target, d.Online = flex.Target{Device: d.ID, Order: flex.OrderNone}, true
			d.Reading.At = in.Now
		}
		restart, steps := rapid.IntRange(1, 20).Draw(rt, "restart"), 20
		other := in
		for n := range steps {
			if n == restart {
				other.State = State{PVTrail: other.State.PVTrail}
			}
			a, b := Decide(in), Decide(other)
			if !reflect.DeepEqual(a.Targets, b.Targets) || !reflect.DeepEqual(a.Shortfall, b.Shortfall) {
				rt.Fatalf("step %d, restart before %d:\n%+v %+v\n%+v %+v", n, restart, a.Targets, a.Shortfall, b.Targets, b.Shortfall)
			}
			devices := make([]Device, len(in.Devices))
			for i, d := range in.Devices {
				rd := *d.Reading
				d.Target, rd.At = a.Targets[i], rd.At.Add(5*time.Second)
				switch d.Target.Order {
				case flex.OrderSet:
					rd.Power = &d.Target.Power
				case flex.OrderCap:
					w := min(*rd.Power, d.Target.Power)
					rd.Power = &w
				case flex.OrderNone:
				}
				d.Reading = &rd
				devices[i] = d
			}
			in.State, other.State = a.State, b.State
			in.Now = in.Now.Add(5 * time.Second)
			other.Now, in.Devices, other.Devices = in.Now, devices, devices
		}
	})
}

// Every site that knows the same capacities computes the same shares, and
// they add up to the watt.
func TestAllSitesSplitAlike(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		n := rapid.IntRange(1, 40).Draw(rt, "assets")
		ws := make([]Weight, n)
		for i := range ws {
			ws[i] = Weight{Asset: flex.AssetID(fmt.Sprintf("a%02d", i)), Capacity: flex.Watts(rapid.Int64Range(0, int64(flex.MaxPower)).Draw(rt, "capacity"))}
		}
		total := flex.Watts(rapid.Int64Range(-int64(flex.MaxPower), int64(flex.MaxPower)).Draw(rt, "total"))
		other := rapid.Permutation(ws).Draw(rt, "order")
		a, err := Split(total, ws)
		b, errB := Split(total, other)
		if (err == nil) != (errB == nil) || !reflect.DeepEqual(a, b) || Hash(ws) != Hash(other) {
			rt.Fatalf("%v (%v) and %v (%v)", a, err, b, errB)
		}
		var sum flex.Watts
		for _, s := range a {
			sum += s.Power
		}
		if err == nil && sum != total {
			rt.Fatalf("%v of %v", sum, total)
		}
	})
}

// failer is a test of either kind.
type failer interface{ Errorf(string, ...any) }
