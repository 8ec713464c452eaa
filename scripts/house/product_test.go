package house

import (
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// arrows says which of our packages each room may import besides the
// leaves. A room that is not listed is a fault: a new one states its arrows
// here.
var arrows = map[string][]string{
	"cmd/flexd":                  {"agent", "agent/clock", "agent/config", "agent/demo", "agent/flex", "agent/local", "agent/piclo", "agent/relay", "agent/shown", "agent/trust", "drivers", "drivers/regmap", "firmware", "systemd"},
	"agent":                      {"*"},
	"agent/flex":                 {"-"},
	"agent/run":                  {"-"},
	"agent/clock":                {"agent/flex", "agent/health"},
	"agent/clock/clocktest":      {"-"},
	"agent/health":               {"-"},
	"agent/shown":                {"agent/flex"},
	"agent/shown/golden":         {"agent/flex", "agent/shown"}, // tests alone
	"agent/config":               {},
	"agent/trust":                {},
	"agent/ingress":              {},
	"agent/piclo":                {"agent/trust"},
	"agent/intake":               {},
	"agent/relay":                {"agent/ingress"},
	"agent/allocate":             {"agent/flex"},
	"agent/dispatch":             {"agent/allocate"},
	"agent/control":              {"agent/allocate"},
	"agent/commission":           {"agent/trust"},
	"agent/fleet":                {},
	"agent/siblings":             {},
	"agent/preflight":            {"agent/allocate"}, // the site as the planner sees it
	"agent/local":                {},
	"agent/meter":                {},
	"agent/telemetry":            {"store/series"},
	"agent/why":                  {"agent/allocate"},
	"agent/demo":                 {"agent", "agent/config", "drivers/sim"},
	"drivers":                    {"agent/flex", "drivers/modbus", "drivers/regmap", "drivers/sunspec"},
	"drivers/regmap":             {"agent/flex", "drivers/modbus", "drivers/sunspec"}, // a map may count from a SunSpec model
	"drivers/modbus":             {"-"},
	"drivers/modbus/modbustest":  {"-"},
	"drivers/sunspec":            {"agent/flex", "drivers/modbus"},
	"drivers/sim":                {},
	"drivers/drivertest":         {"agent/flex", "drivers/modbus", "drivers/modbus/modbustest"},
	"drivers/drivertest/foreign": {"drivers/modbus"},
	"drivers/drivertest/makers":  {"drivers/modbus"},
	"store":                      {"agent/flex"},
	"store/series":               {"-"},
	"firmware":                   {"-"},
	"systemd":                    {"-"},
	"scripts/house":              {"-"},
	"scripts/mutate":             {"-"},
	"scripts/rooms":              {"-"},
	"longtest":                   {"-"}, // tests alone
}

// fences keep each outside library in the rooms that answer for it.
var fences = map[string][]string{
	"go.etcd.io/bbolt":                    {"store", "store/series"},
	"github.com/goburrow/modbus":          {"drivers/modbus"},
	"github.com/eclipse/paho.mqtt.golang": {"agent/fleet", "agent/relay"},
	"github.com/golang-jwt/jwt/v5":        {"agent/trust", "agent/demo"},
	"github.com/mochi-mqtt/server/v2":     {"agent/demo"},
	"go.yaml.in/yaml/v3":                  {"agent/config", "agent/piclo", "drivers/regmap", "agent/relay"},
	"os/exec":                             {"drivers/drivertest/foreign", "scripts/mutate", "scripts/rooms"}, // tests alone
}

// uses keeps what opens a door, or ends the process, in few places.
var uses = map[string][]string{
	"net.Listen":              {"agent/ingress", "agent/relay", "agent/shared.go", "agent/demo", "drivers/sim", "drivers/drivertest/foreign", "drivers/drivertest/makers", "drivers/modbus/modbustest"},
	"net.ListenConfig":        {"agent/local"},
	"net/http.Server":         {"agent/ingress", "agent/local", "agent/relay", "agent/demo"},
	"net/http.ListenAndServe": {},
	"os.Exit":                 {"cmd/flexd/main.go", "scripts/mutate/main.go", "scripts/rooms/main.go"},
}

// timeless rooms and files take the instant as a parameter.
var timeless = []string{"agent/allocate", "agent/meter", "agent/flex",
	"agent/dispatch/admit.go", "agent/dispatch/terms.go", "agent/dispatch/overlap.go", "agent/dispatch/stop.go", "agent/dispatch/calendar.go",
	"agent/dispatch/follow.go", "agent/dispatch/step.go", "agent/dispatch/recover.go", "agent/dispatch/available.go", "agent/dispatch/pace.go",
	"agent/control/tolerance.go", "agent/control/corridor.go"}

// pure rooms do no input or output and start nothing.
var pure = []string{"agent/flex", "agent/allocate", "agent/shown"}

var product = Rules{Module: "flexd", Arrows: arrows, Below: "agent", Leaves: []string{"agent/flex", "agent/run", "agent/clock", "agent/health", "agent/shown"},
	Never: []string{"agent/demo"}, Fences: fences, Uses: uses, Timeless: timeless, Pure: pure}

var limits = Limits{FileLines: 500, FuncLines: 80, Fields: 20, Methods: 30, Params: 6, Branch: 20, Known: map[string]int{
	"fields agent.Agent":                                  39,
	"fields agent/config.Device":                          31,
	"branches of agent/config.builder.device":             28,
	"fields agent/control.Config":                         31,
	"fields agent/control.Controller":                     29,
	"parameters of agent/control.missText":                10,
	"parameters of agent/control.Controller.count":        7,
	"branches of agent/control.slot.account":              24,
	"fields agent/control.slot":                           63,
	"fields agent/demo.Asset":                             24,
	"fields agent/dispatch.Engine":                        26,
	"fields agent/flex.Record":                            34,
	"fields agent/intake.Intake":                          31,
	"parameters of agent/intake.Sync.assets":              7,
	"branches of agent/relay.routes":                      23,
	"branches of agent/shown/golden.fill":                 21,
	"fields cmd/flexd.options":                            26,
	"fields drivers.Config":                               23,
	"branches of drivers/drivertest/makers.Fronius.takes": 21,
	"fields drivers/drivertest/makers.SunSpecKind":        24,
	"fields drivers/drivertest/makers.HuaweiOptions":      24,
	"fields drivers/drivertest/makers.SigenergyOptions":   22,
	"fields drivers/drivertest/makers.SolarEdgeOptions":   29,
	"branches of drivers/drivertest/makers.Sungrow.judge": 21,
	"branches of drivers/modbus.owner.land":               22,
	"fields drivers/modbus.Stats":                         21,
	"parameters of drivers/regmap.Device.writeAll":        7,
	"branches of drivers/regmap.checker.point":            37,
	"branches of drivers/regmap.checker.method":           29,
	"branches of drivers/regmap.checker.step":             38,
	"fields drivers/regmap.Point":                         27,
	"branches of drivers/regmap.Device.reading":           22,
	"branches of drivers/sunspec.flow.next":               36,
	"branches of drivers/sunspec.methods":                 21,
	"branches of drivers/sunspec.control.mine":            31,
	"parameters of scripts/mutate.run":                    7,
	"branches of store.pages.page":                        22,
	"methods agent.Agent":                                 46,
	"methods agent.view":                                  48,
	"methods agent/allocate.work":                         37,
	"methods agent/control.Controller":                    62,
	"methods agent/control.slot":                          102,
	"methods agent/demo.Market":                           49,
	"methods agent/dispatch.Engine":                       79,
	"methods agent/intake.Intake":                         79,
	"methods agent/local.Client":                          35,
	"methods agent/local.Socket":                          37,
	"methods agent/piclo.Market":                          37,
	"methods agent/piclo.Profile":                         72,
	"methods drivers/regmap.Device":                       98,
	"methods drivers/sunspec.Device":                      39,
	"methods store.DB":                                    71,
}}

func tree(t *testing.T) Tree {
	t.Helper()
	all, err := Read(os.DirFS("../.."))
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestTheTreeKeepsItsRules(t *testing.T) {
	all := tree(t)
	for _, f := range slices.Concat(product.Check(all), Sleeping(all)) {
		t.Error(f)
	}
}

func TestNothingGrowsTooLarge(t *testing.T) {
	for _, f := range limits.Check(tree(t)) {
		t.Error(f)
	}
}

// TestTheBinarysDependenciesAreKnown compares the modules in the binary with a
// committed list, so that growth shows in review. UPDATE_DEPS=1 writes it.
func TestTheBinarysDependenciesAreKnown(t *testing.T) {
	cmd := exec.Command("go", "list", "-deps", "-f", "{{with .Module}}{{if not .Main}}{{.Path}}{{end}}{{end}}", "flexd/cmd/flexd")
	cmd.Dir = "../.."
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	modules := strings.Fields(string(out))
	slices.Sort(modules)
	got := strings.Join(slices.Compact(modules), "\n") + "\n"
	const file = "testdata/dependencies.txt"
	if os.Getenv("UPDATE_DEPS") != "" {
		if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("the binary's modules are\n%s\nbut %s says\n%s\nweigh each new one, then run with UPDATE_DEPS=1", got, file, want)
	}
}
