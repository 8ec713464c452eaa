package commission

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"flexd/agent/flex"
)

// Nudge is one setpoint that a person asked for. It ends by itself.
type Nudge struct {
	Device flex.DeviceID
	Order  flex.Order
	Power  flex.Watts
	Until  time.Time
	Once   bool // do not refresh it: the device is to fall back
}

// Override puts a nudge among the targets that control carries out, so that
// control stays the only one that writes. It is safe for concurrent use.
type Override struct {
	wake func() // may be nil until Wake

	mu    sync.Mutex
	nudge *Nudge
	lost  string // why the nudge was dropped by the planner
	tick  uint64 // plans shaped
	since uint64 // tick of the last change
}

// NewOverride makes an override that asks for nothing.
func NewOverride() *Override { return &Override{} }

// OnChange sets whom to wake when the nudge changes: control. Call it before use.
func (o *Override) OnChange(wake func()) { o.wake = wake }

// Ask puts a nudge in place of an older one.
func (o *Override) Ask(n Nudge) { o.set(&n) }

// Let ends the nudge.
func (o *Override) Let() { o.set(nil) }

func (o *Override) set(n *Nudge) {
	o.mu.Lock()
	o.nudge, o.lost, o.since = n, "", o.tick
	o.mu.Unlock()
	if o.wake != nil {
		o.wake()
	}
}

// Tries tells whether a person tries the device now.
func (o *Override) Tries(id flex.DeviceID) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.nudge != nil && o.nudge.Device == id
}

// Planned tells whether control has planned since the last change, and why the
// nudge was dropped, if it was.
func (o *Override) Planned() (seen bool, lost string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.tick > o.since, o.lost
}

// Shape gives the targets with the nudge among them, and the next instant at
// which the answer changes. It is called for every plan. Whatever else is
// wanted of the device wins, for good.
func (o *Override) Shape(now time.Time, targets []flex.Target, next time.Time, holds []flex.Hold) ([]flex.Target, time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.tick++
	if o.nudge == nil {
		return targets, next
	}
	n := *o.nudge
	i := slices.IndexFunc(targets, func(t flex.Target) bool { return t.Device == n.Device })
	switch {
	case !now.Before(n.Until):
		o.drop("its time is over")
	case len(holds) > 0:
		o.drop("a person holds the site")
	case i >= 0 && (targets[i].Order != flex.OrderNone && targets[i].Order != "" || len(targets[i].Dispatch) > 0):
		o.drop("a dispatch needs the device")
	default:
		t := flex.Target{Device: n.Device, Order: n.Order, Power: n.Power, Until: n.Until, Once: n.Once,
			Whys: []flex.Why{{Who: "commissioning", Text: fmt.Sprintf("a person at the site tries %s %v", n.Order, n.Power), Power: n.Power}}}
		targets = slices.Clone(targets)
		if i < 0 {
			targets = append(targets, t)
		} else {
			t.Revert = targets[i].Revert
			targets[i] = t
		}
		if next.IsZero() || n.Until.Before(next) {
			next = n.Until
		}
	}
	return targets, next
}

func (o *Override) drop(why string) { o.nudge, o.lost = nil, why }
