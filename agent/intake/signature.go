package intake

import (
	"errors"
	"fmt"
	"time"

	"flexd/agent/flex"
)

// doubtFor is how long an unchecked signature stays an alarm without another.
const doubtFor = 24 * time.Hour

// signature judges the operator's own signature. ok is false while that is
// not possible: then the instruction waits, and somebody is told why.
func (i *Intake) signature(in flex.Instruction) (state string, ok bool) {
	if i.cfg.Signatures == nil {
		return "", true
	}
	state, err := i.cfg.Signatures.Check(in)
	var retry *flex.RetryError
	if errors.As(err, &retry) {
		i.log.Error("an operator's signature cannot be judged now, the instruction waits", "instruction", in.ID, "operator", in.Operator, "error", err)
		i.doubt(in.Operator, fmt.Sprintf("the signature of operator %q cannot be judged now, instruction %s waits: %v", in.Operator, in.ID, err))
		return "", false
	}
	if err != nil && state != "" {
		i.log.Warn("an operator's signature was judged", "instruction", in.ID, "operator", in.Operator, "state", state, "why", err)
	}
	return state, true
}

// forged tells that a signature speaks against the instruction.
func forged(state string) bool {
	return state == string(flex.ReasonSignatureInvalid) || state == string(flex.ReasonSignatureMissing)
}

// alarmFor says what a person must know of an offer's signature, and takes it
// back when the operator's signatures hold again.
func (i *Intake) alarmFor(o flex.Offer) {
	in := o.Instruction
	switch {
	case forged(o.Signature):
		i.cfg.Health.Raise(CodeSignatureInvalid, in.Operator,
			fmt.Sprintf("instruction %s is refused: %s of operator %q", in.ID, o.Signature, in.Operator))
	case o.Signature == string(flex.Unverified):
		i.doubt(in.Operator, fmt.Sprintf("instruction %s carries a signature of operator %q that cannot be checked: no key is configured", in.ID, in.Operator))
	case in.Signature != "":
		i.mu.Lock()
		_, doubted := i.doubts[in.Operator]
		delete(i.doubts, in.Operator)
		i.mu.Unlock()
		if doubted {
			i.cfg.Health.Clear(CodeSignatureUnverified, in.Operator)
		}
		i.cfg.Health.Clear(CodeSignatureInvalid, in.Operator)
	}
}

// maxDoubts bounds the operators in doubt: names come from outside.
const maxDoubts = 64

func (i *Intake) doubt(operator, text string) {
	i.mu.Lock()
	_, known := i.doubts[operator]
	full := !known && len(i.doubts) >= maxDoubts
	if !full {
		i.doubts[operator] = time.Now()
	}
	i.mu.Unlock()
	if !full {
		i.cfg.Health.Raise(CodeSignatureUnverified, operator, text)
	}
}

// clearDoubts takes the alarm back where no doubtful signature came for a day.
func (i *Intake) clearDoubts(now time.Time) {
	var over []string
	i.mu.Lock()
	for operator, at := range i.doubts {
		if now.Sub(at) > doubtFor {
			over = append(over, operator)
			delete(i.doubts, operator)
		}
	}
	i.mu.Unlock()
	for _, operator := range over {
		i.cfg.Health.Clear(CodeSignatureUnverified, operator)
	}
}
