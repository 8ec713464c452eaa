package demo

import (
	"context"
	"math"
	"time"

	"flexd/drivers/sim"
)

// Site is a house with panels, a battery and a meter, all as Modbus/TCP
// servers on loopback.
type Site struct {
	Plant   *sim.Plant
	PV      *sim.Device // 6 kW, giving some 2.4 kW
	Battery *sim.Device // 10 kW, 20 kWh, 70 % full, follows the house when left alone
	Grid    *sim.Device // counts import as positive, so that the sign matters
}

// The site's ratings.
const (
	pvRating      = 6_000.0
	batteryRating = 10_000.0
	batteryEnergy = 20_000.0
)

// NewSite builds the default plant.
func NewSite() (*Site, error) {
	s := &Site{Plant: sim.NewPlant(sim.Config{Load: house})}
	var err error
	if s.PV, err = s.Plant.AddPV(sim.PV{Rated: pvRating, Sun: sky,
		Options: sim.Options{PctSF: -1, RampRate: 20_000}}); err != nil {
		s.Plant.Close()
		return nil, err
	}
	if s.Battery, err = s.Plant.AddBattery(sim.Battery{Rated: batteryRating, Capacity: batteryEnergy, SoC: 0.7, Reserve: 0.1,
		Options: sim.Options{PctSF: -2, RampRate: 20_000, Vendor: true}}); err != nil {
		s.Plant.Close()
		return nil, err
	}
	if s.Grid, err = s.Plant.AddMeter(sim.Meter{ImportPositive: true}); err != nil {
		s.Plant.Close()
		return nil, err
	}
	return s, nil
}

// Run serves the plant until ctx ends.
func (s *Site) Run(ctx context.Context) error { return s.Plant.Run(ctx) }

// house draws some 1.5 kW, with the ripple of a fridge and a kettle far away.
func house(t time.Time) float64 {
	return 1500 + 60*wave(t, 11*time.Second) + 25*wave(t, 3*time.Second)
}

// sky lets some 2.4 kW through.
func sky(t time.Time) float64 {
	return 2400 + 40*wave(t, 29*time.Second)
}

// wave is a sine of the given period.
func wave(t time.Time, period time.Duration) float64 {
	return math.Sin(2 * math.Pi * float64(t.UnixNano()%int64(period)) / float64(period))
}
