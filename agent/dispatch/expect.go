package dispatch

import (
	"time"

	"flexd/agent/flex"
)

// Expect is our part of a call of an obligation in full, by the very rule that
// shares an instruction, and the longest that one may last within a window. Of
// a service around the clock that is as long as a call without an end may last.
// A refusal tells why our part cannot be told.
func Expect(ob flex.Obligation, w flex.Window, known []flex.MarketAsset, ours []flex.AssetID) ([]flex.AssetShare, time.Duration, *flex.Refusal) {
	run := w.Duration()
	if run > 24*time.Hour { // served around the clock: a call without an end
		run = MaxOpenRun
	}
	if ob.MaxRuntime > 0 {
		run = min(run, ob.MaxRuntime)
	}
	if ob.Direction.Sign() == 0 {
		return nil, run, flex.Refuse(flex.ReasonDirectionUnresolved, "the direction of obligation %s is not known", ob.ID)
	}
	o := flex.Offer{Ours: ours, Named: known, Instruction: flex.Instruction{Obligation: ob.ID, Assets: ob.Assets, Capacity: ob.Capacity, Direction: ob.Direction}}
	list, _, why := shares(o)
	return list, run, why
}
