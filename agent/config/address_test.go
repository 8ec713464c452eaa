package config

import (
	"fmt"
	"strings"
	"testing"
)

func TestADeviceHasOneAddress(t *testing.T) {
	for in, want := range map[string]string{
		"192.168.10.21":          "192.168.10.21:502",
		"192.168.10.21:0502":     "192.168.10.21:502",
		"Inverter.Example.:1502": "inverter.example:1502",
		"localhost:502":          "127.0.0.1:502",
		"LOCALHOST.":             "127.0.0.1:502",
		"[::ffff:10.0.0.7]:502":  "10.0.0.7:502",
		"[2001:DB8:0:0::7]:502":  "[2001:db8::7]:502",
		"2001:db8::7":            "[2001:db8::7]:502",
		"gw.localhost:502":       "127.0.0.1:502",
		"192.168.010.021:502":    "",
		"0x7f.1:502":             "",
		"2130706433:502":         "",
		"0.0.0.0:502":            "",
		"[::]:502":               "",
		"224.0.0.1:502":          "",
		"inverter..:502":         "",
		"inverter.example:70000": "",
		"a:b:c:502":              "",
	} {
		c, err := Parse("flexd.yaml", fmt.Appendf(nil, "%sdevices: [{id: a, address: %q}]\n", minimal, in))
		switch {
		case want == "" && (err == nil || !strings.Contains(err.Error(), "devices[0].address")):
			t.Errorf("%s was taken: %v", in, err)
		case want != "" && err != nil:
			t.Errorf("%s: %v", in, err)
		case want != "" && c.Devices[0].Address != want:
			t.Errorf("%s became %s, want %s", in, c.Devices[0].Address, want)
		}
	}
}

func TestOneInverterIsNotEnteredTwice(t *testing.T) {
	for _, tc := range []struct {
		name, first, second string
		same                bool
	}{
		{"the same words", `address: "h:502"`, `address: "h:502"`, true},
		{"a port left out", `address: "h:502"`, `address: h`, true},
		{"upper case and a final dot", `address: "inv.example:502"`, `address: "INV.example.:502"`, true},
		{"a name of this machine", `address: "127.0.0.1:502"`, `address: "localhost:502"`, true},
		{"an address in the other family", `address: "10.0.0.7:502"`, `address: "[::ffff:10.0.0.7]:502"`, true},
		{"a unit left out", `address: "h:502", unit: 1`, `address: "h:502"`, true},
		{"another role", `address: "h:502", role: storage`, `address: "h:502", role: hybrid`, true},
		{"a role left out", `address: "h:502", role: storage`, `address: "h:502"`, true},
		{"another unit", `address: "h:502", unit: 1`, `address: "h:502", unit: 2`, false},
		{"another port", `address: "h:502"`, `address: "h:503"`, false},
		{"a meter within an inverter", `address: "h:502", role: storage`, `address: "h:502", role: meter, sign: export_positive`, false},
		{"the same meter", `address: "h:502", role: meter, sign: export_positive`, `address: "h:502", role: meter, sign: import_positive`, true},
		{"panels and battery of a hybrid", `address: "h:502", role: pv`, `address: "h:502", role: storage`, false},
	} {
		_, err := Parse("flexd.yaml", fmt.Appendf(nil, "%sdevices:\n  - {id: one, %s}\n  - {id: two, %s}\n", minimal, tc.first, tc.second))
		if told := err != nil && strings.Contains(err.Error(), `devices[1]: is the same device as "one"`); told != tc.same {
			t.Errorf("%s: told %v, want %v: %v", tc.name, told, tc.same, err)
		}
	}
}
