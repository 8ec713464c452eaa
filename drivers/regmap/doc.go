// Package regmap drives devices by declarative register maps: a YAML file says
// where a vendor keeps what, and in which order control is taken, kept and
// given back.
//
// In: a map (embedded, or a file), a bus, targets. Out: what every driver
// gives: a nameplate, readings, what was found, receipts with the read-back,
// and the release. A map states its sources and is `unverified` until a
// commissioning record of a real device exists.
//
// It must never write a register that its map does not declare writable, write
// a persistent register that already holds the value, approximate an order
// that the map has no sequence for, or call a write done that was not read
// back where it can be.
package regmap
