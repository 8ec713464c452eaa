package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Every line of the product's list applies to the tree as it is.
func TestTheListApplies(t *testing.T) {
	t.Chdir(filepath.Join("..", ".."))
	text, err := os.ReadFile("scripts/mutants")
	if err != nil {
		t.Fatal(err)
	}
	all, err := parse(string(text), os.ReadFile)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range all {
		if m.old == m.new || !strings.HasSuffix(m.file, ".go") || strings.HasSuffix(m.file, "_test.go") {
			t.Errorf("line %d changes nothing of the product", m.line)
		}
	}
}

func TestAListThatDoesNotApplyIsRefused(t *testing.T) {
	read := func(string) ([]byte, error) { return []byte("a := 1\nb := 1\n"), nil }
	for text, want := range map[string]string{
		"x.go\ta := 1\ta := 2":          "3 fields",
		"x.go\t:= 1\t:= 2\tTestX":       "occurs 2 times",
		"x.go\tc := 1\tc := 2\tTestX":   "occurs 0 times",
		"# why\n\nx.go\ta\t\tT\t./p\t!": "line 3",
	} {
		if _, err := parse(text, read); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

// A noticed mistake is killed, an unnoticed one alive, and one that does not
// compile is neither.
func TestMistakesAreJudged(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"go.mod":    "module m\n\ngo 1.24\n",
		"m.go":      "package m\n\nfunc two() int { return 2 }\n\nfunc free() int { return 5 }\n",
		"m_test.go": "package m\n\nimport \"testing\"\n\nfunc TestTwo(t *testing.T) {\n\tif two() != 2 {\n\t\tt.Fail()\n\t}\n}\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(dir)
	all, err := parse("m.go\treturn 2\treturn 3\tTestTwo\nm.go\treturn 5\treturn 6\tTestTwo\nm.go\treturn 5\treturn x\tTestTwo", os.ReadFile)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := judge(t.Context(), all, 1, &out); err == nil {
		t.Error("a mistake that nobody notices passed")
	}
	for i, word := range []string{"killed", "ALIVE", "BROKEN"} {
		if !strings.Contains(out.String(), word) {
			t.Errorf("mutant %d is not %s:\n%s", i+1, word, out.String())
		}
	}
}
