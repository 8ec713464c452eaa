package regmap

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"flexd/agent/flex"
)

// Map is one vendor's register map, read and checked. See the shipped maps for
// what each setting means; `flexd map schema` gives them to an editor.
type Map struct {
	Name    string   `yaml:"map"`
	Title   string   `yaml:"title"`
	Vendor  string   `yaml:"vendor"`
	Models  []string `yaml:"models"`
	Status  status   `yaml:"status"`
	Sources sources  `yaml:"sources"`
	Notes   []string `yaml:"notes"` // for the technician
	// Question tells this map from another one that fits the same device.
	Question string   `yaml:"question"`
	Role     roles    `yaml:"role"` // the first, unless the site's configuration names another one
	Line     Line     `yaml:"line"`
	LowFirst order    `yaml:"words"` // of values wider than a register; a point may say otherwise
	WordsBy  *WordsBy `yaml:"words_by"`
	// Base says from where `at` counts: 0, or the models of a SunSpec chain.
	Points   map[string]*Point  `yaml:"points"`
	Identity []Check            `yaml:"identity"`
	Firmware *Firmware          `yaml:"firmware"`
	Need     []Check            `yaml:"need"`
	Measure  Measure            `yaml:"measure"`
	Rating   Rating             `yaml:"rating"`
	Control  map[string]*Method `yaml:"control"` // set, cap

	file string
}

// Line is how the device wants to be talked to.
type Line struct {
	Port         int  `yaml:"port"`
	Unit         int  `yaml:"unit"`
	Timeout      span `yaml:"timeout"`
	Gap          span `yaml:"gap"`
	UnitGap      span `yaml:"unit_gap"`
	ConnectDelay span `yaml:"connect_delay"`
	MaxRead      int  `yaml:"max_read"`
	MaxWrite     int  `yaml:"max_write"`
	// Bridge is how many registers between two points are read along, where a
	// request costs more than registers.
	Bridge  int `yaml:"bridge"`
	Clients int `yaml:"clients"` // TCP connections it serves; 0: not known
	// Write is the function code of writes: 16, or 6 for one register a request.
	Write int `yaml:"write"`
}

// Point is a value in registers.
type Point struct {
	From   names     `yaml:"from"`  // the sources that it is taken from
	Doubt  string    `yaml:"doubt"` // why it may be otherwise
	At     address   `yaml:"at"`
	Type   Kind      `yaml:"type"`
	Len    int       `yaml:"len"` // registers of a str
	Func   int       `yaml:"read"`
	Words  order     `yaml:"words"`
	Scale  number    `yaml:"scale"` // value = raw × scale
	SF     string    `yaml:"sf"`    // the point that holds the power of ten
	Offset number    `yaml:"offset"`
	Unit   string    `yaml:"unit"`
	Sign   sign      `yaml:"sign"`
	NaN    []hexword `yaml:"nan"`
	// Missing is what "not available" stands for, where the device says so of a
	// value that is known: of a battery that sleeps or is empty.
	Missing *number `yaml:"missing"`
	Access  access  `yaml:"access"`
	// Avoid is a value that is no setpoint to the device but something else: one
	// step beside it is told instead, towards less.
	Avoid  *number `yaml:"avoid"`
	Memory memory  `yaml:"memory"`
	Budget int     `yaml:"budget"` // writes a day that a source allows; 0: as the site's configuration has it
	UnitID int     `yaml:"unit_id"`
	Note   string  `yaml:"note"`
	// Valid holds where the value means anything, for a device that reads 0
	// where it knows nothing.
	Valid []Check `yaml:"valid"`
	// Optional is for what some of the devices lack: they refuse to read it.
	Optional bool `yaml:"optional"`
	// Choose makes the point one of several others: the first whose checks hold
	// when the device is opened. Such a point is measured or rated, not written.
	Choose []Choice `yaml:"choose"`
	// Direction gives a magnitude its sign.
	Direction *Direction `yaml:"direction"`
	// Moves is for what the device changes by itself (it counts down, or clears
	// it): written, it is not compared, and what was found is not restored.
	Moves bool `yaml:"moves"`
	// Permission names the owner's consent without which the point is never
	// written.
	Permission permission `yaml:"permission"`

	name string
}

// Choice is a point and what must hold for it to be the one.
type Choice struct {
	If  []Check `yaml:"if"`
	Use string  `yaml:"use"`
}

// Direction tells the sign of a magnitude by the bits of another point: any of
// plus, or any of minus. Neither: a magnitude other than 0 is not known.
type Direction struct {
	Point string   `yaml:"point"`
	Plus  *hexword `yaml:"plus"`
	Minus *hexword `yaml:"minus"`
}

// WordsBy tells the order of registers by a register of the device.
type WordsBy struct {
	Point     string `yaml:"point"`
	LowFirst  words  `yaml:"low_first"`
	HighFirst words  `yaml:"high_first"`
}

// Check compares a point.
type Check struct {
	Point string   `yaml:"point"`
	In    []number `yaml:"in"`
	Not   []number `yaml:"not"`
	Min   *number  `yaml:"min"`
	Max   *number  `yaml:"max"`
	There *bool    `yaml:"there"` // the device has the point
	Has   []string `yaml:"has"`   // text that the point must contain one of
	Hint  string   `yaml:"hint"`
}

// Firmware is the range of versions that the map is for.
type Firmware struct {
	Point string  `yaml:"point"`
	From  *number `yaml:"from"`
	To    *number `yaml:"to"`
	Hint  string  `yaml:"hint"`
}

