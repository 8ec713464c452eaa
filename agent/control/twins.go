package control

import (
	"strings"

	"flexd/agent/flex"
)

// identity is what a device says of who it is.
type identity struct {
	id     flex.DeviceID
	role   flex.Role
	maker  string
	serial string
}

// twinsOf finds devices that are one and the same: by serial number, and able
// to do the same. What generates and what stores may well be one inverter's two
// sides, and a meter is never controlled.
func twinsOf(list []identity) map[flex.DeviceID]flex.DeviceID {
	out := map[flex.DeviceID]flex.DeviceID{}
	for i, a := range list {
		for _, b := range list[i+1:] {
			if !unique(a.serial) || a.serial != b.serial || a.maker != b.maker || !rivals(a.role, b.role) {
				continue
			}
			out[a.id], out[b.id] = b.id, a.id
		}
	}
	return out
}

// rivals tells whether two roles command the same power.
func rivals(a, b flex.Role) bool {
	switch {
	case a == flex.RoleMeter || b == flex.RoleMeter:
		return false
	}
	return a == b || a == flex.RoleHybrid || b == flex.RoleHybrid
}

// unique tells a serial number from what stands there when nobody wrote one.
func unique(serial string) bool {
	s := strings.TrimSpace(serial)
	return len(s) >= 4 && strings.Trim(s, s[:1]) != ""
}

// judgeTwins keeps devices from control that are one behind two addresses: what
// is asked of both is given once, and nobody can know which entry is right.
func (c *Controller) judgeTwins() {
	list := make([]identity, 0, len(c.slots))
	for _, s := range c.slots {
		s.mu.Lock()
		if s.opens > 0 {
			list = append(list, identity{s.id(), s.role(), s.plate.Manufacturer, s.plate.Serial})
		}
		s.mu.Unlock()
	}
	twins := twinsOf(list)
	for _, s := range c.slots {
		other, is := twins[s.id()]
		s.mu.Lock()
		switch {
		case is && s.twin == nil:
			s.twin = flex.Refuse(flex.ReasonDuplicateDevice, "%s and %s are one device: both answer with serial number %q; neither is controlled: take one of them out of the configuration",
				s.id(), other, s.plate.Serial)
			c.cfg.Health.Raise(CodeDuplicate, string(s.id()), s.twin.Text)
			if s.stands {
				s.stop(CodeDuplicate, s.twin, midnight(c.cfg.Steady()))
				poke(s.unit.wake)
			}
		case !is && s.twin != nil:
			s.twin = nil
			s.noteClear(CodeDuplicate)
			if s.block != nil && s.block.Reason == flex.ReasonDuplicateDevice {
				s.block = nil
			}
		}
		s.mu.Unlock()
	}
}
