package commission

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"flexd/agent/clock/clocktest"
	"flexd/agent/flex"
)

func codes(r Record) []string {
	var out []string
	for _, p := range r.Problems {
		out = append(out, p.Code)
	}
	return out
}

// behaviour is a device that is tried, and what must be found of it.
type behaviour struct {
	name   string
	make   func(*plant)
	revert bool
	want   []string // problems
	proven bool
	also   func(t *testing.T, r Record, p *plant)
}

var behaviours = []behaviour{
	{"a good battery", func(*plant) {}, true, nil, true, func(t *testing.T, r Record, p *plant) {
		m := r.Measured
		if m.ReactionMS < 1500 || m.ReactionMS > 3500 || m.SettleMS < m.ReactionMS || m.SettleMS > 6000 || m.RampWPS < 200 || m.RampWPS > 600 {
			t.Errorf("reaction %d, settle %d, ramp %d", m.ReactionMS, m.SettleMS, m.RampWPS)
		}
		if m.Negative == nil || !*m.Negative || m.MeterPercent < 95 || m.MeterPercent > 105 {
			t.Errorf("negative %v, meter %d", m.Negative, m.MeterPercent)
		}
		if m.Revert == nil || m.Revert.AfterMS == nil || *m.Revert.AfterMS < 60_000 || *m.Revert.AfterMS > 64_000 {
			t.Errorf("revert %+v", m.Revert)
		}
		if want := []flex.Watts{500, -500, 500}; !slices.Equal(p.targets, want) {
			t.Errorf("targets %v", p.targets)
		}
		if tune := m.Tune(); !tune.Falls || tune.Stays || tune.Lead == 0 || tune.Settle == 0 || tune.Revert < time.Minute {
			t.Errorf("tuning %+v", tune)
		}
	}},
	{"a meter with the wrong sign", func(p *plant) { p.meterSign = -1 }, false, []string{ProblemSign}, false, nil},
	{"a device that ignores", func(p *plant) { p.ignores = true }, false, []string{ProblemIgnores, ProblemUnclear}, false, nil},
	{"a device that moves the wrong way", func(p *plant) { p.inverted = true }, false, []string{ProblemInverted}, false, nil},
	{"registers that never hold", func(p *plant) { p.deaf = true }, false, []string{ProblemNotTaken, ProblemUnclear}, false, nil},
	{"a device that is read every 12 s", func(p *plant) { p.every, p.ramp = 12*time.Second, 4000 }, false, nil, true, func(t *testing.T, r Record, _ *plant) {
		if r.Measured.ReactionMS < 2000 || r.Measured.ReactionMS > 14_000 {
			t.Errorf("%+v", r.Measured)
		}
	}},
	{"a slow device", func(p *plant) { p.delay, p.ramp = 20*time.Second, 25 }, false, nil, true, func(t *testing.T, r Record, _ *plant) {
		if r.Measured.ReactionMS < 20_000 || r.Measured.SettleMS < 30_000 || r.Measured.RampWPS > 40 {
			t.Errorf("%+v", r.Measured)
		}
	}},
	{"too slow to be there within the nudge", func(p *plant) { p.ramp = 5 }, false, []string{ProblemNotReached}, false, func(t *testing.T, r Record, _ *plant) {
		if r.Measured.SettleMS != 0 {
			t.Errorf("a settling time of %d ms is claimed", r.Measured.SettleMS)
		}
	}},
	{"a battery that does not charge", func(p *plant) { p.noCharge = true }, false, []string{ProblemNoNegative}, false, func(t *testing.T, r Record, _ *plant) {
		if r.Measured.Negative == nil || *r.Measured.Negative {
			t.Error("negative powers pass")
		}
	}},
	{"a device that never falls back", func(p *plant) { p.neverFalls = true }, true, []string{ProblemNoRevert}, false, func(t *testing.T, r Record, p *plant) {
		if !r.Measured.Tune().Stays || p.longest < 80*time.Second {
			t.Errorf("%+v, waited %v", r.Measured.Tune(), p.longest)
		}
	}},
	{"a load that hides everything", func(p *plant) {
		p.load = func(at time.Duration) float64 { return 3000 + 3000*float64(int(at.Seconds()/47)%2) }
	}, false, []string{ProblemUnclear}, false, nil},
	{"a battery that works: nudged around what it does", func(p *plant) { p.base, p.power = 3000, 3000 }, false, nil, true, func(t *testing.T, _ Record, p *plant) {
		if want := []flex.Watts{3500, 2500, -500}; !slices.Equal(p.targets, want) {
			t.Errorf("targets %v", p.targets)
		}
	}},
}

func TestWhatADeviceDoesIsFound(t *testing.T) {
	for _, c := range behaviours {
		t.Run(c.name, func(t *testing.T) {
			clocktest.Bubble(t, func(t *testing.T) {
				p := newPlant()
				c.make(p)
				begun := time.Now()
				r, err := trialOf(t, t.Context(), p, Settings{Revert: c.revert}, nil)
				if err != nil {
					t.Fatal(err)
				}
				got := codes(r)
				for _, w := range c.want {
					if !slices.Contains(got, w) {
						t.Errorf("problems %v lack %s", got, w)
					}
				}
				if len(c.want) == 0 && len(got) > 0 || r.Proven() != c.proven {
					t.Errorf("problems %+v, proven %v, %+v", r.Problems, r.Proven(), r.Measured)
				}
				if !p.free() {
					t.Error("not handed back")
				}
				if !c.revert && p.longest > p.lease/2 {
					t.Errorf("a setpoint was not refreshed for %v", p.longest)
				}
				if d := time.Since(begun); d > 10*time.Minute {
					t.Errorf("took %v", d)
				}
				if c.also != nil {
					c.also(t, r, p)
				}
			})
		})
	}
}

