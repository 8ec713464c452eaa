package regmap_test

import (
	"context"
	"maps"
	"math"
	"strings"
	"sync"
	"testing"
	"time"

	"flexd/agent/flex"
	"flexd/drivers/drivertest"
	strangers "flexd/drivers/drivertest/makers"
	"flexd/drivers/modbus"
	"flexd/drivers/regmap"
)

// tap stands between a driver and a simulated device: it lets single writes
// fail, lets readings be replaced, and moves the device's clock.
type tap struct {
	mu     sync.Mutex
	dev    strangers.Device
	ahead  time.Duration // of the device's clock
	writes []modbus.Request
	faults map[int]drivertest.Fault
	shows  map[strangers.Register]uint16 // what is read instead
}

func (p *tap) now() time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	return time.Now().Add(p.ahead)
}

func (p *tap) pass(d time.Duration) {
	p.mu.Lock()
	p.ahead += d
	p.mu.Unlock()
	p.dev.Watts()
}

// Do passes a request on.
func (p *tap) Do(ctx context.Context, r modbus.Request) (modbus.Response, error) {
	fault := drivertest.NoFault
	if r.Values != nil {
		p.mu.Lock()
		p.writes = append(p.writes, r)
		fault = p.faults[len(p.writes)]
		delete(p.faults, len(p.writes))
		p.mu.Unlock()
	}
	switch fault {
	case drivertest.Unsent:
		return modbus.Response{}, modbus.ErrNotSent
	case drivertest.LostWrite:
		return modbus.Response{}, modbus.ErrUncertain
	case drivertest.Refused:
		return modbus.Response{}, &modbus.Exception{Func: r.Func, Code: modbus.IllegalValue}
	case drivertest.NoFault, drivertest.LostReply:
	}
	res, err := p.dev.Do(ctx, r)
	if err == nil && fault == drivertest.LostReply {
		return modbus.Response{}, modbus.ErrUncertain
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	res.Sent, res.Done = time.Now(), time.Now()
	for i := range res.Words {
		if w, ok := p.shows[strangers.Register{Unit: r.Unit, Addr: r.Addr + uint16(i)}]; ok {
			res.Words[i] = w
		}
	}
	return res, err
}

func (p *tap) fault(n int, f drivertest.Fault) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	clear(p.faults)
	if f != drivertest.NoFault {
		p.faults[len(p.writes)+n] = f
	}
	return true
}

// plant is one simulated device with the ways to look at it and disturb it.
type plant interface {
	strangers.Device
	SetSun(w float64)
	SetHouse(w float64)
	Put(unit byte, addr uint16, words ...uint16)
}

// made is a map and the device that strangers wrote for it.
type made struct {
	name  string // of the map
	unit  byte
	cap   bool
	build func(now func() time.Time) plant
	// on tells by the registers whether control is in force.
	on    func(get func(addr uint16) uint16) bool
	after time.Duration // it falls back
	lsb   float64
	once  []uint16 // written once for many refreshes

	others, limit, swap func(put func(addr uint16, words ...uint16))
	blank               map[uint16]uint16
	unheld              bool // cannot be held at 0 W
	single              bool // a change is one request
	passes              bool // falls back to passing through, and not to its own ways
	rests               bool // stands still after a release until its timer frees it
	blind               bool // what was written cannot be read back
}

// froniusMode is where StorCtl_Mod lies in the GEN24's chain.
const froniusMode = 40348

func low(v float64) []uint16 {
	b := math.Float32bits(float32(v))
	return []uint16{uint16(b), uint16(b >> 16)}
}