// Measure says which points, summed up, give a reading.
type Measure struct {
	Power      terms            `yaml:"power"`   // AC, + towards the grid
	Battery    terms            `yaml:"battery"` // + discharging
	PV         terms            `yaml:"pv"`      // harvested, never negative
	Grid       terms            `yaml:"grid"`    // at the grid connection, + export
	SoC        terms            `yaml:"soc"`
	Limit      terms            `yaml:"limit"`
	MaxPower   terms            `yaml:"max_power"`
	Frequency  terms            `yaml:"frequency"`
	Exported   terms            `yaml:"exported"`
	Imported   terms            `yaml:"imported"`
	Status     string           `yaml:"status"`
	StatusWord map[string]words `yaml:"status_words"`
	Serial     string           `yaml:"serial"`
	Model      string           `yaml:"model"`
	Version    string           `yaml:"version"`
}

// Rating is what the device can do, W and Wh: the sum of points, or a number.
// What is left out is taken from the site's configuration.
type Rating struct {
	Power     operands `yaml:"power"`
	Charge    operands `yaml:"charge"`
	Discharge operands `yaml:"discharge"`
	Energy    operands `yaml:"energy"`
}

// Method is one way of control and all that belongs to it.
type Method struct {
	// Of is what the power is of: ac (the device's AC power), battery, inverter
	// (AC power, where PV is on the same inverter), or grid (the exchange at the
	// connection, which is told anew with every sample).
	Of       quantity `yaml:"of"`
	Arm      []Step   `yaml:"arm"`    // once, before the first write
	Write    []Step   `yaml:"write"`  // with every change and refresh
	Engage   []Step   `yaml:"engage"` // once, after the first write: what puts it in force
	Release  []Step   `yaml:"release"`
	Boot     []Step   `yaml:"boot"`   // where what was found is not known any more; default: release
	Active   []Check  `yaml:"active"` // all hold: control is in force
	Acting   []Check  `yaml:"acting"` // all hold: the device does it
	Refresh  span     `yaml:"refresh"`
	Fallback Fallback `yaml:"fallback"`
	Max      Limits   `yaml:"max"`
	Settle   span     `yaml:"settle"`
	Ramp     number   `yaml:"ramp"` // W/s at which the power follows; 0: at once
	// Unless bars an order while its checks hold.
	Unless []Bar `yaml:"unless"`
	// Harvest is for a device whose PV suffers from being told a power.
	Harvest *Harvest `yaml:"harvest"`
}

// Bar is what stands against an order, in words.
type Bar struct {
	When when    `yaml:"when"`
	If   []Check `yaml:"if"`
	Hint string  `yaml:"hint"`
}

// Harvest describes a device that takes its PV down to give what it is told,
// and that caps the PV at what it is told to charge.
type Harvest struct {
	Free []Check `yaml:"free"` // while all hold the PV gives what it can
	Band number  `yaml:"band"` // W: less is darkness, and as much lies between an order and the harvest
}

// Limits are what a setpoint must not exceed, beyond the rating: the least of
// those that are known.
type Limits struct {
	Charge    operands `yaml:"charge"`
	Discharge operands `yaml:"discharge"`
	Power     operands `yaml:"power"`
}

// Fallback is what happens when nobody writes any more.
type Fallback struct {
	After after  `yaml:"after"`
	To    string `yaml:"to"`
	Keeps names  `yaml:"keeps"` // points that hold our value all the same
	Doubt string `yaml:"doubt"`
}

// Step writes one or several points that lie side by side in one request.
type Step struct {
	Points names    `yaml:"point"`
	Values operands `yaml:"value"`
	When   when     `yaml:"when"`
	If     []Check  `yaml:"if"`   // all hold as the device stands before the sequence
	Wait   span     `yaml:"wait"` // after it
	Echo   echo     `yaml:"echo"` // equal (default), none: it cannot be read back
	// Optional is for a device that refuses the step at times: what is refused
	// is left, and the sequence goes on.
	Optional bool `yaml:"optional"`
}

// refreshOf is when the same setpoint is written again: as the map says, else
// a third of the fall-back time, and at most 20 s.
func (m *Method) refreshOf() time.Duration {
	if m.Refresh > 0 {
		return time.Duration(m.Refresh)
	}
	if m.Fallback.After.timed() {
		return min(m.Fallback.After.d/3, 20*time.Second)
	}
	return 20 * time.Second
}

// Doubts are the entries that may be otherwise, with the reason, sorted.
func (m *Map) Doubts() []string {
	var out []string
	for name, p := range m.Points {
		if p.Doubt != "" {
			out = append(out, name+": "+p.Doubt)
		}
	}
	for name, me := range m.Control {
		if me.Fallback.Doubt != "" {
			out = append(out, name+", fall-back: "+me.Fallback.Doubt)
		}
	}
	slices.Sort(out)
	return out
}

// Gone is what a device goes on with when nobody tells it any more, as far as
// that is not its owner's state again, sorted.
func (m *Map) Gone() []string {
	var out []string
	for name, me := range m.Control {
		f := me.Fallback
		switch f.After.word {
		case never:
			out = append(out, name+": it does not fall back: "+f.To)
		case unsure:
			out = append(out, name+": whether it falls back is not known")
		}
		if len(f.Keeps) > 0 {
			out = append(out, fmt.Sprintf("%s: %s stay as they were told until it is handed back", name, strings.Join(f.Keeps, ", ")))
		}
	}
	slices.Sort(out)
	return out
}

// sequences are all that the method writes.
func (m *Method) sequences() []Step {
	return slices.Concat(m.Arm, m.Write, m.Engage, m.Release, m.Boot)
}

// settles is how long the power may take to follow the largest change.
func (m *Method) settles(rating flex.Watts) time.Duration {
	if m.Ramp <= 0 {
		return time.Duration(m.Settle)
	}
	return time.Duration(m.Settle) + time.Duration(float64(rating)/float64(m.Ramp)*float64(time.Second))
}
