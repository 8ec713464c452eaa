package flex

import (
	"encoding/json"
	"time"
)

// Role is what a device is for.
type Role string

// The roles.
const (
	RoleStorage Role = "storage"
	RolePV      Role = "pv"
	RoleHybrid  Role = "hybrid"
	RoleMeter   Role = "meter"
)

// Capability is something a device can do.
type Capability string

// The capabilities: set an absolute power, cap the power, be told to idle,
// measure power, tell its state of charge.
const (
	CanSet     Capability = "set"
	CanCap     Capability = "cap"
	CanIdle    Capability = "idle"
	CanMeasure Capability = "measure"
	CanSoC     Capability = "soc"
)

// Nameplate is what a device says of itself. Powers are magnitudes; zero
// means not known.
type Nameplate struct {
	Manufacturer string       `json:"manufacturer,omitempty"`
	Model        string       `json:"model,omitempty"`
	Firmware     string       `json:"firmware,omitempty"`
	Serial       string       `json:"serial,omitempty"`
	Role         Role         `json:"role,omitempty"` // what the device leaves no doubt about
	MaxPower     Watts        `json:"max_power,omitempty"`
	MaxCharge    Watts        `json:"max_charge,omitempty"`
	MaxDischarge Watts        `json:"max_discharge,omitempty"`
	Energy       WattHours    `json:"energy,omitempty"` // usable storage
	Can          []Capability `json:"can,omitempty"`
	// Method is how power is controlled, in the driver's words ("sunspec 704 WSet").
	Method string `json:"method,omitempty"`
	// Step is the smallest change of a setpoint, W (one LSB of the register).
	Step Watts `json:"step,omitempty"`
	// Revert tells whether the device falls back by itself when not refreshed.
	Revert bool `json:"revert,omitempty"`
	// Refresh is how often at least the device wants its setpoint written again;
	// zero: as the lease has it.
	Refresh time.Duration `json:"-"`
	// Settle is how long the power may take to follow a change; zero: not known.
	Settle time.Duration `json:"-"`
	// HandBack is how long a hand-back takes at the pace that the device asks
	// for; zero: hardly any time.
	HandBack time.Duration `json:"-"`
	// Follow tells that a setpoint is relative to something that moves by itself
	// (generation, the exchange with the grid): it is told anew with every sample.
	Follow bool `json:"follow,omitempty"`
	// NoGridCharge tells that it charges from its own sun alone, since the
	// owner's consent to more is missing.
	NoGridCharge bool `json:"no_grid_charge,omitempty"`
	// Tolls are the persistent registers that a dispatch writes.
	Tolls []Toll `json:"tolls,omitempty"`
	// Detail is the driver's own account (model chain, map name), for people.
	Detail []string `json:"detail,omitempty"`
}

// Reading is one sample of a device. A quantity that the device did not
// give, or gave as "not implemented", is nil: never zero.
type Reading struct {
	Device DeviceID  `json:"device"`
	At     time.Time `json:"at"` // when the answer was complete
	// Power is AC active power, + towards the grid; for a meter, + = export.
	Power *Watts `json:"power,omitempty"`
	// Battery is the battery's own power where told apart, + = discharge.
	Battery *Watts `json:"battery,omitempty"`
	// PV is what the modules behind the device give where told apart, never negative.
	PV  *Watts   `json:"pv,omitempty"`
	SoC *Percent `json:"soc,omitempty"`
	// Limit is the cap on AC power now in force by the device's own account.
	Limit      *Watts     `json:"limit,omitempty"`
	MaxPower   *Watts     `json:"max_power,omitempty"` // rating or derated maximum now
	Frequency  *float64   `json:"frequency,omitempty"` // Hz
	ExportedWh *WattHours `json:"exported_wh,omitempty"`
	ImportedWh *WattHours `json:"imported_wh,omitempty"`
	// Status is the device's operating state in a word: off, sleeping,
	// starting, running, throttled, stopping, fault, standby.
	Status string `json:"status,omitempty"`
	// Acting is the device's own word on whether our control is in effect;
	// nil when it does not say.
	Acting *bool `json:"acting,omitempty"`
	// Held is why the device follows no setpoint now: a fault, no leave to run.
	Held   *Refusal `json:"held,omitempty"`
	Events []string `json:"events,omitempty"`
}

// Fresh tells whether the reading is not older than limit at now, and not
// from the future by more than a second.
func (r Reading) Fresh(now time.Time, limit time.Duration) bool {
	age := now.Sub(r.At)
	return !r.At.IsZero() && age <= limit && age >= -time.Second
}

// Order says what a target asks of a device.
type Order string

// OrderSet holds an absolute power, OrderCap limits generation to at most a
// power, OrderNone wants nothing: the device belongs to itself.
const (
	OrderSet  Order = "set"
	OrderCap  Order = "cap"
	OrderNone Order = "none"
)

