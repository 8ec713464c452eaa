// Package makers simulates the devices of named makers, register by register,
// each written from the public sources that its file cites and from nothing in
// the drivers: a driver's mistake must not be repeated here. In: Modbus
// requests and the time. Out: answers as the device would give them, and the
// plant's true watts, by which a test judges. It must never import a driver,
// and whoever writes a device here has not read the map it will be tried with.
package makers
