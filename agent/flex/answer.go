package flex

import "time"

// Word is an answer to the market.
type Word string

// The answers.
const (
	Accept Word = "accept"
	Reject Word = "reject"
)

// Answer is what the market wants to hear about one instruction, what we
// decided to say, and what became of saying it.
type Answer struct {
	Revision int64 `json:"revision,omitempty"` // of the instruction that is answered
	// Asked is when the market began to wait.
	Asked  time.Time `json:"asked,omitzero"`
	Due    time.Time `json:"due"`              // the market's deadline, or the window's end
	Word   Word      `json:"word,omitempty"`   // empty: not decided
	Reason Reason    `json:"reason,omitempty"` // of a rejection
	Text   string    `json:"text,omitempty"`
	By     string    `json:"by,omitempty"` // "flexd", or the person
	At     Stamp     `json:"at,omitzero"`  // of the decision
	Tries  int       `json:"tries,omitempty"`
	Tried  time.Time `json:"tried,omitzero"`   // the last try
	Failed string    `json:"failed,omitempty"` // why the last try failed
	// Uncertain tells that a try may have reached the market although it did
	// not say so.
	Uncertain bool      `json:"uncertain,omitempty"`
	Confirmed time.Time `json:"confirmed,omitzero"` // the market took it
	Lapsed    bool      `json:"lapsed,omitempty"`   // the deadline passed without
}

// Owed tells that the market must still be told.
func (a *Answer) Owed() bool {
	return a != nil && a.Word != "" && a.Confirmed.IsZero() && !a.Lapsed
}

// AnswerRule is how long a market waits for an answer to an instruction.
type AnswerRule struct {
	Within time.Duration `json:"within"`
	// WorkingDays tells that weekends and bank holidays do not count.
	WorkingDays bool `json:"working_days,omitempty"`
}

// Say is one answer to give.
type Say struct {
	ID       InstructionID
	Revision int64
	Reason   Reason // of a rejection
	Text     string
}

// Foresight is what control says of a dispatch that does not run yet: would
// it be delivered in full? Known is false while that cannot be told.
type Foresight struct {
	Known   bool
	Missing Watts     // the most that would be missing at any time, magnitude
	From    time.Time // when something is missing first; zero: never
	Reason  Reason
	Text    string
}
