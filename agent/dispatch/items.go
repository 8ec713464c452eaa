package dispatch

import (
	"time"

	"flexd/agent/health"
)

// Codes of the alarms that this room raises.
const (
	CodeStoreFailing   = health.CodeStoreFailing
	CodeReleaseOwed    = health.CodeReleaseOwed
	CodeClockUntrusted = "clock_untrusted"
	CodeAnswerDue      = "answer_due"
	CodeAnswerFailed   = "answer_failed"
	CodeUnavailable    = "unavailable"
	CodeWaiting        = "instruction_waiting"
	CodeUnknownWord    = "unknown_word"
	CodeStopLeft       = "stop_left_dispatches"
)

// Items declares the alarms that this room raises.
func Items() []health.Item {
	return []health.Item{
		{Code: CodeStoreFailing, Severity: health.Alarm, Title: "Decisions cannot be stored", Calm: 30 * time.Second},
		{Code: CodeClockUntrusted, Severity: health.Alarm, Title: "The clock cannot be trusted: instructions wait"},
		{Code: CodeAnswerDue, Severity: health.Alarm, Title: "The market's deadline for an answer is near"},
		{Code: CodeAnswerFailed, Severity: health.Alarm, Title: "The market did not take an acceptance, and the dispatch goes on"},
		{Code: CodeWaiting, Severity: health.Alarm, Title: "An instruction waits and is not carried out yet"},
		{Code: CodeUnknownWord, Severity: health.Alarm, Title: "The market says something of an open dispatch that is not understood"},
		{Code: CodeStopLeft, Severity: health.Alarm, Title: "A stop that names no dispatch left some standing"},
		{Code: CodeUnavailable, Severity: health.Info, Title: "An asset is declared unavailable"},
	}
}
