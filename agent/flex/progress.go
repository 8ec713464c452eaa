package flex

import "time"

// Progress is what control has seen of one dispatch: facts, never wishes. It
// is read level-triggered by the life-cycle, which turns it into transitions
// and conditions.
type Progress struct {
	FirstWrite time.Time `json:"first_write,omitzero"` // first setpoint left this machine
	EchoAt     time.Time `json:"echo_at,omitzero"`     // every device's registers hold it
	ActingAt   time.Time `json:"acting_at,omitzero"`   // every device that says so says it acts
	DeliverAt  time.Time `json:"delivered_at,omitzero"`
	// Delivering is nil while ramp and settling are still allowed for.
	Delivering *bool      `json:"delivering,omitempty"`
	Measured   *Watts     `json:"measured,omitempty"` // sum over the devices, + towards the grid
	Failed     []DeviceID `json:"failed,omitempty"`
	// Missing is the part of the share that cannot be given, magnitude.
	Missing       Watts  `json:"missing,omitempty"`
	MissingReason Reason `json:"missing_reason,omitempty"`
	MissingText   string `json:"missing_text,omitempty"`
	// Engaged tells that a device is, or may be, still under control for it.
	Engaged bool `json:"engaged,omitempty"`
	// Released tells that every device that was used for it is proven free of
	// it; true as well when none was ever written.
	Released   bool      `json:"released,omitempty"`
	ReleasedAt time.Time `json:"released_at,omitzero"`
	// HandBack is how long the slowest device that is still engaged takes to be
	// handed back at its own pace.
	HandBack time.Duration `json:"-"`
	// Left are devices that were not handed back as they were found, since
	// others had changed them: which, and what stands there.
	Left       []string `json:"left,omitempty"`
	Overridden bool     `json:"overridden,omitempty"` // a hold, or Outranked, comes before it now
	// Outranked is the dispatch of a higher priority that has an asset of it.
	Outranked InstructionID `json:"outranked,omitempty"`
	// Yielded are devices that are left to somebody else who writes to them.
	Yielded  []DeviceID `json:"yielded,omitempty"`
	Observed bool       `json:"observed,omitempty"` // control: observe
	// Energy is counted per asset while it is asked for power.
	Energy []Energy `json:"energy,omitempty"`
}

// DeviceStatus is one device as people and the fleet see it.
type DeviceStatus struct {
	ID       DeviceID  `json:"id"`
	Role     Role      `json:"role"`
	Endpoint string    `json:"endpoint"`
	Unit     uint8     `json:"unit"`
	Online   bool      `json:"online"`
	Plate    Nameplate `json:"plate"`
	Reading  *Reading  `json:"reading,omitempty"`
	// ReadingAge is how old the reading is: of a device that does not answer it
	// is the last one.
	ReadingAge Seconds `json:"reading_age_s,omitempty"`
	Target     Target  `json:"target"`
	Proof      Proof   `json:"proof"`
	// Held tells that a write of ours may stand: a release is owed some day.
	Held bool `json:"held,omitempty"`
	// ReleaseOwed tells that the release was due and is not proven yet.
	ReleaseOwed bool `json:"release_owed,omitempty"`
	// OwedSince is when it was due.
	OwedSince time.Time `json:"owed_since,omitzero"`
	// Interference is the latest change by others, while it matters.
	Interference *Interference `json:"interference,omitempty"`
	// Wear counts today's writes to persistent registers.
	Wear []Wear `json:"wear,omitempty"`
	// Day is the day's energy where the owner bounds it.
	Day   *DayEnergy `json:"day,omitempty"`
	Error string     `json:"error,omitempty"`
}
