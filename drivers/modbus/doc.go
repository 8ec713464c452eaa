// Package modbus owns one Modbus/TCP endpoint: one goroutine, one socket, one
// request in flight, shared by every unit behind the same host and port.
//
// In go register reads and writes with a context and a priority; out come
// whole answers of exactly the asked length, or an error that says whether a
// write was applied, not sent, or is uncertain. The goburrow client builds and
// takes apart the protocol data units; dialling, deadlines, resynchronisation,
// pacing and cancelling are ours, because that library keeps a broken
// connection for ever, reads one answer behind after a late one, and cannot be
// interrupted.
//
// It must never send a write twice unless the device itself answered that it
// did not do it yet, never hand out words that do not belong to the request,
// and never know what a register means.
package modbus
