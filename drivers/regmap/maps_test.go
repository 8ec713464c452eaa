package regmap

import (
	"strings"
	"testing"
)

func TestEveryShippedMapIsGood(t *testing.T) {
	if len(Names()) < 10 {
		t.Fatalf("only %d maps are shipped", len(Names()))
	}
	for _, name := range Names() {
		t.Run(name, func(t *testing.T) {
			m, err := Load(name, "")
			if err != nil {
				t.Fatal(err)
			}
			if m.Name != name || m.Status != statusUnverified || len(m.Sources) == 0 {
				t.Errorf("map %q, status %q, %d sources", m.Name, m.Status, len(m.Sources))
			}
			if m.Role.String() != "meter" && !strings.Contains(strings.Join(keys(m), " "), "set") && !strings.Contains(strings.Join(keys(m), " "), "cap") {
				t.Error("controls nothing")
			}
		})
	}
}

func keys(m *Map) (out []string) {
	for k := range m.Control {
		out = append(out, k)
	}
	return out
}