// mades are the makers' devices; what the house and the sun do is set by the
// test.
var mades = []made{
	{
		name: "sungrow-sh", unit: 1, after: 80 * time.Second, lsb: 1, once: []uint16{13049},
		build: func(now func() time.Time) plant {
			return strangers.NewSungrow(now, strangers.SungrowOptions{House: 700})
		},
		on:     func(get func(uint16) uint16) bool { return get(13049) == 3 },
		others: func(put func(uint16, ...uint16)) { put(13051, 777) },
		swap:   func(put func(uint16, ...uint16)) { put(4989, 0x4242) },
		blank:  map[uint16]uint16{13022: 0xFFFF, 5213: 0, 5214: 0x8000},
	},
	{
		name: "fronius-gen24", unit: 1, after: 60 * time.Second, lsb: 2, once: []uint16{froniusMode + 10, froniusMode + 12},
		build: func(now func() time.Time) plant {
			return strangers.NewFronius(now, strangers.FroniusOptions{House: 700})
		},
		on:     func(get func(uint16) uint16) bool { return get(froniusMode) != 0 },
		others: func(put func(uint16, ...uint16)) { put(froniusMode+7, 777) },
		swap:   func(put func(uint16, ...uint16)) { put(40052, 0x4242) },
		blank:  map[uint16]uint16{froniusMode + 3: 0xFFFF, 40314: 0xFFFF, 40334: 0xFFFF, 40083: 0x8000},
	},
	{
		name: "solaredge-pv", unit: 1, cap: true, after: 60 * time.Second, lsb: 1,
		once: []uint16{0xF300, 0xF310, 0xF312, 0xF318, 0xF31A},
		build: func(now func() time.Time) plant {
			return strangers.NewSolarEdge(now, strangers.SolarEdgeOptions{Sun: 8000, House: 700})
		},
		on:     func(get func(uint16) uint16) bool { return get(0xF300) == 1 },
		others: func(put func(uint16, ...uint16)) { put(0xF322, low(13)...) },
		limit:  func(put func(uint16, ...uint16)) { put(0xF322, low(40)...); put(0xF300, 1) },
		swap:   func(put func(uint16, ...uint16)) { put(40052, 0x4242) },
		blank:  map[uint16]uint16{40083: 0x8000},
	},
	{
		name: "solaredge-storedge", unit: 1, after: 60 * time.Second, lsb: 1, once: []uint16{0xE004, 0xE005, 0xE00A, 0xE00B, 0xE00E, 0xE010},
		build: func(now func() time.Time) plant {
			return strangers.NewSolarEdge(now, strangers.SolarEdgeOptions{Batteries: 2, House: 700})
		},
		on:     func(get func(uint16) uint16) bool { return get(0xE004) == 4 },
		others: func(put func(uint16, ...uint16)) { put(0xE00D, 5) },
		swap:   func(put func(uint16, ...uint16)) { put(40052, 0x4242) },
		blank:  map[uint16]uint16{0xE184: 0xFFFF, 0xE185: 0xFF7F, 0xE174: 0xFFFF, 0xE175: 0xFF7F},
	},
	{
		name: "huawei-luna", unit: 1, after: 2 * time.Minute, lsb: 1, unheld: true, once: []uint16{47087},
		build: func(now func() time.Time) plant {
			return strangers.NewHuawei(now, strangers.HuaweiOptions{House: 700, RampIn: 1e12, RampOut: 1e12})
		},
		on:     func(get func(uint16) uint16) bool { return get(47100) != 0 },
		others: func(put func(uint16, ...uint16)) { put(47249, 0, 777) },
		swap:   func(put func(uint16, ...uint16)) { put(30015, 0x4242) },
		blank:  map[uint16]uint16{37760: 0xFFFF, 37765: 0x7FFF, 37766: 0xFFFF},
	},
	{
		name: "kostal-plenticore", unit: 71, after: 30 * time.Second, lsb: 1, rests: true, single: true,
		build: func(now func() time.Time) plant {
			return strangers.NewKostal(now, strangers.KostalOptions{House: 700})
		},
		on:     func(get func(uint16) uint16) bool { return get(1034) != 0 || get(1035) != 0 || get(582) == 0 },
		others: func(put func(uint16, ...uint16)) { put(1034, low(777)...) },
		swap:   func(put func(uint16, ...uint16)) { put(14, 0x4242) },
		blank:  map[uint16]uint16{514: 0xFFFF, 582: 0x8000},
	},
	{
		name: "sigenergy", unit: 247, lsb: 1, single: true, once: []uint16{40029, 40031},
		build: func(now func() time.Time) plant {
			return strangers.NewSigenergy(now, strangers.SigenergyOptions{House: 700})
		},
		on:     func(get func(uint16) uint16) bool { return get(40029) == 1 && get(40031) == 0 },
		others: func(put func(uint16, ...uint16)) { put(40001, 0, 777) },
		blank:  map[uint16]uint16{30014: 0xFFFF, 30037: 0x7FFF, 30038: 0xFFFF},
	},
	{
		name: "victron-gx", unit: 100, lsb: 1, single: true,
		build: func(now func() time.Time) plant {
			return strangers.NewVictron(now, strangers.VictronOptions{House: 700})
		},
		on:    func(get func(uint16) uint16) bool { return get(2716) != 0 || get(2717) != 0 },
		swap:  func(put func(uint16, ...uint16)) { put(800, 0x4242) },
		blank: map[uint16]uint16{840: 0, 842: 0, 843: 0},
	},
	{
		name: "victron-gx-mode3", unit: 100, after: 14 * time.Second, lsb: 3, passes: true, once: []uint16{2902},
		build: func(now func() time.Time) plant {
			return strangers.NewVictron(now, strangers.VictronOptions{House: 700, Mode: 2})
		},
		on:   func(get func(uint16) uint16) bool { return get(2902) == 3 },
		swap: func(put func(uint16, ...uint16)) { put(800, 0x4242) },
	},
	ofSMA("sma-storage", strangers.NewSBS, strangers.SMAOptions{House: 700, Rating: 6000}),
	ofSMA("sma-stp-se", strangers.NewSTPSE, strangers.SMAOptions{House: 700, Reading: strangers.SMAACPower}),
	ofSMA("sma-stp-se-battery", strangers.NewSTPSE, strangers.SMAOptions{House: 700, Reading: strangers.SMABatteryPower}),
}

