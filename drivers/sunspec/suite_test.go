package sunspec_test

import (
	"context"
	"fmt"
	"math"
	"testing"
	"time"

	"flexd/agent/flex"
	"flexd/drivers/drivertest"
	"flexd/drivers/drivertest/makers"
	"flexd/drivers/modbus"
	"flexd/drivers/sunspec"
)

// faulty is the way to a plant on which something happens to the nth write.
type faulty struct {
	p      *makers.SunSpec
	writes int
	at     map[int]drivertest.Fault
}

func (l *faulty) Do(ctx context.Context, r modbus.Request) (modbus.Response, error) {
	if r.Func != modbus.WriteMultiple {
		return l.p.Do(ctx, r)
	}
	l.writes++
	f := l.at[l.writes]
	delete(l.at, l.writes)
	switch f {
	case drivertest.Refused:
		return modbus.Response{}, &modbus.Exception{Func: r.Func, Code: modbus.IllegalValue}
	case drivertest.Unsent:
		return modbus.Response{}, modbus.ErrNotSent
	case drivertest.LostWrite:
		return modbus.Response{}, modbus.ErrUncertain
	case drivertest.NoFault, drivertest.LostReply:
	}
	res, err := l.p.Do(ctx, r)
	if f == drivertest.LostReply {
		return modbus.Response{}, modbus.ErrUncertain
	}
	return res, err
}

// onPlant is the rig of a plant: what it gives is judged, and not only what its
// registers hold.
func onPlant(t *testing.T, k makers.SunSpecKind, role flex.Role, f flows, orders ...flex.Target) drivertest.Rig {
	k.Base, k.Rated, k.Charge, k.Discharge, k.Energy, k.Level = 40000, 10000, 5000, 5000, 20000, 50
	k.Sun = steady(f.sun)
	k.Own = func(time.Time, makers.Watts) float64 { return f.own }
	if role == flex.RolePV {
		k.Charge, k.Energy = 0, 0
	}
	p := makers.NewSunSpec(time.Now, k)
	l := &faulty{p: p, at: map[int]drivertest.Fault{}}
	gives := func() flex.Watts { return flex.Watts(math.Round(p.Watts().AC)) }
	return drivertest.Rig{
		Device: opener(t, l, sunspec.Config{Role: role, GridCharge: true}), Orders: orders, Gives: gives,
		Told: func() (flex.Watts, bool) {
			switch {
			case role == flex.RolePV:
				on := k.DER && p.Point(704, 14) == 1 || !k.DER && p.Point(123, 9) == 1
				return gives(), on
			case k.DER:
				return gives(), p.Point(704, 22) == 1
			}
			return gives(), p.Point(124, 5) == 3
		},
		Control: func() map[uint16]uint16 {
			out := map[uint16]uint16{}
			for r, v := range p.Owner() {
				out[r.Addr] = v
			}
			return out
		},
		Fault: func(n int, f drivertest.Fault) bool {
			if f == drivertest.NoFault {
				clear(l.at)
			} else {
				l.at[l.writes+n] = f
			}
			return true
		},
	}
}

// Every kind of device on a plant that goes by the models' own words.
func TestConformanceByTheWatts(t *testing.T) {
	for _, pct := range []int{-1, -2} {
		for _, k := range kinds {
			if !k.exact {
				continue // it takes time to find out what its battery does
			}
			k.kind.PctSF = pct
			for name, f := range map[string]flows{"at rest": {1500, 0}, "charging": {1500, -1000}, "discharging": {1500, 1200}} {
				t.Run(fmt.Sprintf("hybrid by %s, %s, at %d", k.name, name, pct), func(t *testing.T) {
					drivertest.Run(t, func(t *testing.T) drivertest.Rig {
						return onPlant(t, k.kind, flex.RoleHybrid, f, set(5000), set(-3000))
					})
				})
			}
			t.Run(fmt.Sprintf("battery by %s at %d", k.name, pct), func(t *testing.T) {
				drivertest.Run(t, func(t *testing.T) drivertest.Rig {
					return onPlant(t, k.kind, flex.RoleStorage, flows{0, 300}, set(5000), set(-3000))
				})
			})
		}
		for _, k := range roofs {
			if k.kind.PctSF != 0 {
				continue
			}
			k.kind.PctSF = pct
			t.Run(fmt.Sprintf("roof by %s at %d", k.name, pct), func(t *testing.T) {
				drivertest.Run(t, func(t *testing.T) drivertest.Rig {
					return onPlant(t, k.kind, flex.RolePV, flows{10000, 0}, limit(5000), limit(8300))
				})
			})
		}
	}
}
