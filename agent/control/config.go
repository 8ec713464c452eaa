package control

import (
	"context"
	"log/slog"
	"time"

	"flexd/agent/allocate"
	"flexd/agent/flex"
)

// Device is one inverter, battery or meter. Every method honours its context.
type Device interface {
	Reader
	Writer
	ID() flex.DeviceID
	Endpoint() string
	Unit() uint8
}

// Reader looks at a device and changes nothing.
type Reader interface {
	Open(ctx context.Context) (flex.Nameplate, error)
	Read(ctx context.Context) (flex.Reading, error)
	Snapshot(ctx context.Context) (flex.Snapshot, error)
	Verify(ctx context.Context, t flex.Target) (flex.Receipt, error)
}

// Writer changes a device.
type Writer interface {
	Apply(ctx context.Context, t flex.Target) (flex.Receipt, error)
	Release(ctx context.Context, e flex.JournalEntry) (flex.Receipt, error)
	Neutral(ctx context.Context) (flex.Receipt, error)
}

// Board is what to carry out, in memory.
type Board interface {
	Orders
	// StoreFailing tells that decisions cannot be stored at present.
	StoreFailing() bool
	OnChange(fn func())
}

// Orders are the dispatches that are scheduled or active, in the steady time,
// and the local holds.
type Orders interface {
	Running() []flex.Dispatch
	Holds() []flex.Hold
}

// Journal keeps what is owed to the devices.
type Journal interface {
	Commit(ctx context.Context, c flex.Changes) error
	Journal(ctx context.Context) ([]flex.JournalEntry, error)
}

// Health is told what is wrong and what is well again. It must not block.
type Health interface {
	Raise(code, subject, text string)
	Clear(code, subject string)
}

// DeviceSettings is what the site's configuration says of a device.
type DeviceSettings struct {
	ID         flex.DeviceID
	Role       flex.Role // "" when the device tells
	ReserveSoC flex.Percent
	MaxSoC     flex.Percent   // 0: full
	Ramp       flex.Watts     // changes by at most so much a second; 0: not known
	Lead       *time.Duration // told so much before a start; nil: as measured
	Owner      allocate.Owner
	Cycles     int // full cycles a day that the owner allows, hundredths; 0: no bound
	GridCharge bool
	MaxPower   flex.Watts // magnitude either way, 0: the rating

	Ownership   flex.Ownership // when others write; "": contest
	Contests    int            // how often in ten minutes we write again, 0: 3
	Rest        time.Duration  // how long a claim rests after we have yielded, 0: 10 minutes
	WriteBudget int            // writes a day to a persistent register where the driver knows no number, 0: 100
}

// Budget keeps the counts of writes to persistent registers over restarts. Add
// counts N more of each; counts that failed are handed over again.
type Budget interface {
	Load(ctx context.Context) ([]flex.Wear, error)
	Add(ctx context.Context, more []flex.Wear) error
}

// Standing is what is known of a device by having tried it at the site.
type Standing struct {
	Refusal *flex.Refusal // when set, it must not be planned with
	Lead    time.Duration // from a write until the first watt, 0: not measured
	Settle  time.Duration // from a write until the power is there, 0: not measured
	Revert  time.Duration // it falls back after so long without a refresh, 0: not measured
}

// Config is what a Controller needs. Standing, Quiet, OnReading, OnChange and Beat may
// be nil; they must not block nor call the Controller, but for its Wake. Zero
// times mean the defaults below.
type Config struct {
	Devices     []Device
	Settings    []DeviceSettings // in the order of Devices
	Assets      []allocate.Asset
	ImportLimit flex.Watts
	ExportLimit flex.Watts
	Meter       flex.DeviceID
	Delivery    map[flex.AssetID]Delivery // assets that are not listed: the defaults
	// Plan is what is carried out, Decide what would be at another time; nil Plan: Decide.
	Plan      func(allocate.Input) allocate.Plan
	Decide    func(allocate.Input) allocate.Plan
	Standing  func(flex.DeviceID) Standing
	Prepare   func() []allocate.Preparation // by the steady clock; nil: none
	Board     Board
	Journal   Journal
	Budget    Budget         // nil: counts do not survive the process
	Days      Days           // nil: nor do the energies of the day
	Distrusts Distrusts      // nil: nor which devices did the contrary of what they were told
	Zone      *time.Location // in which days begin; nil: UTC
	Lost      bool           // the journal was lost: bring every device to neutral
	Stamp     func() flex.Stamp
	Steady    func() time.Time // now, by a clock that is never stepped, as the Board's windows are told; nil: time.Now
	Quiet     func(flex.DeviceID, time.Time)
	// Breaks counts what may have left a write on its way to the device; nil: nothing does.
	Breaks    func(flex.DeviceID) uint64
	Health    Health
	Log       *slog.Logger
	OnReading func(flex.Reading)
	OnChange  func() // a fact of Progress is new
	Beat      func() // a cycle of the planner is complete

	Poll       time.Duration // between two readings of a device
	Lease      time.Duration // after which a device falls back by itself
	Settle     time.Duration // ramp and settling before delivery is judged
	StoreLimit time.Duration // how long the store may fail before all is released
}