// plays tells whether the map is for a role; "" is its own.
func (m made) plays(role flex.Role) bool {
	rm, err := regmap.Load(m.name, "")
	return err == nil && (role == "" || strings.Contains(rm.Role.String(), string(role)))
}

// ofSMA is one of SMA's, whose commands cannot be read back.
func ofSMA(name string, build func(func() time.Time, strangers.SMAOptions) *strangers.SMA, o strangers.SMAOptions) made {
	return made{
		name: name, unit: 3, after: 10 * time.Minute, lsb: 1, blind: true,
		build: func(now func() time.Time) plant { return build(now, o) },
		// By itself it serves the house's 700 W.
		on:   func(get func(uint16) uint16) bool { return get(31394) != 0 || get(31396) != 700 },
		swap: func(put func(uint16, ...uint16)) { put(30057, 0x4242) },
	}
}

// bench is a device under a driver.
type bench struct {
	made
	p       *tap
	dev     plant
	role    flex.Role
	consent bool
}

func (m made) bench(options ...func(*bench)) *bench {
	b := &bench{made: m, p: &tap{faults: map[int]drivertest.Fault{}, shows: map[strangers.Register]uint16{}}, role: flex.RoleStorage, consent: true}
	if m.cap {
		b.role = flex.RolePV
	}
	for _, o := range options {
		o(b)
	}
	b.dev = b.build(b.p.now)
	b.p.dev = b.dev
	return b
}

// loaded are the maps by name: thousands of devices share a few.
var loaded sync.Map

func shipped(t testing.TB, name string) *regmap.Map {
	t.Helper()
	if m, ok := loaded.Load(name); ok {
		return m.(*regmap.Map)
	}
	m, err := regmap.Load(name, "")
	if err != nil {
		t.Fatal(err)
	}
	loaded.Store(name, m)
	return m
}

