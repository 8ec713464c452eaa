package control

import (
	"errors"
	"strings"
	"testing"
	"time"

	"flexd/agent/allocate"
	"flexd/agent/flex"
)

// A device that answers and takes no setpoint leaves its part to the others of
// its asset, is tried again after a pause, and has its part back when it does.
func TestWhatOneDoesNotTakeTheOthersGive(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a, b := &device{id: "a"}, &device{id: "b"}
		r := newRig(t, nil, false, a, b)
		r.c.cfg.Assets = []allocate.Asset{{ID: asset(a), Devices: []flex.DeviceID{"a", "b"}, Control: allocate.Setpoint}}
		r.start()
		defer r.kill()
		b.set(func(d *device) { d.refuses = errors.New("illegal data value") })
		r.board.change(func(bd *board) {
			bd.running = []flex.Dispatch{wants("i", a, 6000, time.Now(), time.Now().Add(time.Hour))}
		})
		told := func(d *device) flex.Watts {
			d.mu.Lock()
			defer d.mu.Unlock()
			if d.told == nil {
				return 0
			}
			return *d.told
		}
		time.Sleep(5 * time.Second)
		if told(a) != 6000 || told(b) != 0 {
			t.Fatalf("a is told %v, b %v", told(a), told(b))
		}
		if sf := r.c.Plan().Shortfall["i"]; sf.Missing != 0 {
			t.Errorf("%+v is missing", sf)
		}
		time.Sleep(20 * time.Second)
		if text := r.c.Plan().Targets[1].Whys; strings.Contains(text[len(text)-1].Text, "cannot be read") {
			t.Errorf("told as silent: %+v", text)
		}
		b.set(func(d *device) { d.refuses = nil })
		time.Sleep(2 * time.Minute)
		if told(a) != 3000 || told(b) != 3000 {
			t.Errorf("after it is mended a is told %v, b %v", told(a), told(b))
		}
	})
}
