package drivertest

import "flexd/drivers/modbus/modbustest"

// OnLine is a rig's Fault where a proxy stands between the driver and its
// device.
func OnLine(p *modbustest.Proxy) func(n int, f Fault) bool {
	return func(n int, f Fault) bool {
		switch f {
		case LostReply:
			p.OnWrite(n, modbustest.Reset)
		case LostWrite:
			p.OnWrite(n, modbustest.ResetBefore)
		case Refused:
			p.OnWrite(n, modbustest.Refuse)
		case Unsent: // nothing of what is said from now on comes through
			if n != 1 {
				return false
			}
			p.Down()
		case NoFault:
			return false
		}
		return true
	}
}
