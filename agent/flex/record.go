package flex

import (
	"slices"
	"time"
)

// ClockTrust grades the wall clock at the time of a fact.
type ClockTrust string

// Synced: the kernel says so. Holdover: plausible, not confirmed. Untrusted:
// below the floor or proven wrong.
const (
	ClockSynced    ClockTrust = "synced"
	ClockHoldover  ClockTrust = "holdover"
	ClockUntrusted ClockTrust = "untrusted"
)

// Stamp is an instant with what is needed to judge it after a restart: the
// wall clock, its trust, and the boot with the time since then.
type Stamp struct {
	At    time.Time     `json:"at"`
	Clock ClockTrust    `json:"clock"`
	Boot  string        `json:"boot,omitempty"`
	Since time.Duration `json:"since,omitempty"` // CLOCK_BOOTTIME
}

// Line is the wall clock's reading at which the machine was booted, had the
// wall clock never been moved since: within one boot it changes when the wall
// clock is stepped, and only then.
func (s Stamp) Line() time.Time { return s.At.Round(0).Add(-s.Since) }

// AssetShare is this site's part of an instruction for one of its assets,
// signed: + towards the grid.
type AssetShare struct {
	Asset AssetID `json:"asset"`
	Power Watts   `json:"power"`
}

// Offer is an instruction that intake matched to this site, ready for a
// decision. Everything the decision needs is in it or in the store.
type Offer struct {
	Seq          uint64         `json:"seq,omitempty"` // given by the store, rising
	Notification NotificationID `json:"notification"`
	Door         Door           `json:"door"`
	Received     Stamp          `json:"received"`
	Instruction  Instruction    `json:"instruction"`
	// Signature tells how the operator's signature was treated: "", or one of
	// the conditions / reasons (so_signature_unverified, signature_invalid).
	Signature string `json:"signature,omitempty"`
	// Obligation is the contract it belongs to, zero ID when unknown.
	Obligation Obligation `json:"obligation,omitzero"`
	// Named are all assets that the instruction names, ours and foreign, with
	// the capacities known for them; what is missing is not known.
	Named []MarketAsset `json:"named,omitempty"`
	// Ours are the ids among them that this site's configuration lists.
	Ours []AssetID `json:"ours"`
}

// Transition is one step of a ladder.
type Transition struct {
	State  State  `json:"state"`
	Fact   Stamp  `json:"fact"`
	Reason Reason `json:"reason,omitempty"`
	Text   string `json:"text,omitempty"`
}

// Record is the life of one instruction at this site. A record is replaced
// whole, in one transaction with what follows from it.
type Record struct {
	Version      int            `json:"v"`
	ID           InstructionID  `json:"id"`
	Notification NotificationID `json:"notification"`
	Door         Door           `json:"door"`
	Instruction  Instruction    `json:"instruction"`
	Obligation   ObligationID   `json:"obligation,omitempty"`
	// Revision is the market's, or our count of content changes.
	Revision   int64       `json:"revision"`
	State      State       `json:"state"`
	Conditions []Condition `json:"conditions,omitempty"`
	Reason     Reason      `json:"reason,omitempty"`
	Text       string      `json:"text,omitempty"`
	Window     Window      `json:"window"` // concrete, frozen at admission but for Moved
	// Begun is when its window was first seen open, by the wall clock that
	// Window is told in; from then on it goes by the time since boot.
	Begun Stamp `json:"begun,omitzero"`
	// Moved is by how much the wall clock was stepped since: Window, StopAt and
	// the facts below lie that much later than they were admitted or seen.
	Moved  time.Duration `json:"moved,omitempty"`
	Shares []AssetShare  `json:"shares,omitempty"`
	// Withheld are our shares of assets that were declared unavailable when it
	// was admitted; they are no part of Shares.
	Withheld  []AssetShare `json:"withheld,omitempty"`
	ShareHash string       `json:"share_hash,omitempty"` // of the capacities used
	// Baselines are those of our assets in Shares that are held against one.
	Baselines []Baseline `json:"baselines,omitempty"`
	// Emergency and Priority are the configuration's word on its contract.
	Emergency bool `json:"emergency,omitempty"`
	Priority  int  `json:"priority,omitempty"`
	// StopAt is when a stop was received; the dispatch wants nothing from then on.
	StopAt     time.Time     `json:"stop_at,omitzero"`
	StopReason Reason        `json:"stop_reason,omitempty"`
	StopBy     InstructionID `json:"stop_by,omitempty"`
	// Answer is set where the market wants to hear whether we accept.
	Answer *Answer `json:"answer,omitempty"`
	// Amend is the answer that is wanted for a change which is not in force: it
	// waits as an offer while the record goes on as it is.
	Amend *Answer `json:"amend,omitempty"`
	// Declined names the last refused amendment (revision and content), so
	// that its repetition is not announced again.
	Declined string `json:"declined,omitempty"`
	// Facts for the summary: filled as they become known.
	FirstWrite time.Time `json:"first_write,omitzero"`
	EchoAt     time.Time `json:"echo_at,omitzero"`
	ActingAt   time.Time `json:"acting_at,omitzero"`
	DeliverAt  time.Time `json:"delivered_at,omitzero"`
	ReleasedAt time.Time `json:"released_at,omitzero"`
	// History keeps every condition with its beginning and its end.
	History []Spell `json:"history,omitempty"`
	// Energy is what was asked of each asset, and given; see EnergyTotal.
	Energy []Energy     `json:"energy,omitempty"`
	Steps  []Transition `json:"steps"`
}

