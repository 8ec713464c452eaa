package allocate

import (
	"encoding/json"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"flexd/agent/flex"
	"flexd/longtest"
)

// A planner that remembers says what one without a past says, whatever happens
// from one tick to the next, and never writes over what it has said.
func TestMemoryChangesNoPlan(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		r := rand.New(drawn{rt})
		var p Planner
		type told struct {
			plan Plan
			text string
		}
		var past []told
		in := owned(rt)
		for range longtest.Pick(6, 12) {
			switch r.IntN(7) {
			case 0:
				state := in.State
				in = owned(rt)
				in.State = state
			case 1:
				d := &in.Devices[r.IntN(len(in.Devices))]
				d.Online = !d.Online
			case 2:
				if len(in.Dispatches) > 0 {
					in.Dispatches = in.Dispatches[1:]
				}
			case 3:
				if a := &in.Assets[r.IntN(len(in.Assets))]; len(a.Devices) > 0 {
					a.Control, a.Meter = Meter, meter(flex.Watts(r.Int64N(4000)))
					a.Meter.At = in.Now
				}
			case 5:
				in.Dispatches = slices.Clone(in.Dispatches)
				for i := range in.Dispatches {
					in.Dispatches[i].Window.End = in.Dispatches[i].Window.End.Add(time.Minute)
					if r.IntN(2) == 0 {
						in.Dispatches[i].ID += "x"
					}
				}
			case 4:
				in.Devices[r.IntN(len(in.Devices))].Lead = time.Duration(r.IntN(40)) * time.Second
			}
			fresh, memory := Decide(in), p.Decide(in)
			if !reflect.DeepEqual(fresh, memory) {
				rt.Fatalf("fresh  %+v\nmemory %+v", fresh, memory)
			}
			past = append(past, told{memory, text(rt, memory)})
			in.State = memory.State
			in.Now = in.Now.Add(time.Duration(r.IntN(3000)) * time.Millisecond)
			devices := make([]Device, len(in.Devices))
			at := 0
			for i, d := range in.Devices {
				rd := *d.Reading
				rd.At = in.Now
				if at < len(memory.Targets) {
					d.Target = memory.Targets[at]
					at++
				}
				d.Reading = &rd
				devices[i] = d
			}
			in.Devices = devices
		}
		for i, x := range past {
			if now := text(rt, x.plan); now != x.text {
				rt.Fatalf("plan %d was\n%s\nand has become\n%s", i, x.text, now)
			}
		}
	})
}

// text is all that a plan says.
func text(t *rapid.T, p Plan) string {
	raw, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// While nothing changes but the time and the readings, nothing is allocated.
func TestTheSteadyStateAllocatesNothing(t *testing.T) {
	var devices []Device
	for _, id := range []flex.DeviceID{"a", "b", "c", "d"} {
		devices = append(devices, battery(id, 5000, 8000))
	}
	in := input(devices, dispatch("d", 9000), dispatch("e", 4000))
	in.Site = Site{ImportLimit: 100_000, ExportLimit: 100_000, Meter: meter(0)}
	var p Planner
	tick := func() {
		in.Now = in.Now.Add(time.Millisecond)
		in.Site.Meter.At = in.Now
		for i := range in.Devices {
			in.Devices[i].Reading.At = in.Now
		}
		in.State = p.Decide(in).State
	}
	tick()
	if n := testing.AllocsPerRun(1000, tick); n != 0 {
		t.Errorf("%v allocations in a tick", n)
	}
}
