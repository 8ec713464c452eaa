package config

import (
	"errors"
	"strings"
	"testing"
	"time"
)

// minimal is the least that is a configuration.
const minimal = `site: {id: harwell-01}
market: {base_url: "https://api.example.com", client_id: abc, api_key: {file: key}}
`

func TestReferenceIsAValidConfiguration(t *testing.T) {
	c, err := Parse("reference.yaml", []byte(Reference()))
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Devices) != 4 || len(c.Assets) != 1 || c.Site.ImportLimit != 100_000 || c.Devices[1].Reserve != 2000 ||
		len(c.Clock.NTP) != 3 || c.Ingress.Webhook.Key.Credential != "webhook-key" || c.MQTT.Telemetry != time.Minute {
		c.Raw = nil
		t.Errorf("parsed as %+v", *c)
	}
}

// What the wider use does not say is as in the narrower one.
func TestOwnersBoundsWiden(t *testing.T) {
	c, err := Parse("flexd.yaml", []byte(minimal+`devices: [{id: b, role: storage, address: "h:1", owner: {normal: {max_charge: 2 kW, max_discharge: 3 kW, reserve_soc: 40%}, emergency: {max_discharge: 9 kW}, daily_cycles: 1.25}}]`))
	if err != nil {
		t.Fatal(err)
	}
	o := c.Devices[0].Owner
	if *o.Event.MaxDischarge != 3000 || *o.Emergency.MaxDischarge != 9000 || *o.Emergency.MaxCharge != 2000 || o.Emergency.Reserve != 4000 || o.Cycles != 125 {
		t.Errorf("owner %+v", o)
	}
}

func TestDefaults(t *testing.T) {
	c, err := Parse("/etc/flexd/flexd.yaml", []byte(minimal))
	if err != nil {
		t.Fatal(err)
	}
	if c.Data != DefaultData || c.Market.Poll != 5*time.Minute || c.Market.Profile != "piclo" || c.MQTT != nil ||
		c.Ingress.Webhook != nil || c.Local.Listen != "127.0.0.1:8080" || c.Market.APIKey.File != "/etc/flexd/key" {
		t.Errorf("defaults are %+v", c)
	}
	if got := c.Market.Policy("anybody"); got != VerifyIfPresent {
		t.Errorf("policy of an operator that is not listed = %s", got)
	}
}

