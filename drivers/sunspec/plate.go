package sunspec

import (
	"fmt"
	"math"

	"flexd/agent/flex"
)

// method is a way to control power.
type method string

// The ways this driver knows.
const (
	none     method = ""
	wset     method = "sunspec 704 WSet"
	wsetPct  method = "sunspec 704 WSetPct"
	rates    method = "sunspec 124 StorCtl_Mod"
	limit704 method = "sunspec 704 WMaxLimPct"
	limit123 method = "sunspec 123 WMaxLimPct"
)

// The models of a meter, of an inverter's measurements, and of all that is
// read to know and to control an inverter.
var (
	meters    = [...]uint16{201, 202, 203, 204, 211, 212, 213, 214}
	inverters = [...]uint16{101, 102, 103, 111, 112, 113, 701}
	identity  = []uint16{101, 102, 103, 111, 112, 113, 120, 121, 122, 123, 124, 160, 201, 202, 203, 204, 211, 212, 213, 214, 701, 702, 703, 704, 713, 714, 802}
	controls  = []uint16{123, 124, 704}
)

// derTypeStorage is 120.DERTyp "PV_STOR".
const derTypeStorage = 82

// fixedW is the bit of 702.CtrlModes for a fixed active power.
const fixedW = 1 << 1

// identify tells what kind of device this is and how it can be controlled.
func identify(cfg Config, chain Chain, im image) (*found, error) {
	role, err := roleOf(cfg.Role, chain, im)
	if err != nil {
		return nil, err
	}
	if role == flex.RoleMeter && cfg.Sign == "" {
		return nil, fmt.Errorf("this is a meter: it needs a sign (%s or %s), the SunSpec models state none", ExportPositive, ImportPositive)
	}
	f := &found{chain: chain, role: role, plate: flex.Nameplate{Role: role}, base: cfg.MaxCharge}
	for _, m := range chain.telling(role) {
		if chainHas(meters[:], m.ID) == (role == flex.RoleMeter) {
			f.watched = append(f.watched, m)
		}
	}
	owner := f.watched[0]
	if role == flex.RoleMeter {
		f.watched = f.watched[:1]
	}
	f.common, _ = chain.common(owner)
	f.plate.Detail = []string{chain.String()}
	if role != flex.RoleMeter {
		f.set, f.cap = methods(role, im, cfg.MaxCharge > 0)
		f.rate(im)
		f.plate.Tolls = f.tolls(im, cfg)
		f.plate.NoGridCharge = f.sunOnly(im, cfg.GridCharge)
		if f.set != none && beats(im) {
			f.plate.Refresh = heartbeatEvery
		}
		f.plate.Follow = role == flex.RoleHybrid && f.set == rates // the battery makes up what the sun lacks
		if _, measured := f.batteryPower(im); f.plate.Follow && !measured {
			f.plate.Settle = feltOut
			f.plate.Detail = append(f.plate.Detail, "nothing tells what the battery does by itself: a setpoint is felt out step by step")
		}
	}
	f.capabilities(im)
	return f, nil
}

func chainHas(ids []uint16, id uint16) bool {
	for _, x := range ids {
		if x == id {
			return true
		}
	}
	return false
}

// roleOf checks the configured role against the chain, or derives it where the
// device leaves no doubt.
func roleOf(want flex.Role, chain Chain, im image) (flex.Role, error) {
	meter, inverter := chain.has(meters[:]...), chain.has(inverters[:]...)
	switch {
	case want == flex.RoleMeter && !meter:
		return "", fmt.Errorf("role meter, but the device has no meter model 201 to 204 or 211 to 214 (%s)", chain)
	case want != "" && want != flex.RoleMeter && !inverter:
		return "", fmt.Errorf("role %s, but the device has no inverter model (%s)", want, chain)
	case want != "":
		return want, nil
	case meter && !inverter:
		return flex.RoleMeter, nil
	case !inverter && chain.has(802):
		return "", fmt.Errorf("model 802 is a battery bank without an inverter (%s): nothing in it sets a power, configure the inverter that it hangs on", chain)
	case !inverter:
		return "", fmt.Errorf("the device has neither an inverter nor a meter model known here (%s)", chain)
	case stores(im):
		return "", fmt.Errorf("the device has storage, and the models do not tell storage from hybrid: set role: storage or role: hybrid")
	}
	return flex.RolePV, nil
}

