package intake

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"flexd/agent/flex"
)

// doubtFor is how long an unchecked signature stays an alarm without another.
const doubtFor = 24 * time.Hour

// signature judges the operator's own signature by the policy of everyone
// whom the instruction concerns; the gravest verdict counts. It is
// key_unavailable while that is not possible, and somebody is told why.
func (i *Intake) signature(c catalogue, in flex.Instruction, o flex.Obligation) (state string) {
	if i.cfg.Signatures == nil {
		return ""
	}
	later := false
	for _, operator := range i.concerned(c, in, o) {
		as := in
		as.Operator = operator
		verdict, err := i.cfg.Signatures.Check(as)
		var retry *flex.RetryError
		switch {
		case errors.As(err, &retry):
			i.log.Error("an operator's signature cannot be judged now, the instruction waits", "instruction", in.ID, "operator", operator, "error", err)
			i.doubt(operator, fmt.Sprintf("the signature of operator %q cannot be judged now, instruction %s waits: %v", operator, in.ID, err))
			later = true
			continue
		case verdict != "":
			i.log.Warn("an operator's signature was judged", "instruction", in.ID, "operator", operator, "state", verdict, "why", err)
		}
		if forged(verdict) {
			return verdict
		}
		state = cmp.Or(verdict, state)
	}
	if later {
		return string(flex.ReasonNoKey)
	}
	return state
}

// concerned names the operators whose policy holds for an instruction: the one
// it names, the one of its contract, and those of what it changes or stops.
// Else whoever names another operator would be out of reach of them all. What
// cannot be read or was forged itself binds nobody.
func (i *Intake) concerned(c catalogue, in flex.Instruction, o flex.Obligation) []string {
	out := []string{in.Operator}
	add := func(operator string) {
		operator = strings.TrimSpace(operator)
		if operator != "" && !slices.ContainsFunc(out, func(have string) bool { return strings.EqualFold(strings.TrimSpace(have), operator) }) {
			out = append(out, operator)
		}
	}
	add(cmp.Or(o.Operator, c.competitions[o.Competition].Operator))
	for _, id := range append([]flex.InstructionID{in.ID}, in.Stops...) {
		if last, found, err := i.cfg.Book.LatestOffer(id); err == nil && found && !forged(last.Signature) {
			add(last.Instruction.Operator)
		}
	}
	return out
}

// forged tells that a signature speaks against the instruction, or that nobody
// can judge it.
func forged(state string) bool {
	return state == string(flex.ReasonSignatureInvalid) || state == string(flex.ReasonSignatureMissing) || state == string(flex.ReasonNoKey)
}

// alarmFor says what a person must know of an offer's signature, and takes it
// back when the operator's signatures hold again.
func (i *Intake) alarmFor(o flex.Offer) {
	in := o.Instruction
	switch {
	case o.Signature == string(flex.ReasonNoKey): // told where it was found out
	case forged(o.Signature):
		i.cfg.Health.Raise(CodeSignatureInvalid, in.Operator,
			fmt.Sprintf("instruction %s is not carried out: %s of operator %q", in.ID, o.Signature, in.Operator))
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