func TestProblems(t *testing.T) {
	for _, tc := range []struct{ name, text, want string }{
		{"empty file", "", "(file): is empty"},
		{"syntax", "site: [", "is not YAML"},
		{"not a mapping", "- a", "is not a mapping at the top"},
		{"two documents", minimal + "---\na: 1", "more than one document"},
		{"unknown key suggests", minimal + "device: []", `flexd.yaml:3:1: device: unknown key ("device"); did you mean "devices"?`},
		{"key given twice", "site: {id: a, id: b}", "site.id: given twice"},
		{"alias", "site: &s {id: a}\nmarket: *s", "aliases are not supported"},
		{"missing site", "market: {}", "site: is missing"},
		{"site name", "site: {id: Harwell_01}", `site.id: is not a site name ("Harwell_01"); use 1 to 36`},
		{"power without unit", "site: {id: a, import_limit: 100}", "site.import_limit: cannot be read: \"100\" has no unit"},
		{"negative limit", "site: {id: a, import_limit: -1 kW}", "is negative"},
		{"an owner's bounds for a generator", "devices: [{id: pv, role: pv, address: \"h:1\", owner: {daily_cycles: 1}}]", "devices[0].owner: is for storage only"},
		{"an owner's cycles", "devices: [{id: b, role: storage, address: \"h:1\", owner: {daily_cycles: 1.005}}]", "is not a number from 0.01 to 100"},
		{"an owner's unknown use", "devices: [{id: b, role: storage, address: \"h:1\", owner: {event: {}}}]", "devices[0].owner.event: unknown key"},
		{"a reserve that leaves nothing", "devices: [{id: b, role: storage, address: \"h:1\", max_soc: 50%, owner: {normal: {reserve_soc: 60%}}}]", "leaves nothing below 50"},
		{"a contract twice", "market: {contracts: [{id: a}, {id: a}]}", "lists contract \"a\" twice"},
		{"time zone", "site: {id: a, timezone: Europe/Londn}", "site.timezone: cannot be read"},
		{"meter unknown suggests", "site: {id: a, meter: gird}\ndevices: [{id: grid, role: meter, sign: export_positive, address: \"h:1\"}]", `did you mean "grid"?`},
		{"meter that is none", "site: {id: a, meter: bat}\ndevices: [{id: bat, role: storage, address: \"h:1\"}]", "site.meter: is not a meter"},
		{"meter without sign", "devices: [{id: grid, role: meter, address: \"h:1\"}]", "devices[0].sign: is missing for a meter"},
		{"device twice", "devices: [{id: a, address: \"h:1\"}, {id: a, address: \"h:2\"}]", "same id"},
		{"device in two assets", "devices: [{id: a, address: \"h:1\"}]\nassets: [{market_id: x, devices: [a]}, {market_id: y, devices: [a]}]", "already belongs to asset \"x\""},
		{"meter in an asset", "devices: [{id: m, role: meter, sign: export_positive, address: \"h:1\"}]\nassets: [{market_id: x, devices: [m]}]", "is a meter and cannot be controlled"},
		{"plain http beyond loopback", "market: {base_url: \"http://api.example.com\", client_id: a, api_key: {file: k}}", "market.base_url: is not encrypted"},
		{"url with credentials", "market: {base_url: \"https://a:b@api.example.com\", client_id: a, api_key: {file: k}}", "is not a plain address"},
		{"plain mqtt beyond loopback", "mqtt: {broker: \"mqtt://broker:1883\"}", "mqtt.broker: is not encrypted"},
		{"cert without key", "mqtt: {broker: \"mqtts://broker:8883\", cert: c}", "has only one of cert and key"},
		{"secret both ways", "market: {base_url: \"https://a\", client_id: a, api_key: {file: k, credential: c}}", "needs exactly one"},
		{"a map driver without a map", "devices: [{id: a, driver: map, address: \"h:1\"}]", "devices[0].driver: names no register map"},
		{"a map without its driver", "devices: [{id: a, map: x, address: \"h:1\"}]", "devices[0].map: is for driver: map only"},
		{"control by a meter that is not there", "assets: [{market_id: x, devices: [], control: meter}]", "assets[0].control: needs a meter"},
		{"control of panels by a meter", "devices: [{id: p, role: pv, address: \"h:1\"}, {id: m, role: meter, sign: export_positive, address: \"h:2\"}]\nassets: [{market_id: x, devices: [p], meter: m, control: meter}]", "generation cannot follow a meter"},
		{"over-delivery of a setpoint", "assets: [{market_id: x, devices: [], over_delivery: free}]", "is for control: meter only"},
		{"a control that nobody knows", "assets: [{market_id: x, devices: [], control: magic}]", "is not a known value"},
		{"a required signature without a key", "market: {operators: [{name: SPEN, signature: require}]}", "market.operators[0]: requires a signature that nothing here can check"},
		{"a scheme without a key", "market: {operators: [{name: SPEN, scheme: ed25519}]}", "has a scheme and no key"},
		{"a key without a scheme", "market: {operators: [{name: SPEN, key_file: k}]}", "has keys and no scheme"},
		{"an operator twice", "market: {operators: [{name: SPEN}, {name: SPEN}]}", "lists operator \"SPEN\" twice"},
		{"signed fields without a separator", "market: {operators: [{name: S, scheme: ed25519, key_file: k, canonical: {fields: [/a, /b]}}]}", "joins fields without a separator"},
		{"a signed field that is no pointer", "market: {operators: [{name: S, scheme: ed25519, key_file: k, canonical: {fields: [a]}}]}", "is not a JSON pointer"},
		{"a relay door without a broker", "ingress: {relay: on}", "ingress.relay: needs the connection to a broker"},
		{"a shared topic with a wildcard", "ingress: {relay: {shared: \"a/+\"}}", "is not a topic name"},
		{"a shared topic by a word of ours", "ingress: {relay: {shared: down}}", "is a word of the sites' own topics"},
		{"an ownership that is none", "devices: [{id: a, address: \"h:1\", ownership: fight}]", "devices[0].ownership"},
		{"everybody is a proxy", "ingress: {webhook: {tls: off, trusted_proxies: [0.0.0.0/0]}}", "trusts everybody"},
		{"days", "market: {keep_raw: 12x}", "market.keep_raw: cannot be read"},
		{"commissioning perhaps", "require_commissioning: maybe", "is not true or false"},
		{"webhook without tls", "ingress: {webhook: {listen: \":8443\"}}", "ingress.webhook.tls: is missing"},
		{"unit out of range", "devices: [{id: a, unit: 256, address: \"h:1\"}]", "devices[0].unit: is out of range"},
		{"a function that writes no registers", "devices: [{id: a, write_function: 15, address: \"h:1\"}]", "devices[0].write_function: is not a function that writes registers"},
		{"address", "devices: [{id: a, address: \"h:port\"}]", "is not a device address"},
		{"poll too often", "market: {poll: 1ms}", "market.poll: is out of range"},
		{"a clock without servers", "clock: {}", "clock.ntp: is missing"},
		{"no time server", "clock: {ntp: []}", "clock.ntp: is empty"},
		{"time servers that are no list", "clock: {ntp: pool.ntp.org}", "clock.ntp: is not a list"},
		{"too many time servers", "clock: {ntp: [a, b, c, d, e, f, g, h, i]}", "clock.ntp: has 9 time servers"},
		{"a time server twice", "clock: {ntp: [a.example, A.example]}", "clock.ntp[1]: is listed twice"},
		{"a time server as a url", "clock: {ntp: [\"ntp://a.example\"]}", "clock.ntp[0]: is not a time server"},
		{"a time server's port", "clock: {ntp: [\"a.example:0\"]}", "clock.ntp[0]: is not a time server"},
		{"an empty time server", "clock: {ntp: [\"\"]}", "clock.ntp[0]: is empty"},
		{"a null value", "site: {id: ~}", "site.id: is not a plain value"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := Parse("flexd.yaml", []byte(tc.text))
			var ps Problems
			if !errors.As(err, &ps) {
				t.Fatalf("err = %v, want problems", err)
			}
			if !strings.Contains(err.Error(), tc.want) {
				t.Errorf("problems:\n%v\nwant one with: %s", err, tc.want)
			}
		})
	}
}

