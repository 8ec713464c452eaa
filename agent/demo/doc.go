// Package demo is everything around the agent that a site and a market would
// bring: a simulated marketplace, a simulated plant and an embedded broker,
// each reached over TCP on loopback only.
//
// In: nothing, no account, no hardware. Out: addresses to put into a
// configuration file, and the configuration file.
//
// It may import the agent itself, its configuration and drivers/sim. It must
// never import the agent's inner rooms, the store or the drivers: the market
// speaks raw JSON and signs with its own hands, the plant speaks raw Modbus,
// so that a mistake inside the agent shows instead of cancelling out.
package demo
