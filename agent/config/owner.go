package config

import (
	"fmt"

	"flexd/agent/flex"
)

// Owner is what the owner of a battery allows, by use.
type Owner struct {
	Normal, Event, Emergency OwnerBounds
	Cycles                   int // full cycles a local day, hundredths; 0: no bound
}

// OwnerBounds are the owner's for one use; nil and 0: no bound.
type OwnerBounds struct {
	MaxCharge, MaxDischarge *flex.Watts // magnitude
	Reserve                 flex.Percent
}

// owner reads the envelopes: what the wider use does not say is as in the
// narrower one.
func (b builder) owner(v value) Owner {
	var out Owner
	if !v.given() {
		return out
	}
	o := v.object("normal", "paid_event", "emergency", "daily_cycles")
	out.Normal = b.bounds(o.get("normal"), OwnerBounds{})
	out.Event = b.bounds(o.get("paid_event"), out.Normal)
	out.Emergency = b.bounds(o.get("emergency"), out.Event)
	out.Cycles = parsed(o.get("daily_cycles"), "write a number of full cycles such as 1.5", cycles)
	return out
}

func (b builder) bounds(v value, narrower OwnerBounds) OwnerBounds {
	if !v.given() {
		return narrower
	}
	o, out := v.object("max_charge", "max_discharge", "reserve_soc"), narrower
	power := func(key string, into **flex.Watts) {
		if o.get(key).given() {
			p := o.get(key).power()
			*into = &p
		}
	}
	power("max_charge", &out.MaxCharge)
	power("max_discharge", &out.MaxDischarge)
	if o.get("reserve_soc").given() {
		out.Reserve = o.get("reserve_soc").percent()
	}
	return out
}

// cycles reads a number of full cycles into hundredths.
func cycles(s string) (int, error) {
	n, err := flex.ParseDecimal(s, 100)
	if err != nil || n < 1 || n > 10_000 {
		return 0, fmt.Errorf("%q is not a number from 0.01 to 100 with at most two decimals", s)
	}
	return int(n), nil
}

// energy checks what only a battery has.
func (b builder) energy(o object, d Device) {
	if d.Role == flex.RolePV || d.Role == flex.RoleMeter {
		for _, key := range []string{"reserve_soc", "max_soc", "owner", "ramp"} {
			if o.get(key).given() {
				o.get(key).problem("remove it", "is for storage only")
			}
		}
		return
	}
	most := d.MaxSoC
	if most == 0 {
		most = flex.Full
	}
	if d.Reserve >= most {
		o.get("reserve_soc").problem("leave room between reserve_soc and max_soc", "is not below %v, up to which the device is charged", most)
	}
	for _, r := range []flex.Percent{d.Owner.Normal.Reserve, d.Owner.Event.Reserve, d.Owner.Emergency.Reserve} {
		if r >= most {
			o.get("owner").problem("leave room between the owner's reserve_soc and max_soc", "keeps %v, which leaves nothing below %v", r, most)
			return
		}
	}
}
