package agent_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// leaves may be imported by every room below agent/.
var leaves = []string{"agent/flex", "agent/run", "agent/clock", "agent/health", "agent/shown"}

// arrows says which of our packages each package may import besides the
// leaves. A package that is not listed is an error: a new room states its
// arrows here.
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
	"agent/fleet":                {"agent/trust"},
	"agent/preflight":            {"agent/allocate"}, // the site as the planner sees it
	"agent/fleet/fleettest":      {"agent/fleet"},
	"agent/local":                {},
	"agent/meter":                {},
	"agent/why":                  {"agent/allocate"},
	"agent/demo":                 {"agent", "agent/config", "drivers/sim"},
	"drivers":                    {"agent/flex", "drivers/modbus", "drivers/regmap", "drivers/sunspec"},
	"drivers/regmap":             {"agent/flex", "drivers/modbus", "drivers/sunspec"}, // a map may count from a SunSpec model
	"drivers/modbus":             {"-"},
	"drivers/modbus/modbustest":  {"-"},
	"drivers/sunspec":            {"agent/flex", "drivers/modbus"},
	"drivers/sim":                {"agent/flex"},
	"drivers/drivertest":         {"agent/flex", "drivers", "drivers/modbus", "drivers/modbus/modbustest"},
	"drivers/drivertest/foreign": {"drivers/modbus"},
	"drivers/drivertest/makers":  {"drivers/modbus"},
	"store":                      {"agent/flex"},
	"store/series":               {"-"},
	"firmware":                   {"-"},
	"systemd":                    {"-"},
	"scripts/mutate":             {"-"},
}

// fences keep each outside library in the rooms that answer for it.
var fences = map[string][]string{
	"go.etcd.io/bbolt":                    {"store", "store/series"},
	"github.com/goburrow/modbus":          {"drivers/modbus"},
	"github.com/eclipse/paho.mqtt.golang": {"agent/fleet", "agent/relay"},
	"github.com/golang-jwt/jwt/v5":        {"agent/trust", "agent/demo"},
	"github.com/mochi-mqtt/server/v2":     {"agent/demo"},
	"go.yaml.in/yaml/v3":                  {"agent/config", "agent/piclo", "drivers/regmap", "agent/relay"},
	"os/exec":                             {"drivers/drivertest/foreign", "scripts/mutate"}, // tests alone
}

// timeless packages take the instant as a parameter.
var timeless = []string{"agent/allocate", "agent/meter"}

// pkg is what `go list -json` tells of a package.
type pkg struct {
	ImportPath string
	Dir        string
	Imports    []string
	GoFiles    []string
	Doc        string
}

func packages(t *testing.T) []pkg {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Dir,Imports,GoFiles,Doc", "flexd/...")
	cmd.Dir = ".."
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var all []pkg
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p pkg
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

func TestImportsFollowTheArrows(t *testing.T) {
	for _, p := range packages(t) {
		room := strings.TrimPrefix(p.ImportPath, "flexd/")
		if len(p.GoFiles) == 0 {
			continue // tests only
		}
		allowed, listed := arrows[room]
		if !listed {
			t.Errorf("%s states no arrows: add it to the table, with a reason in its package comment", room)
			continue
		}
		for _, imp := range p.Imports {
			if dep, ours := strings.CutPrefix(imp, "flexd/"); ours && !mayImport(room, allowed, dep) {
				t.Errorf("%s must not import %s", room, dep)
			}
		}
	}
}

func mayImport(room string, allowed []string, dep string) bool {
	if slices.Contains(allowed, "*") {
		return dep != "agent/demo" // the product never needs its demonstration
	}
	if slices.Contains(allowed, dep) {
		return true
	}
	below := strings.HasPrefix(room, "agent/") && !slices.Contains(leaves, room)
	return below && slices.Contains(leaves, dep) || strings.HasPrefix(dep, room+"/internal/")
}

func TestLibrariesStayBehindTheirFences(t *testing.T) {
	for _, p := range packages(t) {
		room := strings.TrimPrefix(p.ImportPath, "flexd/")
		for _, imp := range p.Imports {
			for lib, rooms := range fences {
				if (imp == lib || strings.HasPrefix(imp, lib+"/")) && !slices.Contains(rooms, room) {
					t.Errorf("%s must not import %s: it belongs to %v", room, imp, rooms)
				}
			}
		}
	}
}

func TestEveryPackageSaysWhatItIsFor(t *testing.T) {
	for _, p := range packages(t) {
		if len(p.GoFiles) > 0 && p.Doc == "" {
			t.Errorf("%s has no package comment", p.ImportPath)
		}
	}
}

const (
	maxFileLines = 500
	maxFuncLines = 80
)

func TestFilesAndFunctionsStaySmall(t *testing.T) {
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") {
			return err
		}
		src, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if n := bytes.Count(src, []byte("\n")); n > maxFileLines {
			t.Errorf("%s has %d lines, at most %d: split it by ideas", path, n, maxFileLines)
		}
		fset := token.NewFileSet()
		file, err := parser.ParseFile(fset, path, src, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		for _, decl := range file.Decls {
			fn, ok := decl.(*ast.FuncDecl)
			if !ok || fn.Body == nil {
				continue
			}
			if n := fset.Position(fn.End()).Line - fset.Position(fn.Pos()).Line + 1; n > maxFuncLines {
				t.Errorf("%s: %s has %d lines, at most %d", fset.Position(fn.Pos()), fn.Name.Name, n, maxFuncLines)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestPureRoomsReadNoClockAndNothingSleeps(t *testing.T) {
	for _, p := range packages(t) {
		room := strings.TrimPrefix(p.ImportPath, "flexd/")
		for _, name := range p.GoFiles {
			src, err := os.ReadFile(filepath.Join(p.Dir, name))
			if err != nil {
				t.Fatal(err)
			}
			if bytes.Contains(src, []byte("time.Sleep(")) && !strings.HasSuffix(room, "test") {
				t.Errorf("%s/%s sleeps: wait for ctx and a timer", room, name)
			}
			if slices.Contains(timeless, room) && bytes.Contains(src, []byte("time.Now(")) {
				t.Errorf("%s/%s reads the clock: take the instant as a parameter", room, name)
			}
		}
	}
}

// TestTheBinarysDependenciesAreKnown compares the modules in the binary with a
// committed list, so that growth shows in review. UPDATE_DEPS=1 writes it.
func TestTheBinarysDependenciesAreKnown(t *testing.T) {
	cmd := exec.Command("go", "list", "-deps", "-f", "{{with .Module}}{{if not .Main}}{{.Path}}{{end}}{{end}}", "flexd/cmd/flexd")
	cmd.Dir = ".."
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
