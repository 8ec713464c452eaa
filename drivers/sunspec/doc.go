// Package sunspec controls and reads inverters, batteries and meters that
// publish their registers as SunSpec information models.
//
// In: a bus that carries one request at a time, and a target. Out: readings,
// and receipts of what was written and what then stood in the device. Every
// address is found by walking the device's own chain of models; a value is
// scaled with the factor that came in the same answer, and what a device marks
// as not implemented is absent, never zero.
//
// It must never write a rating or a reserve (121.WMax, 124.WChaMax,
// 124.MinRsvPct), never write across a register that is read-only, never take
// a write for applied without reading it back, and never undo what others did.
package sunspec
