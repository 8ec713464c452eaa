package main

import (
	"testing"

	"flexd/agent/demo"
	"flexd/agent/flex"
	"flexd/agent/local"
	"flexd/agent/shown/golden"
	"flexd/drivers"
	"flexd/drivers/regmap"
	"flexd/firmware"
)

// What --json prints is read by other programs: every shape is pinned, each of
// its fields filled.
func TestGoldenJSONOfTheCommands(t *testing.T) {
	for name, check := range map[string]func(*testing.T, string){
		"error":                golden.Check[failure],
		"done":                 golden.Check[map[string]bool],
		"status":               golden.Check[local.Status],
		"obligations":          golden.Check[[]local.Obligation],
		"instructions":         golden.Check[[]local.Instruction],
		"show":                 golden.Check[local.Detail],
		"why":                  golden.Check[local.Why],
		"preflight":            golden.Check[[]flex.Preflight],
		"intervals":            golden.Check[local.Intervals],
		"baseline":             golden.Check[local.Baseline],
		"unavailable":          golden.Check[[]flex.Unavailability],
		"unavailable_declare":  golden.Check[flex.Unavailability],
		"market_list":          golden.Check[local.Subscriptions],
		"market_try":           golden.Check[trials],
		"market_sign":          golden.Check[vector],
		"market_sign_key":      golden.Check[keyPair],
		"check":                golden.Check[report],
		"relay_check":          golden.Check[relayReport],
		"demo":                 golden.Check[demo.Summary],
		"device_list":          golden.Check[[]flex.DeviceStatus],
		"device_probe":         golden.Check[local.Probe],
		"device_probe_address": golden.Check[drivers.ProbeResult],
		"device_scan":          golden.Check[drivers.ScanResult],
		"device_watch":         golden.Check[watched],
		"device_write":         golden.Check[local.Written],
		"device_commission":    golden.Check[local.Commissioning],
		"map_list":             golden.Check[[]mapRow],
		"map_lint":             golden.Check[regmap.Problems],
		"version":              golden.Check[firmware.Identity],
	} {
		t.Run(name, func(t *testing.T) { check(t, name) })
	}
}