func TestEveryProblemIsReportedAtOnceInOrder(t *testing.T) {
	_, err := Parse("flexd.yaml", []byte("site: {id: UPPER, import_limit: 5}\nmarket: {base_url: \"ftp://x\"}\nnonsense: 1\n"))
	var ps Problems
	if !errors.As(err, &ps) || len(ps) < 5 {
		t.Fatalf("problems = %v, want at least five", err)
	}
	for i, p := range ps {
		if p.Remedy == "" || p.Line == 0 || p.Column == 0 || i > 0 && p.Line < ps[i-1].Line {
			t.Errorf("problem %d = %+v, want place, remedy and file order", i, p)
		}
	}
}

func TestLoopbackMayBePlain(t *testing.T) {
	text := `site: {id: a}
market: {base_url: "http://127.0.0.1:9", client_id: a, api_key: {file: k}}
mqtt: {broker: "mqtt://localhost:1883"}
ingress: {webhook: {listen: "127.0.0.1:0", tls: off}}
`
	c, err := Parse("x.yaml", []byte(text))
	if err != nil || !c.Ingress.Webhook.Plain {
		t.Errorf("c = %+v, err = %v", c, err)
	}
}

func TestAGapOfZeroIsNotTheDefault(t *testing.T) {
	c, err := Parse("x.yaml", []byte(minimal+"devices: [{id: a, address: \"h:1\", gap: 0s}, {id: b, address: \"h:2\"}]"))
	if err != nil || c.Devices[0].Gap >= 0 || c.Devices[1].Gap != 0 {
		t.Errorf("gaps %+v, %v", c, err)
	}
}

func TestDataDirOfABrokenFile(t *testing.T) {
	t.Setenv("STATE_DIRECTORY", "")
	if got := DataDir([]byte("data: /srv/flexd\nnonsense: 1")); got != "/srv/flexd" {
		t.Errorf("DataDir = %s, want the file's own", got)
	}
	if got := DataDir([]byte("site: [")); got != DefaultData {
		t.Errorf("DataDir = %s, want the default", got)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(Reference()))
	f.Add([]byte(minimal))
	f.Add([]byte("site: {id: a}\ndevices: [{id: [}]"))
	f.Add([]byte("devices: 3\nassets: {a: b}\ningress: [1]\nmqtt: x\nlocal: [a]\nsite: x"))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := Parse("f.yaml", data)
		var ps Problems
		if err == nil && c == nil || err != nil && (!errors.As(err, &ps) || len(ps) == 0) {
			t.Errorf("config %v with error %v", c, err)
		}
	})
}

func TestWhatARateStandsFor(t *testing.T) {
	file := func(device string) string {
		return strings.Replace(Reference(), "    # max_charge_rate: 5 kW ", "    max_charge_rate: 5 kW #", 1) + device
	}
	c, err := Parse("x.yaml", []byte(file("")))
	if err != nil || c.Devices[1].MaxCharge != 5000 {
		t.Fatalf("%v", err)
	}
	for _, bad := range []string{"driver: map", "role: pv"} {
		text := file("")
		switch bad {
		case "driver: map":
			text = strings.Replace(text, "    map: victron-gx ", "    max_charge_rate: 5 kW\n    map: victron-gx ", 1)
		case "role: pv":
			text = strings.Replace(text, "    role: pv ", "    max_charge_rate: 5 kW\n    role: pv ", 1)
		}
		if _, err := Parse("x.yaml", []byte(text)); err == nil || !strings.Contains(err.Error(), "max_charge_rate") {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

func TestTheUnitAndHowItAnswers(t *testing.T) {
	for _, c := range []struct {
		yaml      string
		unit      uint8
		zero, any bool
	}{
		{"driver: sunspec", 1, false, false},
		{"driver: sunspec, unit: 0", 0, true, false},
		{"driver: sunspec, unit: 255, echoes_unit: false", 255, false, true},
		{"driver: sunspec, echoes_unit: true", 1, false, false},
		{"driver: map, map: kostal-plenticore", 0, false, false},
		{"driver: map, map: kostal-plenticore, unit: 3", 3, false, false},
	} {
		cfg, err := Parse("x", []byte("site: {id: a}\nmarket: {client_id: c, base_url: https://m.example, api_key: {file: /k}}\ndevices: [{id: a, address: \"h:1\", "+c.yaml+"}]"))
		if cfg == nil || len(cfg.Devices) != 1 {
			t.Fatalf("%s: %v", c.yaml, err)
		}
		if d := cfg.Devices[0]; d.Unit != c.unit || d.UnitZero != c.zero || d.AnyUnit != c.any {
			t.Errorf("%s: unit %d, meant zero %v, any %v", c.yaml, d.Unit, d.UnitZero, d.AnyUnit)
		}
	}
}
