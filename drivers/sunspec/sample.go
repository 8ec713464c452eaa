package sunspec

import (
	"math"
	"strconv"
	"strings"
)

// What an inverter loses and takes for itself at most, as a rule.
const (
	losses      = 0.9  // of what goes through it, this share comes out
	consumption = 50.0 // W
)

// sampleOf gathers what an image tells of a hybrid's flows for a target.
func (f *found) sampleOf(im image, want float64) (sample, error) {
	ac, ok := acPower(im)
	if !ok {
		return sample{}, errNoAC
	}
	s := sample{at: im.at, ac: ac, want: want}
	top, ok := maxPower(im)
	if ok {
		s.want = max(-top, min(top, want))
	}
	s.most, _ = f.rateBase(im)
	pct, _ := im.of(124).lsb("OutWRte")
	s.step = max(1, s.most*pct/full, acStep(im))
	s.noise = max(2*s.step, top/400)
	s.battery, s.measured = f.batteryPower(im)
	s.panels, s.seen = panels(im)
	state := batteryState(im)
	s.rests = state == stateOff || state == stateEmpty || state == stateFull || state == stateHolding
	s.stands = f.standing(im)
	s.may = f.batteryMay(im, ac, state)
	if s.seen { // what they leave of the AC power, whatever is lost on the way
		a, b := ac*losses-s.panels, ac/losses-s.panels
		if low, high := max(s.may.low, min(a, b)-consumption), min(s.may.high, max(a, b)+consumption); low <= high {
			s.may = bounds{low: low, high: high}
		}
	}
	return s, nil
}

// acStep is the resolution of the AC power, W.
func acStep(im image) float64 {
	for _, id := range inverters {
		if b := im.of(id); b.has("W") {
			lsb, _ := b.lsb("W")
			return lsb
		}
	}
	return 0
}

// batteryState is what the battery says that it does; 0 where it does not.
func batteryState(im image) int64 {
	for _, id := range [...]uint16{802, 124} {
		if st, ok := im.of(id).raw("ChaSt"); ok {
			return st
		}
	}
	return 0
}

// standing are the bounds by rates that are both in force, W.
func (f *found) standing(im image) *bounds {
	b := im.of(124)
	mod, _ := b.raw("StorCtl_Mod")
	out, ok := b.num("OutWRte")
	in, ok2 := b.num("InWRte")
	base, ok3 := f.rateBase(im)
	if mod != both || !ok || !ok2 || !ok3 || -in > out {
		return nil
	}
	return &bounds{low: -in * base / full, high: out * base / full}
}

// batteryMay is where the battery can be, by its ratings, by what it says that
// it does, by rates of others in force, and since no panel takes power.
func (f *found) batteryMay(im image, ac float64, state int64) bounds {
	base, _ := f.rateBase(im)
	m := bounds{low: -base, high: base}
	if v := f.chargeMax(im); v > 0 {
		m.low = -v
	}
	if v := f.dischargeMax(im); v > 0 {
		m.high = v
	}
	b := im.of(124)
	mod, _ := b.raw("StorCtl_Mod")
	if in, ok := b.num("InWRte"); ok && mod&1 != 0 {
		m.low = max(m.low, -in*base/full)
	}
	if out, ok := b.num("OutWRte"); ok && mod&2 != 0 {
		m.high = min(m.high, out*base/full)
	}
	switch state {
	case stateDischarging:
		m.low = max(m.low, 0)
	case stateCharging:
		m.high = min(m.high, 0)
	}
	if ac >= 0 {
		m.high = min(m.high, ac/losses+consumption)
	} else {
		m.high = min(m.high, ac*losses+consumption)
	}
	if m.low > m.high { // they contradict each other: believe the ratings
		return bounds{low: -base, high: base}
	}
	return m
}

// panels adds up what the panels give on the DC side, where every input is
// named for what it is.
func panels(im image) (sum float64, ok bool) {
	if v, ok := ports(im.of(714), portPV); ok {
		return v, true
	}
	for _, m := range modules(im.of(160)) {
		switch v, told := m.power, m.told; {
		case m.kind == modulePanels && told:
			sum, ok = sum+v, true
		case m.kind != moduleIn && m.kind != moduleOut:
			return 0, false
		}
	}
	return sum, ok
}

// module is one of model 160.
type module struct {
	kind  moduleKind
	power float64
	told  bool
}

type moduleKind int

const (
	moduleUnnamed moduleKind = iota
	modulePanels
	moduleIn  // into the battery
	moduleOut // out of it
)

// modules reads model 160; none where it has more than are read.
func modules(b block) []module {
	n, ok := b.raw("N")
	if !ok || n < 1 || n > mostModules {
		return nil
	}
	out := make([]module, n)
	for i := range out {
		name := "M" + strconv.Itoa(i+1)
		out[i].power, out[i].told = b.num(name + ".DCW")
		switch id := strings.ToLower(b.text(name + ".IDStr")); {
		case strings.Contains(id, "discha"):
			out[i].kind = moduleOut
		case strings.Contains(id, "cha"):
			out[i].kind = moduleIn
		case strings.HasPrefix(id, "mppt"), strings.HasPrefix(id, "pv"):
			out[i].kind = modulePanels
		}
	}
	return out
}

// mppt reads a battery behind model 160: a module that is named for what goes
// in and one for what goes out, whichever they are (GEN24: the third and the
// fourth, Verto: the fourth and the fifth). Where a Fronius with four names
// none, they are the third and the fourth.
func (f *found) mppt(im image) (float64, bool) {
	list := modules(im.of(160))
	if !im.of(124).has("WChaMax") {
		return 0, false
	}
	power, in, out, named := 0.0, false, false, false
	for _, m := range list {
		named = named || m.kind != moduleUnnamed
		switch {
		case m.kind == moduleIn && m.told:
			power, in = power-m.power, true
		case m.kind == moduleOut && m.told:
			power, out = power+m.power, true
		}
	}
	if !named && len(list) == 4 && f.maker("fronius") {
		return list[3].power - list[2].power, list[2].told && list[3].told
	}
	return power, in && out && !math.IsNaN(power)
}
