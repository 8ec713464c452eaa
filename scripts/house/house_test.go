package house

import (
	"strings"
	"testing"
	"testing/fstest"
)

// small is a tree that keeps its rules, and rules that all match something.
func small() (map[string]string, Rules, Limits) {
	files := map[string]string{
		"cmd/x/main.go":    "// Command x runs.\npackage main\n\nimport (\n\t\"os\"\n\n\t\"m/room/engine\"\n)\n\nfunc main() { engine.Run(); os.Exit(0) }\n",
		"room/flex/f.go":   "// Package flex has the words.\npackage flex\n\n// W is power.\ntype W int\n",
		"room/engine/e.go": "// Package engine runs.\npackage engine\n\nimport (\n\t\"net\"\n\n\t\"m/room/flex\"\n\t\"outside/lib\"\n)\n\nvar _ flex.W\n\n// Run runs.\nfunc Run() { lib.Do(); _, _ = net.Listen(\"tcp\", \"\") }\n",
		"room/rules/r.go":  "// Package rules decides.\npackage rules\n\nimport \"m/room/flex\"\n\n// Is tells.\nfunc Is(w flex.W) bool { return w > 0 }\n",
	}
	rules := Rules{Module: "m", Below: "room", Leaves: []string{"room/flex"}, Never: []string{"room/rules"},
		Arrows:   map[string][]string{"cmd/x": {"room/engine"}, "room/flex": {"-"}, "room/engine": {}, "room/rules": {}},
		Fences:   map[string][]string{"outside/lib": {"room/engine"}},
		Uses:     map[string][]string{"net.Listen": {"room/engine/e.go"}, "os.Exit": {"cmd/x"}},
		Timeless: []string{"room/rules"}, Pure: []string{"room/flex"}}
	return files, rules, Limits{FileLines: 30, FuncLines: 10, Fields: 3, Methods: 2, Params: 2, Branch: 3}
}

func judge(t *testing.T, files map[string]string, r Rules, l Limits) []string {
	t.Helper()
	root := fstest.MapFS{}
	for name, text := range files {
		root[name] = &fstest.MapFile{Data: []byte(text)}
	}
	all, err := Read(root)
	if err != nil {
		t.Fatal(err)
	}
	return append(append(r.Check(all), l.Check(all)...), Sleeping(all)...)
}

func TestATreeThatKeepsItsRulesHasNoFaults(t *testing.T) {
	files, r, l := small()
	if got := judge(t, files, r, l); len(got) != 0 {
		t.Errorf("%q", got)
	}
}

