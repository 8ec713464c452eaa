package flex

import (
	"encoding/json"
	"time"
)

// Direction says what an instruction asks of the grid exchange, relative to
// the asset's reference.
type Direction string

// Export asks for more power towards the grid (+), Import for less (−).
const (
	Export Direction = "export"
	Import Direction = "import"
)

// Sign is +1 for export, −1 for import, 0 when unresolved.
func (d Direction) Sign() Watts {
	switch d {
	case Export:
		return 1
	case Import:
		return -1
	}
	return 0
}

// Door is the way by which something came in.
type Door string

// The doors.
const (
	DoorWebhook Door = "webhook"
	DoorRelay   Door = "relay"
	DoorPoll    Door = "poll"
	DoorDrill   Door = "drill" // a rehearsal that a person at the site asked for
)

// Envelope is one raw message as it came through a door, unverified. Nothing
// of it may be acted on, or logged beyond its hash and size.
type Envelope struct {
	Door     Door
	Received time.Time
	Source   string              // peer address without port, for rate limits and the log
	Shared   bool                // many may send from Source: what one of them does counts against none
	Header   map[string][]string // values as they came, by canonical name
	Body     []byte
}

// UnsignedKey stands for the key of a notice that nobody vouches for: all it
// can cause is a look at the market.
const UnsignedKey = "unsigned"

// Notice is a verified notification: a signed pointer to instructions.
type Notice struct {
	ID       NotificationID  `json:"id"`
	Door     Door            `json:"door"`
	Received time.Time       `json:"received"`
	Event    string          `json:"event"`
	DataURL  string          `json:"data_url"`
	Count    int             `json:"count"` // instructions to expect; 0 when unknown
	IssuedAt time.Time       `json:"issued_at,omitzero"`
	KeyID    string          `json:"key_id,omitempty"`
	Payload  json.RawMessage `json:"payload,omitempty"`  // decoded claims, kept raw
	RawHash  string          `json:"raw_hash,omitempty"` // hex SHA-256 of the body as it came; outlives the body
	State    NoticeState     `json:"state"`
	Reason   Reason          `json:"reason,omitempty"`
	Fetched  int             `json:"fetched,omitempty"` // instructions seen so far
	// Seen counts how often it was delivered; each delivery fetches again.
	Seen int `json:"seen,omitempty"`
	// Doors are the first deliveries by each door, in the order they came.
	Doors []Sighting `json:"doors,omitempty"`
	// Again marks a notice that was fetched before and is open once more
	// because it was delivered again: its ladder is not announced twice.
	Again bool `json:"again,omitempty"`
}

// Kind tells a start from a stop.
type Kind string

// Kinds of instruction.
const (
	KindStart Kind = "start"
	KindStop  Kind = "stop"
)

// Instruction is the operator's request as decoded from the market, in our
// units. Problems lists what could not be understood; a start with problems
// is refused with the first of them, a stop acts all the same.
type Instruction struct {
	ID          InstructionID   `json:"id"`
	Revision    int64           `json:"revision"`
	HasRevision bool            `json:"has_revision,omitempty"` // the market states revisions explicitly
	Kind        Kind            `json:"kind"`
	Operator    string          `json:"operator,omitempty"`
	Obligation  ObligationID    `json:"obligation,omitempty"`
	Competition CompetitionID   `json:"competition,omitempty"`
	Assets      []AssetID       `json:"assets,omitempty"`
	Stops       []InstructionID `json:"stops,omitempty"`     // targets named by a stop
	Capacity    Watts           `json:"capacity"`            // magnitude, total over Assets, ≥ 0
	Direction   Direction       `json:"direction"`           // resolved, or empty
	Window      Window          `json:"window"`              // End zero: open
	Status      string          `json:"status,omitempty"`    // the market's own word
	Signature   string          `json:"signature,omitempty"` // the operator's, as text
	Content     string          `json:"content"`             // hash of every field that matters
	Problems    []Refusal       `json:"problems,omitempty"`
	// Unknown is what the market says of its type or status that nobody here
	// understands, or that speaks against an order; empty: nothing.
	Unknown string `json:"unknown,omitempty"`
	// Test marks a rehearsal: it moves watts and is nobody's delivery.
	Test    bool            `json:"test,omitempty"`
	Raw     json.RawMessage `json:"raw,omitempty"`      // dropped after the time of retention
	RawHash string          `json:"raw_hash,omitempty"` // hex SHA-256 of Raw, kept for ever
}

// Obligation is a contract won at market: capacity of assets in weekly
// service windows, local to the market's time zone.
type Obligation struct {
	ID           ObligationID    `json:"id"`
	Competition  CompetitionID   `json:"competition,omitempty"`
	Bid          string          `json:"bid,omitempty"`
	Operator     string          `json:"operator,omitempty"`
	Assets       []AssetID       `json:"assets"`
	Capacity     Watts           `json:"capacity"` // magnitude, total over Assets
	Direction    Direction       `json:"direction"`
	StartDate    string          `json:"start_date"` // YYYY-MM-DD, first service day
	EndDate      string          `json:"end_date"`   // YYYY-MM-DD, exclusive
	Days         []time.Weekday  `json:"days"`
	BankHolidays bool            `json:"bank_holidays"` // true: service on bank holidays too
	StartTime    time.Duration   `json:"start_time"`    // since local midnight
	EndTime      time.Duration   `json:"end_time"`      // since local midnight; ≤ StartTime: next day
	MaxRuntime   time.Duration   `json:"max_runtime,omitempty"`
	Zone         string          `json:"zone"`             // IANA name
	Region       string          `json:"region,omitempty"` // whose bank holidays count; "" is england-and-wales
	SyncedAt     time.Time       `json:"synced_at"`
	GoneAt       time.Time       `json:"gone_at,omitzero"` // no longer listed by the market since
	Raw          json.RawMessage `json:"raw,omitempty"`
}

// MarketAsset is what the market knows about a sold resource.
type MarketAsset struct {
	ID          AssetID         `json:"id"`
	Ref         string          `json:"ref,omitempty"`
	Name        string          `json:"name,omitempty"`
	Status      string          `json:"status,omitempty"`
	Import      Watts           `json:"import"` // capacity for import services, magnitude
	Export      Watts           `json:"export"` // capacity for export services, magnitude
	ImportMPAN  string          `json:"import_mpan,omitempty"`
	ExportMPAN  string          `json:"export_mpan,omitempty"`
	MinRuntime  time.Duration   `json:"min_runtime,omitempty"`
	MaxRuntime  time.Duration   `json:"max_runtime,omitempty"`
	Recovery    time.Duration   `json:"recovery,omitempty"`
	Response    time.Duration   `json:"response,omitempty"`
	Obligations []ObligationID  `json:"obligations,omitempty"`
	SyncedAt    time.Time       `json:"synced_at"`
	Raw         json.RawMessage `json:"raw,omitempty"`
}

// Capacity is the asset's weight when an instruction is shared, by direction.
func (a MarketAsset) Capacity(d Direction) Watts {
	if d == Import {
		return a.Import
	}
	return a.Export
}

// Competition is the tender behind an obligation.
type Competition struct {
	ID          CompetitionID   `json:"id"`
	Name        string          `json:"name,omitempty"`
	Operator    string          `json:"operator,omitempty"`
	ServiceType string          `json:"service_type,omitempty"`
	Direction   Direction       `json:"direction,omitempty"`
	SyncedAt    time.Time       `json:"synced_at"`
	Raw         json.RawMessage `json:"raw,omitempty"`
}
