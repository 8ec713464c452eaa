// Package flex is flexd's vocabulary: identifiers, power, windows, the types
// that pass from station to station on an instruction's way to the devices,
// the words of the two ladders, and the errors that every room understands.
//
// In: nothing. Out: plain values, most of them with JSON names because they
// are what the store keeps and the broker carries. It must never import
// another room, do input or output, start a goroutine or read a clock.
//
// Sign, everywhere: positive power flows towards the grid (export, discharge),
// negative power flows from it (import, charge).
package flex