// Each rule is broken once, and tells what was broken.
func TestEachRuleCanBeBroken(t *testing.T) {
	type m = map[string]string
	for _, c := range []struct {
		name  string
		files m // added, or in place
		rules func(*Rules)
		want  string
	}{
		{"a forbidden import", m{"room/rules/x.go": "package rules\n\nimport \"m/room/engine\"\n\nvar _ = engine.Run\n"}, nil, "room/rules must not import room/engine"},
		{"in a file for another platform", m{"room/rules/x_arm.go": "//go:build arm\n\npackage rules\n\nimport \"m/room/engine\"\n\nvar _ = engine.Run\n"}, nil, "room/rules must not import room/engine (room/rules/x_arm.go)"},
		{"a leaf that imports", m{"room/flex/x.go": "package flex\n\nimport \"m/room/rules\"\n\nvar _ = rules.Is\n"}, nil, "room/flex must not import room/rules"},
		{"what nobody may import", m{"cmd/x/y.go": "package main\n\nimport \"m/room/rules\"\n\nvar _ = rules.Is\n"}, func(r *Rules) { r.Arrows["cmd/x"] = []string{"*"} }, "cmd/x must not import room/rules"},
		{"a room without arrows", m{"room/new/n.go": "// Package new is.\npackage new\n"}, nil, "room/new states no arrows"},
		{"an arrow of no room", nil, func(r *Rules) { r.Arrows["room/gone"] = nil }, "the arrows of room/gone match nothing"},
		{"an arrow that nobody goes", nil, func(r *Rules) { r.Arrows["room/engine"] = []string{"room/rules"} }, "the arrow from room/engine to room/rules matches nothing"},
		{"a library outside its fence", m{"room/rules/x.go": "package rules\n\nimport \"outside/lib/sub\"\n\nvar _ = sub.X\n"}, nil, "must not import outside/lib/sub"},
		{"a fence around nothing", nil, func(r *Rules) { r.Fences["outside/gone"] = []string{"room/engine"} }, "the fence of outside/gone around room/engine matches nothing"},
		{"a door where none belongs", m{"room/rules/x.go": "package rules\n\nimport n \"net\"\n\nfunc f() { _, _ = n.Listen(\"\", \"\") }\n"}, nil, "room/rules/x.go:5 uses net.Listen"},
		{"a permission that nobody needs", nil, func(r *Rules) { r.Uses["os.Exit"] = []string{"cmd/x", "room/engine"} }, "that room/engine may use os.Exit matches nothing"},
		{"a clock in a timeless room", m{"room/rules/x.go": "package rules\n\nimport \"time\"\n\nfunc f(t time.Time) time.Duration { return time.Since(t) }\n"}, nil, "room/rules/x.go:5 uses time.Since"},
		{"a timeless room that is gone", nil, func(r *Rules) { r.Timeless = append(r.Timeless, "room/gone") }, "timeless room/gone matches nothing"},
		{"a file in a pure room", m{"room/flex/x.go": "package flex\n\nimport \"os\"\n\nvar _ = os.Args\n"}, nil, "imports os: nothing in room/flex reaches out"},
		{"a goroutine in a pure room", m{"room/flex/x.go": "package flex\n\nfunc f() { go f() }\n"}, nil, "starts a goroutine in room/flex"},
		{"a pure room that is gone", nil, func(r *Rules) { r.Pure = append(r.Pure, "room/gone") }, "pure room/gone matches nothing"},
		{"a room without a word", m{"room/rules/r.go": "package rules\n"}, nil, "room/rules has no package comment"},
		{"a long file", m{"room/rules/x.go": "package rules\n" + strings.Repeat("\n", 30)}, nil, "lines room/rules/x.go: 31, at most 30"},
		{"a long function", m{"room/rules/x.go": "package rules\n\nfunc f() {\n" + strings.Repeat("\tf()\n", 9) + "}\n"}, nil, "lines of room/rules.f: 11, at most 10"},
		{"a long closure", m{"room/rules/x.go": "package rules\n\nvar f = func() {\n" + strings.Repeat("\tf()\n", 9) + "}\n"}, nil, "lines of a function at room/rules/x.go:3: 11, at most 10"},
		{"many parameters", m{"room/rules/x.go": "package rules\n\nfunc f(a, b int, c string) {}\n"}, nil, "parameters of room/rules.f: 3, at most 2"},
		{"many fields", m{"room/rules/x.go": "package rules\n\ntype t struct{ a, b, c, d int }\n"}, nil, "fields room/rules.t: 4, at most 3"},
		{"many methods", m{"room/rules/x.go": "package rules\n\ntype t int\n\nfunc (t) a() {}\nfunc (*t) b() {}\nfunc (t) c() {}\n"}, nil, "methods room/rules.t: 3, at most 2"},
		{"many branches", m{"room/rules/x.go": "package rules\n\nfunc f(a, b bool) {\n\tif a && b || a {\n\t}\n}\n"}, nil, "branches of room/rules.f: 4, at most 3"},
		{"asleep", m{"room/engine/x.go": "package engine\n\nimport \"time\"\n\nfunc f() { time.Sleep(1) }\n"}, nil, "room/engine/x.go:5 sleeps"},
	} {
		t.Run(c.name, func(t *testing.T) {
			files, r, l := small()
			for name, text := range c.files {
				files[name] = text
			}
			if c.rules != nil {
				c.rules(&r)
			}
			got := judge(t, files, r, l)
			if len(got) != 1 || !strings.Contains(got[0], c.want) {
				t.Errorf("%q, want one fault with %q", got, c.want)
			}
		})
	}
}

// What is known to be too large may shrink and not grow, and its row goes when
// it is small enough.
func TestWhatIsTooLargeMayOnlyShrink(t *testing.T) {
	files, r, l := small()
	files["room/rules/x.go"] = "package rules\n\ntype t struct{ a, b, c, d, e int }\n"
	for known, want := range map[int]string{6: "", 5: "", 4: "it was 4 and may only shrink"} {
		l.Known = map[string]int{"fields room/rules.t": known}
		got := strings.Join(judge(t, files, r, l), "")
		if got == "" != (want == "") || !strings.Contains(got, want) {
			t.Errorf("known as %d: %q", known, got)
		}
	}
	l.Known = map[string]int{"fields room/rules.t": 5, "fields room/rules.gone": 9}
	if got := judge(t, files, r, l); len(got) != 1 || !strings.Contains(got[0], "take its row out") {
		t.Errorf("%q", got)
	}
}