// stores tells whether anything in the device hints at a battery.
func stores(im image) bool {
	typ, _ := im.of(120).raw("DERTyp")
	cha, _ := im.of(124).num("WChaMax")
	rate, _ := im.of(702).num("WChaRteMaxRtg")
	return typ == derTypeStorage || cha > 0 || rate > 0 || im.of(713).has("SoC") || im.of(802).has("SoC")
}

// methods picks how power is set and how it is capped; based tells that the
// configuration says what rates refer to.
func methods(role flex.Role, im image, based bool) (set, limit method) {
	der, imm, sto := im.of(704), im.of(123), im.of(124)
	if role == flex.RoleStorage || role == flex.RoleHybrid {
		modes, said := im.of(702).raw("CtrlModes")
		_, ena := der.raw("WSetEna")
		_, mod := der.raw("WSetMod")
		_, base := maxPower(im)
		cha, _ := sto.num("WChaMax")
		switch allowed := ena && (!said || modes&fixedW != 0); {
		case allowed && mod && der.has("WSet"):
			set = wset
		case allowed && base && der.has("WSetPct"):
			set = wsetPct
		case (based || cha > 0) && sto.has("StorCtl_Mod") && sto.has("OutWRte") && sto.has("InWRte"):
			set = rates
		}
	}
	if _, base := maxPower(im); base {
		if der.has("WMaxLimPctEna") && der.has("WMaxLimPct") {
			limit = limit704
		} else if imm.has("WMaxLim_Ena") && imm.has("WMaxLimPct") {
			limit = limit123
		}
	}
	return set, limit
}

// maxPower is the setting that percentages of power refer to, W: 702.WMax or
// 121.WMax, else the rating.
func maxPower(im image) (float64, bool) {
	for _, p := range [...]struct {
		model uint16
		name  string
	}{{702, "WMax"}, {121, "WMax"}, {702, "WMaxRtg"}, {120, "WRtg"}} {
		if v, ok := im.of(p.model).num(p.name); ok && v > 0 && v <= float64(flex.MaxPower) {
			return v, true
		}
	}
	return 0, false
}

// rate fills in ratings, step and the fall-back.
func (f *found) rate(im image) {
	p := &f.plate
	base, _ := maxPower(im)
	p.MaxPower = watts(base)
	p.Energy = flex.WattHours(watts(firstOf(im, 713, "WHRtg", 120, "WHRtg")))
	if p.Energy == 0 {
		p.Energy = flex.WattHours(watts(firstOf(im, 802, "WHRtg", 802, "WHRtg")))
	}
	if f.role != flex.RolePV {
		p.MaxCharge = watts(f.chargeMax(im))
		p.MaxDischarge = watts(f.dischargeMax(im))
	}
	if f.set != none {
		p.Method = string(f.set)
	} else {
		p.Method = string(f.cap)
	}
	p.Step = f.step(im)
	p.Revert = f.reverts(im)
}

// firstOf is the first of two points that is implemented and above zero.
func firstOf(im image, m1 uint16, p1 string, m2 uint16, p2 string) float64 {
	if v, ok := im.of(m1).num(p1); ok && v > 0 {
		return v
	}
	v, _ := im.of(m2).num(p2)
	return max(0, v)
}

// chargeMax is how fast the battery may charge, W; 0 when not known.
func (f *found) chargeMax(im image) float64 {
	cha := firstOf(im, 124, "WChaMax", 120, "MaxChaRte")
	if f.base > 0 {
		cha = float64(f.base)
	}
	rated := least(firstOf(im, 702, "WChaRteMax", 702, "WChaRteMaxRtg"), cha)
	return least(rated, firstOf(im, 802, "WChaRteMax", 802, "WChaRteMax"))
}

