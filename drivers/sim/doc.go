// Package sim is a plant that is not there: PV inverters, batteries, a house
// and its grid meter, each a real Modbus/TCP server on loopback with physics
// behind its registers and faults that can be switched while it runs.
//
// In go register reads and writes, over TCP, from whoever is under test; out
// come watts. What counts is [Plant.Grid] and [Device.Power], the truth,
// however plausible the registers look.
//
// It is built from its own register tables and its own protocol code. It must
// never import the drivers that are tested against it, nor the library they
// use: what is wrong on both sides looks right.
//
// Everywhere positive is towards the grid: generation, discharge, export. Only
// a meter's registers may count the other way, when it was so configured.
package sim