// Why is one of those who shaped a target, in the order they acted.
type Why struct {
	Who   string `json:"who"`   // instruction, share, rating, energy, reserve, site_limit, hold, observe, stale, …
	Text  string `json:"text"`  // for people, with numbers
	Power Watts  `json:"power"` // the power after this step
}

// Target is what one device should do now, and why.
type Target struct {
	Device   DeviceID        `json:"device"`
	Order    Order           `json:"order"`
	Power    Watts           `json:"power"`            // for OrderNone 0
	Until    time.Time       `json:"until,omitzero"`   // when the reason for it ends
	Revert   time.Duration   `json:"revert,omitempty"` // the lease: fall back by yourself after
	Dispatch []InstructionID `json:"dispatch,omitempty"`
	Observe  bool            `json:"observe,omitempty"` // compute and show, do not write
	// Once asks for no refresh: what was proven is left alone, so that the
	// device falls back by itself (commissioning measures how long that takes).
	Once bool `json:"once,omitempty"`
	// Before is what a generator gave before each dispatch that turns it down,
	// W: kept with a cap, so that a new process counts from the same.
	Before map[InstructionID]Watts `json:"before,omitempty"`
	Whys   []Why                   `json:"whys,omitempty"`
}

// Register is a run of words at a wire address, as read or as written.
type Register struct {
	Addr  uint16   `json:"addr"`
	Words []uint16 `json:"words"`
	Name  string   `json:"name,omitempty"` // "124.StorCtl_Mod"
	// Persistent tells that a write wears out memory; Budget is how many a day
	// the memory stands, 0: not known.
	Persistent bool `json:"persistent,omitempty"`
	Budget     int  `json:"budget,omitempty"`
}

// Snapshot is what was found on a device before our first write. It holds
// all that a later process needs to hand the device back.
type Snapshot struct {
	Device    DeviceID   `json:"device"`
	At        time.Time  `json:"at"`
	Endpoint  string     `json:"endpoint"` // host:port
	Unit      uint8      `json:"unit"`
	Serial    string     `json:"serial,omitempty"`
	Map       string     `json:"map"` // driver's control method
	Registers []Register `json:"registers"`
	// Where is the driver's own note of where it found all that, by which a
	// later process finds the device sooner.
	Where json.RawMessage `json:"where,omitempty"`
	// Controlled tells that a control was found in force.
	Controlled bool `json:"controlled,omitempty"`
	// Foreign, when set, is the reason why this device must not be controlled:
	// a limit set by others.
	Foreign *Refusal `json:"foreign,omitempty"`
}

// Problem is one field that does not hold what it should.
type Problem struct {
	Field string `json:"field"`
	Want  string `json:"want"`
	Got   string `json:"got"`
}

// Receipt is what a driver can say after Apply or Release.
type Receipt struct {
	Device DeviceID   `json:"device"`
	Sent   time.Time  `json:"sent,omitzero"` // when the first write left this machine; zero: none was needed
	At     time.Time  `json:"at"`            // when the read-back was complete
	Wrote  []Register `json:"wrote,omitempty"`
	// Holds are the registers as read back, which from now on count as our
	// last proven write.
	Holds    []Register `json:"holds,omitempty"`
	Echo     bool       `json:"echo"` // the registers equal what we want
	Problems []Problem  `json:"problems,omitempty"`
	// Effective is the power the device was really told, after rounding.
	Effective Watts `json:"effective"`
	// Foreign tells, for Release, that somebody else changed the registers
	// since our last proven write: they were left alone.
	Foreign bool `json:"foreign,omitempty"`
}

// JournalEntry is the promise to hand a device back. It is written before
// the first write and closed when the release is proven.
type JournalEntry struct {
	Device   DeviceID        `json:"device"`
	Snapshot Snapshot        `json:"snapshot"`
	Intent   []Register      `json:"intent,omitempty"` // last setpoint that may stand in the device
	Opened   Stamp           `json:"opened"`
	For      []InstructionID `json:"for,omitempty"`
	Detail   json.RawMessage `json:"detail,omitempty"`
	// Released tells that nothing is owed any more, and that the device is
	// watched: a write of ours may still arrive, since the connection broke.
	Released Stamp `json:"released,omitzero"`
}

// Proof tells the three words apart for one device at one time: echo (the
// register equals), acting (the device's own status says so), delivered
// (measured watts within tolerance after ramp and settling).
type Proof struct {
	Device    DeviceID  `json:"device"`
	Target    Target    `json:"target"`
	EchoAt    time.Time `json:"echo_at,omitzero"`
	ActingAt  time.Time `json:"acting_at,omitzero"`
	DeliverAt time.Time `json:"delivered_at,omitzero"`
	FirstSent time.Time `json:"first_sent,omitzero"`
	Refreshed time.Time `json:"refreshed,omitzero"`
}
