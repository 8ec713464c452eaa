package makers

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"flexd/drivers/modbus"
)

// simulated is a device of this package with what a test may do to it.
type simulated interface {
	Device
	SetSun(w float64)
	SetHouse(w float64)
	SetSoC(pct float64)
	SoC() float64
	Restart()
}

// hybrids are devices with a rating of 10 kW and a battery of 5 kW.
func hybrids(now func() time.Time) map[string]simulated {
	return map[string]simulated{
		"Sungrow":     NewSungrow(now, SungrowOptions{Charge: 5000, Discharge: 5000, Ramp: 2000}),
		"old Sungrow": NewSungrow(now, SungrowOptions{Charge: 5000, Discharge: 5000, OldFirmware: true, ExportLimit: 3000}),
		"GEN24":       NewFronius(now, FroniusOptions{Charge: 5000, Discharge: 5000}),
		"Verto Plus":  NewFronius(now, FroniusOptions{Rating: 10000, Charge: 5000, Discharge: 5000, VertoPlus: true, Floats: true}),
		"SolarEdge":   NewSolarEdge(now, SolarEdgeOptions{}),
		"StorEdge":    NewSolarEdge(now, SolarEdgeOptions{Batteries: 2, Mode: 4}),
		"Huawei":      NewHuawei(now, HuaweiOptions{}),
	}
}

// Whatever is written, and whatever the weather does, power is neither made
// nor lost, and no rating is passed.
func TestPlantsKeepTheirRatings(t *testing.T) {
	s := newStand(t)
	for name, d := range hybrids(s.now) {
		t.Run(name, func(t *testing.T) {
			random := rand.New(rand.NewPCG(1, uint64(len(name))))
			owned := d.Owner()
			places := make([]Register, 0, len(owned))
			for at := range owned {
				places = append(places, at)
			}
			slices.SortFunc(places, func(a, b Register) int { return int(a.Addr) - int(b.Addr) })
			sun := 0.0
			for i := range 3000 {
				switch random.IntN(8) {
				case 0:
					sun = float64(random.IntN(14000))
					d.SetSun(sun)
				case 1:
					d.SetHouse(float64(random.IntN(8000)))
				case 2:
					d.SetSoC(float64(random.IntN(101)))
				default:
					poke(d, places[random.IntN(len(places))], random)
				}
				s.pass(time.Duration(random.IntN(4000)) * time.Millisecond)
				if fault := unsound(d.Watts(), sun, d.SoC()); fault != "" {
					t.Fatalf("step %d: %s: %+v", i, fault, d.Watts())
				}
			}
		})
	}
}

// poke writes one or two registers with a value that is likely to be taken.
func poke(d Device, at Register, random *rand.Rand) {
	values := []uint16{uint16(random.IntN(6))}
	switch random.IntN(4) {
	case 0:
		values = []uint16{uint16(random.IntN(6000))}
	case 1:
		values = pair(float(float64(random.IntN(101))), true)
	case 2:
		values = pair(uint32(random.IntN(6000)), false)
	}
	_, _ = d.Do(context.Background(), modbus.Request{Unit: at.Unit, Func: modbus.WriteMultiple, Addr: at.Addr, Values: values})
}

func unsound(w Watts, sun, soc float64) string {
	const slack = 0.5
	switch {
	case math.Abs(w.PV+w.Battery-w.AC) > slack:
		return "AC is not PV and battery"
	case math.Abs(w.AC-w.House-w.Grid) > slack:
		return "the connection is not AC less the house"
	case math.Abs(w.AC) > 10000+slack:
		return "above the rating"
	case math.Abs(w.Battery) > 5000+slack:
		return "above the battery's power"
	case w.PV < -slack || w.PV > sun+slack:
		return "more than the sun gives"
	case soc < 0 || soc > 100:
		return fmt.Sprintf("%.1f %% of charge", soc)
	}
	return ""
}

// What is refused changes nothing.
func TestPlantsKeepNothingOfWhatTheyRefuse(t *testing.T) {
	s := newStand(t)
	for name, d := range hybrids(s.now) {
		before := d.Owner()
		random := rand.New(rand.NewPCG(2, 2))
		for at := range before {
			values := []uint16{uint16(random.IntN(65536)), uint16(random.IntN(65536)), uint16(random.IntN(65536))}
			_, err := d.Do(context.Background(), modbus.Request{Unit: at.Unit, Func: modbus.WriteMultiple, Addr: at.Addr, Values: values})
			after := d.Owner()
			for place, v := range after {
				if err != nil && before[place] != v {
					t.Errorf("%s: %d was %d, is %d after a refusal at %d", name, place.Addr, before[place], v, at.Addr)
				}
			}
			before = after
		}
	}
}

func TestPlantsBearManyHands(t *testing.T) {
	for name, d := range hybrids(time.Now) {
		var hands sync.WaitGroup
		for i := range 4 {
			hands.Go(func() {
				random := rand.New(rand.NewPCG(uint64(i), 3))
				for at := range d.Owner() {
					poke(d, at, random)
					_, _ = d.Do(context.Background(), modbus.Request{Unit: at.Unit, Func: modbus.ReadHolding, Addr: at.Addr, Count: 1})
					d.SetSun(float64(random.IntN(9000)))
					_ = d.Watts()
				}
				d.Restart()
			})
		}
		hands.Wait()
		if w := d.Watts(); math.IsNaN(w.AC) {
			t.Errorf("%s: %+v", name, w)
		}
	}
}
