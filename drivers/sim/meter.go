package sim

import (
	"fmt"
	"math"
	"time"
)

// Meter describes the meter at the grid connection.
type Meter struct {
	Options
	// ImportPositive makes the power register count import as positive. The
	// energy registers keep the meaning of their names.
	ImportPositive bool
	// Model is 201 (one phase) or 203 (three); 0 means 203.
	Model int
	// Range is the greatest power it must show, W; 0: 30 kW.
	Range float64
}

type meter struct{ cfg Meter }

func newMeter(c Meter) (*meter, *image, error) {
	if c.Model == 0 {
		c.Model = 203
	}
	if c.Range == 0 {
		c.Range = 30_000
	}
	if c.Model < 201 || c.Model > 204 {
		return nil, nil, fmt.Errorf("meter model %d: want 201 to 204", c.Model)
	}
	if !(c.Range > 0) || c.Range > 1e8 {
		return nil, nil, fmt.Errorf("meter range %g W: want more than 0 and at most 100 MW", c.Range)
	}
	im, err := newImage(c.Base, withVendor([]int{1, c.Model}, c.Vendor), c.ShortCommon)
	if err != nil {
		return nil, nil, err
	}
	identity(im, c.Options, "Gatekeeper")
	im.setRaw(c.Model, "W_SF", fitSF(c.Range, c.WattSF, math.MaxInt16))
	im.setRaw(c.Model, "A_SF", fitSF(c.Range/230, -2, math.MaxInt16))
	im.setRaw(c.Model, "V_SF", -1)
	im.setRaw(c.Model, "Hz_SF", -2)
	im.scaleFactors()
	im.setRaw(c.Model, "Evt", 0)
	return &meter{c}, im, nil
}

func (m *meter) step(d *Device, _ time.Time, dt time.Duration) {
	d.power = d.plant.grid()
	d.count(dt)
}

func (m *meter) publish(d *Device, _ time.Time) {
	shown, im, id := d.power, d.im, m.cfg.Model
	if m.cfg.ImportPositive {
		shown = -shown
	}
	im.set(id, "W", shown)
	im.set(id, "A", math.Abs(shown)/230)
	im.set(id, "PhV", 230)
	im.set(id, "Hz", 50)
	if id == 203 || id == 204 {
		for _, phase := range []string{"A", "B", "C"} {
			im.set(id, "Wph"+phase, shown/3)
			im.set(id, "PhVph"+phase, 230)
		}
	}
	im.set(id, "TotWhExp", math.Mod(d.exported, math.MaxUint32))
	im.set(id, "TotWhImp", math.Mod(d.imported, math.MaxUint32))
}