func TestWhateverHappensInAStepTheDeviceIsHandedBack(t *testing.T) {
	events := []struct {
		name string
		do   func(p *plant, cancel context.CancelFunc)
		want string
	}{
		{"ctrl-C", func(_ *plant, cancel context.CancelFunc) { cancel() }, "context canceled"},
		{"a fault of the device", func(p *plant, _ context.CancelFunc) { p.fault = true }, "reports a fault"},
		{"a grid fault takes it offline", func(p *plant, _ context.CancelFunc) { p.offline = true }, "cannot be read"},
		{"the meter goes silent", func(p *plant, _ context.CancelFunc) { p.meterSilent = true }, "meter gives no power"},
		{"a dispatch comes near", func(p *plant, _ context.CancelFunc) { p.busy = flex.Refuse(flex.ReasonOverlap, "a dispatch is near") }, "a dispatch is near"},
		{"a hold", func(p *plant, _ context.CancelFunc) { p.holds = []flex.Hold{{}} }, ""},
	}
	for _, step := range []string{"base", "up", "down", "revert", "not refreshed", "after"} {
		for _, e := range events {
			if e.name == "a hold" && (step == "base" || step == "after") {
				continue // nothing is asked then, the site's Busy tells
			}
			t.Run(e.name+" in "+step, func(t *testing.T) {
				clocktest.Bubble(t, func(t *testing.T) {
					p := newPlant()
					ctx, cancel := context.WithCancel(t.Context())
					defer cancel()
					fired := false
					_, err := trialOf(t, ctx, p, Settings{Revert: true, Hold: 30 * time.Second}, func(s, text string) {
						if fired || s != step && !strings.HasPrefix(text, step) {
							return
						}
						fired = true
						time.AfterFunc(7*time.Second, func() { p.set(func(p *plant) { e.do(p, cancel) }) })
					})
					want := e.want
					if want == "" {
						want = "gave way"
					}
					if !fired || err == nil || !strings.Contains(err.Error(), want) {
						t.Errorf("fired %v, error %v, want %q", fired, err, want)
					}
					if !p.free() {
						t.Error("not handed back")
					}
				})
			})
		}
	}
}

func TestADispatchTakesTheDeviceOver(t *testing.T) {
	clocktest.Bubble(t, func(t *testing.T) {
		p := newPlant()
		_, err := trialOf(t, t.Context(), p, Settings{}, func(s, _ string) {
			if s == "up" {
				time.AfterFunc(9*time.Second, func() {
					p.set(func(p *plant) {
						p.dispatch = flex.Target{Order: flex.OrderSet, Power: 4000, Dispatch: []flex.InstructionID{"i1"}}
					})
				})
			}
		})
		if r, ok := flex.RefusalOf(err); !ok || r.Reason != flex.ReasonOverlap {
			t.Fatal(err)
		}
		if last := p.targets[len(p.targets)-1]; last != 4000 || !p.held {
			t.Errorf("last target %v, held %v: the dispatch must go on", last, p.held)
		}
	})
}

func TestAReleaseThatIsNotProvenIsTold(t *testing.T) {
	clocktest.Bubble(t, func(t *testing.T) {
		p := newPlant()
		p.neverFrees = true
		if _, err := trialOf(t, t.Context(), p, Settings{}, nil); !errors.Is(err, ErrNotReleased) {
			t.Fatal(err)
		}
	})
}

func TestWhatMustNotBeTriedIsRefused(t *testing.T) {
	for _, c := range []struct {
		name string
		make func(*plant)
		s    Settings
		want string
	}{
		{"a full battery", func(p *plant) { p.soc = 9900 }, Settings{}, "both directions need room"},
		{"a device without a rating", func(p *plant) { p.plate.MaxPower, p.plate.MaxCharge, p.plate.MaxDischarge = 0, 0, 0 }, Settings{}, "tells no rating"},
		{"a meter", func(p *plant) { p.plate.Can = []flex.Capability{flex.CanMeasure} }, Settings{}, "cannot be controlled"},
		{"half the rating", func(*plant) {}, Settings{Percent: 50}, "from 1 to 20"},
		{"an hour", func(*plant) {}, Settings{Hold: time.Hour}, "lasts from"},
		{"a running dispatch", func(p *plant) { p.busy = flex.Refuse(flex.ReasonOverlap, "i1 runs") }, Settings{}, "i1 runs"},
		{"a site without a meter", func(p *plant) { p.meterSilent = true }, Settings{}, "meter gives no power"},
		{"an idle roof", func(p *plant) {
			p.plate.Can, p.plate.Role = []flex.Capability{flex.CanCap}, flex.RolePV
		}, Settings{}, "when it generates more"},
	} {
		t.Run(c.name, func(t *testing.T) {
			clocktest.Bubble(t, func(t *testing.T) {
				p := newPlant()
				c.make(p)
				_, err := trialOf(t, t.Context(), p, c.s, nil)
				if _, refused := flex.RefusalOf(err); !refused || !strings.Contains(err.Error(), c.want) {
					t.Errorf("%v, want %q", err, c.want)
				}
				if p.applied > 0 {
					t.Error("a setpoint was written")
				}
			})
		})
	}
}