// Times of control.
const (
	tickEvery    = time.Second      // the planner looks at least so often
	defaultPoll  = time.Second      // every device is sampled so often
	defaultLease = 60 * time.Second // RvrtTms of gateways in use for dynamic export
	prepareAhead = 60 * time.Second // found state is journaled so early
	settle       = 10 * time.Second // verify window: ramp + 10 s
	storeLimit   = 60 * time.Second
	verifyEvery  = 10 * time.Second       // registers are read back between two refreshes
	refreshEarly = 2 * time.Second        // so that a kept-quiet line does not make a refresh late
	operation    = 10 * time.Second       // one conversation with a device
	cutAfter     = 100 * time.Millisecond // an answer on its way is quicker than a new connection
	quietGrace   = 50 * time.Millisecond  // after a boundary, for the writes to go first
	owedAfter    = 5 * time.Second        // a release that takes longer, beyond the device's own pace, is an alarm
	offlineAfter = 3                      // failures in a row
	blockedFor   = 30 * time.Second
	asideMost    = 5 * time.Minute  // between two tries of a device that takes no setpoint, while others stand in
	badFor       = 3 * time.Second  // a dip shorter than that is not missing delivery
	calmFor      = 60 * time.Second // without new interference, before its alarm ends
	intentEvery  = 10 * time.Second // how often a moving setpoint is journaled
	clearAtMost  = time.Second      // how long a changed cap waits for the disk
	seenFor      = 2 * time.Second  // how old a read-back may be for a write to rest on it

	contestsMost = 3                // times in contestsIn that others' value is written over
	contestsIn   = 10 * time.Minute // two masters that fight wear a device out
	yieldRest    = 10 * time.Minute
	writeBudget  = 100 // a day: flash of ten thousand cycles stands it for months, and it is a bound, not a habit

	openMin, openMax   = 500 * time.Millisecond, 30 * time.Second
	retryMin, retryMax = 200 * time.Millisecond, 5 * time.Second
)

// withDefaults fills what is zero.
func (c Config) withDefaults() Config {
	for _, d := range []struct {
		of *time.Duration
		to time.Duration
	}{{&c.Poll, defaultPoll}, {&c.Lease, defaultLease}, {&c.Settle, settle}, {&c.StoreLimit, storeLimit}} {
		if *d.of <= 0 {
			*d.of = d.to
		}
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Stamp == nil {
		c.Stamp = func() flex.Stamp { return flex.Stamp{At: time.Now().UTC(), Clock: flex.ClockHoldover} }
	}
	if c.Steady == nil {
		c.Steady = func() time.Time { return time.Now().UTC() }
	}
	for _, fn := range []*func(){&c.OnChange, &c.Beat} {
		if *fn == nil {
			*fn = func() {}
		}
	}
	if c.Zone == nil {
		c.Zone = time.UTC
	}
	if c.Plan == nil {
		c.Plan = c.Decide
	}
	if c.Standing == nil {
		c.Standing = func(flex.DeviceID) Standing { return Standing{} }
	}
	if c.Quiet == nil {
		c.Quiet = func(flex.DeviceID, time.Time) {}
	}
	if c.Breaks == nil {
		c.Breaks = func(flex.DeviceID) uint64 { return 0 }
	}
	if c.OnReading == nil {
		c.OnReading = func(flex.Reading) {}
	}
	return c
}
