// Package allocate answers one question, purely: what should every device do
// now, why, and when does that answer change next?
//
// In: the instant, the dispatches, holds, limits, ratings and readings, all
// as values. Out: a target with its reasons per device, and the next instant
// at which the answer changes by itself. It never reads a clock, never talks
// to a device, keeps nothing between calls but what it returns (State), and
// never exceeds a rating, a reserve or the site's limits.
package allocate

import (
	"time"

	"flexd/agent/flex"
)

// Control says how an asset is controlled.
type Control string

// Setpoint asks the devices for what was instructed; Meter asks them for what
// brings the asset's meter to reference and instructed power; Observe computes,
// shows and announces everything and writes nothing.
const (
	Setpoint Control = "setpoint"
	Meter    Control = "meter"
	Observe  Control = "observe"
)

// Input is everything the answer depends on.
type Input struct {
	Now        time.Time
	Site       Site
	Assets     []Asset
	Devices    []Device
	Dispatches []flex.Dispatch // scheduled or active, any order
	Holds      []flex.Hold
	Prepare    []Preparation
	State      State // what the last call returned
}

// Site is the grid connection. Limits are magnitudes; 0 means none given.
type Site struct {
	ImportLimit flex.Watts
	ExportLimit flex.Watts
	Meter       *flex.Reading // latest of the site meter, nil when there is none
}

// Asset is one sold resource and the devices that make it up.
type Asset struct {
	ID          flex.AssetID
	Devices     []flex.DeviceID
	Control     Control
	MaxDispatch flex.Watts // magnitude; 0 means no bound of its own
	// MeterID names the asset's meter, Meter is its latest reading, SiteMeter
	// tells that it is the one at the grid connection.
	MeterID   flex.DeviceID
	Meter     *flex.Reading
	SiteMeter bool
	// Free lets control by the meter give more than was asked, never less than
	// the share: over-delivery costs nothing there.
	Free bool
}

// Device is one controllable device or meter with its latest reading.
type Device struct {
	ID         flex.DeviceID
	Role       flex.Role
	Plate      flex.Nameplate
	ReserveSoC flex.Percent
	MaxSoC     flex.Percent // not charged above; 0: full
	Owner      Owner
	Lead       time.Duration // told so much before a start, at most MaxLead: reaction and ramp
	Ramp       flex.Watts    // changes by at most so much a second; 0: not known
	GridCharge bool          // consent to charge from the grid where the device tells PV and grid apart
	Reading    *flex.Reading
	Online     bool
	Fault      string // why it counts as not answering though it does; ""
	// Foreign, when set, forbids control: a limit set by others.
	Foreign *flex.Refusal
	// Target is what control last had this device proven to do (OrderNone when free).
	Target flex.Target
}

// State is what must be remembered between calls: values frozen at a start.
// It is plain data, so that it can be compared, printed and rebuilt.
type State struct {
	// PVBaseline is the mean power of a PV device in the minute before the
	// start of the dispatch that caps it.
	PVBaseline map[flex.DeviceID]map[flex.InstructionID]flex.Watts
	// PVTrail holds the last minute of power per PV device.
	PVTrail map[flex.DeviceID][]Sample
	// StaticLimit is set when a target step moved the meter the wrong way:
	// from then on the site limit is kept without credit from the meter.
	StaticLimit bool
	// Loops are those of the assets that are controlled by their meters.
	Loops map[flex.AssetID]Loop
	// Before is the meter's reading and the sum of targets before the last step.
	Before Step
}

// Sample is one measured power.
type Sample struct {
	At    time.Time
	Power flex.Watts
}

// Step remembers the site before a change of targets, to see which way the
// meter then moves.
type Step struct {
	At     time.Time
	Meter  flex.Watts
	Power  flex.Watts // sum of the measured powers of the stepped devices
	Wanted flex.Watts // change of the sum of targets
	Sum    flex.Watts // sum of targets after the step
}

// Plan is the answer.
type Plan struct {
	Targets []flex.Target // one per controllable device, in the order of Input.Devices
	Next    time.Time     // when the answer changes by itself; zero when never
	// Shortfall tells per dispatch how much of its share cannot be given now, W magnitude, with the reason.
	Shortfall map[flex.InstructionID]Shortfall
	// Alarms are findings that a person must see, by code.
	Alarms []Alarm
	State  State
}

// Shortfall is the undeliverable part of one dispatch.
type Shortfall struct {
	Missing flex.Watts
	Reason  flex.Reason
	Text    string
}

// Alarm is a finding of the planner.
type Alarm struct {
	Code    string
	Subject string
	Text    string
}
