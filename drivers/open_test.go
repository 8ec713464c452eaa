package drivers_test

import (
	"strings"
	"testing"
	"time"

	"flexd/agent/flex"
	"flexd/drivers"
	"flexd/drivers/sim"
)

func TestWhatIsWrongWithAConfigurationIsToldAtOnce(t *testing.T) {
	ok := drivers.Config{ID: "a", Driver: "sunspec", Address: "192.0.2.1:502", Unit: 1}
	with := func(f func(*drivers.Config)) drivers.Config { c := ok; f(&c); return c }
	for _, c := range []struct {
		name string
		cfgs []drivers.Config
		want []string
	}{
		{"a map that is not there", []drivers.Config{with(func(c *drivers.Config) { c.Driver = "map" })}, []string{`there is no register map`}},
		{"a driver not known", []drivers.Config{with(func(c *drivers.Config) { c.Driver = "x" })}, []string{`driver "x" is not known; use "sunspec"`}},
		{"no port", []drivers.Config{with(func(c *drivers.Config) { c.Address = "192.0.2.1" })}, []string{"write host:port"}},
		{"port 0", []drivers.Config{with(func(c *drivers.Config) { c.Address = "h:0" })}, []string{"from 1 to 65535"}},
		{"one device by a map, its unit said and left out", []drivers.Config{
			with(func(c *drivers.Config) { c.Driver, c.Map, c.Unit = "map", "victron-gx", 0 }),
			with(func(c *drivers.Config) { c.ID, c.Driver, c.Map, c.Unit = "b", "map", "victron-gx", 100 }),
		}, []string{"device b: is the same device as a: map victron-gx at 192.0.2.1:502 unit 100"}},
		{"a meter without a sign", []drivers.Config{with(func(c *drivers.Config) { c.Role = flex.RoleMeter })}, []string{"export_positive or import_positive"}},
		{"a sign nobody knows", []drivers.Config{with(func(c *drivers.Config) { c.Sign = "up" })}, []string{`sign "up"`}},
		{"a role nobody knows", []drivers.Config{with(func(c *drivers.Config) { c.Role = "fridge" })}, []string{`role "fridge"`}},
		{"twice the same", []drivers.Config{ok, ok}, []string{"configured twice"}},
		{"two mistakes", []drivers.Config{with(func(c *drivers.Config) { c.Driver = "x" }), with(func(c *drivers.Config) { c.ID, c.Address = "b", "h" })}, []string{"device a:", "device b:"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := drivers.Open(c.cfgs, nil)
			if err == nil {
				t.Fatal("accepted")
			}
			for _, w := range c.want {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("%q lacks %q", err, w)
				}
			}
		})
	}
}

func TestDevicesAtOneAddressShareOneConnection(t *testing.T) {
	p := sim.NewPlant(sim.Config{Load: func(time.Time) float64 { return 700 }})
	server, err := p.AddServer(sim.ServerConfig{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err = p.AddPV(sim.PV{Options: sim.Options{Server: server, Unit: 1}, Rated: rated}); err != nil {
		t.Fatal(err)
	}
	if _, err = p.AddMeter(sim.Meter{Options: sim.Options{Server: server, Unit: 200}, ImportPositive: true}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(start(t, p.Run))
	set, err := drivers.Open([]drivers.Config{
		{ID: "pv", Driver: "sunspec", Address: server.Addr(), Unit: 1, Gap: -1},
		{ID: "grid", Driver: "sunspec", Address: server.Addr(), Unit: 200, Sign: "import_positive", Gap: -1},
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(start(t, set.Run))
	for i, want := range []flex.Watts{4000, 3300} {
		d := set.Devices()[i]
		r, err := d.Read(t.Context())
		if err != nil || r.Power == nil || (*r.Power-want).Abs() > 10 {
			t.Errorf("%s: %v, %v, want %v", d.ID(), r.Power, err, want)
		}
		set.Quiet(d.ID(), time.Now())
	}
	set.Quiet("nobody", time.Now())
	if server.Accepted() != 1 || len(set.Stats()) != 1 {
		t.Errorf("%d connections, %d endpoints", server.Accepted(), len(set.Stats()))
	}
}

func TestAProbeTellsWhatItFindsAndWritesNothing(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		add    func(*sim.Plant) (*sim.Device, error)
		role   flex.Role
		method string
	}{
		{"a PV inverter", func(p *sim.Plant) (*sim.Device, error) { return p.AddPV(sim.PV{Rated: rated}) }, flex.RolePV, "sunspec 123 WMaxLimPct"},
		{"a battery, whose role is not certain", func(p *sim.Plant) (*sim.Device, error) {
			return p.AddBattery(sim.Battery{Rated: rated, Capacity: 1000})
		}, "", "sunspec 124 StorCtl_Mod"},
		{"a meter", func(p *sim.Plant) (*sim.Device, error) { return p.AddMeter(sim.Meter{}) }, "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newSite(t, c.add)
			res, err := drivers.Probe(t.Context(), drivers.ProbeConfig{Address: s.dev.Addr(), Units: []uint8{s.dev.Unit()}})
			if err != nil || res.Problem != "" {
				t.Fatalf("%v, %s", err, res.Problem)
			}
			if res.Base != 40000 || len(res.Models) < 2 || res.Plate.Role != c.role || res.Plate.Method != c.method || res.Plate.Serial == "" || res.Reading == nil {
				t.Errorf("%+v", res)
			}
			words, err := drivers.ReadRaw(t.Context(), s.dev.Addr(), s.dev.Unit(), 3, 40000, 3)
			if err != nil || len(words) != 3 || words[0] != 0x5375 || words[1] != 0x6E53 || words[2] != 1 {
				t.Errorf("raw %v, %v", words, err)
			}
			if n := len(s.dev.Writes()); n != 0 {
				t.Errorf("%d writes", n)
			}
		})
	}
	if _, err := drivers.Probe(t.Context(), drivers.ProbeConfig{Address: "nonsense"}); err == nil {
		t.Error("an address without a port was accepted")
	}
}

// A hybrid follows its AC target while the sun moves, once told again.
func TestAHybridByModel124FollowsTheSun(t *testing.T) {
	sun := 2000.0
	s := newSite(t, func(p *sim.Plant) (*sim.Device, error) {
		return p.AddBattery(sim.Battery{Options: sim.Options{PctSF: -2}, Rated: rated, Capacity: 20_000, SoC: 0.5, GridCharge: true,
			Sun: func(time.Time) float64 { return sun }})
	})
	d := s.driver(t, flex.RoleHybrid)
	if _, err := d.Snapshot(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, want := range []flex.Watts{5000, 1000, -2000} {
		deadline := time.Now().Add(20 * time.Second)
		for {
			rec, err := d.Apply(t.Context(), target(flex.OrderSet, want))
			if err != nil || !rec.Echo {
				t.Fatalf("%+v, %v", rec, err)
			}
			if _, err := d.Read(t.Context()); err != nil {
				t.Fatal(err)
			}
			if off := s.dev.Power() - float64(want); off < 15 && off > -15 {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("target %v: the plant gives %.0f W", want, s.dev.Power())
			}
			time.Sleep(100 * time.Millisecond)
		}
	}
}
