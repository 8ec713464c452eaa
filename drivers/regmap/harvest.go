package regmap

import (
	"math"
	"time"

	"flexd/agent/flex"
)

// recovery is how long PV may take to be back after it was held down.
const recovery = 15 * time.Second

// harvest is what the PV gives when nothing holds it down.
type harvest struct {
	watts float64
	known bool
	bound time.Time // when something last held it down
}

// noteHarvest remembers what the PV gives where nothing keeps it from giving
// all it can. Under a forced command, and shortly after it, a low value proves
// nothing, for it is the command's own doing; a high one does.
func (d *Device) noteHarvest(im image) {
	for _, me := range d.m.Control {
		if me.Harvest == nil {
			continue
		}
		pv, ok := d.sum(im, d.m.Measure.PV)
		if !ok {
			continue
		}
		free := d.all(im, me.Harvest.Free)
		d.mu.Lock()
		h := &d.harvest
		if !free {
			h.bound = im.at
		}
		if !h.known || pv > h.watts || free && im.at.Sub(h.bound) > recovery {
			h.watts, h.known = pv, true
		}
		d.mu.Unlock()
	}
}

// beside turns a target into what a device must be told that takes its PV down
// to give it and caps it at what is charged; an order that would cost the sun
// is refused.
func (d *Device) beside(h *Harvest, w wish) (wish, error) {
	d.mu.Lock()
	known := d.harvest
	d.mu.Unlock()
	if !known.known || !w.sunny {
		return w, flex.Refuse(flex.ReasonDeviceUnavailable, "%s does not tell what its PV gives: a forced command may take it down", d.cfg.ID)
	}
	most, band := known.watts, float64(h.Band)
	dark := most < band
	switch hybrid := d.role() == flex.RoleHybrid; {
	case w.ac > 0 && (dark || hybrid && w.ac >= most+band):
		w.power, w.apart = w.ac, 0 // all of it comes from the battery
		return w, nil
	case dark, w.ac <= -band && (hybrid || -w.ac >= most+band):
		return w, nil
	}
	return w, flex.Refuse(flex.ReasonUncontrollable, "%s: %v cannot be told while its PV gives %v: a forced command takes the PV down to it",
		d.cfg.ID, flex.Watts(math.Round(w.ac)), flex.Watts(math.Round(most)))
}
