package trust

import (
	"slices"
	"testing"
)

func TestAPointerIsWrittenAsItIsRead(t *testing.T) {
	for _, steps := range [][]string{{"a"}, {"a/b", "~", "~1", ""}, {"0", "ü", "m~n/"}} {
		text := JoinPointer(steps)
		if got, err := parsePointer(text); err != nil || !slices.Equal(got, steps) {
			t.Errorf("%q became %q and %q: %v", steps, text, got, err)
		}
	}
}
