package drivers_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"flexd/agent/flex"
	"flexd/drivers"
	"flexd/drivers/drivertest/makers"
	"flexd/drivers/modbus"
	"flexd/drivers/modbus/modbustest"
	"flexd/drivers/sim"
)

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

func TestWhatToScan(t *testing.T) {
	for _, c := range []struct {
		name string
		args []string
		n    int
		has  string
		want string
	}{
		{"one host", []string{"192.0.2.7"}, 1, "192.0.2.7:502", ""},
		{"a host with its port", []string{"inverter.example:1502"}, 1, "inverter.example:1502", ""},
		{"a block without its ends", []string{"192.0.2.0/24"}, 254, "192.0.2.254:502", ""},
		{"a pair", []string{"192.0.2.8/31"}, 2, "192.0.2.9:502", ""},
		{"one address as a block", []string{"192.0.2.8/32"}, 1, "192.0.2.8:502", ""},
		{"a block named by a host in it", []string{"192.0.2.77/30"}, 2, "192.0.2.78:502", ""},
		{"twice the same counts once", []string{"192.0.2.1", "192.0.2.0/30"}, 2, "192.0.2.1:502", ""},
		{"a /22", []string{"10.0.0.0/22"}, 1022, "10.0.3.254:502", ""},
		{"IPv6", []string{"2001:db8::1"}, 1, "[2001:db8::1]:502", ""},
		{"a /21", []string{"10.0.0.0/21"}, 0, "", "at most a /22"},
		{"a whole IPv6 net", []string{"2001:db8::/64"}, 0, "", "at most a /22"},
		{"two /23 and a host", []string{"10.0.0.0/23", "10.1.0.0/23", "10.2.0.0/28"}, 0, "", "at most a /22"},
		{"nonsense", []string{"10.0.0.0/x"}, 0, "", "not a block"},
		{"port 0", []string{"h:0"}, 0, "", "from 1 to 65535"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := drivers.ScanTargets(c.args, 502)
			if c.want != "" {
				if err == nil || !strings.Contains(err.Error(), c.want) {
					t.Errorf("%v, want %q", err, c.want)
				}
				return
			}
			if err != nil || len(got) != c.n || !slices.Contains(got, c.has) {
				t.Errorf("%d targets, %v", len(got), err)
			}
		})
	}
}

// A device may listen where its map says it does: a scan looks there too.
func TestAScanKnowsThePortsOfTheMaps(t *testing.T) {
	_, ports := drivers.KnownMaps("", quiet())
	got, err := drivers.ScanTargets([]string{"192.0.2.0/24", "inverter.example", "192.0.2.9:1502"}, ports...)
	if err != nil || len(got) != 2*255 || got[0] != "192.0.2.1:502" || !slices.Contains(got, "192.0.2.254:1502") || !slices.Contains(got, "inverter.example:1502") {
		t.Errorf("ports %v, %d targets, %v", ports, len(got), err)
	}
}

func FuzzScanTargets(f *testing.F) {
	for _, s := range []string{"192.0.2.0/24", "::/0", "h:1", "[::1]:502", "0.0.0.0/0", "255.255.255.255/22", "/", ":"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if got, err := drivers.ScanTargets([]string{s}, 502); err == nil && (len(got) == 0 || len(got) > 1024) {
			t.Errorf("%q gives %d targets", s, len(got))
		}
	})
}

