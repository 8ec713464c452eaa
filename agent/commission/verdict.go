package commission

import (
	"fmt"
	"math"
	"slices"
	"time"

	"flexd/agent/flex"
)

// Direction is what the meter says of the device's sign.
type Direction string

// The directions. Unclear is a meter that moved too little or for other reasons.
const (
	DirectionRight   Direction = "right"
	DirectionWrong   Direction = "wrong"
	DirectionUnclear Direction = "unclear"
)

// Problem is one finding against the device. One that forbids stands against
// any control.
type Problem struct {
	Code    string `json:"code"`
	Text    string `json:"text"`
	Forbids bool   `json:"forbids,omitempty"`
}

// Codes of problems.
const (
	ProblemSign        = "wrong_sign"
	ProblemInverted    = "moves_the_wrong_way"
	ProblemUnclear     = "meter_unclear"
	ProblemIgnores     = "ignores"
	ProblemNotTaken    = "not_taken"
	ProblemNotReached  = "not_reached"
	ProblemNoNegative  = "no_negative"
	ProblemNoRevert    = "never_reverts"
	ProblemRevertsSoon = "reverts_early"
)

// Measured is what was found, in the slowest of the steps.
type Measured struct {
	Direction    Direction     `json:"direction"`
	MeterPercent int64         `json:"meter_percent"` // how much of the device's move the meter saw, signed
	ReactionMS   int64         `json:"reaction_ms"`
	SettleMS     int64         `json:"settle_ms"`
	RampWPS      int64         `json:"ramp_w_per_s"`
	Negative     *bool         `json:"negative,omitempty"` // nil: not tried
	Revert       *RevertResult `json:"revert,omitempty"`   // nil: not tried
	Lines        *Lines        `json:"lines,omitempty"`    // nil: not tried
}

// Lines is how many connections the device serves beside ours.
type Lines struct {
	Extra int  `json:"extra"` // more that worked at the same time
	Drops bool `json:"drops"` // a further one ended ours
}

// Judge puts the steps together.
func Judge(steps []StepResult, revert *RevertResult, lines *Lines, falls bool) (Measured, []Problem) {
	m := Measured{Direction: DirectionUnclear, Revert: revert, Lines: lines}
	var out []Problem
	for _, r := range steps {
		p, ok := judgeMove(r)
		if !ok {
			out = append(out, p)
		}
		m.add(r, ok)
	}
	if slices.ContainsFunc(out, func(p Problem) bool { return p.Code == ProblemNotReached }) {
		m.SettleMS = 0 // not known: that of the better steps would be too short
	}
	m.Direction, m.MeterPercent = direction(steps)
	switch m.Direction {
	case DirectionRight:
	case DirectionWrong:
		out = append(out, Problem{ProblemSign, fmt.Sprintf("the meter moved %d %% of the device's way, against it: the sign of the meter or of the device is the wrong way round", m.MeterPercent), true})
	case DirectionUnclear:
		out = append(out, Problem{ProblemUnclear, fmt.Sprintf("the meter saw %d %% of the device's moves: the direction is not proven, try again with a calmer load or more --percent", m.MeterPercent), false})
	}
	return m, append(out, judgeRevert(revert, falls)...)
}

// add takes the slowest of the steps.
func (m *Measured) add(r StepResult, ok bool) {
	if r.ReactionMS != nil {
		m.ReactionMS = max(m.ReactionMS, *r.ReactionMS)
	}
	if r.SettleMS != nil {
		m.SettleMS = max(m.SettleMS, *r.SettleMS)
	}
	if r.RampWPS != nil && (m.RampWPS == 0 || *r.RampWPS < m.RampWPS) {
		m.RampWPS = *r.RampWPS
	}
	if r.Order == flex.OrderSet && r.Asked < 0 {
		m.Negative = &ok
	}
}

