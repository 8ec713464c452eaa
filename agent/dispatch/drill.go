package dispatch

import (
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"time"

	"github.com/oklog/ulid/v2"

	"flexd/agent/flex"
)

// Bounds of a rehearsal, and how far ahead it begins: what is found on the
// devices is journaled before the start.
const (
	DrillLeast = 10 * time.Second
	DrillMost  = 15 * time.Minute
	drillAhead = 5 * time.Second
)

// DrillContract is what a rehearsal's record has in place of an obligation.
const DrillContract flex.ObligationID = "drill"

// Drill is a rehearsal that a person at the site asks for.
type Drill struct {
	Asset flex.AssetID
	Power flex.Watts    // + towards the grid
	For   time.Duration // of the window
	By    string
	Most  flex.Watts // magnitude that a rehearsal may ask of this asset
}

// Drill takes a rehearsal through the same decision as the market's requests:
// it is stored as an offer, admitted or refused, and carried out. It is marked
// as a test in all that is stored and said of it, no answer goes to the
// market, and whatever the market asks for takes the asset from it. The error
// wraps a *flex.Refusal when it was turned down.
func (e *Engine) Drill(ctx context.Context, d Drill) (flex.InstructionID, error) {
	now := e.cfg.Wall.Stamp()
	if why := e.mayDrill(d, now); why != nil {
		return "", why
	}
	name, err := ulid.New(ulid.Timestamp(now.At), rand.Reader)
	if err != nil {
		return "", fmt.Errorf("cannot name the drill: %w", err)
	}
	o := drillOffer(d, flex.InstructionID("drill-"+name.String()), now)
	id := o.Instruction.ID
	return id, e.ask(ctx, func(ctx context.Context) error {
		text := fmt.Sprintf("drill of %v on %s, %v", d.Power, d.Asset, o.Instruction.Window)
		ch := flex.Changes{Offers: []flex.Offer{o}, Audit: []flex.Audit{{At: now, What: "dispatch.drill", Subject: string(id), By: d.By, Text: text}}}
		if err := e.commit(ctx, ch); err != nil {
			return err
		}
		if err := e.decide(ctx); err != nil {
			return err
		}
		rec, ok, err := e.cfg.Ledger.Record(ctx, id)
		if err != nil || !ok || rec.State != flex.Refused {
			return err
		}
		return flex.Refuse(rec.Reason, "%s", rec.Text)
	})
}

// mayDrill tells what is wrong with a rehearsal before anything is stored.
func (e *Engine) mayDrill(d Drill, now flex.Stamp) error {
	switch {
	case !slices.Contains(e.cfg.Assets, d.Asset):
		return flex.Refuse(flex.ReasonUnknownAsset, "asset %q is not configured here; there are: %v", clip(string(d.Asset)), e.cfg.Assets)
	case d.Power == 0:
		return flex.Refuse(flex.ReasonBadField, "a drill needs a power other than zero")
	case d.Most <= 0:
		return flex.Refuse(flex.ReasonDeviceUnavailable, "the rating of %s is not known, so no part of it can be told: see `flexd status`", d.Asset)
	case d.Power.Abs() > d.Most:
		return flex.Refuse(flex.ReasonAboveCapacity, "%v is more than the %v that a drill may ask of %s", d.Power.Abs(), d.Most, d.Asset)
	case d.For < DrillLeast || d.For > DrillMost:
		return flex.Refuse(flex.ReasonBadField, "a drill lasts %v to %v, not %v", DrillLeast, DrillMost, d.For)
	case now.Clock == flex.ClockUntrusted:
		return flex.Refuse(flex.ReasonClockUntrusted, "the clock cannot be trusted yet")
	}
	for _, h := range e.cfg.Board.Holds() {
		if h.Asset == "" || h.Asset == d.Asset {
			return flex.Refuse(flex.ReasonLocalHold, "%s is held by %s: `flexd release` first", subjectText(h.Asset), h.By)
		}
	}
	return nil
}

// drillOffer is the rehearsal as if a market had sent it, under a contract of
// its own for these days.
func drillOffer(d Drill, id flex.InstructionID, now flex.Stamp) flex.Offer {
	direction := flex.Export
	if d.Power < 0 {
		direction = flex.Import
	}
	start := now.At.Add(drillAhead + time.Second - 1).Truncate(time.Second).UTC()
	in := flex.Instruction{ID: id, Revision: 1, Kind: flex.KindStart, Obligation: DrillContract, Assets: []flex.AssetID{d.Asset},
		Capacity: d.Power.Abs(), Direction: direction, Window: flex.Window{Start: start, End: start.Add(d.For)}, Content: string(id), Test: true}
	return flex.Offer{Notification: flex.NotificationID(id), Door: flex.DoorDrill, Received: now, Instruction: in, Ours: in.Assets,
		Named: []flex.MarketAsset{{ID: d.Asset, Import: d.Most, Export: d.Most}},
		Obligation: flex.Obligation{ID: DrillContract, Assets: in.Assets, Capacity: d.Most, Direction: direction, Zone: "UTC",
			StartDate: start.AddDate(0, 0, -1).Format(time.DateOnly), EndDate: start.AddDate(0, 0, 3).Format(time.DateOnly),
			Days: []time.Weekday{0, 1, 2, 3, 4, 5, 6}, BankHolidays: true, EndTime: 24 * time.Hour}}
}
