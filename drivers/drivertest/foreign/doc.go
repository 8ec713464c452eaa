// Package foreign puts a device behind a Modbus/TCP stack that nobody here
// wrote: python3-pymodbus or npm's modbus-serial.
//
// In: a [Device], that is anything that answers register requests: a bank, a
// maker's device as simulated, a client of another server. Out: an address at
// which the foreign stack serves it, framing, checks and exceptions being the
// stack's own. For tests alone: it starts the interpreters that
// scripts/test-deps.sh installs.
package foreign