// judgeMove tells what is wrong with one step.
func judgeMove(r StepResult) (Problem, bool) {
	want, went := r.Asked-r.From, r.To-r.From
	about := fmt.Sprintf("%s: told %s %v, went from %v to %v", r.Name, r.Order, r.Asked, r.From, r.To)
	negative := r.Order == flex.OrderSet && r.Asked < 0
	switch {
	case !r.Taken:
		return Problem{ProblemNotTaken, fmt.Sprintf("%s: the registers never held %s %v", r.Name, r.Order, r.Asked), !negative}, false
	case r.Order == flex.OrderCap && r.SettleMS != nil:
		return Problem{}, true
	case r.ReactionMS == nil && want.Abs() > tolerance(want):
		return Problem{ProblemIgnores, about, true}, false
	case want.Abs() > tolerance(want) && (want > 0) != (went > 0) && went.Abs() > want.Abs()/2:
		return Problem{ProblemInverted, about, true}, false
	case r.SettleMS == nil && negative && r.To > r.Asked/2:
		return Problem{ProblemNoNegative, about, false}, false
	case r.SettleMS == nil:
		return Problem{ProblemNotReached, about, false}, false
	}
	return Problem{}, true
}

// direction compares the meter's moves with the device's. Every step must say
// the same: a load that switches meanwhile must neither prove a sign nor
// condemn one.
func direction(steps []StepResult) (Direction, int64) {
	var both, own float64
	var right, wrong, unclear int
	for _, r := range steps {
		d := float64(r.To - r.From)
		if r.MeterFrom == nil || r.MeterTo == nil || math.Abs(d) < float64(tolerance(r.Asked-r.From)) {
			continue
		}
		m := float64(*r.MeterTo - *r.MeterFrom)
		both, own = both+d*m, own+d*d
		switch share := m / d; {
		case share >= 0.6 && share <= 1.4:
			right++
		case share <= -0.6 && share >= -1.4:
			wrong++
		default:
			unclear++
		}
	}
	if own < 1 {
		return DirectionUnclear, 0
	}
	percent := int64(math.Round(max(-9.99, min(9.99, both/own)) * 100))
	switch {
	case right > 0 && wrong+unclear == 0:
		return DirectionRight, percent
	case wrong > 0 && right+unclear == 0:
		return DirectionWrong, percent
	}
	return DirectionUnclear, percent
}

// judgeRevert compares the fall-back with what the device promises.
func judgeRevert(r *RevertResult, falls bool) []Problem {
	if r == nil {
		return nil
	}
	lease := time.Duration(r.LeaseMS) * time.Millisecond
	switch {
	case r.AfterMS == nil && falls:
		return []Problem{{ProblemNoRevert, fmt.Sprintf("the device did not fall back within %v though it says it does: it would go on if flexd died", lease+revertGrace), false}}
	case r.AfterMS != nil && *r.AfterMS < r.LeaseMS/2:
		return []Problem{{ProblemRevertsSoon, fmt.Sprintf("the device fell back after %v, it was told %v", time.Duration(*r.AfterMS)*time.Millisecond, lease), false}}
	}
	return nil
}

// Tuning is what control uses of a record; zero means not measured.
type Tuning struct {
	Lead   time.Duration // from the write to the first watt: write so much earlier
	Settle time.Duration // from the write until it is there
	Revert time.Duration // it falls back after so long without a refresh
	Falls  bool          // it was seen to fall back
	Stays  bool          // it was seen not to
}

// Tune gives the measured values to control.
func (m Measured) Tune() Tuning {
	t := Tuning{Lead: time.Duration(m.ReactionMS) * time.Millisecond, Settle: time.Duration(m.SettleMS) * time.Millisecond}
	if m.Revert != nil {
		t.Falls, t.Stays = m.Revert.AfterMS != nil, m.Revert.AfterMS == nil
		if t.Falls {
			t.Revert = time.Duration(*m.Revert.AfterMS) * time.Millisecond
		}
	}
	return t
}

// forbids finds a problem that stands against control.
func forbids(list []Problem) (Problem, bool) {
	i := slices.IndexFunc(list, func(p Problem) bool { return p.Forbids })
	if i < 0 {
		return Problem{}, false
	}
	return list[i], true
}
