package flex

import "time"

// Methods by which baselines are found.
const (
	MethodZero      = "zero" // nothing would have happened
	MethodNominated = "nominated"
	MethodRecent    = "recent"
	MethodTenOfTen  = "10-of-10"
)

// Baseline is what an asset would have done without the dispatch: mean power
// per step, W, + towards the grid. It is frozen when the instruction is
// admitted, so that what is paid for later is what was known then.
type Baseline struct {
	Asset  AssetID       `json:"asset"`
	Method string        `json:"method"` // one of the above
	Start  time.Time     `json:"start"`  // of the first step, UTC
	Step   time.Duration `json:"step"`
	Values []Watts       `json:"values"`
	// Detail tells people how it came about: the days used, the adjustment.
	Detail string `json:"detail,omitempty"`
}

// At is the baseline at an instant. Before its first step and after its last
// one the nearest step counts; without any it is 0.
func (b Baseline) At(t time.Time) Watts {
	if len(b.Values) == 0 || b.Step <= 0 {
		return 0
	}
	n := int64(0)
	if t.After(b.Start) {
		n = min(int64(t.Sub(b.Start)/b.Step), int64(len(b.Values)-1))
	}
	return b.Values[n]
}
