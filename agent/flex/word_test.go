package flex

import "testing"

func TestClassOfWord(t *testing.T) {
	for class, words := range map[WordClass][]string{
		WordStop: {"stop", "STOP", "Stop ", " stop\n", "Emergency Stop", "emergency-stop", "EMERGENCY_STOP", "emergencyStop", "E-Stop", "e_stop",
			"CANCELLED_BY_SO", "cancelled by the operator", "Canceled", "ended", "void", "VOIDED", "Withdrawn", "stop now", "STOP-IMMEDIATELY",
			"stand down", "Stand-Down", "StoodDown", "SystemOperatorCancelled", "dispatch.cancelled", "cancel_requested", "halt", "recalled", "de-activate",
			"dispatch cancelled", "was cancelled", "emergency\u00a0stop", "emergency\u2011stop"},
		WordBegin: {"", " ", "start", "START", "in progress", "In-Progress", "in_progress", "Scheduled", "issued", "accepted", "Active", "dispatch"},
		WordNoOrder: {"draft", "DRAFT", "Draft ", "test", "Test-Event", "test dispatch", "dry-run", "dry run", "DRY_RUN", "simulation", "not for execution",
			"training exercise", "what-if", "draft cancelled"},
		WordUnknown: {"Foo", "cancel failed", "stop_rejected", "not cancelled", "cancellable", "completed", "finished", "endorsed", "released",
			"stop time changed", "never stopped", "unstoppable", "停止", "-", "emergency"},
	} {
		for _, w := range words {
			if got := ClassOfWord(w); got != class {
				t.Errorf("%q is %q, want %q", w, got, class)
			}
		}
	}
}
