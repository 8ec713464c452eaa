// Package local is the site's own window: a unix socket for the flexd
// commands and a page for a browser on the site's network.
//
// In: what package agent can tell and do, through the small interfaces below.
// Out: JSON over HTTP, one self-contained page, and server-sent events. It
// decides nothing; whoever may act is told apart by the peer's user id on the
// socket, and the page is read-only.
package local

import (
	"context"
	"time"

	"flexd/agent/clock"
	"flexd/agent/flex"
	"flexd/agent/health"
)

// Status is the site at a glance.
type Status struct {
	Site     flex.SiteID         `json:"site"`
	Version  string              `json:"version"`
	At       time.Time           `json:"at"`
	Started  time.Time           `json:"started"`
	Timezone string              `json:"timezone"`
	Clock    flex.ClockTrust     `json:"clock"`
	Time     clock.State         `json:"time"`
	Ready    bool                `json:"ready"`
	Config   string              `json:"config"` // path, and whether it is the last good one
	Alerts   []health.Alert      `json:"alerts"`
	Holds    []flex.Hold         `json:"holds"`
	Devices  []flex.DeviceStatus `json:"devices"`
	Assets   []Asset             `json:"assets"`
	Links    []Link              `json:"links"` // market, broker, doors
	// Unavailable are the declarations in force now or later.
	Unavailable []flex.Unavailability `json:"unavailable,omitempty"`
	// Preflight are the latest checks of windows to come, by their start.
	Preflight []flex.Preflight `json:"preflight,omitempty"`
	Endpoints []Endpoint       `json:"endpoints"`
	Files     []File           `json:"files"` // of the data folder
}

// File is what a file of the data folder takes, and what was written to it
// since the start: a card is worn out by that.
type File struct {
	Name    string `json:"name"`
	Size    int64  `json:"size_bytes"`
	Written int64  `json:"written_bytes"`
	PerDay  int64  `json:"per_day_bytes,omitempty"` // at the pace since the start, after the first hour
}

// Asset is one sold resource as configured here.
type Asset struct {
	ID      flex.AssetID    `json:"id"`
	Name    string          `json:"name,omitempty"`
	Devices []flex.DeviceID `json:"devices"`
	Control string          `json:"control"`
	// Loop is there while the asset is held by its meter.
	Loop *Loop `json:"loop,omitempty"`
}

// Loop is how an asset is held by its meter, W, + towards the grid.
type Loop struct {
	Wanted flex.Watts  `json:"wanted"`          // at the meter
	Meter  *flex.Watts `json:"meter,omitempty"` // latest; nil when it is lost
	Rest   flex.Watts  `json:"rest"`            // of it what is not controlled
	Asked  flex.Watts  `json:"asked"`           // of the devices together
}

// Link is one connection to the outside.
type Link struct {
	Name  string    `json:"name"`
	OK    bool      `json:"ok"`
	Text  string    `json:"text"`
	Since time.Time `json:"since,omitzero"`
}

// Endpoint is one Modbus connection.
type Endpoint struct {
	Address    string `json:"address"`
	Connected  bool   `json:"connected"`
	Requests   uint64 `json:"requests"`
	Errors     uint64 `json:"errors"`
	Reconnects uint64 `json:"reconnects"`
	LastError  string `json:"last_error,omitempty"`

	Exceptions  uint64        `json:"exceptions"`      // refused by the device
	Timeouts    uint64        `json:"timeouts"`        // no answer in time
	Protocol    uint64        `json:"protocol_errors"` // answers that broke the protocol
	Lost        uint64        `json:"lost"`            // connections lost under a request
	Latency     time.Duration `json:"latency,omitempty"`
	LastErrorAt time.Time     `json:"last_error_at,omitzero"`
	Units       []Unit        `json:"units,omitempty"`
}