// dischargeMax is how fast the battery may discharge, W; 0 when not known.
func (f *found) dischargeMax(im image) float64 {
	rated := firstOf(im, 702, "WDisChaRteMax", 702, "WDisChaRteMaxRtg")
	if rated == 0 {
		rated = firstOf(im, 120, "MaxDisChaRte", 124, "WChaMax")
		if f.base > 0 && !im.of(120).has("MaxDisChaRte") {
			rated = float64(f.base)
		}
	}
	return least(rated, firstOf(im, 802, "WDisChaRteMax", 802, "WDisChaRteMax"))
}

// least is the smaller of two magnitudes, where 0 means not known.
func least(a, b float64) float64 {
	if a == 0 || b == 0 {
		return a + b
	}
	return min(a, b)
}

// step is one LSB of the control's register in W, rounded up.
func (f *found) step(im image) flex.Watts {
	base, _ := maxPower(im)
	lsb := 0.0
	switch m := f.method(); m {
	case wset:
		lsb, _ = im.of(704).lsb("WSet")
	case wsetPct:
		pct, _ := im.of(704).lsb("WSetPct")
		lsb = base * pct / 100
	case rates:
		cha, _ := f.rateBase(im)
		pct, _ := im.of(124).lsb("OutWRte")
		lsb = cha * pct / 100
	case limit704:
		pct, _ := im.of(704).lsb("WMaxLimPct")
		lsb = base * pct / 100
	case limit123:
		pct, _ := im.of(123).lsb("WMaxLimPct")
		lsb = base * pct / 100
	case none:
		return 0
	}
	return max(1, watts(math.Ceil(lsb)))
}

// sunOnly tells that the battery takes no power from the grid, whatever rate it
// is told: ChaGriSet says so, and the owner's consent to change it is missing.
func (f *found) sunOnly(im image, consent bool) bool {
	grid, ok := im.of(124).raw("ChaGriSet")
	return f.set == rates && ok && grid == 0 && !consent
}

// method is the device's main way of control.
func (f *found) method() method {
	if f.set != none {
		return f.set
	}
	return f.cap
}

// reverts tells whether the control in use has a reversion timer.
func (f *found) reverts(im image) bool {
	c, ok := controlOf(f.method())
	if !ok {
		return false
	}
	_, ok = im.of(c.model).raw(c.timer)
	return ok
}

func (f *found) capabilities(im image) {
	can := &f.plate.Can
	if f.set != none {
		*can = append(*can, flex.CanSet, flex.CanIdle)
	}
	if f.cap != none {
		*can = append(*can, flex.CanCap)
		f.plate.Detail = append(f.plate.Detail, "cap: "+string(f.cap))
	}
	if _, ok := acPower(im); ok || f.role == flex.RoleMeter {
		*can = append(*can, flex.CanMeasure)
	}
	if _, ok := soc(im); ok {
		*can = append(*can, flex.CanSoC)
	}
}

// name copies what the common model says.
func (f *found) name(b block) {
	f.serial = b.text("SN")
	f.plate.Manufacturer, f.plate.Model = b.text("Mn"), b.text("Md")
	f.plate.Firmware, f.plate.Serial = b.text("Vr"), f.serial
	if f.cap == limit123 && f.maker("fronius") {
		f.plate.Detail = append(f.plate.Detail, "a changed cap is switched off and on again: between the two writes, and if flexd dies there, it is not capped; no safer way is known")
	}
}

// watts rounds to whole watts, within the bounds of what is believed.
func watts(v float64) flex.Watts {
	if math.IsNaN(v) || math.Abs(v) > float64(flex.MaxPower) {
		return 0
	}
	return flex.Watts(math.Round(v))
}
