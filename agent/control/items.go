package control

import (
	"time"

	"flexd/agent/health"
)

// Codes of the health items that control raises, by device, or by dispatch.
const (
	CodeReleaseOwed    = health.CodeReleaseOwed // also raised by dispatch, for the instruction
	CodeJournalLost    = "journal_lost"
	CodeJournalOrphan  = "journal_orphan"
	CodeNotDelivering  = "not_delivering"
	CodeForeignWrite   = "foreign_write"
	CodeForeignLimit   = "limit_set_by_others"
	CodeOverridden     = "overridden_by_others"
	CodeWriteBudget    = "write_budget"
	CodeDeviceReverted = "device_reverted"
	CodeDeviceChanged  = "device_changed"
	CodeDeviceOffline  = "device_offline"
	CodeDeviceFailed   = "device_failed"
	CodeDuplicate      = "duplicate_device"
	CodeLateWrite      = "late_write"
	CodeContraryPower  = "contrary_power"
	CodeStoreFailing   = health.CodeStoreFailing // declared where decisions are stored
	CodeNotDelivered   = "not_delivered"
	CodeShortfallAhead = "shortfall_ahead"
)

// Items declares the alarms that this room raises.
func Items() []health.Item {
	return []health.Item{
		{Code: CodeReleaseOwed, Severity: health.Alarm, Title: "A device is not proven to be handed back"},
		{Code: CodeJournalLost, Severity: health.Alarm, Title: "The journal was lost: devices are brought to neutral"},
		{Code: CodeJournalOrphan, Severity: health.Alarm, Title: "The journal speaks of a device that is not configured"},
		{Code: CodeNotDelivering, Severity: health.Warning, Title: "A device does not deliver what it was told"},
		{Code: CodeForeignWrite, Severity: health.Warning, Title: "Somebody else changed a device under control"},
		{Code: CodeForeignLimit, Severity: health.Warning, Title: "A device cannot be controlled"},
		{Code: CodeOverridden, Severity: health.Alarm, Title: "A device is left to somebody else"},
		{Code: CodeWriteBudget, Severity: health.Alarm, Title: "A device's memory has been written as often as it may be in a day"},
		{Code: CodeDeviceReverted, Severity: health.Alarm, Title: "A device fell back before its lease was renewed"},
		{Code: CodeDeviceChanged, Severity: health.Alarm, Title: "Another device answers than before"},
		{Code: CodeDeviceOffline, Severity: health.Warning, Title: "A device cannot be read", Calm: 30 * time.Second},
		{Code: CodeDeviceFailed, Severity: health.Alarm, Title: "A device does not take its setpoint"},
		{Code: CodeDuplicate, Severity: health.Alarm, Title: "Two entries are one device"},
		{Code: CodeLateWrite, Severity: health.Alarm, Title: "A free device took a setpoint that arrived late"},
		{Code: CodeContraryPower, Severity: health.Alarm, Title: "A device does the contrary of what it was told"},
		{Code: CodeNotDelivered, Severity: health.Alarm, Title: "An asset does not deliver what was instructed"},
		{Code: CodeShortfallAhead, Severity: health.Warning, Title: "A dispatch will not be given in full"},
	}
}