// Unit is one unit id behind an endpoint; a failing one backs off alone.
type Unit struct {
	Unit        uint8     `json:"unit"`
	Requests    uint64    `json:"requests"`
	Failures    uint64    `json:"failures"` // without an answer of the unit
	LastError   string    `json:"last_error,omitempty"`
	LastErrorAt time.Time `json:"last_error_at,omitzero"`
	RetryAt     time.Time `json:"retry_at,omitzero"` // while it backs off
}

// Obligation is a contract with its next windows.
type Obligation struct {
	flex.Obligation
	Ours []flex.AssetID `json:"ours"`
	Next []flex.Window  `json:"next"`
	// Preflight is the latest check of the first of them that was checked.
	Preflight *flex.Preflight `json:"preflight,omitempty"`
}

// Outcome is what came of an instruction: by how much its release was late,
// and what was asked of each asset and given so far.
type Outcome struct {
	ReleaseLate *flex.Seconds `json:"release_late_s,omitempty"`
	Energy      []flex.Energy `json:"energy,omitempty"`
}

// OutcomeOf sums a record up, nil while there is nothing to tell.
func OutcomeOf(r flex.Record) *Outcome {
	o := Outcome{Energy: flex.EnergyTotal(r.Energy)}
	if late, ok := r.ReleaseLate(); ok {
		s := flex.InSeconds(late)
		o.ReleaseLate = &s
	}
	if o.ReleaseLate == nil && len(o.Energy) == 0 {
		return nil
	}
	return &o
}

// Instruction is the life of one with the latest check before its start.
type Instruction struct {
	flex.Record
	Outcome   *Outcome        `json:"outcome,omitempty"`
	Preflight *flex.Preflight `json:"preflight,omitempty"`
}

// Detail is one instruction with everything known about it.
type Detail struct {
	Record   flex.Record    `json:"record"`
	Outcome  *Outcome       `json:"outcome,omitempty"`
	Progress *flex.Progress `json:"progress,omitempty"`
	Notice   *flex.Notice   `json:"notice,omitempty"`
	Sights   []flex.Sight   `json:"sights,omitempty"` // when it came by which door
	// Preflight is the latest check before its start.
	Preflight *flex.Preflight `json:"preflight,omitempty"`
}

// Point is one second of the live chart, W, positive towards the grid.
type Point struct {
	At       time.Time   `json:"at"`
	Target   *flex.Watts `json:"target,omitempty"`   // sum of what is asked now; nil when nothing is
	Measured *flex.Watts `json:"measured,omitempty"` // sum over the controllable devices
	Meter    *flex.Watts `json:"meter,omitempty"`    // at the grid connection
}

// Event is one line of what happened, for people.
type Event struct {
	At      time.Time `json:"at"`
	What    string    `json:"what"`
	Subject string    `json:"subject,omitempty"`
	Text    string    `json:"text"`
}

// Source is what the page and the reading commands need.
type Source interface {
	Status(ctx context.Context) (Status, error)
	Obligations(ctx context.Context, ahead time.Duration) ([]Obligation, error)
	Instructions(ctx context.Context, limit int) ([]Instruction, error)
	Detail(ctx context.Context, id flex.InstructionID) (Detail, error)
	Events(ctx context.Context, limit int) ([]Event, error)
	Point() Point
}

// Actor is what a person at the site may do.
type Actor interface {
	Hold(ctx context.Context, asset flex.AssetID, by, reason string) error
	Lift(ctx context.Context, asset flex.AssetID, by string) error
	Stop(ctx context.Context, id flex.InstructionID, by string) error
}

// Bench is what a technician asks of devices through the running agent,
// which owns their only connection.
type Bench interface {
	Probe(ctx context.Context, id flex.DeviceID) (Probe, error)
	Registers(ctx context.Context, id flex.DeviceID, fn byte, addr, count uint16) ([]uint16, error)
}

// Probe is what was found on a device just now.
type Probe struct {
	Device  flex.DeviceID  `json:"device,omitempty"`
	Address string         `json:"address"`
	Unit    uint8          `json:"unit"`
	Plate   flex.Nameplate `json:"plate"`
	Reading *flex.Reading  `json:"reading,omitempty"`
}
