// Package modbustest is a small Modbus/TCP register server for tests that can
// misbehave on request, one fault per request, in the ways real devices,
// gateways and networks do.
//
// It shares no code with package modbus, so that one mistake does not hide the
// other. It must never be used outside tests.
package modbustest
