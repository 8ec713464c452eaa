package intake

import (
	"fmt"
	"testing"
	"time"

	"flexd/agent/flex"
)

// Of a flood of forgeries the first is refuted with fresh keys, and the others
// by that; what may be somebody else's, or comes later, is asked for again.
func TestAFloodOfForgeriesIsRefusedAndNotPutOff(t *testing.T) {
	at := time.Date(2026, 1, 2, 16, 0, 0, 0, time.UTC)
	wrong := flex.Refuse(flex.ReasonSignatureInvalid, "no")
	unknown := &flex.RetryError{After: time.Second, Err: flex.Refuse(flex.ReasonNoKey, "asked a moment ago")}
	for _, tc := range []struct {
		name          string
		first         flex.Envelope
		second        flex.Envelope
		after         time.Duration
		err           error
		wantSignature bool
	}{
		{"the same source", flex.Envelope{Source: "a"}, flex.Envelope{Source: "a"}, 29 * time.Second, unknown, true},
		{"half a minute later", flex.Envelope{Source: "a"}, flex.Envelope{Source: "a"}, 30 * time.Second, unknown, false},
		{"another source", flex.Envelope{Source: "a"}, flex.Envelope{Source: "b"}, time.Second, unknown, false},
		{"a shared address", flex.Envelope{Source: "a", Shared: true}, flex.Envelope{Source: "a", Shared: true}, time.Second, unknown, false},
		{"shared since", flex.Envelope{Source: "a"}, flex.Envelope{Source: "a", Shared: true}, time.Second, unknown, false},
		{"another reason", flex.Envelope{Source: "a"}, flex.Envelope{Source: "a"}, time.Second, flex.Refuse(flex.ReasonMalformed, "no"), false},
	} {
		var f forgers
		_ = f.judged(tc.first, wrong, at)
		refusal, _ := flex.RefusalOf(f.judged(tc.second, tc.err, at.Add(tc.after)))
		if got := refusal.Reason == flex.ReasonSignatureInvalid; got != tc.wantSignature {
			t.Errorf("%s: %s", tc.name, refusal.Reason)
		}
	}
	var f forgers
	for i := range 3 * mostForgers {
		_ = f.judged(flex.Envelope{Source: fmt.Sprint(i)}, wrong, at.Add(time.Duration(i)))
	}
	if _, newest := f.seen[fmt.Sprint(3*mostForgers-1)]; len(f.seen) != mostForgers || !newest {
		t.Errorf("%d sources remembered, the newest %v", len(f.seen), newest)
	}
}
