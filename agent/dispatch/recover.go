package dispatch

import "flexd/agent/flex"

// Need is what an unfinished record asks for after a restart.
type Need string

// The needs. Nothing: final. Schedule: admitted only, go on at once. Wait:
// its start lies ahead. Run: its window is open, control re-asserts it.
// Close: its window is over or it was stopped, the release must be proven.
// Hold: the clock cannot be trusted, and this is another boot than that of
// the last step, so no one knows whether its window is open: control it not,
// and look again when the clock is good.
const (
	NeedNothing  Need = "nothing"
	NeedSchedule Need = "schedule"
	NeedWait     Need = "wait"
	NeedRun      Need = "run"
	NeedClose    Need = "close"
	NeedHold     Need = "hold"
	// NeedAnswer is the need of what may not run before it is answered.
	NeedAnswer Need = "answer"
)

// Recover maps a stored record to its need. Nothing depends on memory of
// before the restart.
func Recover(rec flex.Record, now flex.Stamp) Need {
	switch {
	case rec.State.Final():
		return NeedNothing
	case rec.State == flex.Waiting:
		return NeedWait // its offer is not decided: the first look judges it
	case rec.State == flex.Admitted || rec.State == flex.Accepted:
		return NeedSchedule
	case rec.State == flex.Pending && (now.Clock != flex.ClockUntrusted || sameBoot(rec, now) || ended(&rec)):
		return NeedAnswer
	case rec.State == flex.Pending:
		return NeedHold
	case rec.State != flex.Scheduled && rec.State != flex.Active:
		return NeedNothing
	case !rec.StopAt.IsZero() && rec.StopReason != flex.ReasonSuperseded:
		return NeedClose // a stop needs no clock
	case now.Clock == flex.ClockUntrusted && !sameBoot(rec, now):
		return NeedHold
	case over(rec, now.At):
		return NeedClose
	case now.At.Before(rec.Window.Start):
		return NeedWait
	}
	return NeedRun
}

func sameBoot(rec flex.Record, now flex.Stamp) bool {
	if now.Boot != "" && rec.Begun.Boot == now.Boot {
		return true
	}
	if len(rec.Steps) == 0 {
		return false
	}
	last := rec.Steps[len(rec.Steps)-1].Fact
	return now.Boot != "" && last.Boot == now.Boot
}
