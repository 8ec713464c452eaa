package intake

import (
	"fmt"
	"testing"
	"time"

	"flexd/agent/flex"
)

// Stops come first, then what starts within a minute with all that belongs to
// the same instruction, then the rest as it came.
func TestTheUrgentGoesFirst(t *testing.T) {
	now := time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
	offer := func(id string, kind flex.Kind, in time.Duration) flex.Offer {
		return flex.Offer{Instruction: flex.Instruction{ID: flex.InstructionID(id), Kind: kind, Capacity: 1000, Window: flex.Window{Start: now.Add(in)}}}
	}
	offers := []flex.Offer{
		offer("a", flex.KindStart, time.Hour), offer("b", flex.KindStart, 30*time.Second), offer("c", flex.KindStop, time.Hour),
		offer("a", flex.KindStart, 10*time.Second), offer("d", flex.KindStart, 2*time.Minute), offer("e", flex.KindStart, -time.Minute),
	}
	stops, urgent := urgentFirst(offers, now)
	got := ""
	for _, o := range offers {
		got += fmt.Sprintf("%s%v ", o.Instruction.ID, o.Instruction.Window.Start.Sub(now))
	}
	if want := "c1h0m0s a1h0m0s b30s a10s e-1m0s d2m0s "; got != want || stops != 1 || urgent != 4 {
		t.Errorf("%s, %d stops, %d urgent; want %s", got, stops, urgent, want)
	}
}
