package regmap

import (
	"time"

	"flexd/agent/flex"
)

// Map is one vendor's register map, read and checked. See the shipped maps for
// what each setting means; `flexd map schema` gives them to an editor.
type Map struct {
	Name     string   `yaml:"map"`
	Title    string   `yaml:"title"`
	Vendor   string   `yaml:"vendor"`
	Models   []string `yaml:"models"`
	Status   status   `yaml:"status"`
	Sources  []string `yaml:"sources"`
	Notes    []string `yaml:"notes"` // for the technician
	Role     role     `yaml:"role"`
	Line     Line     `yaml:"line"`
	LowFirst order    `yaml:"words"` // of values wider than a register; a point may say otherwise
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
	Clients      int  `yaml:"clients"` // TCP connections it serves; 0: not known
	// Write is the function code of writes: 16, or 6 for one register a request.
	Write int `yaml:"write"`
}

// Point is a value in registers.
type Point struct {
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
	Access access    `yaml:"access"`
	Memory memory    `yaml:"memory"`
	Budget int       `yaml:"budget"` // writes a day, of a persistent point
	UnitID int       `yaml:"unit_id"`
	Note   string    `yaml:"note"`

	name string
}

// Check compares a point.
type Check struct {
	Point string   `yaml:"point"`
	In    []number `yaml:"in"`
	Not   []number `yaml:"not"`
	Min   *number  `yaml:"min"`
	Has   []string `yaml:"has"` // text that the point must contain one of
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

// Rating is what the device can do: points, or numbers in W and Wh.
type Rating struct {
	Power     operand `yaml:"power"`
	Charge    operand `yaml:"charge"`
	Discharge operand `yaml:"discharge"`
	Energy    operand `yaml:"energy"`
}

// Method is one way of control and all that belongs to it.
type Method struct {
	// Of is what the power is of: ac (the device's AC power), battery, or grid
	// (the exchange at the connection, which is told anew with every sample).
	Of       quantity `yaml:"of"`
	Arm      []Step   `yaml:"arm"`   // once, before the first write
	Write    []Step   `yaml:"write"` // with every change and refresh
	Release  []Step   `yaml:"release"`
	Boot     []Step   `yaml:"boot"`   // where what was found is not known any more; default: release
	Active   []Check  `yaml:"active"` // all hold: control is in force
	Acting   []Check  `yaml:"acting"` // all hold: the device does it
	Refresh  span     `yaml:"refresh"`
	Fallback Fallback `yaml:"fallback"`
	Max      Limits   `yaml:"max"`
	Settle   span     `yaml:"settle"`
}

// Limits are what a setpoint must not exceed, beyond the rating.
type Limits struct {
	Charge    operand `yaml:"charge"`
	Discharge operand `yaml:"discharge"`
	Power     operand `yaml:"power"`
}

// Fallback is what happens when nobody writes any more.
type Fallback struct {
	After after  `yaml:"after"`
	To    string `yaml:"to"`
}

// Step writes one or several points that lie side by side in one request.
type Step struct {
	Points names    `yaml:"point"`
	Values operands `yaml:"value"`
	When   when     `yaml:"when"`
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

// roleOf is the role as the vocabulary has it.
func (m *Map) roleOf() flex.Role { return flex.Role(m.Role) }
