package control

import (
	"slices"
	"time"

	"flexd/agent/allocate"
	"flexd/agent/flex"
)

// ForeseeFar is Foresee for a dispatch that is too far ahead for the state of
// this minute to count: by ratings, capacities, the owner's limits and what is
// promised for that time. A battery may be charged by then, a hold be lifted
// and a device be back; a rating will not change.
func (c *Controller) ForeseeFar(d flex.Dispatch) flex.Foresight {
	return foreseeFar(c.input(c.cfg.Steady()), d, c.cfg.Decide)
}

func foreseeFar(in allocate.Input, d flex.Dispatch, decide func(allocate.Input) allocate.Plan) flex.Foresight {
	for _, dev := range in.Devices {
		if serves(in.Assets, dev.ID, d) && dev.Plate.MaxPower == 0 && dev.Plate.MaxDischarge == 0 {
			return flex.Foresight{Text: string(dev.ID) + " has not told its rating yet"}
		}
	}
	return foresee(atItsBest(in, d), d, decide)
}

// atItsBest is the site at the dispatch's start with everything in its favour
// that can still come.
func atItsBest(in allocate.Input, d flex.Dispatch) allocate.Input {
	start := d.Window.Start
	in.Now, in.Holds, in.Prepare, in.State = start, nil, nil, allocate.State{}
	in.Dispatches = slices.DeleteFunc(slices.Clone(in.Dispatches), func(o flex.Dispatch) bool { return !o.Window.Overlaps(d.Window) })
	in.Site.Meter = idle(in.Site.Meter, start)
	in.Assets = slices.Clone(in.Assets)
	for i := range in.Assets {
		in.Assets[i].Meter = idle(in.Assets[i].Meter, start)
	}
	in.Devices = slices.Clone(in.Devices)
	for i := range in.Devices {
		dev := &in.Devices[i]
		dev.Online, dev.Fault, dev.Foreign, dev.Target, dev.Owner.Left = true, "", nil, flex.Target{}, nil
		r := idle(dev.Reading, start)
		if r == nil {
			r = &flex.Reading{Device: dev.ID, At: start}
		}
		power, charge := flex.Watts(0), dev.Full()
		if dev.Role == flex.RolePV {
			power = dev.Plate.MaxPower
		}
		if sharePower(d, in.Assets, dev.ID) < 0 {
			charge = dev.Reserve(d.Use)
		}
		r.Power, r.MaxPower, r.Limit, r.Held, r.Status, r.Acting = &power, nil, nil, nil, "", nil
		if storage(*dev) {
			r.SoC = &charge
		}
		if r.Battery != nil {
			none := flex.Watts(0)
			r.Battery = &none
		}
		dev.Reading = r
	}
	return in
}

// idle is a reading as of another instant.
func idle(r *flex.Reading, at time.Time) *flex.Reading {
	if r == nil {
		return nil
	}
	out := *r
	out.At = at
	return &out
}

// sharePower is what the dispatch asks of the asset that the device serves.
func sharePower(d flex.Dispatch, assets []allocate.Asset, id flex.DeviceID) (sum flex.Watts) {
	for _, a := range assets {
		if !slices.Contains(a.Devices, id) {
			continue
		}
		for _, s := range d.Shares {
			if s.Asset == a.ID {
				sum += s.Power
			}
		}
	}
	return sum
}