// field is a subnet: a SunSpec battery, a meter of a known map, a device that
// speaks Modbus and is not known, a port where nobody listens.
func field(t *testing.T) (battery *sim.Server, known, unknown *modbustest.Server, closed string) {
	t.Helper()
	p := sim.NewPlant(sim.Config{})
	battery, err := p.AddServer(sim.ServerConfig{OneConnection: true})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.AddBattery(sim.Battery{Options: sim.Options{Server: battery, Unit: 126}, Rated: rated, Capacity: 10_000, SoC: 0.5}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(start(t, p.Run))
	known, unknown = modbustest.New(t), modbustest.New(t)
	known.Set(11, 1744) // EM530's identification code
	gone := modbustest.New(t)
	gone.Stop()
	return battery, known, unknown, gone.Addr()
}

func TestAScanFindsWhatIsThere(t *testing.T) {
	t.Parallel()
	battery, known, unknown, closed := field(t)
	var mu sync.Mutex
	seen := 0
	maps, _ := drivers.KnownMaps("", quiet())
	res, err := drivers.Scan(t.Context(), drivers.ScanConfig{
		Targets: []string{battery.Addr(), known.Addr(), unknown.Addr(), closed}, Units: []uint8{1, 126}, Timeout: 2 * time.Second,
		Maps: maps,
		Progress: func(p drivers.ScanProgress) {
			mu.Lock()
			defer mu.Unlock()
			if seen++; p.Done != seen || p.All != 4 {
				t.Errorf("progress %+v after %d", p, seen)
			}
		}})
	if err != nil || res.Asked != 4 || res.Closed != 1 || seen != 4 {
		t.Fatalf("%+v, %v", res, err)
	}
	at := func(address string) []drivers.Found {
		var out []drivers.Found
		for _, f := range res.Found {
			if f.Address == address {
				out = append(out, f)
			}
		}
		return out
	}
	b := at(battery.Addr())
	if len(b) != 1 || b[0].Unit != 126 || b[0].Driver != drivers.DriverSunSpec || b[0].Plate == nil || len(b[0].Models) == 0 {
		t.Errorf("battery: %+v", b)
	}
	if k := at(known.Addr()); len(k) == 0 || k[0].Driver != drivers.DriverMap || k[0].Maps[0].Map != "carlo-gavazzi-em530" {
		t.Errorf("meter: %+v", k)
	}
	if u := at(unknown.Addr()); len(u) == 0 || u[0].Driver != "" {
		t.Errorf("unknown: %+v", u)
	}
	for name, n := range map[string]int{"battery": battery.Accepted(), "unknown": unknown.Accepted()} {
		if n != 1 {
			t.Errorf("%s was connected to %d times", name, n)
		}
	}
	for _, s := range slices.Concat(known.Seen(), unknown.Seen()) {
		if s.Func != modbus.ReadHolding && s.Func != modbus.ReadInput {
			t.Errorf("a scan sent function %d", s.Func)
		}
	}
}

func TestAScanLeavesConfiguredDevicesAlone(t *testing.T) {
	server := modbustest.New(t)
	_, port, _ := strings.Cut(server.Addr(), ":")
	for _, as := range []string{server.Addr(), "localhost:" + port, "[::ffff:127.0.0.1]:" + port} {
		res, err := drivers.Scan(t.Context(), drivers.ScanConfig{Targets: []string{as}, Taken: drivers.SameHosts(t.Context(), []string{"127.0.0.1:1502"})})
		if err != nil || len(res.Skipped) != 1 || res.Asked != 0 || server.Accepted() != 0 {
			t.Errorf("%s: %+v, %v", as, res, err)
		}
	}
}

func TestAScanIsPolite(t *testing.T) {
	var open, most int
	var mu sync.Mutex
	var targets []string
	for i := range 80 {
		targets = append(targets, fmt.Sprintf("127.0.9.%d:1", i+1)) // nobody listens there
	}
	_, err := drivers.Scan(t.Context(), drivers.ScanConfig{Targets: targets, Parallel: 1000, Units: []uint8{1},
		Progress: func(p drivers.ScanProgress) { mu.Lock(); open++; most = max(most, p.Done); mu.Unlock() }})
	if err != nil || open != 80 || most != 80 {
		t.Errorf("%d of %d, %v", open, most, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if res, err := drivers.Scan(ctx, drivers.ScanConfig{Targets: targets}); !errors.Is(err, context.Canceled) || res.Asked == 80 {
		t.Errorf("a cancelled scan asked %d, %v", res.Asked, err)
	}
}

func TestAProbeMeasuresHowADeviceBehaves(t *testing.T) {
	for _, one := range []bool{false, true} {
		p := sim.NewPlant(sim.Config{})
		server, err := p.AddServer(sim.ServerConfig{OneConnection: one, Latency: 5 * time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		if _, err = p.AddBattery(sim.Battery{Options: sim.Options{Server: server, Unit: 1}, Rated: rated, Capacity: 10_000, SoC: 0.5}); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(start(t, p.Run))
		res, err := drivers.Probe(t.Context(), drivers.ProbeConfig{Address: server.Addr(), Measure: true})
		if err != nil || res.Quirks == nil {
			t.Fatal(err)
		}
		q := *res.Quirks
		if q.GapMS != 0 || q.MaxRead != 125 || q.LatencyMS < 5 || q.Timeout < 1000 || !strings.HasPrefix(q.Illegal, "exception 2") {
			t.Errorf("one connection %v: %+v", one, q)
		}
		if one != (q.Lines == 1) {
			t.Errorf("one connection %v: %d lines", one, q.Lines)
		}
	}
}

func TestAProbeKnowsADeviceByItsMap(t *testing.T) {
	t.Parallel()
	server := modbustest.New(t)
	server.Set(11, 1744)
	res, err := drivers.Probe(t.Context(), drivers.ProbeConfig{Address: server.Addr(), Units: []uint8{1}, Measure: true})
	if err != nil || res.Driver != drivers.DriverMap || res.Quirks.Lines < 2 || res.Maps[0].Map != "carlo-gavazzi-em530" {
		t.Errorf("%+v, %v", res, err)
	}
	if res, err = drivers.Probe(t.Context(), drivers.ProbeConfig{Address: modbustest.New(t).Addr(), Units: []uint8{1}}); err != nil || res.Problem == "" {
		t.Errorf("%+v, %v", res, err)
	}
}

// A device of a maker that counts its units from 3, and refuses every register
// that it lacks, is found, read and measured, and no setting is made up.
func TestAProbeFindsADeviceOfAnotherUnit(t *testing.T) {
	t.Parallel()
	at := makers.Serve(t, makers.NewSBS(time.Now, makers.SMAOptions{SoC: 60, House: 400}))
	for _, c := range []drivers.ProbeConfig{{Address: at}, {Address: at, Units: []uint8{3}, Measure: true}} {
		t.Run(fmt.Sprintf("units %v", c.Units), func(t *testing.T) {
			t.Parallel()
			res, err := drivers.Probe(t.Context(), c)
			if err != nil || res.Problem != "" || res.Plate.Serial != "3012345678" || res.Reading == nil || *res.Reading.Power != 400 || !slices.Equal(res.Settings, []string{"unit: 3"}) {
				t.Errorf("%+v, %v", res, err)
			}
			if (res.Quirks != nil) != c.Measure || res.Unmeasured != "" {
				t.Errorf("quirks %+v, %q", res.Quirks, res.Unmeasured)
			}
		})
	}
}

func TestATechnicianReachesRegistersThroughTheOneConnection(t *testing.T) {
	p := sim.NewPlant(sim.Config{})
	server, err := p.AddServer(sim.ServerConfig{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err = p.AddBattery(sim.Battery{Options: sim.Options{Server: server, Unit: 1}, Rated: rated, Capacity: 10_000, SoC: 0.5}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(start(t, p.Run))
	set, err := drivers.Open([]drivers.Config{{ID: "bat", Driver: "sunspec", Role: flex.RoleStorage, Address: server.Addr(), Unit: 1, Gap: -1}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(start(t, set.Run))
	own, err := set.Controls(t.Context(), "bat")
	if err != nil || len(own) == 0 {
		t.Fatalf("%v, %v", own, err)
	}
	words, err := set.ReadRaw(t.Context(), "bat", 3, own[0].Addr, 1)
	if err != nil {
		t.Fatal(err)
	}
	if err := set.WriteRaw(t.Context(), "bat", 6, own[0].Addr, words); err != nil {
		t.Error(err)
	}
	if err := set.WriteRaw(t.Context(), "bat", 5, 0, words); err == nil {
		t.Error("function 5 was sent")
	}
	if _, refused := flex.RefusalOf(set.WriteRaw(t.Context(), "x", 6, 0, words)); !refused {
		t.Error("a device that is not configured")
	}
	if server.Accepted() != 1 {
		t.Errorf("%d connections", server.Accepted())
	}
	if extra, drops, err := set.Lines(t.Context(), "bat"); err != nil || extra < 2 || drops {
		t.Errorf("%d more, drops %v, %v", extra, drops, err)
	}
	slow, err := drivers.Open([]drivers.Config{{ID: "bat", Driver: "sunspec", Role: flex.RoleStorage, Address: server.Addr(), Unit: 1, Gap: time.Second}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(start(t, slow.Run))
	before := server.Accepted()
	if _, _, err := slow.Lines(t.Context(), "bat"); err == nil || server.Accepted() != before {
		t.Errorf("a device that wants a pause of a second was asked over %d connections: %v", server.Accepted()-before, err)
	}
}

func TestWhatWasMeasuredBecomesSettings(t *testing.T) {
	for _, c := range []struct {
		q    drivers.Quirks
		want string
	}{
		{drivers.Quirks{Timeout: 1000, GapMS: 0, MaxRead: 125}, ""},
		{drivers.Quirks{Timeout: 4800, GapMS: 100, MaxRead: 50}, "timeout: 4.8s, gap: 100ms, max_read: 50"},
		{drivers.Quirks{Timeout: 2000, GapMS: -1, MaxRead: 60, AtLeast: true}, ""},
	} {
		if got := strings.Join(c.q.Settings(), ", "); got != c.want {
			t.Errorf("%+v: %q, want %q", c.q, got, c.want)
		}
	}
}
