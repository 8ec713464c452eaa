package sunspec_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"flexd/agent/flex"
	"flexd/drivers/drivertest/makers"
)

// A device in fault, or one that may not run, is told no power: neither at first
// nor in mid-window; it says why itself, is handed back all the same, and is
// told again afterwards.
func TestADeviceThatCannotRunIsToldNoPower(t *testing.T) {
	stop := map[string]func(p *makers.SunSpec, on bool){
		"in fault": func(p *makers.SunSpec, on bool) { p.Break(on) },
		"out of service": func(p *makers.SunSpec, on bool) {
			es := uint16(1)
			if on {
				es = 0
			}
			p.Order(703, 2, es)
		},
	}
	for _, k := range kinds {
		for name, stop := range stop {
			want := flex.ReasonDeviceFaulty
			if name == "out of service" {
				if want = flex.ReasonDeviceUnavailable; !k.kind.DER {
					continue
				}
			}
			t.Run(k.name+"/"+name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := watch(t, plantOf(k.kind, states["charging from some sun"]), flex.RoleHybrid)
					refused := func(when string) {
						t.Helper()
						before := len(w.p.Writes())
						r := w.sample()
						_, err := w.dev.Apply(t.Context(), set(1000))
						var why *flex.Refusal
						if !errors.As(err, &why) || why.Reason != want || r.Held == nil || r.Held.Reason != want || r.Acting != nil && *r.Acting {
							t.Errorf("%s: %v, held %v", when, err, r.Held)
						}
						if n := len(w.p.Writes()) - before; n > 0 {
							t.Errorf("%s: %d writes", when, n)
						}
					}
					stop(w.p, true)
					time.Sleep(2 * time.Second)
					refused("at first")
					if s, err := w.dev.Snapshot(t.Context()); err != nil || s.Foreign == nil || s.Foreign.Reason != want {
						t.Errorf("%v, %v", s.Foreign, err)
					}
					stop(w.p, false)
					time.Sleep(2 * time.Second)
					w.sample()
					w.take()
					w.hold(set(1000), long(k.exact))
					stop(w.p, true)
					time.Sleep(2 * time.Second)
					refused("in mid-window")
					stop(w.p, false)
					time.Sleep(10 * time.Second)
					w.sample()
					w.hold(set(1000), long(k.exact))
					w.reached(1000)
					w.p.Break(true)
					time.Sleep(2 * time.Second)
					w.free()
				})
			})
		}
	}
}
