// Package drivertest is what every driver has to pass, and a device in memory
// to pass it on.
//
// In: a [Rig], that is a driver and the means to look at and disturb the device
// behind its back. Out: a failed test wherever the driver breaks the rules of a
// lease: hand back what was found, leave what is others', never exceed, never
// take a missing value for zero, never guess about a write. It must not know
// any driver; a rig over real TCP is as good as one in memory.
package drivertest
