package sunspec

import (
	"fmt"
	"math"
	"strings"

	"flexd/agent/flex"
)

// What tells of a battery beside the controls. None of these models sets a
// power: SetOp and SetInvState of 802 connect, start and stop, and stay with
// the person at the bank.
var batteries = []uint16{160, 714, 802}

// Values of ChaSt, in 124 and 802 alike, and of 714.PrtTyp.
const (
	stateOff         = 1
	stateEmpty       = 2
	stateDischarging = 3
	stateCharging    = 4
	stateFull        = 5
	stateHolding     = 6
	portPV           = 0
	portESS          = 1
	mostPorts        = 4 // of 714, in one request
	mostModules      = 5 // of 160, in one request
)

// telling are the models that are read to know the device. What tells of a
// battery is left out where there are several banks, since none of them speaks
// for all.
func (c Chain) telling(role flex.Role) []Model {
	var out []Model
	for _, m := range c.first(identity...) {
		if !chainHas(batteries, m.ID) || role != flex.RolePV && c.count(m.ID) == 1 {
			out = append(out, m)
		}
	}
	return out
}

// count is how many instances of a model there are.
func (c Chain) count(id uint16) (n int) {
	for _, m := range c.Models {
		if m.ID == id {
			n++
		}
	}
	return n
}

// batteryPower is the battery's DC power, W, + discharging, as far as the
// device tells it apart.
func (f *found) batteryPower(im image) (float64, bool) {
	if v, ok := im.of(802).num("W"); ok { // "flowing to or from": its sign is nobody's word
		return directed(im, v, false)
	}
	if v, ok := ports(im.of(714), portESS); ok {
		return directed(im, v, true)
	}
	return f.mppt(im)
}

// directed gives a power the direction that the battery says it works in.
// Where it says none the sign stays, if it means something.
func directed(im image, v float64, signed bool) (float64, bool) {
	for _, id := range [...]uint16{802, 124} {
		switch st, _ := im.of(id).raw("ChaSt"); st {
		case stateDischarging:
			return math.Abs(v), true
		case stateCharging:
			return -math.Abs(v), true
		}
	}
	return v, signed || v == 0
}

// ports adds up the ports of a kind in 714. As in 701, whose family it is of,
// what a port gives is above zero.
func ports(b block, kind int64) (sum float64, ok bool) {
	n, has := b.raw("NPrt")
	if !has || n > mostPorts {
		return 0, false
	}
	for i := range n {
		port := "P" + string(rune('1'+i))
		if typ, told := b.raw(port + ".PrtTyp"); !told || typ != kind {
			continue
		}
		v, told := b.num(port + ".DCW")
		if !told {
			return 0, false
		}
		sum, ok = sum+v, true
	}
	return sum, ok
}

// Values of 802.State in which no power flows, whatever the inverter is told.
var idleBanks = map[int64]string{1: "disconnected", 2: "initializing", 99: "in fault"}

// Values of 701.InvSt and of St in 101 to 113.
const (
	derFault      = 6
	inverterFault = 7
)

func inFault(point string, events []string) *flex.Refusal {
	text := ""
	if len(events) > 0 {
		text = " (" + strings.Join(events, ", ") + ")"
	}
	return flex.Refuse(flex.ReasonDeviceFaulty, "%s says that the device is in fault%s: look at it there", point, text)
}

// held tells why a device cannot be controlled from here: it is in fault, may
// not enter service, or its bank was switched to local control or is not
// connected.
func held(im image) *flex.Refusal {
	if v, ok := im.of(701).raw("InvSt"); ok && v == derFault {
		return inFault("701.InvSt", events(im.of(701), "Alrm"))
	}
	if inv := im.of(inverters[:6]...); inv.model != 0 {
		if v, ok := inv.raw("St"); ok && v == inverterFault {
			return inFault(fmt.Sprintf("%d.St", inv.model), events(inv, "Evt1"))
		}
	}
	if v, ok := im.of(703).raw("ES"); ok && v == 0 {
		return flex.Refuse(flex.ReasonDeviceUnavailable, "703.ES says that the device is not permitted to enter service: permit it there")
	}
	if v, ok := im.of(802).raw("State"); ok && idleBanks[v] != "" {
		return flex.Refuse(flex.ReasonDeviceUnavailable, "802.State says that the battery bank is %s: look at it there", idleBanks[v])
	}
	if v, ok := im.of(802).raw("LocRemCtl"); ok && v == 1 {
		return flex.Refuse(flex.ReasonDeviceUnavailable, "802.LocRemCtl says that the battery bank is under local control: switch it to remote")
	}
	return nil
}
