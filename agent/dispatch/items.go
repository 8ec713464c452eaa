package dispatch

import "flexd/agent/health"

// Codes of the alarms that this room raises.
const (
	CodeStoreFailing   = "store_failing"
	CodeReleaseOwed    = "release_owed"
	CodeClockUntrusted = "clock_untrusted"
)

// Items declares the alarms that this room raises.
func Items() []health.Item {
	return []health.Item{
		{Code: CodeStoreFailing, Severity: health.Alarm, Title: "Decisions cannot be stored"},
		{Code: CodeReleaseOwed, Severity: health.Alarm, Title: "A device is not proven to be handed back"},
		{Code: CodeClockUntrusted, Severity: health.Alarm, Title: "The clock cannot be trusted: instructions wait"},
	}
}