func (b *bench) driver(t testing.TB, bus regmap.Bus) *regmap.Device {
	t.Helper()
	d, err := regmap.New(regmap.Config{ID: "dev", Endpoint: "10.0.0.1:502", Unit: b.unit, Map: shipped(t, b.name), Bus: bus, Role: b.role, GridCharge: b.consent})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func (b *bench) order(w flex.Watts) flex.Target {
	o := flex.OrderSet
	if b.cap {
		o = flex.OrderCap
	}
	return flex.Target{Device: "dev", Order: o, Power: w, Revert: time.Minute}
}

// gives is the power that an order is about.
func (b *bench) gives() flex.Watts {
	w := b.dev.Watts()
	v := w.Battery
	if b.role != flex.RoleStorage {
		v = w.AC
	}
	return flex.Watts(math.Round(v))
}

func (b *bench) get(addr uint16) uint16 {
	r, err := b.dev.Do(context.Background(), modbus.Request{Unit: b.unit, Func: modbus.ReadHolding, Addr: addr, Count: 1})
	if err != nil || len(r.Words) == 0 {
		return 0xDEAD
	}
	return r.Words[0]
}

func (b *bench) put(addr uint16, words ...uint16) { b.dev.Put(b.unit, addr, words...) }

// owner is what belongs to the owner.
func (b *bench) owner() map[strangers.Register]uint16 { return b.dev.Owner() }

func (b *bench) rig(device func() drivertest.Device) drivertest.Rig {
	act := func(do func(func(uint16, ...uint16))) func() {
		if do == nil {
			return nil
		}
		return func() { do(b.put) }
	}
	r := drivertest.Rig{
		Device: device, Orders: []flex.Target{b.order(3000), b.order(-2000)}, Once: b.once, Unheld: b.unheld, Rests: b.rests, Blind: b.blind,
		Others: act(b.others), Limit: act(b.limit),
		Swap: func() {
			words := map[strangers.Register]uint16{}
			b.swap(func(addr uint16, w ...uint16) { words[strangers.Register{Unit: b.unit, Addr: addr}] = w[0] })
			b.shown(words)
		},
		Blank: func() {
			words := map[strangers.Register]uint16{}
			for a, w := range b.blank {
				words[strangers.Register{Unit: b.unit, Addr: a}] = w
			}
			b.shown(words)
		},
		Produce: func(w flex.Watts) { b.dev.SetSun(max(0, float64(-w))); b.dev.SetHouse(max(0, float64(w))) },
		Gives:   b.gives,
		Told: func() (flex.Watts, bool) {
			return b.gives(), b.on(b.get)
		},
		Control: func() map[uint16]uint16 {
			out := map[uint16]uint16{}
			for a, w := range b.owner() {
				out[a.Addr] = w
			}
			return out
		},
		Fault: b.p.fault,
	}
	if b.after > 0 {
		r.Lapse = func() { b.p.pass(10 * time.Minute) }
	}
	if b.swap == nil {
		r.Swap = nil
	}
	if b.blank == nil { // its blanks have a meaning
		r.Blank = nil
	}
	if b.cap {
		r.Orders, r.Produce = []flex.Target{b.order(3000), b.order(5000)}, nil
	}
	return r
}

func (b *bench) shown(words map[strangers.Register]uint16) {
	b.p.mu.Lock()
	defer b.p.mu.Unlock()
	maps.Copy(b.p.shows, words)
}

// The battery alone, and the AC power of a hybrid, at night and in the sun.
func TestTheSuiteOnDevicesOfStrangers(t *testing.T) {
	for _, m := range mades {
		for _, as := range []struct {
			name string
			role flex.Role
			sun  float64
		}{{"", "", 0}, {" as a hybrid", flex.RoleHybrid, 0}, {" as a hybrid in the sun", flex.RoleHybrid, 900}} {
			if as.role != "" && (m.cap || m.name == "huawei-luna" && as.sun > 0) { // which refuses what would cost the sun
				continue
			}
			if as.sun > 0 && (m.blind || m.rests) || !m.plays(as.role) { // of the first, the registers do not tell what is in force: they have tests of their own
				continue
			}
			t.Run(m.name+as.name, func(t *testing.T) {
				drivertest.Run(t, func(t *testing.T) drivertest.Rig {
					b := m.bench(func(b *bench) {
						if as.role != "" {
							b.role = as.role
						}
					})
					if as.sun > 0 {
						b.dev.SetSun(as.sun)
					}
					r := b.rig(func() drivertest.Device { return b.driver(t, b.p) })
					if b.role == flex.RoleHybrid {
						r.Produce, r.Blank = nil, nil // AC power is never negative by itself, and is told while the battery is not
					}
					return r
				})
			})
		}
	}
}
