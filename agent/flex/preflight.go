package flex

import "time"

// Reasons of a pre-flight check beyond those of a refusal.
const (
	ReasonLinkDown     Reason = "link_down"        // market, door or broker is not reached
	ReasonObserved     Reason = "observed_only"    // nothing is written to the asset
	ReasonUnforeseen   Reason = "not_foreseeable"  // too little is known to tell
	ReasonDeviceFaulty Reason = "device_faulty"    // the device says so itself
	ReasonOverridden   Reason = "left_to_somebody" // others write, and the policy is to let them
)

// The subjects of a pre-flight check.
const (
	PreflightObligation  = "obligation"  // a service window, in which instructions may come
	PreflightInstruction = "instruction" // one that waits for its start
)

// The results of a pre-flight check.
const (
	PreflightGo     = "go"
	PreflightAtRisk = "at_risk"
)

// Preflight is one look at whether this site could serve a window to come.
type Preflight struct {
	Kind       string        `json:"kind"`
	ID         string        `json:"id"` // of the obligation or the instruction
	Obligation ObligationID  `json:"obligation,omitempty"`
	Operator   string        `json:"operator,omitempty"`
	Window     Window        `json:"window"`
	Shares     []AssetShare  `json:"shares,omitempty"` // our part that was judged
	At         Stamp         `json:"at"`
	Lead       time.Duration `json:"lead,omitempty"` // it was due so long before the start; 0: a person asked
	Result     string        `json:"result"`
	Reasons    []Concern     `json:"reasons,omitempty"` // of at_risk
	Notes      []string      `json:"notes,omitempty"`   // what could not be judged
}

// Concern is one reason why a window is at risk.
type Concern struct {
	Reason  Reason `json:"reason"`
	Subject string `json:"subject,omitempty"` // device, asset or link
	Text    string `json:"text"`
}
