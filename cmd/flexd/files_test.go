package main

import (
	"strings"
	"testing"

	"flexd/agent/local"
)

func TestStatusShowsWhatIsWrittenByFile(t *testing.T) {
	var b strings.Builder
	filesText(&b, []local.File{{Name: "state.db", Size: 1_250_000, Written: 600_000, PerDay: 7_200_000}, {Name: "archive", Size: 50_000}})
	want := `      FILE    SIZE  WRITTEN   A DAY
  state.db  1.2 MB   0.6 MB  7.2 MB
   archive  0.1 MB   0.0 MB       -
  together  1.3 MB   0.6 MB  7.2 MB
`
	if got := b.String(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
