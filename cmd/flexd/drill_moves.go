package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"flexd/agent/flex"
)

// move is what one device gave before a drill, and while it was held by it, W,
// + towards the grid.
type move struct {
	device flex.DeviceID
	was    *flex.Watts // the last reading before the start
	asked  flex.Watts
	gave   *flex.Watts // the last reading under the setpoint
}

// moves are those of a drill's devices. A device that ignores its setpoint may
// give by chance what is asked of it, so that a drill proves something only of
// a device whose power changed.
type moves []move

// moveLeast is the smallest change that is told from chance, besides a tenth
// of what is asked.
const moveLeast = flex.Watts(100)

// see takes in what the devices show now.
func (ms *moves) see(devices []flex.DeviceStatus, id flex.InstructionID, start time.Time) {
	for _, d := range devices {
		i := slices.IndexFunc(*ms, func(m move) bool { return m.device == d.ID })
		if i < 0 {
			i = len(*ms)
			*ms = append(*ms, move{device: d.ID})
		}
		(*ms)[i].see(d, id, start)
	}
}

func (m *move) see(d flex.DeviceStatus, id flex.InstructionID, start time.Time) {
	r := d.Reading
	if r == nil || r.Power == nil {
		return
	}
	held := slices.Contains(d.Target.Dispatch, id) && (d.Target.Order == flex.OrderSet || d.Target.Order == flex.OrderCap)
	switch {
	case r.At.Before(start):
		m.was = r.Power
	case held:
		m.gave, m.asked = r.Power, d.Target.Power
		if d.Target.Order == flex.OrderCap && m.was != nil {
			m.asked = min(m.asked, *m.was) // a cap raises nothing
		}
	}
}

// verdict is nil where every device that was asked for a change went at least
// half of the way, and one was.
func (ms moves) verdict() error {
	var idle, near []string
	moved := 0
	for _, m := range ms {
		switch {
		case m.gave == nil: // not asked, or not read: the record says which
		case m.was == nil:
			idle = append(idle, fmt.Sprintf("what %s gave before the drill is not known", m.device))
		case (m.asked - *m.was).Abs() < max(m.asked.Abs()/10, moveLeast):
			near = append(near, fmt.Sprintf("%s gave %v before and %v was asked of it", m.device, *m.was, m.asked))
		case !m.followed():
			idle = append(idle, fmt.Sprintf("%s gave %v before and %v while %v was asked of it", m.device, *m.was, *m.gave, m.asked))
		default:
			moved++
		}
	}
	switch {
	case len(idle) > 0:
		return fmt.Errorf("the power did not change as asked: %s", strings.Join(idle, "; "))
	case moved > 0:
		return nil
	case len(near) > 0:
		return fmt.Errorf("the drill proves nothing, since no device had to change its power: %s; choose another --power", strings.Join(near, "; "))
	}
	return fmt.Errorf("no device's power was read while it ran: whether it changed is not known")
}

// followed tells whether the power went at least half of the way.
func (m move) followed() bool {
	way, went := m.asked-*m.was, *m.gave-*m.was
	return way > 0 && 2*went >= way || way < 0 && 2*went <= way
}
