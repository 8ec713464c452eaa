package systemd

import (
	"os"
	"strings"
	"testing"
)

// The hardening must leave the two facts of the clock: adjtimex, and which
// boot this is.
func TestTheUnitLetsTheClockBeJudged(t *testing.T) {
	unit, err := os.ReadFile("units/flexd.service")
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"ProtectClock=no", "SystemCallFilter=adjtimex", "Environment=FLEXD_BOOT_ID=%b", "CapabilityBoundingSet="} {
		if !strings.Contains(string(unit), "\n"+line+"\n") {
			t.Errorf("the unit lacks the line %s", line)
		}
	}
	t.Setenv("FLEXD_BOOT_ID", "0123456789abcdef0123456789abcdef")
	if BootID() != "0123456789abcdef0123456789abcdef" {
		t.Errorf("the boot is %q", BootID())
	}
}
