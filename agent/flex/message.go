package flex

import (
	"encoding/json"
	"time"
)

// Stream is a sequence of messages towards the fleet, each with its own
// numbers.
type Stream string

// The streams; they equal the last part of their topics.
const (
	StreamAck   Stream = "ack"
	StreamEvent Stream = "event"
	StreamTele  Stream = "tele"
	StreamResp  Stream = "resp"
)

// Message is a row of the outbox: stored in the transaction of the decision
// that made it, published later, deleted when acknowledged. The store gives
// ID and Seq.
type Message struct {
	ID     string          `json:"id"`              // ULID
	Epoch  string          `json:"epoch,omitempty"` // of the file that gave Seq
	Stream Stream          `json:"stream"`
	Seq    uint64          `json:"seq"`
	At     time.Time       `json:"at"`
	Clock  ClockTrust      `json:"clock"`
	Schema string          `json:"schema"` // "ack/1"
	Body   json.RawMessage `json:"body"`
}

// Ack is the body of up/ack: one step of a ladder.
type Ack struct {
	Notification NotificationID `json:"notification"`
	Instruction  InstructionID  `json:"instruction,omitempty"`
	Revision     int64          `json:"revision,omitempty"`
	State        string         `json:"state"` // a NoticeState or a State
	Conditions   []Condition    `json:"conditions,omitempty"`
	Reason       Reason         `json:"reason,omitempty"`
	Text         string         `json:"text,omitempty"`
	FactAt       time.Time      `json:"fact_at"`
	Shares       []AssetShare   `json:"shares,omitempty"`
	ShareHash    string         `json:"share_hash,omitempty"`
	Window       *Window        `json:"window,omitempty"`
	Baselines    []Baseline     `json:"baselines,omitempty"` // frozen with it; in the step admitted only
	Test         bool           `json:"test,omitempty"`      // of a rehearsal: nobody asked for it
	// History keeps every condition so far with its beginning and its end.
	History []Spell `json:"history,omitempty"`
	// Of the last step alone: by how much the release was late, and what was
	// asked of each asset and given.
	ReleaseLate *Seconds `json:"release_late_s,omitempty"`
	Energy      []Energy `json:"energy,omitempty"`
}

// Event is the body of up/event: an alarm or notice, raised or cleared.
type Event struct {
	Code     string    `json:"code"`
	Severity string    `json:"severity"` // info, warning, alarm
	Subject  string    `json:"subject,omitempty"`
	Raised   bool      `json:"raised"`
	Text     string    `json:"text"`
	FactAt   time.Time `json:"fact_at"`
	// Folded counts earlier ones of the same code and subject that were never
	// sent: too many waited for the broker.
	Folded int `json:"folded,omitempty"`
}

// Audit is one line of the site's diary: who did what, and why.
type Audit struct {
	At      Stamp           `json:"at"`
	What    string          `json:"what"` // "dispatch.active", "hold", "config"
	Subject string          `json:"subject,omitempty"`
	By      string          `json:"by,omitempty"`
	Text    string          `json:"text,omitempty"`
	Detail  json.RawMessage `json:"detail,omitempty"`
}