// Dispatch is what control needs to know of the record.
func (r Record) Dispatch() Dispatch {
	return Dispatch{ID: r.ID, Revision: r.Revision, Shares: r.Shares, Window: r.Window, StopAt: r.StopAt, Baselines: r.Baselines, Moved: r.Moved, Use: r.use(),
		Operator: r.Instruction.Operator, Obligation: r.Obligation, Priority: r.Priority}
}

// use is what the record uses the devices for.
func (r Record) use() Use {
	switch {
	case r.Instruction.Test:
		return UseNormal
	case r.Emergency:
		return UseEmergency
	}
	return UseEvent
}

// Has tells whether the condition is set.
func (r Record) Has(c Condition) bool { return slices.Contains(r.Conditions, c) }

// With returns a copy with the condition set or cleared; the slice is never
// shared with r.
func (r Record) With(c Condition, on bool) Record {
	out := make([]Condition, 0, len(r.Conditions)+1)
	for _, have := range r.Conditions {
		if have != c {
			out = append(out, have)
		}
	}
	if on {
		out = append(out, c)
	}
	slices.Sort(out)
	r.Conditions = out
	return r
}

// Dispatch is what control needs to know of a record that is scheduled or
// active: who wants how much of which asset, when.
type Dispatch struct {
	ID       InstructionID `json:"id"`
	Revision int64         `json:"revision"`
	Shares   []AssetShare  `json:"shares"`
	Window   Window        `json:"window"`
	// StopAt, when set, ends the dispatch at that instant whatever Window says.
	StopAt time.Time `json:"stop_at,omitzero"`
	// Baselines are what the shares count from; an asset without one counts from zero.
	Baselines []Baseline `json:"baselines,omitempty"`
	// Moved is by how much all these instants were put off because the wall
	// clock was stepped after the window had begun.
	Moved time.Duration `json:"moved,omitempty"`
	// Use decides which of the owner's bounds hold.
	Use Use `json:"use,omitempty"`
	// Operator and Obligation are for people.
	Operator   string       `json:"operator,omitempty"`
	Obligation ObligationID `json:"obligation,omitempty"`
	// Priority is the configuration's word on its contract, see Outranks.
	Priority int `json:"priority,omitempty"`
}

// Use is what a dispatch uses the devices for; the wider is the greater.
type Use int

// A paid event is the usual; a rehearsal is as narrow as everyday, an
// emergency is what the configuration names so.
const (
	UseNormal    Use = -1
	UseEvent     Use = 0
	UseEmergency Use = 1
)

// String says it as the end of a sentence.
func (u Use) String() string {
	switch u {
	case UseNormal:
		return "in normal use"
	case UseEmergency:
		return "in an emergency"
	case UseEvent:
	}
	return "in a paid event"
}

// Baseline is what the asset's share counts from at an instant.
func (d Dispatch) Baseline(asset AssetID, at time.Time) Watts {
	for _, b := range d.Baselines {
		if b.Asset == asset {
			return b.At(at)
		}
	}
	return 0
}

// Put is the dispatch with all its instants later by so much, as told by a
// clock that is ahead by so much.
func (d Dispatch) Put(by time.Duration) Dispatch {
	if by == 0 {
		return d
	}
	d.Window.Start = d.Window.Start.Round(0).Add(by)
	for _, t := range []*time.Time{&d.Window.End, &d.StopAt} {
		if !t.IsZero() {
			*t = t.Round(0).Add(by)
		}
	}
	d.Baselines = slices.Clone(d.Baselines)
	for i := range d.Baselines {
		d.Baselines[i].Start = d.Baselines[i].Start.Add(by)
	}
	return d
}

// Wants tells whether the dispatch asks for power at now.
func (d Dispatch) Wants(now time.Time) bool {
	return d.Window.Contains(now) && (d.StopAt.IsZero() || now.Before(d.StopAt))
}

// Tombstone remembers a stop for an id that was not known when it came: a
// start with that id that arrives later is refused.
type Tombstone struct {
	ID     InstructionID `json:"id"`
	By     InstructionID `json:"by"`
	At     Stamp         `json:"at"`
	Reason Reason        `json:"reason"`
}

// Hold is a local person's order that outranks the market: the devices of
// the asset (all devices when Asset is empty) are handed back and stay so.
type Hold struct {
	Asset  AssetID `json:"asset,omitempty"`
	By     string  `json:"by"`
	Reason string  `json:"reason,omitempty"`
	At     Stamp   `json:"at"`
}
