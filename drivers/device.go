// Package drivers opens the devices of a site from its configuration.
//
// In: one Config per device. Out: Devices that can be read, told, verified and
// handed back, and the endpoints they share, one per host:port. It must never
// decide what a device should do, and it never repeats an order by itself.
package drivers

import (
	"context"
	"time"

	"flexd/agent/flex"
)

// Config is one device of the site.
type Config struct {
	ID         flex.DeviceID
	Driver     string    // DriverSunSpec or DriverMap
	Map        string    // with DriverMap: a shipped map, one of MapDir, or a path
	MapDir     string    // where a site keeps maps of its own; may be empty
	Role       flex.Role // may be empty where the device leaves no doubt
	Address    string    // host:port
	Unit       uint8     // 0: the map's, else 1, unless UnitZero
	Sign       string    // of a meter: export_positive or import_positive
	GridCharge bool      // the battery may be charged from the grid
	AdoptLimit bool      // control beneath a limit that others have set
	// MaxCharge is what 100 % of a rate of SunSpec model 124 stands for, where
	// the device's own word on it is wrong; 0: the device's word.
	MaxCharge flex.Watts
	// WriteBudget is how often a day a register that wears out may be written;
	// 0: the driver's own.
	WriteBudget int

	// How the device wants to be asked.
	UnitZero  bool  // unit 0 is meant
	AnyUnit   bool  // its answers bear another unit than was asked
	WriteFunc uint8 // 6 or 16 for all writes; 0: 16, and 6 for what is refused by that

	// How the endpoint is to be treated; zero values are the map's, else the
	// transport's defaults, negative ones mean none.
	Timeout      time.Duration // for one answer
	Gap          time.Duration // between two requests
	UnitGap      time.Duration // the same where the unit changes
	ConnectDelay time.Duration // to settle after a connect
	IdleClose    time.Duration // close the connection after so long without a request
	MaxRead      int           // registers in one read
	MaxWrite     int           // registers in one write
	BusyRetries  int           // repeats after exception 5 or 6
}

// Device is one inverter, battery or meter. Every method honours its context.
// After an error that is [flex.ErrUncertain] it is not known what stands in
// the device; [Device.Verify] tells.
type Device interface {
	ID() flex.DeviceID
	Endpoint() string // host:port
	Unit() uint8
	// Open finds and identifies the device; it may be called again after a failure.
	Open(ctx context.Context) (flex.Nameplate, error)
	Read(ctx context.Context) (flex.Reading, error)
	// Snapshot tells what is there now, before we write.
	Snapshot(ctx context.Context) (flex.Snapshot, error)
	// Apply writes a target and reads it back. The same target again re-arms
	// the device's timer.
	Apply(ctx context.Context, t flex.Target) (flex.Receipt, error)
	// Release hands the device back as it was found; Echo proves it.
	Release(ctx context.Context, e flex.JournalEntry) (flex.Receipt, error)
	// Neutral takes setpoints out of force where the journal is lost.
	Neutral(ctx context.Context) (flex.Receipt, error)
	// Verify reads back and writes nothing.
	Verify(ctx context.Context, t flex.Target) (flex.Receipt, error)
}
